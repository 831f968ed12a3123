package pgoutput_test

import (
	"testing"

	"github.com/jackc/pglogrepl"

	"carbond/replicate/internal/pgoutput"
	"carbond/store/change"
)

// FuzzDecode feeds any bytes after two relations are known: no panic, only well
// formed rows, and the same meaning as pglogrepl's decoder gives them.
func FuzzDecode(f *testing.F) {
	for _, m := range []msg{
		start('B').u64(1).u64(2).u32(3),
		start('C').u8(0).u64(1).u64(2).u64(3),
		start('I').u32(1).tuple('N', 3).col("a").col("NaN").null(),
		start('U').u32(1).tuple('K', 3).col("a").null().null().tuple('N', 3).col("b").unchanged().null(),
		start('U').u32(1).tuple('O', 3).col("a").col("").null().tuple('N', 3).col("a").unchanged().null(),
		start('D').u32(1).tuple('K', 3).col("a").null().null(),
		start('T').u32(2).u8(3).u32(1).u32(2),
		relationMsg(3, marks),
		start('O').u64(1).text("x"),
		start('A').u32(1).u32(1),
	} {
		f.Add([]byte(m))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var ev pgoutput.Event
		if err := decoder(t).Decode(in, &ev); err != nil {
			return
		}
		for _, row := range []change.Row{ev.Change.Before, ev.Change.After} {
			if row == "" {
				continue
			}
			if err := row.Check(); err != nil {
				t.Fatal(err)
			}
		}
		compare(t, in, &ev)
	})
}

// compare holds ev against the oracle's reading of the same bytes.
func compare(t *testing.T, in []byte, ev *pgoutput.Event) {
	t.Helper()
	if ev.Kind == pgoutput.Other {
		return
	}
	m, err := pglogrepl.Parse(in)
	if err != nil {
		t.Fatalf("we read %+v, the oracle says %v", ev, err)
	}
	switch m := m.(type) {
	case *pglogrepl.BeginMessage:
		if ev.Kind != pgoutput.Begin || uint64(m.FinalLSN) != uint64(ev.CommitLSN) || m.Xid != ev.XID {
			t.Fatalf("begin: %+v, oracle %+v", ev, m)
		}
		// The oracle counts nanoseconds, which overflow after 292 years.
		if y := ev.Time.Year(); y > 1800 && y < 2200 && !m.CommitTime.Equal(ev.Time) {
			t.Fatalf("begin: time %v, oracle %v", ev.Time, m.CommitTime)
		}
	case *pglogrepl.CommitMessage:
		if ev.Kind != pgoutput.Commit || uint64(m.CommitLSN) != uint64(ev.CommitLSN) || uint64(m.TransactionEndLSN) != uint64(ev.EndLSN) {
			t.Fatalf("commit: %+v, oracle %+v", ev, m)
		}
	case *pglogrepl.RelationMessage:
		if m.RelationName != ev.Relation.Name || len(m.Columns) != len(ev.Relation.Columns) {
			t.Fatalf("relation: %+v, oracle %+v", ev, m)
		}
		for i, c := range m.Columns {
			if got := ev.Relation.Columns[i]; got.Name != c.Name || got.Type != c.DataType || got.Key != (c.Flags&1 != 0) {
				t.Fatalf("relation: column %d is %+v, oracle %+v", i, got, c)
			}
		}
	case *pglogrepl.InsertMessage:
		sameTuple(t, ev.Change.After, m.Tuple)
	case *pglogrepl.UpdateMessage:
		sameTuple(t, ev.Change.Before, m.OldTuple)
		sameTuple(t, ev.Change.After, m.NewTuple)
	case *pglogrepl.DeleteMessage:
		sameTuple(t, ev.Change.Before, m.OldTuple)
	case *pglogrepl.TruncateMessage:
		if ev.Kind != pgoutput.Truncate || len(ev.Truncated) > len(m.RelationIDs) {
			t.Fatalf("truncate: %+v, oracle %+v", ev, m)
		}
	default:
		t.Fatalf("we read %+v, the oracle %T", ev, m)
	}
}

func sameTuple(t *testing.T, row change.Row, want *pglogrepl.TupleData) {
	t.Helper()
	if want == nil {
		if row != "" {
			t.Fatalf("row %q, the oracle has none", row)
		}
		return
	}
	if row.Len() != len(want.Columns) {
		t.Fatalf("row of %d columns, oracle %d", row.Len(), len(want.Columns))
	}
	for i, v := range row.All() {
		c := want.Columns[i]
		ok := v.Kind == change.Null && c.DataType == 'n' || v.Kind == change.Unchanged && c.DataType == 'u' ||
			v.Kind == change.Text && c.DataType == 't' && v.Text == string(c.Data)
		if !ok {
			t.Fatalf("column %d is %+v, oracle %c %q", i, v, c.DataType, c.Data)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	d := decoder(b)
	in := start('I').u32(1).tuple('N', 3).col("project-000001").col("12345.5").col(string(make([]byte, 180)))
	var ev pgoutput.Event
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		if err := d.Decode(in, &ev); err != nil {
			b.Fatal(err)
		}
	}
}
