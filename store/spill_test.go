package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"

	"carbond/store"
	"carbond/store/change"
)

// largeParts is one transaction of n parts, each of which goes to disk by itself.
func largeParts(n int) (parts []change.Txn) {
	rel := change.Standard(change.Verra)
	for i := range n {
		p := change.Txn{XID: 7, CommitLSN: 20, First: i == 0, Final: i == n-1}
		if p.Final {
			p.EndLSN = 21
		}
		for j := range 3 {
			p.Changes = append(p.Changes, change.Change{Op: change.Create, Relation: rel, After: verraRow(rel, fmt.Sprintf("%d-%d", i, j), "n")})
		}
		parts = append(parts, p)
	}
	return parts
}

// The next part of a large transaction is staged while the one before is on its way
// to disk; its end waits until all of it is there.
func TestSpillBesideStaging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var slow atomic.Bool
		s := open(t, t.TempDir(), store.Options{NoSync: true, Crash: func(point string) {
			if point == "append.commit" && slow.CompareAndSwap(true, false) {
				<-release
			}
		}})
		defer s.Close()
		parts := largeParts(2)
		slow.Store(true)
		mustApply(t, s, parts[0])
		ended := make(chan error, 1)
		go func() { ended <- s.Apply(context.Background(), parts[1:]) }()
		synctest.Wait()
		select {
		case err := <-ended:
			t.Fatalf("the transaction ended before its beginning was on disk: %v", err)
		default:
		}
		close(release)
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		if n := s.Snapshot().Rows(change.Verra); n != 6 {
			t.Fatalf("%d rows", n)
		}
	})
}

// A disk that fails under a part of a large transaction: the next call says so,
// nothing of the transaction stays, and it can come again.
func TestSpillFails(t *testing.T) {
	for _, point := range []string{"append.commit", "append.synced"} {
		for name, next := range map[string]func(*store.Store, []change.Txn) error{
			"part":     func(s *store.Store, p []change.Txn) error { return s.Apply(context.Background(), p[1:2]) },
			"the rest": func(s *store.Store, p []change.Txn) error { return s.Apply(context.Background(), p[1:]) },
			"close":    func(s *store.Store, _ []change.Txn) error { return s.Close() },
		} {
			t.Run(strings.ReplaceAll(point+" "+name, ".", " "), func(t *testing.T) {
				var failing atomic.Bool
				dir := t.TempDir()
				opt := store.Options{NoSync: true, Fault: func(p string) error {
					if p == point && failing.CompareAndSwap(true, false) {
						return syscall.EIO
					}
					return nil
				}}
				s := open(t, dir, opt)
				defer func() { s.Close() }()
				first := largeParts(1)
				first[0].CommitLSN, first[0].EndLSN = 10, 11
				mustApply(t, s, first...)
				at, parts := s.Position(), largeParts(4)
				failing.Store(true)
				mustApply(t, s, parts[0])
				if err := next(s, parts); !errors.Is(err, syscall.EIO) {
					t.Fatalf("the next call: %v", err)
				}
				if name == "close" {
					s = open(t, dir, opt)
				}
				if got := s.Position(); got != at {
					t.Fatalf("position %+v, want %+v", got, at)
				}
				for range 2 { // sent again, and once more
					mustApply(t, s, parts...)
				}
				if n := s.Snapshot().Rows(change.Verra); n != 12 {
					t.Fatalf("%d rows", n)
				}
				if n := len(logLines(t, s)); n != 15 {
					t.Fatalf("%d records", n)
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				checkWhole(t, dir)
			})
		}
	}
}
