package store_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"carbond/store"
	"carbond/store/change"
	"carbond/store/storetest"
)

// faultPoints are the places at which a write asks whether the disk fails.
var faultPoints = []string{
	"append.commit", "append.synced", "cut", "rotate.seal", "segment.create", "segment.named", "segment.unname",
}

// TestFaults lets the disk fail at random points, several times in a row. After
// an error the source begins again at the position, as replicate does; views and
// log equal the model throughout, and the directory is whole at the end.
func TestFaults(t *testing.T) {
	sd := seed(t)
	rng := rand.New(rand.NewPCG(sd, 7))
	var failing atomic.Int32 // one of n calls fails
	var mu sync.Mutex        // guards what follows: parts go to disk beside the test
	disk, failures := rand.New(rand.NewPCG(sd, 8)), 0
	fault := func(point string) error {
		mu.Lock()
		defer mu.Unlock()
		if n := int(failing.Load()); n > 0 && disk.IntN(n) == 0 && slices.Contains(faultPoints, point) {
			failures++
			return syscall.ENOSPC
		}
		return nil
	}
	dir := t.TempDir()
	opt := store.Options{SegmentBytes: 3 << 10, NoSync: true, Fault: fault}
	s := open(t, dir, opt)
	src := storetest.NewSource(sd)
	src.Plain = true
	for range 150 {
		txn := src.Next()
		failing.Store(int32(2 + rng.IntN(10)))
		for tries := 0; s.Position().LSN < txn.EndLSN; tries++ {
			if tries == 20 {
				failing.Store(0)
			}
			for _, part := range storetest.Split(txn, 1+rng.IntN(3)) {
				if err := s.Apply(context.Background(), []change.Txn{part}); errors.Is(err, syscall.ENOSPC) || err != nil && tries < 20 {
					break
				} else if err != nil {
					t.Fatal(err)
				}
			}
		}
		if d := src.Model.Diff(s.Snapshot()); d != "" {
			t.Fatal(d)
		}
		if rng.IntN(10) == 0 {
			failing.Store(0)
			if rng.IntN(2) == 0 {
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s = open(t, dir, opt)
			} else if err := s.Maintain(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
	}
	failing.Store(0)
	if got, want := strings.Join(logLines(t, s), "\n"), strings.Join(src.Model.Log, "\n"); got != want {
		t.Fatalf("the log differs:\n%s\n--- want\n%s", got, want)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	checkWhole(t, dir)
	t.Logf("%d failures", failures)
}

func checkWhole(t *testing.T, dir string) *store.Report {
	t.Helper()
	r, err := store.Check(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range r.Problems {
		t.Error(p)
	}
	return r
}

func verraRow(rel *change.Relation, id, name string) change.Row {
	vals := make([]change.Value, len(rel.Columns))
	vals[rel.Index("project_id")] = change.T(id)
	if name != "" {
		vals[rel.Index("project_name")] = change.T(name)
	}
	return change.NewRow(vals...)
}

// A table altered inside a large transaction, which is given up behind the
// segment that it began in: the shape must not be lost with the segments.
func TestShapeOfCutSegment(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, store.Options{SegmentBytes: 1 << 10, NoSync: true})
	rel := change.Standard(change.Verra)
	mustApply(t, s, change.Txn{
		XID: 1, CommitLSN: 10, EndLSN: 11, First: true, Final: true,
		Changes: []change.Change{{Op: change.Create, Relation: rel, After: verraRow(rel, "a", "")}},
	})
	wide := &change.Relation{Schema: rel.Schema, Name: rel.Name, Columns: append(slices.Clone(rel.Columns), change.Column{Name: "extra", Type: change.OIDText})}
	part := func(first, final bool, r *change.Relation, ids ...string) change.Txn {
		p := change.Txn{XID: 2, CommitLSN: 20, First: first, Final: final}
		if final {
			p.EndLSN = 21
		}
		for _, id := range ids {
			p.Changes = append(p.Changes, change.Change{Op: change.Create, Relation: r, After: verraRow(r, id, strings.Repeat("n", 600))})
		}
		return p
	}
	mustApply(t, s, part(true, false, rel, "b", "c", "d", "e"))
	mustApply(t, s, part(false, false, wide, "f", "g", "h", "i"))
	mustApply(t, s, part(true, true, wide, "b")) // again, and smaller
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	checkWhole(t, dir)
	s = open(t, dir, store.Options{NoSync: true})
	defer s.Close()
	if n := s.Snapshot().Rows(change.Verra); n != 2 {
		t.Fatalf("%d rows", n)
	}
}

// The end of a copy that brings nothing of many rows goes to disk in pieces.
func TestCopyOfNothing(t *testing.T) {
	var commits int
	s := open(t, t.TempDir(), store.Options{NoSync: true, Crash: func(p string) {
		if p == "append.commit" {
			commits++
		}
	}})
	defer s.Close()
	fill(t, s, 60_000)
	commits = 0
	mustApply(t, s, change.Txn{
		XID: 9, CommitLSN: 900_000, EndLSN: 900_001, First: true, Final: true,
		Snapshot: &change.Snapshot{Source: change.Source{SystemID: "1"}},
	})
	if n := s.Snapshot().Rows(change.Verra); n != 0 {
		t.Fatalf("%d rows are left", n)
	}
	if commits < 3 {
		t.Fatalf("%d commits: the deletes were all held in memory", commits)
	}
}

// An unchanged value of a row that is not there cannot be known from the key
// that the source sent, and must not become NULL.
func TestUpdateMissing(t *testing.T) {
	s := open(t, t.TempDir(), store.Options{NoSync: true})
	defer s.Close()
	rel := change.Standard(change.Verra)
	after := make([]change.Value, len(rel.Columns))
	after[rel.Index("project_id")] = change.T("new")
	after[rel.Index("project_summary")] = change.Value{Kind: change.Unchanged}
	update := change.Txn{XID: 1, CommitLSN: 10, EndLSN: 11, First: true, Final: true, Changes: []change.Change{
		{Op: change.Update, Relation: rel, Before: verraRow(rel, "old", ""), After: change.NewRow(after...)},
	}}
	if err := s.Apply(context.Background(), []change.Txn{update}); !errors.Is(err, change.ErrDiverged) {
		t.Fatalf("got %v", err)
	}
}

// A key change onto a row that is there keeps the property that time travel
// stands on: every record holds the row before it.
func TestUpdateOntoRow(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, store.Options{NoSync: true})
	defer s.Close()
	rel := change.Standard(change.Verra)
	txn := func(lsn change.LSN, cs ...change.Change) change.Txn {
		return change.Txn{XID: uint32(lsn), CommitLSN: lsn, EndLSN: lsn + 1, First: true, Final: true, Changes: cs}
	}
	mustApply(t, s, txn(10, change.Change{Op: change.Create, Relation: rel, After: verraRow(rel, "a", "A")},
		change.Change{Op: change.Create, Relation: rel, After: verraRow(rel, "b", "B")}))
	at := s.Position().Offset
	mustApply(t, s, txn(20, change.Change{Op: change.Update, Relation: rel, Before: verraRow(rel, "a", ""), After: verraRow(rel, "b", "A")}))
	past, err := s.AsOf(context.Background(), at)
	if err != nil {
		t.Fatal(err)
	}
	got := slices.Collect(past.Projects("", ""))
	if len(got) != 2 || got[0].ProjectName != "A" || got[1].ProjectName != "B" {
		t.Fatalf("got %+v", got)
	}
}

// Under a replica identity that does not carry the key, a change of the key
// cannot be told from one of another column: only the row that it changes shows.
func TestIdentityWithoutKey(t *testing.T) {
	rel := *change.Standard(change.Verra)
	rel.Columns = slices.Clone(rel.Columns)
	rel.Columns[rel.Index("project_id")].Key = false
	rel.Columns[rel.Index("vintage")].Key = true
	bare := make([]change.Value, len(rel.Columns))
	bare[rel.Index("vintage")] = change.T("1")
	for name, tt := range map[string]struct {
		change change.Change
		want   error
	}{
		"another column": {change.Change{Op: change.Update, After: verraRow(&rel, "a", "B")}, nil},
		"the key":        {change.Change{Op: change.Update, After: verraRow(&rel, "b", "A")}, change.ErrDiverged},
		"an old row":     {change.Change{Op: change.Update, Before: change.NewRow(bare...), After: verraRow(&rel, "a", "B")}, change.ErrDiverged},
		"delete":         {change.Change{Op: change.Delete, Before: change.NewRow(bare...)}, change.ErrDiverged},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, t.TempDir(), store.Options{NoSync: true})
			defer s.Close()
			tt.change.Relation = &rel
			for i, c := range []change.Change{{Op: change.Create, Relation: &rel, After: verraRow(&rel, "a", "A")}, tt.change} {
				lsn := change.LSN(10 * (i + 1))
				err := s.Apply(context.Background(), []change.Txn{{CommitLSN: lsn, EndLSN: lsn + 1, First: true, Final: true, Changes: []change.Change{c}}})
				if want := []error{nil, tt.want}[i]; !errors.Is(err, want) {
					t.Fatalf("got %v, want %v", err, want)
				}
			}
		})
	}
}
