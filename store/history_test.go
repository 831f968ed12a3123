package store_test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"carbond/store"
	"carbond/store/change"
)

// epoch writes transactions of one row each, and copies in between.
type epoch struct {
	t     *testing.T
	s     *store.Store
	lsn   change.LSN
	clock time.Time
	xid   uint32
	n     int
}

func (e *epoch) change() change.Change {
	e.n++
	rel := change.Standard(change.Finance)
	var b change.RowBuilder
	b.Reset(len(rel.Columns))
	for _, c := range rel.Columns {
		switch c.Name {
		case "ticker":
			b.Text(fmt.Sprintf("T%d", e.n))
		case "timestamp":
			b.Text("1")
		default:
			b.Null()
		}
	}
	return change.Change{Op: change.Create, Relation: rel, After: b.Row()}
}

func (e *epoch) apply(t change.Txn) change.TxnID {
	e.t.Helper()
	e.xid++
	e.lsn += 100
	t.XID, t.CommitLSN, t.EndLSN, t.CommitTime, t.First, t.Final = e.xid, e.lsn-10, e.lsn, e.clock, true, true
	if t.Snapshot != nil {
		t.XID, t.CommitLSN = 0, e.lsn
	}
	if err := e.s.Apply(e.t.Context(), []change.Txn{t}); err != nil {
		e.t.Fatal(err)
	}
	e.clock = e.clock.Add(time.Second)
	return change.TxnID{XID: t.XID, CommitLSN: t.CommitLSN, EndLSN: t.EndLSN, CommitTime: t.CommitTime}
}

func (e *epoch) row() change.TxnID { return e.apply(change.Txn{Changes: []change.Change{e.change()}}) }

func (e *epoch) copied(rows int) {
	t := change.Txn{Snapshot: &change.Snapshot{Source: change.Source{SystemID: "1", Database: "d", Slot: "s"}}}
	for range rows {
		c := e.change()
		c.Op = change.Read
		t.Changes = append(t.Changes, c)
	}
	e.apply(t)
}

func newEpoch(t *testing.T, segment int64) *epoch {
	s, err := store.Open(t.TempDir(), store.Options{SegmentBytes: segment, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return &epoch{t: t, s: s, lsn: 1000, clock: time.Unix(1_700_000_000, 0).UTC()}
}

// since reads the whole list.
func since(t *testing.T, s *store.Store, lsn change.LSN) (change.LSN, []change.TxnID) {
	t.Helper()
	from, next, err := s.Since(t.Context(), lsn)
	if err != nil {
		t.Fatal(err)
	}
	var out []change.TxnID
	for {
		id, err := next()
		if errors.Is(err, io.EOF) {
			return from, out
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, id)
	}
}

// TestSince asks for the last transactions from every position of the present
// history, over segments, copies and what retention has dropped.
func TestSince(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 20 {
		e := newEpoch(t, 1)
		e.copied(rng.IntN(3))
		for range rng.IntN(10) {
			e.row()
		}
		if rng.IntN(2) == 0 {
			e.lsn -= change.LSN(rng.IntN(500)) // the source went back
			e.copied(rng.IntN(2))
		}
		copyLSN := e.s.Position().CopyLSN
		if copyLSN != e.lsn && e.n > 0 && e.s.Position().LSN != e.lsn {
			t.Fatalf("copy at %s, stands at %s", copyLSN, e.lsn)
		}
		var ids []change.TxnID
		_, ids = since(t, e.s, 0)
		for range rng.IntN(10) {
			ids = append(ids, e.row())
		}
		for at := copyLSN; at <= e.lsn+100; at += 25 {
			want := ids
			for len(want) > 0 && want[0].EndLSN <= at {
				want = want[1:]
			}
			from, got := since(t, e.s, at)
			if from != at || len(got) != len(want) {
				t.Fatalf("since %s: from %s, %d transactions, want %d", at, from, len(got), len(want))
			}
			for i := range got {
				if !got[i].Equal(want[i]) {
					t.Fatalf("since %s: %+v, want %+v", at, got[i], want[i])
				}
			}
		}
		if from, got := since(t, e.s, 1); from != copyLSN || len(got) != len(ids) {
			t.Fatalf("from before the copy: from %s, %d transactions, want %s and %d", from, len(got), copyLSN, len(ids))
		}
	}
}

// TestSinceDropped lets retention take the oldest segments: the list begins
// where the log does.
func TestSinceDropped(t *testing.T) {
	e := newEpoch(t, 1)
	e.copied(1)
	var ids []change.TxnID
	for range 10 {
		ids = append(ids, e.row())
	}
	e.s.SetRetention(store.Retention{Bytes: 1})
	if err := e.s.Maintain(t.Context()); err != nil {
		t.Fatal(err)
	}
	kept := ids
	for uint64(len(kept)) > uint64(e.s.Position().Offset-e.s.Oldest()+1) {
		kept = kept[1:]
	}
	from, got := since(t, e.s, 1)
	if len(got) != len(kept) || len(kept) == len(ids) {
		t.Fatalf("%d of %d transactions, want %d", len(got), len(ids), len(kept))
	}
	if want := ids[len(ids)-len(kept)-1].EndLSN; from != want {
		t.Fatalf("from %s, want %s", from, want)
	}
}

// TestWentBack copies again after the source's WAL and clock went back: positions
// and times mean the history that the source is in now.
func TestWentBack(t *testing.T) {
	for name, segment := range map[string]int64{"one segment": 0, "many segments": 1} {
		t.Run(name, func(t *testing.T) {
			e := newEpoch(t, segment)
			ctx := t.Context()
			e.copied(2)
			kept := e.row()
			for range 5 {
				e.row() // lost with the source's disk
			}
			abandoned := e.lsn
			e.lsn, e.clock = kept.EndLSN, kept.CommitTime.Add(500*time.Millisecond)
			e.copied(0)
			at, copied := e.s.Position().Offset, e.lsn
			if e.s.Position().CopyLSN != copied {
				t.Fatalf("the copy is noted at %s, want %s", e.s.Position().CopyLSN, copied)
			}
			if _, err := e.s.AtLSN(ctx, copied-1); !isCompacted(err) {
				t.Errorf("a position that two histories have: %v", err)
			}
			for range 20 {
				want := e.s.Position().Offset
				for _, lsn := range []change.LSN{e.lsn, e.lsn + 99} {
					if lsn > e.s.Position().LSN {
						continue
					}
					if got, err := e.s.AtLSN(ctx, lsn); err != nil || got != want {
						t.Fatalf("at %s: offset %d, %v, want %d", lsn, got, err, want)
					}
				}
				if got, err := e.s.AtTime(ctx, e.clock.Add(-time.Second)); err != nil || got != want {
					t.Fatalf("at %s: offset %d, %v, want %d", e.clock, got, err, want)
				}
				e.row()
			}
			if e.lsn < abandoned {
				t.Fatal("the new history did not get beyond the old one")
			}
			if got, err := e.s.AtLSN(ctx, copied); err != nil || got != at {
				t.Errorf("at the copy: offset %d, %v, want %d", got, err, at)
			}
			if got, err := e.s.AtLSN(ctx, copied+50); err != nil || got != at {
				t.Errorf("behind the copy: offset %d, %v, want %d", got, err, at)
			}
			for _, long := range []time.Time{time.Unix(1_600_000_000, 0), time.Unix(-1, 0), time.Date(1901, 1, 1, 0, 0, 0, 0, time.UTC), {}} {
				if got, err := e.s.AtTime(ctx, long); err != nil || got != 0 {
					t.Errorf("at %v, before everything: offset %d, %v", long, got, err)
				}
				if got, err := e.s.FirstAfter(ctx, long); err != nil || got != 0 {
					t.Errorf("after %v: offset %d, %v", long, got, err)
				}
			}
		})
	}
}

func isCompacted(err error) bool {
	var c *change.CompactedError
	return errors.As(err, &c)
}
