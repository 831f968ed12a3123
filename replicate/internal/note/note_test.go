package note_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"carbond/replicate/internal/note"
)

func TestNote(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "source.json")
	f := note.At(path)
	if n, err := f.Get(); err != nil || !reflect.DeepEqual(n, note.Note{}) {
		t.Fatalf("nothing: %+v, %v", n, err)
	}
	if err := f.Change(func(*note.Note) {}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing was written down: %v", err)
	}
	want := note.Note{
		Timeline: note.Timeline{SystemID: "7", Timeline: 2},
		Copying:  &note.SlotMarker{SystemID: "7", Database: "d", Slot: "s", Point: "0/5", Copy: "x"},
		Verdict:  &note.Verdict{Copy: "x", Kind: "table_change", Text: "a < b", Tables: []string{"verra"}, Since: time.Unix(9, 0).UTC()},
	}
	if err := f.Change(func(n *note.Note) { *n = want }); err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]*note.File{"same": f, "opened": note.At(path)} {
		if n, err := f.Get(); err != nil || !reflect.DeepEqual(n, want) {
			t.Errorf("%s: %+v, %v", name, n, err)
		}
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 1 {
		t.Errorf("left behind: %v, %v", names, err)
	}
	in := note.At("")
	if err := in.Change(func(n *note.Note) { *n = want }); err != nil {
		t.Fatal(err)
	}
	if n, err := in.Get(); err != nil || !reflect.DeepEqual(n, want) {
		t.Errorf("in memory: %+v, %v", n, err)
	}
}

// Every damage is told, and nothing is written over it but by Forget.
func TestDamage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "source.json")
	if err := note.At(path).Change(func(n *note.Note) { n.Timeline = note.Timeline{SystemID: "71", Timeline: 1} }); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{
		"empty": {}, "half": whole[:len(whole)/2], "another digit": bytes.Replace(whole, []byte(`"71"`), []byte(`"72"`), 1), "no object": []byte("7"),
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			f := note.At(path)
			if _, err := f.Get(); err == nil || !strings.Contains(err.Error(), path) {
				t.Errorf("Get: %v", err)
			}
			if err := f.Change(func(n *note.Note) { n.Copying = &note.SlotMarker{} }); err == nil {
				t.Error("it was written over")
			}
			if err := f.Forget(); err != nil {
				t.Fatal(err)
			}
			if n, err := note.At(path).Get(); err != nil || !reflect.DeepEqual(n, note.Note{}) {
				t.Errorf("forgotten: %+v, %v", n, err)
			}
		})
	}
}

// The two files of an earlier version are taken over, and go once their content
// is durable in the new one.
func TestEarlierVersion(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "source.json")
	for name, text := range map[string]string{
		"copying.json":  `{"system_id":"7","database":"d","slot":"s","point":"0/5"}`,
		"timeline.json": `{"system_id":"7","timeline":3}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want := note.Note{Timeline: note.Timeline{SystemID: "7", Timeline: 3}, Copying: &note.SlotMarker{SystemID: "7", Database: "d", Slot: "s", Point: "0/5"}}
	f := note.At(path)
	if n, err := f.Get(); err != nil || !reflect.DeepEqual(n, want) {
		t.Fatalf("%+v, %v", n, err)
	}
	if err := f.Change(func(*note.Note) {}); err != nil {
		t.Fatal(err)
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 1 {
		t.Errorf("left: %v, %v", names, err)
	}
	// One comes back after a power cut.
	if err := os.WriteFile(filepath.Join(dir, "copying.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := note.At(path).Get(); err != nil || !reflect.DeepEqual(n, want) {
		t.Errorf("after it: %+v, %v", n, err)
	}
}
