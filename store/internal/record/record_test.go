package record_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"carbond/store/change"
	"carbond/store/internal/record"
)

// trace writes down what a block says.
type trace struct{ lines []string }

func (v *trace) Change(t record.Txn, order uint64, e record.Entry) error {
	v.lines = append(v.lines, fmt.Sprintf("%d %v %d %+v", t.XID, t, order, e))
	return nil
}

func (v *trace) End(t record.Txn, end change.LSN) error {
	v.lines = append(v.lines, fmt.Sprintf("end %d %v", t.XID, end))
	return nil
}

func value(t *rapid.T) change.Value {
	switch rapid.IntRange(0, 3).Draw(t, "kind") {
	case 0:
		return change.Value{}
	case 1:
		return change.T("")
	}
	return change.T(rapid.String().Draw(t, "text"))
}

func row(t *rapid.T) change.Row {
	vals := make([]change.Value, rapid.IntRange(1, 6).Draw(t, "columns"))
	for i := range vals {
		vals[i] = value(t)
	}
	return change.NewRow(vals...)
}

// TestRoundTrip cuts random transactions into blocks at random places; each
// block must say the same as it was told, whatever block it is in.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b record.Builder
		var want, got trace
		var blocks [][]byte
		total := 0
		for i := range rapid.IntRange(1, 6).Draw(t, "txns") {
			x := record.Txn{
				XID: rapid.Uint32().Draw(t, "xid"), CommitLSN: change.LSN(rapid.Uint64().Draw(t, "lsn")),
				CommitTime: time.UnixMicro(rapid.Int64Range(1, 1<<50).Draw(t, "time")).UTC(), Snapshot: i == 0,
				Previous: change.LSN(rapid.Uint64().Draw(t, "previous")),
			}
			b.Begin(x)
			for n := range rapid.IntRange(1, 5).Draw(t, "changes") {
				e := record.Entry{
					Op:       rapid.SampledFrom([]change.Op{change.Create, change.Update, change.Delete, change.Read, change.Truncate, change.Retract}).Draw(t, "op"),
					Relation: rapid.Uint32().Draw(t, "relation"), LSN: x.CommitLSN - change.LSN(rapid.Uint32().Draw(t, "back")),
				}
				if e.Op == change.Update || e.Op == change.Delete || e.Op == change.Retract {
					e.Before = row(t)
				}
				if e.Op == change.Update || e.Op == change.Create || e.Op == change.Read {
					e.After = row(t)
				}
				if n > 0 && rapid.Bool().Draw(t, "cut") {
					block, count := b.Take()
					blocks, total = append(blocks, slices.Clone(block)), total+count
				}
				b.Add(e)
				_ = want.Change(x, uint64(n+1), e)
			}
			end := change.LSN(rapid.Uint64().Draw(t, "end"))
			b.End(end, false)
			_ = want.End(x, end)
		}
		block, count := b.Take()
		blocks, total = append(blocks, slices.Clone(block)), total+count
		for _, block := range blocks {
			if err := decode(block, &got); err != nil {
				t.Fatal(err)
			}
		}
		if fmt.Sprint(got.lines) != fmt.Sprint(want.lines) {
			t.Fatalf("got\n%v\nwant\n%v", got.lines, want.lines)
		}
		changes := 0
		for _, l := range want.lines {
			if l[:3] != "end" {
				changes++
			}
		}
		if changes != total {
			t.Fatalf("counts say %d changes, want %d", total, changes)
		}
	})
}

// decode notes the items of a block.
func decode(block []byte, v *trace) error {
	for it, err := range record.All(block, 1) {
		switch {
		case err != nil:
			return err
		case it.Ends:
			err = v.End(*it.Txn, it.End)
		default:
			err = v.Change(*it.Txn, it.Order, it.Entry)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// TestStrip: what is left of a block without the changes of some relations has every
// offset, order, transaction and end that it had, also when more is taken later.
func TestStrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b record.Builder
		var blocks [][]byte
		var kept, all trace
		gone := func(relation uint32) bool { return relation < 3 }
		for i := range rapid.IntRange(1, 8).Draw(t, "txns") {
			x := record.Txn{XID: uint32(i), CommitLSN: change.LSN(1000 * i), Previous: change.LSN(7 * i)}
			b.Begin(x)
			for n := range rapid.IntRange(1, 6).Draw(t, "changes") {
				if n > 0 && rapid.IntRange(0, 3).Draw(t, "cut") == 0 {
					block, _ := b.Take()
					blocks = append(blocks, slices.Clone(block))
				}
				e := record.Entry{Op: change.Create, Relation: rapid.Uint32Range(1, 4).Draw(t, "relation"), LSN: x.CommitLSN - 3, After: row(t)}
				b.Add(e)
				if gone(e.Relation) {
					e = record.Entry{Op: change.Removed, LSN: x.CommitLSN}
				}
				_ = kept.Change(x, uint64(n+1), e)
				_ = all.Change(x, uint64(n+1), record.Entry{Op: change.Removed, LSN: x.CommitLSN})
			}
			b.End(x.CommitLSN+5, true)
			_ = kept.End(x, x.CommitLSN+5)
			_ = all.End(x, x.CommitLSN+5)
		}
		block, _ := b.Take()
		blocks = append(blocks, slices.Clone(block))
		strip := func(gone func(uint32) bool, want *trace) {
			var got trace
			for i := range blocks {
				left, err := record.Strip(blocks[i], gone)
				if err != nil {
					t.Fatal(err)
				}
				if left != nil {
					blocks[i] = left
				}
				if err := decode(blocks[i], &got); err != nil {
					t.Fatal(err)
				}
			}
			if !slices.Equal(got.lines, want.lines) {
				t.Fatalf("got\n%q\nwant\n%q", got.lines, want.lines)
			}
		}
		strip(gone, &kept)
		strip(gone, &kept)
		strip(func(uint32) bool { return true }, &all)
	})
}

func sample() []byte {
	var b record.Builder
	b.Begin(record.Txn{XID: 7, CommitLSN: 100, CommitTime: time.UnixMicro(1).UTC()})
	b.Add(record.Entry{Op: change.Update, Relation: 1, LSN: 90, Before: change.NewRow(change.T("a")), After: change.NewRow(change.T("b"), change.Value{})})
	b.End(110, false)
	block, _ := b.Take()
	return block
}

// FuzzDecode feeds foreign bytes to the block decoder: an error or a block that
// encodes back, never a panic.
func FuzzDecode(f *testing.F) {
	f.Add(sample())
	left, err := record.Strip(sample(), func(uint32) bool { return true })
	if err != nil {
		f.Fatal(err)
	}
	f.Add(left)
	f.Add([]byte{})
	f.Add([]byte{1, 2, 3})
	f.Add(bytes.Repeat([]byte{0xff}, 40))
	f.Fuzz(func(t *testing.T, block []byte) {
		var v trace
		if err := decode(block, &v); err != nil && !errors.Is(err, record.ErrBlock) {
			t.Fatalf("error without ErrBlock: %v", err)
		}
	})
}

// FuzzRelation does the same for dictionary entries.
func FuzzRelation(f *testing.F) {
	for _, table := range change.Tables() {
		rel := change.Standard(table)
		f.Add(record.EncodeRelation(rel))
		for i := range rel.Columns {
			rel.Columns[i].Number, rel.Columns[i].Missing = uint16(300*i+1), change.T(table)
		}
		f.Add(record.EncodeRelation(rel))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := record.DecodeRelation(b)
		if err != nil {
			if !errors.Is(err, record.ErrBlock) {
				t.Fatalf("error without ErrBlock: %v", err)
			}
			return
		}
		again, err := record.DecodeRelation(record.EncodeRelation(r))
		if err != nil || !again.Equal(r) {
			t.Fatalf("%+v encodes to %+v, %v", r, again, err)
		}
	})
}

func TestDecodeRefuses(t *testing.T) {
	good := sample()
	tests := map[string][]byte{
		"empty":             {},
		"unknown head":      {2},
		"change outside":    {0, 'c', 1, 0, 1, 0},
		"end outside":       {0, 2, 5},
		"unknown operation": append(append([]byte{}, good[:len(good)-2]...), 'z', 1, 0),
		"cut short":         good[:len(good)-9],
		"removed outside":   {0, 4, 1},
		"none removed":      {1, 7, 1, 1, 0, 0, 4, 0},
		"too many removed":  {1, 7, 1, 1, 0, 0, 4, 0x81, 0x80, 4},
		"begin in begin":    {1, 7, 1, 1, 0, 0, 1, 7, 1, 1, 0},
	}
	for name, block := range tests {
		t.Run(name, func(t *testing.T) {
			if err := decode(block, &trace{}); !errors.Is(err, record.ErrBlock) {
				t.Fatalf("got %v", err)
			}
		})
	}
}
