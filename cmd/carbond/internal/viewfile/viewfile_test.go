package viewfile_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"carbond/cmd/carbond/internal/viewfile"
	"carbond/store"
	"carbond/store/change"
	"carbond/store/storetest"
)

// world is a store with a source, and a directory for the files.
type world struct {
	t   *testing.T
	s   *store.Store
	src *storetest.Source
	dir string
	reg *prometheus.Registry
}

func newWorld(t *testing.T, opt store.Options) *world {
	t.Helper()
	opt.NoSync = true
	w := &world{t: t, s: openStore(t, t.TempDir(), opt), src: storetest.NewSource(seed(t)), dir: filepath.Join(t.TempDir(), "views")}
	t.Cleanup(func() { w.s.Close() })
	return w
}

func (w *world) apply(n int) {
	w.t.Helper()
	for range n {
		apply(w.t, w.s, w.src.Next())
	}
}

// start runs a writer until the returned function is called.
func (w *world) start() (*viewfile.Writer, func()) {
	w.reg = prometheus.NewRegistry()
	x := viewfile.New(w.dir, w.s, viewfile.Options{Registerer: w.reg, Sync: time.Millisecond, Retry: time.Millisecond, RotateBytes: 8 << 10, Keep: 1000})
	return x, run(w.t, x)
}

// caughtUp waits until everything is on disk.
func (w *world) caughtUp() {
	w.t.Helper()
	at := w.s.Position().Offset
	until(w.t, fmt.Sprintf("state at offset %d", at), func() bool { return written(w.dir, at) })
}

func (w *world) metric(name string) float64 {
	w.t.Helper()
	all, err := w.reg.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range all {
		if f.GetName() == name {
			m := f.GetMetric()[0]
			return m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	w.t.Fatalf("no metric %s", name)
	return 0
}

// replay adds up the diffs of a view's lines.
func replay(t *testing.T, lines []byte) map[string]int {
	t.Helper()
	rows := map[string]int{}
	for l := range bytes.Lines(lines) {
		var m map[string]any
		if err := json.Unmarshal(l, &m); err != nil {
			t.Fatalf("%v: %s", err, l)
		}
		diff := int(m["diff"].(float64))
		delete(m, "diff")
		delete(m, "time")
		k, _ := json.Marshal(m)
		if rows[string(k)] += diff; rows[string(k)] == 0 {
			delete(rows, string(k))
		}
	}
	return rows
}

// holds checks that the files, from the last fill on, add up to the views.
func (w *world) holds(lines func(change.View) []byte) {
	w.t.Helper()
	snap := w.s.Snapshot()
	want := map[change.View]map[string]int{}
	put := func(d change.Delta) {
		d.Diff = 1
		v, line := lineOf(w.t, d, 0)
		for k := range replay(w.t, []byte(line)) {
			if want[v] == nil {
				want[v] = map[string]int{}
			}
			want[v][k]++
		}
	}
	for p := range snap.Projects("", "") {
		put(change.Delta{Project: &p})
	}
	for n := range snap.News("") {
		put(change.Delta{News: &n})
	}
	for q := range snap.Quotes("", "") {
		put(change.Delta{Quote: &q})
	}
	for _, v := range change.Views() {
		got := replay(w.t, lines(v))
		if fmt.Sprint(got) != fmt.Sprint(want[v]) && len(got)+len(want[v]) > 0 {
			w.t.Fatalf("%s adds up to\n%v\nwant\n%v", v, got, want[v])
		}
	}
}

func TestFollowRotateResume(t *testing.T) {
	w := newWorld(t, store.Options{})
	_, stop := w.start()
	until(t, "fill", func() bool { return written(w.dir, 0) })
	for range 5 {
		w.apply(60)
		w.caughtUp()
		stop()
		w.apply(20)
		_, stop = w.start()
	}
	w.caughtUp()
	stop()
	same(t, w.dir, expected(t, w.s))
	w.holds(func(v change.View) []byte { return content(t, w.dir, v) })
	for _, v := range change.Views() {
		if _, err := os.Stat(filepath.Join(w.dir, string(v)+".000001.jsonl")); err != nil {
			t.Error(err)
		}
	}
	if problems, err := testutil.GatherAndLint(w.reg); err != nil || len(problems) > 0 {
		t.Errorf("metrics: %v %v", problems, err)
	}
}

func TestFillsAgain(t *testing.T) {
	tests := map[string]func(t *testing.T, w *world){
		"history is gone": func(t *testing.T, w *world) {
			w.s.SetRetention(store.Retention{Bytes: 1})
			w.apply(300)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- w.s.Run(ctx) }()
			old := w.s.Oldest()
			until(t, "retention", func() bool { return w.s.Oldest() > old+200 })
			cancel()
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		},
		"a file was cut": func(t *testing.T, w *world) {
			for _, v := range change.Views() {
				name := filepath.Join(w.dir, string(v)+".jsonl")
				// One that was just rotated has nothing to cut.
				if i, err := os.Stat(name); err == nil && i.Size() > 1 {
					if err := os.Truncate(name, 1); err != nil {
						t.Fatal(err)
					}
					return
				}
			}
			t.Fatal("nothing to cut")
		},
		"a file is missing": func(t *testing.T, w *world) {
			if err := os.Remove(filepath.Join(w.dir, "finance.jsonl")); err != nil {
				t.Fatal(err)
			}
		},
		"the state file is missing": func(t *testing.T, w *world) {
			if err := os.Remove(filepath.Join(w.dir, "views.state.json")); err != nil {
				t.Fatal(err)
			}
		},
		"the state file is damaged": func(t *testing.T, w *world) {
			if err := os.WriteFile(filepath.Join(w.dir, "views.state.json"), []byte("{"), 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"another changelog": func(t *testing.T, w *world) {
			w.s.Close()
			w.s, w.src = openStore(t, t.TempDir(), store.Options{NoSync: true}), storetest.NewSource(99)
			w.apply(200)
		},
		"a backup was restored": func(t *testing.T, w *world) {
			var archive bytes.Buffer
			if err := w.s.Backup(t.Context(), &archive, "test"); err != nil {
				t.Fatal(err)
			}
			then := w.src.Branch(7)
			_, stop := w.start()
			w.apply(30)
			w.caughtUp()
			stop()
			w.s.Close()
			dir := filepath.Join(t.TempDir(), "restored")
			if _, _, err := store.Restore(dir, &archive, store.Options{NoSync: true}); err != nil {
				t.Fatal(err)
			}
			w.s, w.src = openStore(t, dir, store.Options{NoSync: true}), then
			w.apply(60) // further than the files, which hold what came to nothing
		},
		"an older copy": func(t *testing.T, w *world) {
			w.s.Close()
			w.s, w.src = openStore(t, t.TempDir(), store.Options{NoSync: true}), storetest.NewSource(98)
			w.apply(2)
		},
	}
	for name, harm := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, store.Options{SegmentBytes: 4 << 10, CheckpointInterval: time.Millisecond})
			_, stop := w.start()
			w.apply(40)
			w.caughtUp()
			stop()
			harm(t, w)
			before := map[change.View]int{}
			for _, v := range change.Views() {
				before[v] = len(content(t, w.dir, v))
			}
			_, stop = w.start()
			w.apply(20)
			w.caughtUp()
			until(t, "state of this store", func() bool { return w.metric("carbond_viewfile_offset") >= float64(w.s.Position().Offset) })
			stop()
			// What was there is still there, moved aside; what follows is whole.
			w.holds(func(v change.View) []byte { return content(t, w.dir, v)[before[v]:] })
		})
	}
}

// TestForeignFiles leaves files that carbond did not write as they are, under
// another name.
func TestForeignFiles(t *testing.T) {
	w := newWorld(t, store.Options{})
	if err := os.MkdirAll(w.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"news.jsonl": "old news\n", "news.000004.jsonl": "older news\n"} {
		if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w.apply(30)
	_, stop := w.start()
	w.caughtUp()
	stop()
	got := string(content(t, w.dir, change.ViewNews))
	rest, ok := strings.CutPrefix(got, "older news\nold news\n")
	if !ok {
		t.Fatalf("news files begin with %.40q", got)
	}
	w.holds(func(v change.View) []byte {
		if v == change.ViewNews {
			return []byte(rest)
		}
		return content(t, w.dir, v)
	})
}

// TestFullDisk writes to a full device: the writer goes on trying, and when
// there is space nothing is missing.
func TestFullDisk(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("no /dev/full on this system")
	}
	w := newWorld(t, store.Options{})
	_, stop := w.start()
	until(t, "fill", func() bool { return written(w.dir, 0) })
	stop()
	for _, v := range change.Views() {
		name := filepath.Join(w.dir, string(v)+".jsonl")
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("/dev/full", name); err != nil {
			t.Fatal(err)
		}
	}
	x, stop := w.start()
	w.apply(50)
	until(t, "trouble", func() bool { return w.metric("carbond_viewfile_errors_total") >= 2 })
	if !strings.Contains(x.Trouble(), "no space left") {
		t.Errorf("trouble is %q", x.Trouble())
	}
	for _, v := range change.Views() {
		if err := os.Remove(filepath.Join(w.dir, string(v)+".jsonl")); err != nil {
			t.Fatal(err)
		}
	}
	w.caughtUp()
	until(t, "no trouble", func() bool { return x.Trouble() == "" })
	stop()
	same(t, w.dir, expected(t, w.s))
}

// TestLocked keeps a second writer out.
func TestLocked(t *testing.T) {
	w := newWorld(t, store.Options{})
	_, stop := w.start()
	until(t, "fill", func() bool { return written(w.dir, 0) })
	second := viewfile.New(w.dir, w.s, viewfile.Options{Retry: time.Millisecond})
	stop2 := run(t, second)
	until(t, "refusal", func() bool { return strings.Contains(second.Trouble(), "another carbond writes view files there") })
	stop()
	until(t, "turn", func() bool { return second.Trouble() == "" })
	stop2()
}

// TestKeep removes the oldest rotated files.
func TestKeep(t *testing.T) {
	w := newWorld(t, store.Options{})
	x := viewfile.New(w.dir, w.s, viewfile.Options{Sync: time.Millisecond, RotateBytes: 1 << 10, Keep: 2})
	stop := run(t, x)
	until(t, "fill", func() bool { return written(w.dir, 0) })
	w.apply(300)
	w.caughtUp()
	stop()
	for _, v := range change.Views() {
		names, err := filepath.Glob(filepath.Join(w.dir, string(v)+".*.jsonl"))
		if err != nil || len(names) != 2 {
			t.Errorf("%s: rotated files %v, %v", v, names, err)
		}
	}
}
