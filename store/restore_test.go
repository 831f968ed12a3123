package store_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"carbond/store"
	"carbond/store/change"
	"carbond/store/storetest"
)

// member is a file of an archive.
type member struct {
	name string
	data []byte
}

func unpackTar(t *testing.T, archive []byte) (out []member) {
	t.Helper()
	r := tar.NewReader(bytes.NewReader(archive))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, member{h.Name, b})
	}
}

func packTar(t *testing.T, members []member) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range members {
		if err := w.WriteHeader(&tar.Header{Name: m.name, Mode: 0o640, Size: int64(len(m.data))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(m.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// backedUp returns the archive of a store with several segments, a group and a
// note of replication.
func backedUp(t *testing.T, sd uint64) []byte {
	t.Helper()
	dir := t.TempDir()
	s := open(t, dir, store.Options{NoSync: true, SegmentBytes: 8 << 10})
	defer s.Close()
	src := storetest.NewSource(sd)
	src.Plain = true
	for range 120 {
		mustApply(t, s, src.Next())
	}
	if _, err := s.Join("desk", "one"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "source.json"), []byte(`{"note":1}`), 0o640); err != nil {
		t.Fatal(err)
	}
	return backupOf(t, s)
}

func backupOf(t *testing.T, s *store.Store) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := s.Backup(t.Context(), &b, "test"); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestRestoreCompares refuses archives of which anything is missing, changed or
// too much, and names it. The files may come in any order.
func TestRestoreCompares(t *testing.T) {
	whole := unpackTar(t, backedUp(t, 3))
	last := len(whole) - 1
	if whole[last].name != "manifest.json" {
		t.Fatalf("the manifest is not last: %v", whole[last].name)
	}
	manifest := func(edit func(m map[string]any)) func([]member) []member {
		return func(ms []member) []member {
			m := map[string]any{}
			if err := json.Unmarshal(ms[last].data, &m); err != nil {
				t.Fatal(err)
			}
			edit(m)
			ms[last].data, _ = json.Marshal(m)
			return ms
		}
	}
	text := func(s string) func([]member) []member {
		return func(ms []member) []member {
			ms[last].data = []byte(s)
			return ms
		}
	}
	type edit struct {
		edit func([]member) []member
		tail string // behind the archive
		want string // part of the error, "" for none
	}
	tests := map[string]edit{
		"as it is":           {edit: func(ms []member) []member { return ms }},
		"manifest first":     {edit: func(ms []member) []member { return append(ms[last:], ms[:last]...) }},
		"padding":            {edit: func(ms []member) []member { return ms }, tail: strings.Repeat("\x00", 30<<10)},
		"bytes behind":       {edit: func(ms []member) []member { return ms }, tail: strings.Repeat("\x00", 600) + "x", want: "behind its end"},
		"null":               {edit: text("null"), want: "no format"},
		"empty":              {edit: text(""), want: "read manifest"},
		"no object":          {edit: text("[]"), want: "read manifest"},
		"format 0":           {edit: manifest(func(m map[string]any) { m["format"] = 0 }), want: "format 0"},
		"format -1":          {edit: manifest(func(m map[string]any) { m["format"] = -1 }), want: "format -1"},
		"no format":          {edit: manifest(func(m map[string]any) { delete(m, "format") }), want: "no format"},
		"text after":         {edit: func(ms []member) []member { ms[last].data = append(ms[last].data, "{}"...); return ms }, want: "read manifest"},
		"no list":            {edit: manifest(func(m map[string]any) { delete(m, "files") }), want: "no list"},
		"no history":         {edit: manifest(func(m map[string]any) { delete(m, "history") }), want: "no history id"},
		"another history":    {edit: manifest(func(m map[string]any) { m["history"] = map[string]any{"id": "x", "first": 1} }), want: "the manifest says x"},
		"further":            {edit: manifest(func(m map[string]any) { m["offset"] = 1 << 40 }), want: "cut short"},
		"two manifests":      {edit: func(ms []member) []member { return append(ms, ms[last]) }, want: "two manifests"},
		"a file twice":       {edit: func(ms []member) []member { return append(ms[:1:1], ms...) }, want: "twice"},
		"a file too many":    {edit: func(ms []member) []member { return append(ms, member{"log/00000000000000099999.seg", []byte("x")}) }, want: "log/00000000000000099999.seg is not in the manifest"},
		"a strange file":     {edit: func(ms []member) []member { return append(ms, member{"log/../../x", []byte("x")}) }, want: "not part of a backup"},
		"format 1, complete": {edit: manifest(func(m map[string]any) { m["format"] = 1; delete(m, "files"); delete(m, "history") })},
	}
	for i, m := range whole[:last] {
		tests["without "+m.name] = edit{edit: func(ms []member) []member { return slices.Delete(ms, i, i+1) }, want: m.name + " is missing"}
		tests["changed "+m.name] = edit{edit: func(ms []member) []member { ms[i].data = flip(ms[i].data, len(ms[i].data)/2); return ms }, want: m.name + " is not as it was"}
		tests["longer "+m.name] = edit{edit: func(ms []member) []member { ms[i].data = append(bytes.Clone(ms[i].data), 0); return ms }, want: m.name + " has"}
		if m.name != "source.json" {
			tests["format 1 without "+m.name] = edit{edit: func(ms []member) []member {
				return slices.Delete(manifest(func(m map[string]any) { m["format"] = 1; delete(m, "files"); delete(m, "history") })(ms), i, i+1)
			}, want: " "}
		}
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			archive := append(packTar(t, tc.edit(slices.Clone(whole))), tc.tail...)
			_, _, err := store.Restore(dir, bytes.NewReader(archive), store.Options{NoSync: true})
			if tc.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				checkWhole(t, dir)
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("got %v, want %q", err, tc.want)
			}
			if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
				t.Fatal("a directory was left behind")
			}
		})
	}
}

// TestRestoreInto takes the directories that a restore may meet, and leaves the
// others alone.
func TestRestoreInto(t *testing.T) {
	archive := backedUp(t, 4)
	for name, tc := range map[string]struct {
		have []string
		ok   bool
	}{
		"empty":                {ok: true},
		"a file system's root": {have: []string{"lost+found/"}, ok: true},
		"only a lock":          {have: []string{"LOCK"}, ok: true},
		"a killed restore":     {have: []string{"restoring/log/00000000000000000001.seg", "groups.db", "checkpoint.db"}, ok: true},
		"data":                 {have: []string{"log/00000000000000000001.seg"}},
		"groups":               {have: []string{"groups.db"}},
		"something else":       {have: []string{"restoring/", "precious"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, h := range tc.have {
				p := filepath.Join(dir, h)
				if err := os.MkdirAll(filepath.Dir(p), 0o750); err != nil {
					t.Fatal(err)
				}
				if !strings.HasSuffix(h, "/") {
					if err := os.WriteFile(p, []byte("x"), 0o640); err != nil {
						t.Fatal(err)
					}
				} else if err := os.MkdirAll(p, 0o750); err != nil {
					t.Fatal(err)
				}
			}
			_, _, err := store.Restore(dir, bytes.NewReader(archive), store.Options{NoSync: true})
			if (err == nil) != tc.ok {
				t.Fatal(err)
			}
			if tc.ok {
				checkWhole(t, dir)
				if b, err := os.ReadFile(filepath.Join(dir, "source.json")); err != nil || string(b) != `{"note":1}` {
					t.Errorf("source.json: %s, %v", b, err)
				}
				return
			}
			for _, h := range tc.have {
				if _, err := os.Stat(filepath.Join(dir, h)); err != nil {
					t.Errorf("%s: %v", h, err)
				}
			}
		})
	}
}

// TestRestoreKilled kills a restore at each step that it takes. What is left is
// never opened as good, unless it is whole, and can be restored into again.
func TestRestoreKilled(t *testing.T) {
	if spec := os.Getenv("CARBOND_RESTORE_CRASH"); spec != "" {
		unpackChild(spec, store.Restore)
	}
	archive := backedUp(t, 5)
	path := filepath.Join(t.TempDir(), "backup.tar")
	if err := os.WriteFile(path, archive, 0o600); err != nil {
		t.Fatal(err)
	}
	kills, opened := 0, 0
	for n := 1; ; n++ {
		dir := t.TempDir()
		cmd := exec.Command(os.Args[0], "-test.run=^TestRestoreKilled$")
		cmd.Env = append(os.Environ(), fmt.Sprintf("CARBOND_RESTORE_CRASH=%d %s %s", n, path, dir))
		out, err := cmd.CombinedOutput()
		if err == nil {
			break
		}
		if !strings.Contains(err.Error(), "killed") {
			t.Fatalf("step %d: %v\n%s", n, err, out)
		}
		kills++
		if _, err := store.Check(dir); err == nil {
			opened++
			checkWhole(t, dir)
			continue
		}
		if s, err := store.Open(dir, store.Options{}); !errors.Is(err, store.ErrRestoring) {
			if err == nil {
				_ = s.Close()
			}
			t.Fatalf("step %d: open: %v", n, err)
		}
		if _, _, err := store.Restore(dir, bytes.NewReader(archive), store.Options{NoSync: true}); err != nil {
			t.Fatalf("step %d: again: %v", n, err)
		}
		checkWhole(t, dir)
	}
	if kills < 10 {
		t.Fatalf("%d kills: the test proves nothing", kills)
	}
	t.Logf("%d kills, %d directories were whole", kills, opened)
}

// unpackChild takes an archive as a spec says, and dies at one of its steps.
func unpackChild(spec string, unpack func(string, io.Reader, store.Options) (*store.Manifest, *store.Report, error)) {
	var left int
	var path, dir string
	if _, err := fmt.Sscanf(spec, "%d %s %s", &left, &path, &dir); err != nil {
		panic(err)
	}
	f, err := os.Open(path)
	if err != nil {
		panic(err)
	}
	crash := func(string) {
		if left--; left == 0 {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	if _, _, err := unpack(dir, f, store.Options{Crash: crash}); err != nil {
		fmt.Println(err)
		os.Exit(3)
	}
	os.Exit(0)
}

// TestRestoreModel drives a store through random transactions, checkpoints,
// retention, restarts and restores of older backups, after which the source goes
// on differently. The views and the log are those of the model, no offset number
// is used twice, and an offset of what was left is an error for every reader.
func TestRestoreModel(t *testing.T) {
	sd := seed(t)
	rng := rand.New(rand.NewPCG(sd, 8))
	opt := store.Options{NoSync: true, SegmentBytes: 4 << 10}
	dir := t.TempDir()
	s := open(t, dir, store.Options{NoSync: true, SegmentBytes: 4 << 10})
	src := storetest.NewSource(sd)
	src.Plain = true
	type saved struct {
		archive []byte
		src     *storetest.Source
		pos     change.Position
	}
	var backups []saved
	ever := map[change.Offset]string{} // what each offset number has named
	reopen := func() {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, dir, opt)
	}
	for step := range 400 {
		switch n := rng.IntN(100); {
		case n < 70:
			for _, part := range storetest.Split(src.Next(), 1+rng.IntN(3)) {
				mustApply(t, s, part)
			}
		case n < 78:
			reopen()
		case n < 86:
			if err := s.Maintain(t.Context()); err != nil {
				t.Fatal(err)
			}
		case n < 90:
			s.SetRetention(store.Retention{Bytes: int64(20<<10 + rng.IntN(40<<10))})
		case n < 95 || len(backups) == 0:
			backups = append(backups, saved{backupOf(t, s), src.Branch(0), s.Position()})
		default:
			b := backups[rng.IntN(len(backups))]
			left, leftID := s.Position().Offset, s.History().ID
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			dir = t.TempDir()
			if _, _, err := store.Restore(dir, bytes.NewReader(b.archive), opt); err != nil {
				t.Fatalf("step %d: %v", step, err)
			}
			s = open(t, dir, opt)
			if got := s.Position(); got != b.pos {
				t.Fatalf("step %d: position %+v, want %+v", step, got, b.pos)
			}
			src = b.src.Branch(rng.Uint64())
			for _, at := range []change.Offset{left, b.pos.Offset + 1, s.History().First - 2} {
				if at <= b.pos.Offset || at == s.History().First-1 {
					continue
				}
				var other *change.HistoryError
				if _, err := s.NewReader(at + 1).Read(1); !errors.As(err, &other) || other.Last > b.pos.Offset {
					t.Fatalf("step %d: read behind offset %d of a history that was left: %v", step, at, err)
				}
				if err := s.History().Check(leftID, at); err == nil {
					t.Fatalf("step %d: offset %d of history %s passes", step, at, leftID)
				}
			}
		}
		if d := src.Model.Diff(s.Snapshot()); d != "" {
			t.Fatalf("step %d: %s", step, d)
		}
		if step%40 == 39 {
			named(t, s, ever)
		}
	}
	named(t, s, ever)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	checkWhole(t, dir)
}

// TestCommitBeforeTheBeginning: a group that says it has dealt with offsets before
// the log's first one has dealt with nothing; inside a later hole that is an error.
func TestCommitBeforeTheBeginning(t *testing.T) {
	s := open(t, t.TempDir(), store.Options{NoSync: true, First: 1000})
	defer s.Close()
	src := storetest.NewSource(1)
	for range 20 {
		mustApply(t, s, src.Next())
	}
	m, err := s.Join("desk", "one")
	if err != nil {
		t.Fatal(err)
	}
	topic := change.TopicName(change.News)
	c := change.GroupCommit{Group: "desk", Generation: m.Generation, Member: m.ID, Topic: topic, Offset: 7}
	if err := s.CommitOffset(t.Context(), c); err != nil || s.Committed("desk", topic) != 0 {
		t.Fatalf("%v, committed %d", err, s.Committed("desk", topic))
	}
	dir := filepath.Join(t.TempDir(), "restored")
	if _, _, err := store.Restore(dir, bytes.NewReader(backupOf(t, s)), store.Options{NoSync: true, First: 5000}); err != nil {
		t.Fatal(err)
	}
	r := open(t, dir, store.Options{NoSync: true})
	defer r.Close()
	for range 20 {
		mustApply(t, r, src.Next())
	}
	if m, err = r.Join("desk", "one"); err != nil {
		t.Fatal(err)
	}
	c.Generation, c.Offset = m.Generation, s.Position().Offset+1
	var other *change.HistoryError
	if err := r.CommitOffset(t.Context(), c); !errors.As(err, &other) {
		t.Fatalf("inside the hole: %v", err)
	}
	for _, at := range []change.Offset{s.Position().Offset, 4999, r.Position().Offset} {
		c.Offset = at
		if err := r.CommitOffset(t.Context(), c); err != nil || r.Committed("desk", topic) != r.History().UpTo(at) {
			t.Fatalf("offset %d: %v, committed %d", at, err, r.Committed("desk", topic))
		}
	}
}

// named walks the log, to which no offset may have come that named another
// change before.
func named(t *testing.T, s *store.Store, ever map[change.Offset]string) {
	t.Helper()
	h := s.History()
	r := s.NewReader(s.Oldest())
	for next := s.Oldest(); ; {
		recs, err := r.Read(1 << 12)
		if err != nil {
			t.Fatal(err)
		}
		if len(recs) == 0 {
			if last := h.Before(next); last != s.Position().Offset && s.Position().Offset >= s.Oldest() {
				t.Fatalf("the log ends at %d, the position is %d", last, s.Position().Offset)
			}
			return
		}
		for _, rec := range recs {
			if rec.Offset != next {
				t.Fatalf("offset %d, want %d", rec.Offset, next)
			}
			next = h.After(next)
			line := fmt.Sprintf("%d %d %s", rec.XID, rec.CommitLSN, storetest.RecordLine(rec))
			if was, ok := ever[rec.Offset]; ok && was != line {
				t.Fatalf("offset %d named %q, and now %q", rec.Offset, was, line)
			}
			ever[rec.Offset] = line
		}
	}
}
