package store_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"carbond/store"
	"carbond/store/change"
	"carbond/store/storetest"
)

// openSegment returns the file that the log is written to.
func openSegment(t *testing.T, dir string) string {
	t.Helper()
	segs, err := filepath.Glob(filepath.Join(dir, "log", "*.seg"))
	if err != nil || len(segs) == 0 {
		t.Fatalf("no segments: %v", err)
	}
	return segs[len(segs)-1]
}

// running runs the store until the test ends, and gives what Run returns.
func running(t *testing.T, s *store.Store) <-chan error {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended, done := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(done)
		ended <- s.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return ended
}

// A file that cannot be read for a while, at any place, with readers inside: the
// error names it, and the store goes on where it was when the disk is well.
func TestUnreadableForAWhile(t *testing.T) {
	for name, left := range map[string]int64{"nothing is left": 0, "a meta page is left": 4096, "the meta pages are left": 8192} {
		t.Run(name, func(t *testing.T) {
			src := storetest.NewSource(seed(t))
			src.Plain = true
			s := open(t, t.TempDir(), store.Options{SegmentBytes: 64 << 10})
			defer s.Close()
			for range 40 {
				mustApply(t, s, src.Next())
			}
			stop := make(chan struct{})
			var readers sync.WaitGroup
			for range 4 {
				readers.Go(func() {
					for {
						_, _ = s.NewReader(1).Read(64 << 10)
						_ = s.Groups()
						select {
						case <-stop:
							return
						default:
						}
					}
				})
			}
			for range 5 {
				for _, path := range []string{openSegment(t, s.Dir()), filepath.Join(s.Dir(), "checkpoint.db")} {
					txn := src.Next()
					cutShort(t, path, left, func() {
						err := s.Apply(t.Context(), []change.Txn{txn})
						if err == nil { // the log is well
							err = s.Maintain(t.Context())
						}
						if err == nil && len(txn.Changes) == 0 {
							return // nothing to write
						}
						if err == nil || !strings.Contains(err.Error(), path) {
							t.Errorf("the error does not name %s: %v", path, err)
						}
					})
					mustApply(t, s, txn)
					if err := s.Maintain(t.Context()); err != nil {
						t.Fatal(err)
					}
					if d := src.Model.Diff(s.Snapshot()); d != "" {
						t.Fatal(d)
					}
				}
			}
			close(stop)
			readers.Wait()
			if got, want := strings.Join(logLines(t, s), "\n"), strings.Join(src.Model.Log, "\n"); got != want {
				t.Fatalf("the log differs:\n%s\n--- want\n%s", got, want)
			}
		})
	}
}

// cutShort leaves some bytes of a file while fn runs, and gives back what was
// there.
func cutShort(t *testing.T, path string, left int64, fn func()) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, left); err != nil {
		t.Fatal(err)
	}
	fn()
	if err := os.WriteFile(path, content, 0o640); err != nil {
		t.Fatal(err)
	}
}

// A log that stays unreadable ends Run with the reason, so that a supervisor
// begins again; until then the last good data is served.
func TestUnreadableForGood(t *testing.T) {
	src := storetest.NewSource(seed(t))
	src.Plain = true
	s := open(t, t.TempDir(), store.Options{CheckpointInterval: time.Millisecond})
	defer s.Close()
	for range 40 {
		mustApply(t, s, src.Next())
	}
	path := openSegment(t, s.Dir())
	served := s.Snapshot()
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	if err := s.Apply(t.Context(), []change.Txn{src.Next()}); err == nil {
		t.Fatal("applied to a log that is gone")
	}
	var damage *store.CorruptionError
	if err := <-running(t, s); !errors.As(err, &damage) || damage.File != path {
		t.Fatalf("Run ended: %v", err)
	}
	if s.Snapshot() != served {
		t.Fatal("something else is served")
	}
}

// Run returns to the last durable commit by itself, when the disk is well and no
// new transaction comes to try it.
func TestRunMends(t *testing.T) {
	src := storetest.NewSource(seed(t))
	src.Plain = true
	failing := map[string]bool{}
	var mu sync.Mutex
	fail := func(points ...string) {
		mu.Lock()
		defer mu.Unlock()
		clear(failing)
		for _, p := range points {
			failing[p] = true
		}
	}
	tried, written := make(chan struct{}, 1), make(chan struct{}, 64)
	s := open(t, t.TempDir(), store.Options{NoSync: true, CheckpointInterval: time.Millisecond, Fault: func(point string) error {
		if point == "append.synced" {
			written <- struct{}{}
		}
		mu.Lock()
		defer mu.Unlock()
		if !failing[point] {
			return nil
		}
		select {
		case tried <- struct{}{}:
		default:
		}
		return syscall.ENOSPC
	}})
	defer s.Close()
	for range 10 {
		mustApply(t, s, src.Next())
	}
	for len(written) > 0 {
		<-written
	}
	rel := change.Standard(change.Verra)
	part := func(first bool, ids ...string) change.Txn {
		p := change.Txn{XID: 9, CommitLSN: 1 << 40, First: first, Final: !first}
		if p.Final {
			p.EndLSN = p.CommitLSN + 1
		}
		for _, id := range ids {
			p.Changes = append(p.Changes, change.Change{Op: change.Create, Relation: rel, After: verraRow(rel, id, "")})
		}
		return p
	}
	txn := []change.Txn{part(true, "new", "newer"), part(false, "newest")}
	rows := s.Snapshot().Rows(change.Verra)
	mustApply(t, s, txn[0])
	<-written
	fail("append.commit", "cut")
	if err := s.Apply(t.Context(), txn[1:]); err == nil {
		t.Fatal("applied on a full disk")
	}
	ended := running(t, s)
	for range 2 * 40 { // more often than any other trouble is tried
		<-tried
	}
	fail()
	select {
	case err := <-ended:
		t.Fatalf("Run ended: %v", err)
	default:
	}
	for _, part := range txn {
		mustApply(t, s, part)
	}
	if n := s.Snapshot().Rows(change.Verra); n != rows+3 {
		t.Fatalf("%d rows, were %d", n, rows)
	}
}

// While the log cannot be read back after an error, retention takes nothing that the
// checkpoint or a held group needs.
func TestRetentionOnABadDisk(t *testing.T) {
	for name, tc := range map[string]struct {
		limits store.Retention
		passed bool // by the checkpoint
	}{
		"by bytes":     {store.Retention{Bytes: 1}, false},
		"by age":       {store.Retention{Age: 1}, false},
		"held a group": {store.Retention{Bytes: 1, Hold: []string{"desk"}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			src := storetest.NewSource(seed(t))
			src.Plain = true
			dir := t.TempDir()
			opt := store.Options{SegmentBytes: 2 << 10, NoSync: true}
			s := open(t, dir, opt)
			m, err := s.Join("desk", "m")
			if err != nil {
				t.Fatal(err)
			}
			defer m.Leave()
			for i := range 60 {
				mustApply(t, s, src.Next())
				if i > 0 {
					continue
				}
				for _, table := range change.Tables() {
					c := change.GroupCommit{Group: "desk", Generation: m.Generation, Member: m.ID, Topic: change.TopicName(table), Offset: s.Position().Offset}
					if err := s.CommitOffset(t.Context(), c); err != nil {
						t.Fatal(err)
					}
				}
			}
			if tc.passed {
				if err := s.Maintain(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			s.SetRetention(tc.limits)
			if err := s.Trim(); err != nil {
				t.Fatal(err)
			}
			oldest := s.Oldest()
			txn := src.Next()
			for len(txn.Changes) == 0 {
				mustApply(t, s, txn)
				txn = src.Next()
			}
			cutShort(t, openSegment(t, dir), 0, func() {
				if err := s.Apply(t.Context(), []change.Txn{txn}); err == nil {
					t.Error("applied to a log that is gone")
				}
				if err := s.Trim(); err != nil {
					t.Error(err)
				}
				if at := s.Oldest(); at != oldest {
					t.Errorf("the log begins at %d, did at %d", at, oldest)
				}
			})
			mustApply(t, s, txn)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open(t, dir, opt)
			defer s.Close()
			if d := src.Model.Diff(s.Snapshot()); d != "" {
				t.Fatal(d)
			}
		})
	}
}

// Readers see a change when the views have it, not as soon as it is on disk: a
// consumer can commit what it was given.
func TestReadersBehindTheViews(t *testing.T) {
	var s *store.Store
	var ahead change.Offset
	src := storetest.NewSource(seed(t))
	src.Plain = true
	s = open(t, t.TempDir(), store.Options{NoSync: true, Crash: func(point string) {
		if point != "append.done" || s == nil {
			return
		}
		at := s.Position().Offset
		recs, err := s.NewReader(at + 1).Read(1 << 20)
		if err != nil {
			t.Error(err)
		}
		if len(recs) > 0 {
			ahead = recs[0].Offset
		}
	}})
	defer s.Close()
	for range 20 {
		mustApply(t, s, src.Next())
		if ahead != 0 {
			t.Fatalf("read offset %d before the views had it", ahead)
		}
	}
}

// With the writer held inside a commit, or while it reads the files again after an
// error, all that probes, scrapers and lists ask is answered.
func TestFiguresWaitForNobody(t *testing.T) {
	for name, hold := range map[string]string{"in a commit": "append.commit", "in a cut": "cut"} {
		t.Run(name, func(t *testing.T) {
			var armed atomic.Bool
			inside, goOn := make(chan struct{}), make(chan struct{})
			reg := prometheus.NewRegistry()
			s := open(t, t.TempDir(), store.Options{NoSync: true, Registerer: reg, Fault: func(point string) error {
				if point == hold && armed.CompareAndSwap(true, false) {
					close(inside)
					<-goOn
				}
				return nil
			}})
			defer s.Close()
			fill(t, s, 100)
			m, err := s.Join("desk", "one")
			if err != nil {
				t.Fatal(err)
			}
			defer m.Leave()
			if err := s.CommitOffset(t.Context(), change.GroupCommit{Group: "desk", Generation: m.Generation, Topic: change.TopicName(change.Verra), Offset: 5}); err != nil {
				t.Fatal(err)
			}
			txn := change.Txn{XID: 9, CommitLSN: 900_000, First: true}
			rel := change.Standard(change.Verra)
			for _, id := range []string{"new", "newer"} { // the last one is not written before the next comes
				txn.Changes = append(txn.Changes, change.Change{Op: change.Create, Relation: rel, After: verraRow(rel, id, "")})
			}
			mustApply(t, s, txn) // its end does not come: the next first part cuts it off
			armed.Store(true)
			done := make(chan error)
			go func() {
				txn.Final, txn.EndLSN = true, 900_001
				done <- s.Apply(context.Background(), []change.Txn{txn})
			}()
			<-inside
			if _, err := reg.Gather(); err != nil {
				t.Error(err)
			}
			if g := s.Groups(); len(g) != 1 || g[0].Topics[0].Lag != 95 {
				t.Errorf("groups %+v", g)
			}
			if n := s.Topics()[0].Records; n != 100 || s.Oldest() != 1 || s.Snapshot().Rows(change.Verra) != 100 || s.History().ID == "" {
				t.Errorf("%d records from offset %d", n, s.Oldest())
			}
			if _, busy := s.Progress(); !busy {
				t.Error("the writer is not busy")
			}
			close(goOn)
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		})
	}
}

// A TRUNCATE of a large table, or the end of a copy that brings nothing, is
// written in pieces, and each shows as progress.
func TestLargeTransactionsShowProgress(t *testing.T) {
	rel := change.Standard(change.Verra)
	for name, txn := range map[string]change.Txn{
		"truncate":        {Changes: []change.Change{{Op: change.Truncate, Relation: rel}}},
		"copy of nothing": {Snapshot: &change.Snapshot{Source: change.Source{SystemID: "1"}}},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, t.TempDir(), store.Options{NoSync: true})
			defer s.Close()
			fill(t, s, 60_000)
			before, busy := s.Progress()
			if busy {
				t.Error("busy while nobody writes")
			}
			txn.XID, txn.CommitLSN, txn.EndLSN, txn.First, txn.Final = 9, 900_000, 900_001, true, true
			mustApply(t, s, txn)
			if after, _ := s.Progress(); after < before+3 {
				t.Errorf("progress went from %d to %d", before, after)
			}
			if n := s.Snapshot().Rows(change.Verra); n != 0 {
				t.Errorf("%d rows are left", n)
			}
		})
	}
}
