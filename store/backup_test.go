package store_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"carbond/store"
	"carbond/store/change"
	"carbond/store/storetest"
)

// TestBackup copies a store while it is written and restores the copy: what it
// says it holds equals the model there, and it goes on from there.
func TestBackup(t *testing.T) {
	sd := seed(t)
	src := storetest.NewSource(sd)
	src.Plain = true
	s := open(t, t.TempDir(), store.Options{NoSync: true, SegmentBytes: 8 << 10})
	defer s.Close()
	var sent []change.Txn
	step := func(n int) {
		for range n {
			txn := src.Next()
			mustApply(t, s, txn)
			sent = append(sent, txn)
		}
	}
	step(200)
	m, err := s.Join("desk", "one")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.CommitOffset(context.Background(), change.GroupCommit{Group: "desk", Generation: m.Generation, Member: m.ID, Topic: change.TopicName(change.News), Offset: 5}); err != nil {
		t.Fatal(err)
	}
	var tarball bytes.Buffer
	busy := writerFunc(func(p []byte) (int, error) { // writing goes on during the copy
		if len(sent) < 600 {
			step(1)
		}
		return tarball.Write(p)
	})
	if err := s.Backup(context.Background(), busy, "test"); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "restored")
	man, report, err := store.Restore(dir, bytes.NewReader(tarball.Bytes()), store.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	if report.Position.Offset < man.Offset {
		t.Fatalf("copy ends at %d, began at %d", report.Position.Offset, man.Offset)
	}
	r := open(t, dir, store.Options{NoSync: true, SegmentBytes: 8 << 10})
	defer r.Close()
	then := storetest.NewSource(sd)
	then.Plain = true
	for then.Next().EndLSN < r.Position().LSN {
	}
	if d := then.Model.Diff(r.Snapshot()); d != "" {
		t.Fatal(d)
	}
	if got := r.Committed("desk", change.TopicName(change.News)); got != 5 {
		t.Fatalf("committed offset %d, want 5", got)
	}
	// A member that the group got since the backup is none of the copy's, whose next
	// one has a higher generation.
	since, err := s.Join("desk", "two")
	if err != nil {
		t.Fatal(err)
	}
	if m, err = r.Join("desk", "three"); err != nil || m.Generation <= since.Generation {
		t.Fatalf("generation %d of the copy, %d since the backup: %v", m.Generation, since.Generation, err)
	}
	mustApply(t, r, sent...) // the source sends again what came after
	if d := src.Model.Diff(r.Snapshot()); d != "" {
		t.Fatal(d)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// TestBackupEmpty copies a store that holds nothing yet, as a fresh daemon's does:
// the copy ends, and a store comes of it.
func TestBackupEmpty(t *testing.T) {
	s := open(t, t.TempDir(), store.Options{NoSync: true})
	defer s.Close()
	var tarball bytes.Buffer
	bounded := writerFunc(func(p []byte) (int, error) {
		if tarball.Len() > 8<<20 {
			return 0, errors.New("the copy does not end")
		}
		return tarball.Write(p)
	})
	if err := s.Backup(context.Background(), bounded, "test"); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "restored")
	_, report, err := store.Restore(dir, &tarball, store.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	if report.Position.Offset != 0 {
		t.Fatalf("the copy ends at offset %d", report.Position.Offset)
	}
	r := open(t, dir, store.Options{NoSync: true})
	defer r.Close()
	mustApply(t, r, storetest.NewSource(seed(t)).Next())
}

func TestRestoreRefuses(t *testing.T) {
	src := storetest.NewSource(1)
	s := open(t, t.TempDir(), store.Options{NoSync: true})
	for range 50 {
		mustApply(t, s, src.Next())
	}
	var buf bytes.Buffer
	if err := s.Backup(context.Background(), &buf, "test"); err != nil {
		t.Fatal(err)
	}
	s.Close()
	whole := buf.Bytes()
	tests := map[string]struct {
		archive []byte
		prepare func(dir string)
	}{
		"cut short":     {archive: whole[:len(whole)/2]},
		"not a backup":  {archive: bytes.Repeat([]byte("carbon"), 500)},
		"nothing":       {archive: nil},
		"damaged block": {archive: flip(whole, len(whole)-20<<10)},
		"not empty": {archive: whole, prepare: func(dir string) {
			os.MkdirAll(dir, 0o750)
			os.WriteFile(filepath.Join(dir, "precious"), []byte("x"), 0o640)
		}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			if tc.prepare != nil {
				tc.prepare(dir)
			}
			_, _, err := store.Restore(dir, bytes.NewReader(tc.archive), store.Options{NoSync: true})
			if err == nil {
				t.Fatal("restored")
			}
			if _, err := os.Stat(filepath.Join(dir, "log")); !errors.Is(err, os.ErrNotExist) {
				t.Fatal("a log directory was left behind")
			}
			t.Log(err)
		})
	}
}

// flip damages the last non-zero byte before position at.
func flip(b []byte, at int) []byte {
	b = bytes.Clone(b)
	for at = min(at, len(b)-1); at > 0; at-- {
		if b[at] != 0 {
			b[at] ^= 0x55
			break
		}
	}
	return b
}

var _ io.Writer = writerFunc(nil)
