package pgoutput_test

import (
	"errors"
	"testing"
	"time"

	"carbond/replicate/internal/pgoutput"
	"carbond/store/change"
)

var marks = &change.Relation{Schema: "public", Name: "carbonmark", Columns: []change.Column{
	{Name: "id", Type: 25, Key: true}, {Name: "amount", Type: 701}, {Name: "project_name", Type: 25},
}}

var others = &change.Relation{Schema: "public", Name: "orders", Columns: []change.Column{{Name: "id", Type: 23, Key: true}}}

// keeper takes every relation of schema public but the orders, the last one of each
// name again while it is the same.
func keeper() func(uint32, *change.Relation) (*change.Relation, error) {
	seen := map[string]*change.Relation{}
	return func(_ uint32, sent *change.Relation) (*change.Relation, error) {
		switch old := seen[sent.Name]; {
		case sent.Schema != "public" || sent.Name == "orders":
			return nil, nil
		case old != nil && old.Equal(sent):
			return old, nil
		}
		seen[sent.Name] = sent
		return sent, nil
	}
}

func decoder(t testing.TB) *pgoutput.Decoder {
	t.Helper()
	d := pgoutput.NewDecoder(keeper())
	var ev pgoutput.Event
	for id, rel := range map[uint32]*change.Relation{1: marks, 2: others} {
		if err := d.Decode(relationMsg(id, rel), &ev); err != nil {
			t.Fatal(err)
		}
		if ev.Kind != pgoutput.Description || !ev.Relation.Equal(rel) || ev.Kept != (id == 1) {
			t.Fatalf("relation %d: got %+v", id, ev)
		}
	}
	return d
}

func TestDecode(t *testing.T) {
	full := change.NewRow(change.T("a"), change.T("NaN"), change.Value{})
	for name, tt := range map[string]struct {
		in    msg
		check func(t *testing.T, ev *pgoutput.Event)
	}{
		"begin": {start('B').u64(0x16B374D848).u64(1_000_000).u32(77), func(t *testing.T, ev *pgoutput.Event) {
			if ev.Kind != pgoutput.Begin || ev.CommitLSN != 0x16B374D848 || ev.XID != 77 || !ev.Time.Equal(time.Date(2000, 1, 1, 0, 0, 1, 0, time.UTC)) {
				t.Fatalf("got %+v", ev)
			}
		}},
		"commit": {start('C').u8(0).u64(5).u64(9).u64(0), func(t *testing.T, ev *pgoutput.Event) {
			if ev.Kind != pgoutput.Commit || ev.CommitLSN != 5 || ev.EndLSN != 9 {
				t.Fatalf("got %+v", ev)
			}
		}},
		"insert": {start('I').u32(1).tuple('N', 3).col("a").col("NaN").null(), func(t *testing.T, ev *pgoutput.Event) {
			if ev.Kind != pgoutput.Row || ev.Change.Op != change.Create || ev.Change.Before != "" || ev.Change.After != full {
				t.Fatalf("got %+v", ev)
			}
		}},
		"update with unchanged TOAST": {start('U').u32(1).tuple('N', 3).col("a").col("2").unchanged(), func(t *testing.T, ev *pgoutput.Event) {
			if ev.Change.Op != change.Update || ev.Change.Before != "" || ev.Change.After.Value(2).Kind != change.Unchanged {
				t.Fatalf("got %+v", ev)
			}
		}},
		"update of the key": {start('U').u32(1).tuple('K', 3).col("a").null().null().tuple('N', 3).col("b").col("2").col(""), func(t *testing.T, ev *pgoutput.Event) {
			if ev.Change.Op != change.Update || ev.Change.Before.Value(0) != change.T("a") || ev.Change.Before.Value(1) != (change.Value{}) || ev.Change.After.Value(2) != change.T("") {
				t.Fatalf("got %+v", ev)
			}
		}},
		"update under FULL": {start('U').u32(1).tuple('O', 3).col("a").col("NaN").null().tuple('N', 3).col("b").col("2").null(), func(t *testing.T, ev *pgoutput.Event) {
			if ev.Change.Before != full {
				t.Fatalf("got %+v", ev)
			}
		}},
		"delete": {start('D').u32(1).tuple('O', 3).col("a").col("NaN").null(), func(t *testing.T, ev *pgoutput.Event) {
			if ev.Change.Op != change.Delete || ev.Change.Before != full || ev.Change.After != "" {
				t.Fatalf("got %+v", ev)
			}
		}},
		"truncate lists kept tables only": {start('T').u32(2).u8(3).u32(1).u32(2), func(t *testing.T, ev *pgoutput.Event) {
			if ev.Kind != pgoutput.Truncate || len(ev.Truncated) != 1 || ev.Truncated[0].Name != "carbonmark" {
				t.Fatalf("got %+v", ev)
			}
		}},
		"row of a table that is not kept": {start('I').u32(2).tuple('N', 1).col("1"), func(t *testing.T, ev *pgoutput.Event) {
			if ev.Kind != pgoutput.Other {
				t.Fatalf("got %+v", ev)
			}
		}},
		"identical relation":     {relationMsg(1, marks), other},
		"origin":                 {start('O').u64(1).text("elsewhere"), other},
		"type":                   {start('Y').u32(1).text("public").text("mood"), other},
		"logical message":        {start('M').u8(1).u64(3).text("p").u32(1).u8('x'), other},
		"stray stream start":     {start('S').u32(1).u8(1), other},
		"stray stream abort":     {start('A').u32(1).u32(2), other},
		"unknown type":           {start('?'), other},
		"other relation changed": {relationMsg(2, &change.Relation{Schema: "public", Name: "orders"}), func(*testing.T, *pgoutput.Event) {}},
	} {
		t.Run(name, func(t *testing.T) {
			var ev pgoutput.Event
			if err := decoder(t).Decode(tt.in, &ev); err != nil {
				t.Fatal(err)
			}
			tt.check(t, &ev)
		})
	}
}

func other(t *testing.T, ev *pgoutput.Event) {
	t.Helper()
	if ev.Kind != pgoutput.Other {
		t.Fatalf("got %+v", ev)
	}
}

func TestDecodeMalformed(t *testing.T) {
	for name, in := range map[string]msg{
		"empty":                   {},
		"short begin":             start('B').u64(1),
		"long begin":              start('B').u64(1).u64(1).u32(1).u8(1),
		"short commit":            start('C').u8(0),
		"unknown relation":        start('I').u32(99).tuple('N', 1).col("1"),
		"too few columns":         start('I').u32(1).tuple('N', 2).col("a").null(),
		"too many columns":        start('I').u32(1).tuple('N', 4).col("a").null().null().null(),
		"binary column":           start('I').u32(1).tuple('N', 3).u8('b').u32(0).null().null(),
		"insert of an old tuple":  start('I').u32(1).tuple('O', 3).null().null().null(),
		"update without new":      start('U').u32(1).tuple('K', 3).col("a").null().null(),
		"delete of a new tuple":   start('D').u32(1).tuple('N', 3).null().null().null(),
		"text beyond the end":     start('I').u32(1).tuple('N', 3).null().null().u8('t').u32(5).u8('x'),
		"text length over 2 GB":   start('I').u32(1).tuple('N', 3).null().null().u8('t').u32(0xfffffff0),
		"bytes after the row":     start('I').u32(1).tuple('N', 3).null().null().null().u8(0),
		"truncate count":          start('T').u32(3).u8(0).u32(1),
		"empty truncate":          start('T').u32(0).u8(0),
		"truncate unknown":        start('T').u32(1).u8(0).u32(99),
		"relation without end":    start('R').u32(7).text("public").text("x").u8('d').u16(5).u8(0),
		"relation name unended":   append(start('R').u32(7), "public"...),
		"relation with 65535":     start('R').u32(7).text("public").text("x").u8('d').u16(65535),
		"relation with leftovers": append(relationMsg(8, marks), 1),
	} {
		t.Run(name, func(t *testing.T) {
			var ev pgoutput.Event
			if err := decoder(t).Decode(in, &ev); !errors.Is(err, pgoutput.ErrProtocol) {
				t.Fatalf("got %v, %+v", err, ev)
			}
		})
	}
}

func TestRelationIdentity(t *testing.T) {
	d := decoder(t)
	rel := func(m msg) *change.Relation {
		t.Helper()
		var ev pgoutput.Event
		if err := d.Decode(m, &ev); err != nil {
			t.Fatal(err)
		}
		if err := d.Decode(start('D').u32(1).tuple('K', uint16(len(ev.Relation.Columns))).append(len(ev.Relation.Columns)), &ev); err != nil {
			t.Fatal(err)
		}
		return ev.Change.Relation
	}
	a := rel(relationMsg(1, marks))
	if b := rel(relationMsg(1, marks)); a != b {
		t.Fatal("an identical relation is a new pointer")
	}
	wider := &change.Relation{Schema: marks.Schema, Name: marks.Name, Columns: append(append([]change.Column{}, marks.Columns...), change.Column{Name: "extra", Type: 25})}
	if c := rel(relationMsg(1, wider)); c == a || len(c.Columns) != 4 || len(a.Columns) != 3 {
		t.Fatal("a changed relation must be a new one and leave the old alone")
	}
}

// Whose relation it is, under which name and with what numbers, is for others to
// say; an error of theirs ends the stream.
func TestDescribe(t *testing.T) {
	ours := &change.Relation{Schema: "public", Name: "verra", Columns: []change.Column{{Name: "a", Type: 25, Key: true, Number: 4}}}
	wrong := errors.New("no catalog")
	d := pgoutput.NewDecoder(func(id uint32, _ *change.Relation) (*change.Relation, error) {
		switch id {
		case 7:
			return ours, nil
		case 8:
			return nil, wrong
		}
		return nil, nil
	})
	var ev pgoutput.Event
	away := &change.Relation{Schema: "attic", Name: "old", Columns: []change.Column{{Name: "b", Type: 25}}}
	if err := d.Decode(relationMsg(7, away), &ev); err != nil || ev.Kind != pgoutput.Description || !ev.Kept || ev.Relation != ours {
		t.Fatalf("%+v, %v", ev, err)
	}
	if err := d.Decode(start('I').u32(7).tuple('N', 1).col("x"), &ev); err != nil || ev.Change.Relation != ours {
		t.Fatalf("%+v, %v", ev, err)
	}
	if err := d.Decode(relationMsg(7, away), &ev); err != nil || ev.Kind != pgoutput.Other {
		t.Fatalf("the same again: %+v, %v", ev, err)
	}
	if err := d.Decode(relationMsg(8, away), &ev); !errors.Is(err, wrong) || errors.Is(err, pgoutput.ErrProtocol) {
		t.Fatalf("got %v", err)
	}
	if err := d.Decode(relationMsg(9, ours), &ev); err != nil || ev.Kept {
		t.Fatalf("another table of the name: %+v, %v", ev, err)
	}
}

func (m msg) append(nulls int) msg {
	for range nulls {
		m = m.null()
	}
	return m
}

func TestDecodeAllocates(t *testing.T) {
	d := decoder(t)
	in := start('I').u32(1).tuple('N', 3).col("a").col("12.5").col("some text that is longer than a word")
	var ev pgoutput.Event
	got := testing.AllocsPerRun(1000, func() {
		if err := d.Decode(in, &ev); err != nil {
			t.Fatal(err)
		}
	})
	if got > 1 {
		t.Fatalf("a row costs %v allocations, want 1", got)
	}
}
