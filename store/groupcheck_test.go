package store_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"carbond/store"
	"carbond/store/change"
	"carbond/store/storetest"
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
	if err := s.CommitOffset(context.Background(), change.GroupCommit{Group: "g", Generation: m.Generation, Member: m.ID, Topic: change.TopicName(change.Verra), Offset: at}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// fsck reads the consumer groups too, and an Open that cannot says what to do.
// Nothing is taken for a file without groups that is not one.
func TestDamagedGroups(t *testing.T) {
	flip := func(what string, bit byte) func([]byte) []byte {
		return func(b []byte) []byte {
			for at := 0; ; {
				i := bytes.Index(b[at:], []byte(what))
				if i < 0 {
					return b
				}
				at += i + len(what)
				b[at-1] ^= bit
			}
		}
	}
	for name, damage := range map[string]func([]byte) []byte{
		"a bit of an offset":    flip(`"offset":5`, 1),
		"a bit of a generation": flip(`"generation":1`, 2),
		"a bit of a time":       flip(`"at":"2`, 4),
		"a bit of a group name": flip(`carbon.public.verr`, 1),
		"a bit of what is spent": func(b []byte) []byte { // behind the key stand checksum and value
			for at := bytes.Index(b, []byte("retired")); at >= 0 && at+20 < len(b); {
				b[at+18] ^= 1
				next := bytes.Index(b[at+7:], []byte("retired"))
				if next < 0 {
					break
				}
				at += 7 + next
			}
			return b
		},
		"pages": func(b []byte) []byte {
			for at := range b[:min(len(b), 1<<14)] {
				if at%4096 >= 64 { // headers of pages
					b[at] = 0xff
				}
			}
			return b
		},
		"empty":  func([]byte) []byte { return nil },
		"zeroed": func(b []byte) []byte { return make([]byte, len(b)) },
		"cut":    func(b []byte) []byte { return b[:len(b)/2] },
	} {
		t.Run(name, func(t *testing.T) {
			dir := committed(t, 5)
			checkWhole(t, dir)
			path := filepath.Join(dir, "groups.db")
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			was := bytes.Clone(b)
			b = damage(b)
			if bytes.Equal(was, b) {
				t.Fatal("the file holds no such bytes")
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
		})
	}
}

// A commit that meets a page which the disk does not give fails alone, and the
// groups are as they were when the disk is well.
func TestGroupsUnreadable(t *testing.T) {
	s := open(t, committed(t, 5), store.Options{NoSync: true})
	defer s.Close()
	path := filepath.Join(s.Dir(), "groups.db")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	topic := change.TopicName(change.Verra)
	for _, left := range []int64{0, 4096, 8192} {
		if err := os.Truncate(path, left); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := s.Join("g", "n"); err == nil || !strings.Contains(err.Error(), path) {
				t.Fatalf("join with %d bytes left: %v", left, err)
			}
		}
		if at := s.Committed("g", topic); at != 5 || len(s.Groups()) != 1 {
			t.Fatalf("committed %d of %+v", at, s.Groups())
		}
		if err := os.WriteFile(path, b, 0o640); err != nil {
			t.Fatal(err)
		}
		m, err := s.Join("g", "n")
		if err != nil {
			t.Fatal(err)
		}
		if err := s.CommitOffset(context.Background(), change.GroupCommit{Group: "g", Generation: m.Generation, Member: "n", Topic: topic, Offset: 7}); err != nil {
			t.Fatal(err)
		}
		m.Leave()
		if err := s.ResetGroup(context.Background(), "g", []string{topic}, 5); err != nil {
			t.Fatal(err)
		}
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

// TestGroupsOfAnotherHistory refuses groups that stand where the log has a hole.
func TestGroupsOfAnotherHistory(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, store.Options{NoSync: true})
	src := storetest.NewSource(6)
	for range 30 {
		mustApply(t, s, src.Next())
	}
	archive, then := backupOf(t, s), src.Branch(7)
	for range 30 {
		mustApply(t, s, src.Next())
	}
	m, err := s.Join("desk", "one")
	if err != nil {
		t.Fatal(err)
	}
	at := s.Position().Offset
	if err := s.CommitOffset(t.Context(), change.GroupCommit{Group: "desk", Generation: m.Generation, Member: m.ID, Topic: change.TopicName(change.News), Offset: at}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	restored := filepath.Join(t.TempDir(), "restored")
	if _, _, err := store.Restore(restored, bytes.NewReader(archive), store.Options{NoSync: true}); err != nil {
		t.Fatal(err)
	}
	s = open(t, restored, store.Options{NoSync: true})
	for range 30 {
		mustApply(t, s, then.Next())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "groups.db"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(restored, "groups.db"), b, 0o640); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("offset %d is of another history", at)
	if r, err := store.Check(restored); err != nil || len(r.Problems) != 1 || !strings.Contains(r.Problems[0].Error(), want) {
		t.Errorf("check: %v %+v", err, r)
	}
	if _, err := store.Open(restored, store.Options{NoSync: true}); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "move it aside") {
		t.Errorf("open: %v", err)
	}
}
