package store_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

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

// applied applies a transaction until it works, as the source does.
func applied(t *testing.T, s *store.Store, txn change.Txn) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); ; <-tick.C {
		err := s.Apply(t.Context(), []change.Txn{txn})
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// A file that cannot be read for a while, at any place, with readers inside: the
// error names it, and the store goes on where it was when the disk is well.
func TestUnreadableForAWhile(t *testing.T) {
	for name, left := range map[string]int64{"nothing is left": 0, "a meta page is left": 4096, "the meta pages are left": 8192} {
		t.Run(name, func(t *testing.T) {
			src := storetest.NewSource(seed(t))
			s := open(t, t.TempDir(), store.Options{SegmentBytes: 64 << 10, CheckpointInterval: 2 * time.Millisecond})
			defer s.Close()
			for range 40 {
				mustApply(t, s, src.Next())
			}
			ended := running(t, s)
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
						if err := s.Apply(t.Context(), []change.Txn{txn}); err != nil && !strings.Contains(err.Error(), path) {
							t.Errorf("the error does not name %s: %v", path, err)
						}
					})
					applied(t, s, txn)
					if d := src.Model.Diff(s.Snapshot()); d != "" {
						t.Fatal(d)
					}
				}
			}
			close(stop)
			readers.Wait()
			select {
			case err := <-ended:
				t.Fatalf("Run ended: %v", err)
			default:
			}
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
// begins anew; until then the last good data is served.
func TestUnreadableForGood(t *testing.T) {
	src := storetest.NewSource(seed(t))
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

// Readers see a change when the views have it, not as soon as it is on disk: a
// consumer can commit what it was given.
func TestReadersBehindTheViews(t *testing.T) {
	var s *store.Store
	var ahead change.Offset
	src := storetest.NewSource(seed(t))
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
