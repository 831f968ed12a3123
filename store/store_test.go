package store_test

import (
	"context"
	"flag"
	"math/rand/v2"
	"testing"
	"time"

	"go.uber.org/goleak"

	"carbond/store"
	"carbond/store/change"
	"carbond/store/storetest"
)

var seedFlag = flag.Uint64("seed", 0, "seed of the random tests, 0 draws one")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func seed(t *testing.T) uint64 {
	s := *seedFlag
	if s == 0 {
		s = rand.Uint64()
	}
	t.Logf("seed %d (repeat with -seed)", s)
	return s
}

// open opens a store, a new one with offsets from 1 on.
func open(t *testing.T, dir string, opt store.Options) *store.Store {
	t.Helper()
	if opt.First == 0 {
		opt.First = 1
	}
	s, err := store.Open(dir, opt)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustApply(t *testing.T, s *store.Store, txns ...change.Txn) {
	t.Helper()
	if err := s.Apply(context.Background(), txns); err != nil {
		t.Fatal(err)
	}
}

// logLines reads the whole changelog in the model's form, hidden records left
// out, and checks that offsets run on and that transactions end once.
func logLines(t *testing.T, s *store.Store) []string {
	t.Helper()
	r := s.NewReader(1)
	var lines []string
	h := s.History()
	next := h.After(0)
	for {
		recs, err := r.Read(1 << 12)
		if err != nil {
			t.Fatal(err)
		}
		if len(recs) == 0 {
			return lines
		}
		for _, rec := range recs {
			if rec.Offset != next {
				t.Fatalf("offset %d, want %d", rec.Offset, next)
			}
			next = h.After(next)
			if l := storetest.RecordLine(rec); l != "" {
				lines = append(lines, l)
			}
		}
	}
}

// TestModel runs random source transactions, whole and in parts, through a
// store that is closed, reopened and checkpointed at random, and compares every
// view with the naive model after each step and the log with the model's log at
// the end.
func TestModel(t *testing.T) {
	sd := seed(t)
	rng := rand.New(rand.NewPCG(sd, 1))
	src := storetest.NewSource(sd)
	src.Plain = true
	dir := t.TempDir()
	opt := store.Options{NoSync: true, SegmentBytes: 8 << 10, CheckpointInterval: time.Millisecond}
	s := open(t, dir, opt)
	defer func() { s.Close() }()
	var last []change.Txn
	past := map[change.Position]*storetest.Model{}
	for step := range 400 {
		var batch []change.Txn
		for range 1 + rng.IntN(4) {
			txn := src.Next()
			if rng.IntN(3) == 0 {
				batch = append(batch, storetest.Split(txn, 1+rng.IntN(2))...)
			} else {
				batch = append(batch, txn)
			}
		}
		last = batch
		for len(batch) > 0 { // hand over in pieces that may end inside a transaction
			n := 1 + rng.IntN(len(batch))
			mustApply(t, s, batch[:n]...)
			batch = batch[n:]
		}
		if d := src.Model.Diff(s.Snapshot()); d != "" {
			t.Fatalf("step %d: %s", step, d)
		}
		if rng.IntN(10) == 0 {
			past[s.Position()] = src.Model.Clone()
		}
		switch rng.IntN(12) {
		case 0:
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open(t, dir, opt)
		case 1: // redelivery: nothing may happen
			at := s.Position()
			mustApply(t, s, last...)
			if got := s.Position(); got != at {
				t.Fatalf("step %d: redelivery moved the position from %+v to %+v", step, at, got)
			}
		case 2: // an unfinished transaction that the source begins again
			txn := src.Next()
			if len(txn.Changes) > 1 {
				parts := storetest.Split(txn, 1)
				before := s.Snapshot()
				mustApply(t, s, parts[:len(parts)-1]...)
				if s.Snapshot() != before {
					t.Fatalf("step %d: a part became visible", step)
				}
				if rng.IntN(2) == 0 {
					s.Close()
					s = open(t, dir, opt)
				}
			}
			mustApply(t, s, txn)
		case 3:
			s.SetRetention(store.Retention{TablesBytes: int64(16+rng.IntN(48)) << 10})
			if err := s.Maintain(context.Background()); err != nil {
				t.Fatal(err)
			}
		case 4:
			if err := s.Advance(context.Background(), s.Position().LSN); err != nil {
				t.Fatal(err)
			}
		}
		if d := src.Model.Diff(s.Snapshot()); d != "" {
			t.Fatalf("step %d, after: %s", step, d)
		}
	}
	for pos, model := range past {
		checkPast(t, s, pos, model)
	}
	got := logLines(t, s)
	if d := storetest.DiffLog(got, src.Model.Log); d != "" {
		t.Fatal(d)
	}
	first := 0
	for i, r := range readAll(t, s, 1) {
		if r.Op == change.Removed {
			first = i + 1
		}
		if plain := r.Op == change.Removed || r.Relation.Plain; plain && (r.Op == change.Removed) != (r.Offset < s.Floor()) {
			t.Fatalf("offset %d is %s, and tables without a view are kept from %d", r.Offset, r.Op, s.Floor())
		}
	}
	if first == 0 {
		t.Fatal("nothing was taken of tables without a view: the test proves nothing")
	}
}

// checkPast compares the views of an earlier position with the model of then,
// found by offset, by LSN and by time.
func checkPast(t *testing.T, s *store.Store, pos change.Position, model *storetest.Model) {
	t.Helper()
	ctx := context.Background()
	snap, err := s.AsOf(ctx, pos.Offset)
	if err != nil {
		t.Fatal(err)
	}
	if d := model.Diff(snap); d != "" {
		t.Fatalf("as of offset %d: %s", pos.Offset, d)
	}
	byLSN, err := s.AtLSN(ctx, pos.LSN)
	if err != nil {
		t.Fatal(err)
	}
	byTime, err := s.AtTime(ctx, pos.CommitTime)
	if err != nil {
		t.Fatal(err)
	}
	if byLSN != pos.Offset || byTime != pos.Offset {
		t.Fatalf("offset %d: found %d by LSN %s, %d by time", pos.Offset, byLSN, pos.LSN, byTime)
	}
}
