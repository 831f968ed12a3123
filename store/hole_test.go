package store_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"carbond/store"
	"carbond/store/change"
)

// A start finds a hole in the history, says what is missing and what to do, and
// changes nothing. Both remedies work: the file comes back, or what is before
// the hole goes.
func TestMissingSegment(t *testing.T) {
	dir, segs := aged(t)
	away := filepath.Join(t.TempDir(), "away")
	move := func(from, to string) {
		t.Helper()
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	move(segs[1], away)
	_, err := store.Open(dir, store.Options{})
	var damage *store.CorruptionError
	if !errors.As(err, &damage) || damage.File != segs[2] || !strings.Contains(damage.Hint, segs[1]) {
		t.Fatalf("open: %v", err)
	}
	move(away, segs[1])
	s := open(t, dir, store.Options{})
	last := s.Position()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	checkWhole(t, dir)

	move(segs[1], away)
	move(segs[0], away+"0")
	s = open(t, dir, store.Options{})
	defer s.Close()
	var gone *change.CompactedError
	if _, err := s.NewReader(1).Read(1); !errors.As(err, &gone) || gone.Oldest != s.Oldest() || s.Position() != last {
		t.Fatalf("read at the beginning: %v; position %+v, was %+v", err, s.Position(), last)
	}
}

// A file that does not belong between its neighbours is not taken for one that
// does.
func TestStraySegment(t *testing.T) {
	dir, segs := aged(t)
	b, err := os.ReadFile(segs[1])
	if err != nil {
		t.Fatal(err)
	}
	stray := filepath.Join(dir, "log", "00000000000000000002.seg")
	if err := os.WriteFile(stray, b, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Open(dir, store.Options{}); err == nil || !strings.Contains(err.Error(), stray) || !strings.Contains(err.Error(), "does not belong") {
		t.Fatalf("open: %v", err)
	}
}
