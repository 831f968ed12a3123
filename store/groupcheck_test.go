package store_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"carbond/store"
	"carbond/store/change"
)

// committed makes a directory with 10 records of verra, of which a group has
// dealt with those up to an offset.
func committed(t *testing.T, at change.Offset) (dir string) {
	t.Helper()
	dir = t.TempDir()
	s := open(t, dir, store.Options{NoSync: true})
	fill(t, s, 10)
	m, err := s.Join("g", "m")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.CommitOffset(context.Background(), "g", m.Generation, change.Topic(change.Verra), at); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// fsck reads the consumer groups too, and an Open that cannot says what to do.
func TestDamagedGroups(t *testing.T) {
	dir := committed(t, 5)
	checkWhole(t, dir)
	path := filepath.Join(dir, "groups.db")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for at := range b[:min(len(b), 1<<14)] {
		if at%4096 >= 64 { // headers of pages
			b[at] = 0xff
		}
	}
	if err := os.WriteFile(path, b, 0o640); err != nil {
		t.Fatal(err)
	}
	if r, err := store.Check(dir); err != nil || len(r.Problems) == 0 || !strings.Contains(r.Problems[0].Error(), path) {
		t.Fatalf("check: %v %+v", err, r)
	}
	if s, err := store.Open(dir, store.Options{NoSync: true}); err == nil || !strings.Contains(err.Error(), "move it aside") {
		if err == nil {
			s.Close()
		}
		t.Fatalf("open: %v", err)
	}
}

// Texts that Postgres would refuse are refused without one too.
func TestWriteRefusesTexts(t *testing.T) {
	s := open(t, t.TempDir(), store.Options{NoSync: true})
	defer s.Close()
	for name, text := range map[string]string{"zero byte": "a\x00b", "not UTF-8": "a\xff"} {
		_, err := s.Write(context.Background(), []change.Edit{{
			Table: change.Verra, Columns: []string{"project_id", "project_name"}, Rows: []change.Row{texts("p", text)},
		}})
		if err == nil || !strings.Contains(err.Error(), `"project_name"`) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A log that is older than its consumer groups gives the same offsets again: a
// consumer would pass over what it has never seen.
func TestGroupsBeyondTheLog(t *testing.T) {
	dir := committed(t, 10)
	older := t.TempDir()
	s := open(t, older, store.Options{NoSync: true})
	fill(t, s, 5)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, "groups.db"), filepath.Join(older, "groups.db")); err != nil {
		t.Fatal(err)
	}
	if s, err := store.Open(older, store.Options{NoSync: true}); err == nil || !strings.Contains(err.Error(), `group "g" stands at offset 10`) || !strings.Contains(err.Error(), "move it aside") {
		if err == nil {
			s.Close()
		}
		t.Fatalf("open: %v", err)
	}
}
