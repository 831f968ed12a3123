package store_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"carbond/store"
	"carbond/store/change"
	"carbond/store/storetest"
)

// aged makes a closed data directory with several segments and a checkpoint
// that is behind the log's end.
func aged(t *testing.T) (dir string, segments []string) {
	t.Helper()
	dir = t.TempDir()
	src := storetest.NewSource(7)
	s := open(t, dir, store.Options{SegmentBytes: 8 << 10})
	for range 150 {
		mustApply(t, s, src.Next())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, store.Options{SegmentBytes: 8 << 10})
	for range 20 {
		mustApply(t, s, src.Next())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	segments, err := filepath.Glob(filepath.Join(dir, "log", "*.seg"))
	if err != nil || len(segments) < 3 {
		t.Fatalf("want several segments, got %v, %v", segments, err)
	}
	slices.Sort(segments)
	return dir, segments
}

// scribble damages every occurrence of a text in a file: some of them lie in
// pages that bbolt no longer uses.
func scribble(t *testing.T, path, text string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	wrong := []byte(text)
	wrong[0] ^= 0x20
	if !bytes.Contains(b, []byte(text)) {
		t.Fatalf("%s holds no %q", path, text)
	}
	b = bytes.ReplaceAll(b, []byte(text), wrong)
	if err := os.WriteFile(path, b, 0o640); err != nil {
		t.Fatal(err)
	}
}

// TestDamage damages one thing in a data directory and wants both Open and
// fsck, or fsck alone where a start does not read it, to name the file.
func TestDamage(t *testing.T) {
	tests := map[string]struct {
		damage func(t *testing.T, dir string, segs []string) (file string)
		starts bool // Open does not read the place
		names  string
	}{
		"byte of an old block": {
			damage: func(t *testing.T, _ string, segs []string) string {
				scribble(t, segs[0], "VCS-")
				return segs[0]
			},
			starts: true, names: "checksum",
		},
		"byte of a block in the open segment": {
			damage: func(t *testing.T, _ string, segs []string) string {
				last := segs[len(segs)-1]
				scribble(t, last, "ublished ")
				return last
			},
			names: "checksum",
		},
		"byte of the dictionary": {
			damage: func(t *testing.T, _ string, segs []string) string {
				last := segs[len(segs)-1]
				scribble(t, last, "market_cap")
				return last
			},
			names: "checksum",
		},
		"byte of the tail": {
			damage: func(t *testing.T, _ string, segs []string) string {
				last := segs[len(segs)-1]
				b, err := os.ReadFile(last)
				if err != nil {
					t.Fatal(err)
				}
				b = bytes.ReplaceAll(b, []byte(`"commit_time"`), []byte(`"commit_tame"`))
				if err := os.WriteFile(last, b, 0o640); err != nil {
					t.Fatal(err)
				}
				return last
			},
			names: "checksum",
		},
		"old segment missing": {
			damage: func(t *testing.T, _ string, segs []string) string {
				if err := os.Remove(segs[1]); err != nil {
					t.Fatal(err)
				}
				return segs[2]
			},
			names: "the segment before it ends at",
		},
		"open segment cut to half": {
			damage: func(t *testing.T, _ string, segs []string) string {
				last := segs[len(segs)-1]
				if err := os.Truncate(last, 6000); err != nil {
					t.Fatal(err)
				}
				return last
			},
		},
		"log lost its end": {
			damage: func(t *testing.T, dir string, segs []string) string {
				for _, s := range segs[1:] {
					if err := os.Remove(s); err != nil {
						t.Fatal(err)
					}
				}
				return filepath.Join(dir, "checkpoint.db")
			},
			names: "ahead of the",
		},
		"log lost its beginning": {
			damage: func(t *testing.T, dir string, segs []string) string {
				for _, s := range append(segs[:len(segs)-1:len(segs)-1], filepath.Join(dir, "checkpoint.db")) {
					if err := os.Remove(s); err != nil {
						t.Fatal(err)
					}
				}
				return ""
			},
			names: "begins at",
		},
		"byte of a checkpoint row": {
			damage: func(t *testing.T, dir string, _ []string) string {
				path := filepath.Join(dir, "checkpoint.db")
				scribble(t, path, "project_link ")
				return path
			},
			names: "checksum",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			dir, segs := aged(t)
			file := tc.damage(t, dir, segs)
			r, err := store.Check(dir)
			if err != nil {
				t.Fatal(err)
			}
			found := slices.ContainsFunc(r.Problems, func(err error) bool {
				return strings.Contains(err.Error(), file) && strings.Contains(err.Error(), tc.names)
			})
			if !found {
				t.Errorf("fsck does not name %s and %q: %v", file, tc.names, r.Problems)
			}
			s, err := store.Open(dir, store.Options{SegmentBytes: 8 << 10})
			if err == nil {
				s.Close()
			}
			if tc.starts {
				if err != nil {
					t.Errorf("open: %v", err)
				}
				return
			}
			if err == nil {
				t.Fatal("opened")
			}
			if !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), tc.names) {
				t.Errorf("open does not name %s and %q: %v", file, tc.names, err)
			}
		})
	}
}

// TestRebuildCheckpoint sets a damaged checkpoint aside and gets the same state
// from the log, bit for bit.
func TestRebuildCheckpoint(t *testing.T) {
	dir, _ := aged(t)
	want := storetest.NewSource(7)
	for range 170 {
		want.Next()
	}
	scribble(t, filepath.Join(dir, "checkpoint.db"), "project_link ")
	if _, err := store.Open(dir, store.Options{}); !errors.Is(err, store.ErrCheckpoint) {
		t.Fatalf("open: %v", err)
	}
	if err := store.RebuildCheckpoint(dir); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir, store.Options{})
	if d := want.Model.Diff(s.Snapshot()); d != "" {
		t.Fatal(d)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if r, err := store.Check(dir); err != nil || len(r.Problems) > 0 {
		t.Fatalf("fsck: %v, %v", err, r.Problems)
	}
}

func TestLocked(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, store.Options{})
	defer s.Close()
	if _, err := store.Open(dir, store.Options{}); !errors.Is(err, store.ErrLocked) {
		t.Fatalf("second open: %v", err)
	}
	if _, err := store.Check(dir); !errors.Is(err, store.ErrLocked) {
		t.Fatalf("check of an open directory: %v", err)
	}
}

// TestTooNew refuses a data directory of a later format and leaves every byte.
func TestTooNew(t *testing.T) {
	dir, segs := aged(t)
	last := segs[len(segs)-1]
	b, err := os.ReadFile(last)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for at := 0; ; n++ {
		k := bytes.Index(b[at:], []byte("header"))
		if k < 0 {
			break
		}
		at += k + len("header")
		b[at+4+3]++ // "header", checksum, format number
	}
	if n == 0 {
		t.Fatal("no header found")
	}
	if err := os.WriteFile(last, b, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Open(dir, store.Options{}); !errors.Is(err, store.ErrTooNew) {
		t.Fatalf("open: %v", err)
	}
	now, err := os.ReadFile(last)
	if err != nil || !bytes.Equal(now, b) {
		t.Fatal("the file was changed")
	}
}

// TestDiskFull fills a small file system: Apply fails with the cause, what was
// durable stays served, and with space again everything goes on.
func TestDiskFull(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting a small file system needs root")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=40m"); err != nil {
		t.Fatalf("mount: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	ballast := filepath.Join(dir, "ballast")
	src := storetest.NewSource(3)
	s := open(t, filepath.Join(dir, "data"), store.Options{SegmentBytes: 64 << 10})
	defer s.Close()
	for range 30 {
		mustApply(t, s, src.Next())
	}
	if err := os.WriteFile(ballast, make([]byte, 64<<20), 0o640); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("fill: %v", err)
	}
	before := src.Model.Clone()
	var pending []change.Txn
	var err error
	for range 3000 {
		txn := src.Next()
		pending = append(pending, txn)
		if err = s.Apply(context.Background(), []change.Txn{txn}); err != nil {
			break
		}
		before, pending = src.Model.Clone(), nil
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("apply on a full disk: %v", err)
	}
	if d := before.Diff(s.Snapshot()); d != "" {
		t.Fatalf("after the failure: %s", d)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	mustApply(t, s, pending...)
	if d := src.Model.Diff(s.Snapshot()); d != "" {
		t.Fatalf("with space again: %s", d)
	}
}

// TestReadOnly opens data on a file system that takes no writes: the error says
// which file and why.
func TestReadOnly(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting a small file system needs root")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=20m"); err != nil {
		t.Fatalf("mount: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	data := filepath.Join(dir, "data")
	s := open(t, data, store.Options{SegmentBytes: 64 << 10})
	mustApply(t, s, storetest.NewSource(1).Next())
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatalf("remount: %v", err)
	}
	for name, where := range map[string]string{"with data": data, "without data": filepath.Join(dir, "new")} {
		_, err := store.Open(where, store.Options{})
		if !errors.Is(err, syscall.EROFS) || !strings.Contains(err.Error(), where) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
