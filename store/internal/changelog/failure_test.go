package changelog_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"carbond/store/change"
	"carbond/store/internal/changelog"
)

// faults gives ENOSPC at the named points.
type faults map[string]bool

func (f faults) at(point string) error {
	if f[point] {
		return syscall.ENOSPC
	}
	return nil
}

// whole closes the log, checks the directory and opens it again.
func whole(t *testing.T, l *changelog.Log, dir string) *changelog.Log {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, errs := changelog.Check(dir, nil); len(errs) > 0 {
		t.Fatal(errors.Join(errs...))
	}
	return open(t, dir, changelog.Options{})
}

// A rotation that fails at any step loses nothing: what is appended afterwards
// is there after a restart, and the directory is whole.
func TestRotateFails(t *testing.T) {
	for _, points := range [][]string{
		{"rotate.seal"}, {"segment.create"}, {"segment.named"}, {"segment.named", "segment.unname"},
	} {
		t.Run(points[len(points)-1], func(t *testing.T) {
			dir, f := t.TempDir(), faults{}
			l := open(t, dir, changelog.Options{Fault: f.at})
			add(t, l, 3, true)
			for _, p := range points {
				f[p] = true
			}
			if err := l.Rotate(); !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("rotate: %v", err)
			}
			clear(f)
			add(t, l, 2, true)
			tail := l.Tail()
			l = whole(t, l, dir)
			if got := l.Tail(); got.Next != tail.Next || got.Visible != tail.Visible || !bytes.Equal(got.State, tail.State) {
				t.Fatalf("the tail is %d/%d %q, was %d/%d %q", got.Next, got.Visible, got.State, tail.Next, tail.Visible, tail.State)
			}
			if got := readAll(t, l, 1); len(got) != 2 {
				t.Fatalf("blocks %v", got)
			}
			if err := l.Rotate(); err != nil {
				t.Fatal(err)
			}
			add(t, l, 1, true)
			l = whole(t, l, dir)
			defer l.Close()
			if got := readAll(t, l, 1); len(got) != 3 {
				t.Fatalf("blocks %v", got)
			}
		})
	}
}

// After a commit that failed, nothing is appended before Rollback has worked, and it
// tells what the disk really holds.
func TestAppendFails(t *testing.T) {
	tests := map[string]struct {
		point   string
		visible change.Offset // after the cut
	}{
		"before the disk has it": {"append.commit", 3},
		"after the disk has it":  {"append.synced", 4},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			dir, f := t.TempDir(), faults{}
			l := open(t, dir, changelog.Options{Fault: f.at})
			add(t, l, 3, true)
			f[tc.point] = true
			one := func() error {
				b := changelog.Block{First: 4, Count: 1, Data: []byte("x")}
				return l.Append([]changelog.Block{b}, nil, changelog.Tail{Next: 5, Visible: 4})
			}
			if err := one(); !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("append: %v", err)
			}
			clear(f)
			if err := one(); err == nil {
				t.Fatal("appended behind a failed commit")
			}
			if err := l.Rollback(); err != nil {
				t.Fatal(err)
			}
			if got := l.Tail(); got.Visible != tc.visible || got.Next != tc.visible+1 {
				t.Fatalf("the tail is %d/%d", got.Next, got.Visible)
			}
			whole(t, l, dir).Close()
		})
	}
}

// A cut that fails is tried again before the next commit: what was given up
// never becomes visible.
func TestCutFails(t *testing.T) {
	dir, f := t.TempDir(), faults{}
	l := open(t, dir, changelog.Options{Fault: f.at})
	add(t, l, 3, true)
	add(t, l, 2, false)
	f["cut"] = true
	if err := l.Rollback(); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("cut: %v", err)
	}
	clear(f)
	tail := l.Tail()
	b := changelog.Block{First: tail.Next, Count: 1, Data: []byte("x")}
	if err := l.Append([]changelog.Block{b}, nil, changelog.Tail{Next: tail.Next + 1, Visible: tail.Next}); err == nil {
		t.Fatal("appended behind a transaction that was given up")
	}
	if err := l.Rollback(); err != nil {
		t.Fatal(err)
	}
	add(t, l, 1, true)
	l = whole(t, l, dir)
	defer l.Close()
	if got := readAll(t, l, 1); len(got) != 2 {
		t.Fatalf("blocks %v", got)
	}
}

// After a Rollback that could not read a file each segment still says where it
// ends, for retention, and a copy has all of them.
func TestRollbackFails(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, changelog.Options{})
	for range 3 {
		add(t, l, 3, true)
		if err := l.Rotate(); err != nil {
			t.Fatal(err)
		}
	}
	add(t, l, 3, true)
	add(t, l, 3, false)
	want, path := l.Segments(), l.Path()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	if err := l.Rollback(); err == nil {
		t.Fatal("it worked")
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	for i, g := range l.Segments() {
		if g.First != want[i].First || g.Last != want[i].Last || g.Sealed != want[i].Sealed {
			t.Errorf("%s reaches from %d to %d, want %d to %d", g.Path, g.First, g.Last, want[i].First, want[i].Last)
		}
	}
	if _, err := l.Compress(); err != nil {
		t.Error(err)
	}
	copied := open(t, copyLog(t, l), changelog.Options{})
	defer copied.Close()
	if got := readAll(t, copied, 1); len(got) != 4 {
		t.Errorf("the copy has the blocks %v", got)
	}
	if err := l.Rollback(); err != nil {
		t.Fatal(err)
	}
	l = whole(t, l, dir)
	defer l.Close()
	if got := readAll(t, l, 1); len(got) != 4 {
		t.Fatalf("blocks %v", got)
	}
}

// copyLog copies the log into a folder of its own.
func copyLog(t *testing.T, l *changelog.Log) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := l.CopyTo(func(name string) func(int64) (io.Writer, error) {
		return func(int64) (io.Writer, error) {
			f, err := os.Create(filepath.Join(dir, name))
			t.Cleanup(func() { f.Close() })
			return f, err
		}
	}); err != nil {
		t.Fatal(err)
	}
	return dir
}

// A start on a full disk opens what is there, and goes on when there is room:
// whether the next segment or the cut of an unfinished transaction was due.
func TestOpenOnAFullDisk(t *testing.T) {
	for name, tc := range map[string]struct {
		leave   func(l *changelog.Log, f faults)
		full    faults
		unknown bool
	}{
		"rotation is due": {func(l *changelog.Log, f faults) {
			f["segment.create"] = true
			if err := l.Rotate(); !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("rotate: %v", err)
			}
		}, faults{"segment.create": true}, false},
		"rotation is due, and has a name": {func(l *changelog.Log, f faults) {
			f["segment.named"] = true
			if err := l.Rotate(); !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("rotate: %v", err)
			}
		}, faults{"segment.named": true}, false},
		"a cut is due": {func(l *changelog.Log, _ faults) { add(t, l, 2, false) }, faults{"cut": true}, true},
	} {
		t.Run(name, func(t *testing.T) {
			dir, f := t.TempDir(), faults{}
			l := open(t, dir, changelog.Options{Fault: f.at})
			add(t, l, 3, true)
			tc.leave(l, f)
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			l = open(t, dir, changelog.Options{Fault: tc.full.at})
			if got := readAll(t, l, 1); len(got) != 1 || l.Tail().Visible != 3 || l.NeedsRollback() != tc.unknown {
				t.Fatalf("blocks %v, tail %+v, unknown %v", got, l.Tail(), l.NeedsRollback())
			}
			if err := l.Rollback(); tc.unknown && !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("cut: %v", err)
			}
			clear(tc.full)
			if err := l.Rollback(); err != nil {
				t.Fatal(err)
			}
			add(t, l, 2, true)
			l = whole(t, l, dir)
			defer l.Close()
			if got := readAll(t, l, 1); len(got) != 2 {
				t.Fatalf("blocks %v", got)
			}
		})
	}
}

// What the dictionary of a segment said goes with the segment: the words are
// new again for whoever uses them in the segment before.
func TestCutDictionary(t *testing.T) {
	for name, restart := range map[string]bool{"running": false, "restarted": true} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			l := open(t, dir, changelog.Options{})
			add(t, l, 3, true) // word 1
			add(t, l, 1, false)
			if err := l.Rotate(); err != nil {
				t.Fatal(err)
			}
			add(t, l, 2, false) // word 5, in the second segment only
			if restart {
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
				l = open(t, dir, changelog.Options{})
			} else if err := l.Rollback(); err != nil {
				t.Fatal(err)
			}
			if d := l.Dictionary(); d[5] != nil || d[1] == nil {
				t.Fatalf("the dictionary has %d words: %v", len(d), d)
			}
			whole(t, l, dir).Close()
		})
	}
}

// Close while readers are inside compressed segments ends them with ErrClosed.
func TestCloseWhileReading(t *testing.T) {
	for range 30 {
		l := open(t, t.TempDir(), changelog.Options{})
		for range 8 {
			tail := l.Tail()
			b := changelog.Block{First: tail.Next, Count: 1, Data: bytes.Repeat([]byte("much the same "), 20000)}
			if err := l.Append([]changelog.Block{b}, nil, changelog.Tail{Next: tail.Next + 1, Visible: tail.Next}); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Rotate(); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Compress(); err != nil {
			t.Fatal(err)
		}
		var readers sync.WaitGroup
		started := make(chan struct{}, 8)
		for range 8 {
			readers.Go(func() {
				for n := 0; ; n++ {
					if _, err := l.Read(1, 1<<20); err != nil {
						if !errors.Is(err, change.ErrClosed) {
							t.Error(err)
						}
						return
					}
					if n == 0 {
						started <- struct{}{}
					}
				}
			})
		}
		<-started
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		readers.Wait()
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// A copy whose receiver does not take its bytes keeps no cut waiting, and a cut
// that comes in the middle of it does not spoil the copy.
func TestCutDuringCopy(t *testing.T) {
	l := open(t, t.TempDir(), changelog.Options{})
	defer l.Close()
	add(t, l, 3, true)
	for range 2000 {
		add(t, l, 2, false)
	}
	if err := l.Rotate(); err != nil {
		t.Fatal(err)
	}
	add(t, l, 2, false)
	to := t.TempDir()
	cut := false
	err := l.CopyTo(func(name string) func(int64) (io.Writer, error) {
		return func(int64) (io.Writer, error) {
			f, err := os.Create(filepath.Join(to, name))
			t.Cleanup(func() { f.Close() })
			return writerFunc(func(p []byte) (int, error) {
				n, err := f.Write(p)
				if !cut {
					cut = true
					if err := l.Rollback(); err != nil {
						return n, err
					}
					for range 20 {
						add(t, l, 1, true)
					}
				}
				return n, err
			}), err
		}
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) { // the last segment is gone
		t.Fatal(err)
	}
	if _, errs := changelog.Check(to, nil); len(errs) > 0 {
		t.Fatal(errors.Join(errs...))
	}
}

// A disk that takes its time to unlink or to name a sealed segment keeps nobody
// waiting who appends, reads or lists, and what was read before reads on.
func TestSlowDiskHoldsNobody(t *testing.T) {
	for point, do := range map[string]func(*changelog.Log) error{
		"drop.unlink":   (*changelog.Log).DropOldest,
		"compress.name": func(l *changelog.Log) error { _, err := l.Compress(); return err },
		"strip.name": func(l *changelog.Log) error {
			return l.Strip(1, func(changelog.Block) ([]byte, error) { return nil, nil })
		},
	} {
		t.Run(point, func(t *testing.T) {
			dir, reached, well := t.TempDir(), make(chan struct{}), make(chan struct{})
			l := open(t, dir, changelog.Options{Fault: func(p string) error {
				if p == point {
					close(reached)
					<-well
				}
				return nil
			}})
			add(t, l, 3, true)
			if err := l.Rotate(); err != nil {
				t.Fatal(err)
			}
			done := make(chan error)
			go func() { done <- do(l) }()
			<-reached
			add(t, l, 2, true)
			if got := readAll(t, l, 1); len(got) != 2 {
				t.Errorf("read the blocks at %v", got)
			}
			if n := len(l.Segments()); n != 2 {
				t.Errorf("%d segments", n)
			}
			close(well)
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			var gone *change.CompactedError
			if _, err := l.Read(1, 64); errors.As(err, &gone) != (point == "drop.unlink") {
				t.Errorf("afterwards: %v", err)
			}
			whole(t, l, dir).Close()
		})
	}
}
