//go:build linux

package faults_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"carbond/cmd/carbond/internal/faults/faultfs"
	"carbond/cmd/carbond/internal/viewfile"
	"carbond/store"
	"carbond/store/change"
	"carbond/store/storetest"
)

// told is what a child was told to be durable.
type told struct {
	lsn         change.LSN
	groups      map[[2]string]change.Offset
	generations map[string]uint64
	archives    map[int]change.LSN
	restored    map[int]change.LSN
}

func tell(ops []faultfs.Op) told {
	t := told{groups: map[[2]string]change.Offset{}, generations: map[string]uint64{}, archives: map[int]change.LSN{}, restored: map[int]change.LSN{}}
	for i := range ops {
		if ops[i].Kind == faultfs.Mark {
			t.take(ops[i].Text)
		}
	}
	return t
}

func (t *told) take(text string) {
	var a, b string
	var n int
	var x uint64
	switch word, _, _ := strings.Cut(text, " "); word {
	case "lsn":
		if _, err := fmt.Sscanf(text, "lsn %d", &x); err == nil {
			t.lsn = max(t.lsn, change.LSN(x))
		}
	case "group":
		if _, err := fmt.Sscanf(text, "group %q %q %d", &a, &b, &x); err == nil {
			t.groups[[2]string{a, b}] = change.Offset(x)
		}
	case "generation":
		if _, err := fmt.Sscanf(text, "generation %q %d", &a, &x); err == nil {
			t.generations[a] = x
		}
	case "archive":
		if _, err := fmt.Sscanf(text, "archive %d %d", &n, &x); err == nil {
			t.archives[n] = change.LSN(x)
		}
	case "restored":
		if _, err := fmt.Sscanf(text, "restored %d %d", &n, &x); err == nil {
			t.restored[n] = change.LSN(x)
		}
	}
}

// inspect looks at what is left of a child's directory: all that it was told
// must be there, and everything must be as the history has it.
func (p plan) inspect(ctx context.Context, h *history, t told, rng *rand.Rand) error {
	if err := p.inspectStore(ctx, h, p.data(), t, true); err != nil {
		return fmt.Errorf("data: %w", err)
	}
	for n, lsn := range t.restored {
		if err := p.inspectStore(ctx, h, p.restored(n), told{lsn: lsn}, false); err != nil {
			return fmt.Errorf("restored directory %d: %w", n, err)
		}
	}
	found, err := filepath.Glob(filepath.Join(p.Dir, "restored-*"))
	if err != nil {
		return err
	}
	for _, dir := range found {
		if entries, err := os.ReadDir(dir); err != nil || len(entries) == 0 {
			continue
		}
		if _, err := store.Check(dir); errors.Is(err, store.ErrRestoring) {
			continue // nothing opens what a restore has not ended
		}
		if err := p.inspectStore(ctx, h, dir, told{}, false); err != nil {
			return fmt.Errorf("%s, whose restore was interrupted: %w", dir, err)
		}
	}
	for n, lsn := range t.archives {
		if rng.IntN(4) == 0 {
			if err := p.inspectArchive(ctx, h, n, lsn); err != nil {
				return fmt.Errorf("archive %d: %w", n, err)
			}
		}
	}
	return nil
}

func (p plan) inspectArchive(ctx context.Context, h *history, n int, lsn change.LSN) error {
	f, err := os.Open(p.archive(n))
	if err != nil {
		return err
	}
	defer f.Close()
	dir := filepath.Join(p.Dir, "again")
	defer os.RemoveAll(dir)
	if _, _, err := store.Restore(dir, f, store.Options{}); err != nil {
		return err
	}
	return p.inspectStore(ctx, h, dir, told{lsn: lsn}, false)
}

// inspectStore checks a data directory: fsck, start, compare, go on, fsck.
func (p plan) inspectStore(ctx context.Context, h *history, dir string, t told, main bool) (err error) {
	if _, err := os.Stat(filepath.Join(dir, "log")); err == nil {
		if err := fsck(dir); err != nil {
			return fmt.Errorf("before the start: %w", err)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	s, err := store.Open(dir, store.Options{NoSync: true, SegmentBytes: segmentBytes, Compress: p.Compress})
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer func() {
		err = errors.Join(err, s.Close())
		if err == nil {
			err = fsck(dir)
		}
	}()
	pos := s.Position()
	if pos.LSN < t.lsn {
		return fmt.Errorf("position %s is behind %s, which was reported durable", pos.LSN, t.lsn)
	}
	if err := p.compare(s, h); err != nil {
		return err
	}
	if err := groups(s, t); err != nil {
		return err
	}
	for i, more := h.at(pos.LSN), 0; i < len(h.txns) && more < 5; i, more = i+1, more+1 {
		if err := s.Apply(ctx, []change.Txn{h.txns[i]}); err != nil {
			return fmt.Errorf("go on: %w", err)
		}
	}
	if err := p.compare(s, h); err != nil {
		return fmt.Errorf("after it went on: %w", err)
	}
	if main && p.Views {
		return p.inspectViews(ctx, s)
	}
	return nil
}

func fsck(dir string) error {
	r, err := store.Check(dir)
	if err != nil {
		return fmt.Errorf("fsck: %w", err)
	}
	if err := errors.Join(r.Problems...); err != nil {
		return fmt.Errorf("fsck: %w", err)
	}
	return nil
}

// compare compares the views and the log with the model.
func (p plan) compare(s *store.Store, h *history) error {
	m := h.models[h.at(s.Position().LSN)]
	if d := m.Diff(s.Snapshot()); d != "" {
		return fmt.Errorf("at %s: %s", s.Position().LSN, d)
	}
	got, err := storetest.Lines(s.NewReader(s.Oldest()))
	if err != nil {
		return err
	}
	want := m.Log
	if p.Retention > 0 {
		want = want[max(0, len(want)-len(got)):]
	}
	if d := storetest.DiffLog(got, want); d != "" {
		return fmt.Errorf("at %s: %s", s.Position().LSN, d)
	}
	return nil
}

func groups(s *store.Store, t told) error {
	for at, off := range t.groups {
		if got := s.Committed(at[0], at[1]); got < off || got > s.Position().Offset {
			return fmt.Errorf("group %q has committed %d of %s, was told %d", at[0], got, at[1], off)
		}
	}
	for name, last := range t.generations {
		m, err := s.Join(name, "after")
		if err != nil {
			return err
		}
		if m.Leave(); m.Generation <= last {
			return fmt.Errorf("group %q gives out generation %d after %d", name, m.Generation, last)
		}
	}
	return nil
}

// inspectViews lets the view files go on: their lines must add up to the views,
// without a fill in between.
func (p plan) inspectViews(ctx context.Context, s *store.Store) error {
	filled := exists(filepath.Join(p.views(), "views.state.json"))
	opt := p.viewfiles()
	reg := prometheus.NewRegistry()
	opt.Registerer = reg
	var said bytes.Buffer
	opt.Logger = slog.New(slog.NewTextHandler(&said, nil))
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- viewfile.New(p.views(), s, opt).Run(ctx) }()
	at := s.Position().Offset
	deadline := time.Now().Add(time.Minute)
	for !writtenTo(p.views(), at) && time.Now().Before(deadline) {
		pause(time.Millisecond)
	}
	cancel()
	if err := <-done; err != nil {
		return err
	}
	if !writtenTo(p.views(), at) {
		return errors.New("view files do not catch up")
	}
	if n := refills(reg); n > 0 && filled {
		return fmt.Errorf("view files were filled again %v times: %s", n, said.String())
	}
	for _, v := range change.Views() {
		got, err := addUp(p.views(), v)
		if err != nil {
			return err
		}
		if want := s.Snapshot().ViewRows(v); len(got) != want {
			return fmt.Errorf("view file %s adds up to %d rows, the view has %d", v, len(got), want)
		}
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func refills(reg *prometheus.Registry) (n float64) {
	all, err := reg.Gather()
	if err != nil {
		return -1
	}
	for _, f := range all {
		if f.GetName() == "carbond_viewfile_refills_total" {
			for _, m := range f.GetMetric() {
				n += m.GetCounter().GetValue()
			}
		}
	}
	return n
}

// writtenTo reports whether the files have been synced up to an offset.
func writtenTo(dir string, at change.Offset) bool {
	b, err := os.ReadFile(filepath.Join(dir, "views.state.json"))
	if err != nil {
		return false
	}
	var st struct {
		Offset change.Offset `json:"offset"`
	}
	return json.Unmarshal(b, &st) == nil && st.Offset >= at
}

// addUp adds the diffs of equal rows in all files of a view.
func addUp(dir string, v change.View) (map[string]int, error) {
	names, err := filepath.Glob(filepath.Join(dir, string(v)+".*jsonl"))
	if err != nil {
		return nil, err
	}
	slices.Sort(names) // the numbered ones first
	sum := map[string]int{}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		for line := range bytes.Lines(b) {
			var row map[string]any
			if err := json.Unmarshal(line, &row); err != nil {
				return nil, fmt.Errorf("%s: %w: %q", name, err, line)
			}
			diff, _ := row["diff"].(float64)
			delete(row, "diff")
			delete(row, "time")
			key, err := json.Marshal(row)
			if err != nil {
				return nil, err
			}
			sum[string(key)] += int(diff)
		}
	}
	maps.DeleteFunc(sum, func(_ string, n int) bool { return n == 0 })
	for k, n := range sum {
		if n != 1 {
			return nil, fmt.Errorf("view file %s has %d times %s", v, n, k)
		}
	}
	return sum, nil
}

func TestMain(m *testing.M) {
	if spec := os.Getenv(childEnv); spec != "" {
		childMain(spec)
	}
	os.Exit(m.Run())
}
