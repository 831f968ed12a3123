package store_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"carbond/store"
	"carbond/store/change"
	"carbond/store/storetest"
)

// histories reads the whole log and sorts it by project, knowing nothing of filters.
func histories(t *testing.T, s *store.Store) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for _, rec := range readAll(t, s, s.Oldest()) {
		if n := rec.Relation.Name; rec.Op == change.Truncate || n != change.Verra && n != change.Carbonmark && n != change.Vintages {
			continue
		}
		var ids []string
		for _, row := range []change.Row{rec.Before, rec.After} {
			if row != "" {
				ids = append(ids, row.Value(rec.Relation.Index("project_id")).Text)
			}
		}
		slices.Sort(ids)
		for _, id := range slices.Compact(ids) {
			out[id] = append(out[id], told(&rec))
		}
	}
	return out
}

func told(r *change.Record) string {
	return fmt.Sprintf("%d %s %s %q %q", r.Offset, r.Op, r.Relation.Name, r.Before, r.After)
}

// history reads the changes of a project from an offset on, in small pieces.
func history(t *testing.T, s *store.Store, id string, from change.Offset) (out []string, spent int) {
	t.Helper()
	r := s.NewProjectReader(id, from)
	for r.Next() <= s.Position().Offset {
		was, paid := r.Next(), r.Spent()
		recs, err := r.Read(4 << 10)
		if err != nil {
			t.Fatal(err)
		}
		if r.Next() == was && r.Spent() == paid {
			t.Fatalf("the reader stands still at offset %d", was)
		}
		for i := range recs {
			out = append(out, told(&recs[i]))
		}
	}
	return out, r.Spent()
}

func filters(t *testing.T, dir string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "log", "*.keys"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestProjectHistories: whatever the filters are (there, missing, damaged, of compressed
// segments, of another segment), a history is what reading everything gives.
func TestProjectHistories(t *testing.T) {
	n := seed(t)
	rng, src := rand.New(rand.NewPCG(n, 1)), storetest.NewSource(n)
	dir := t.TempDir()
	opt := store.Options{SegmentBytes: 8 << 10, NoSync: true, Compress: n%2 == 0}
	s := open(t, dir, opt)
	compare := func(when string) {
		t.Helper()
		all := histories(t, s)
		all["nobody"] = nil
		for id, want := range all {
			if id == "" {
				continue // NULL: of no project
			}
			got, _ := history(t, s, id, s.Oldest())
			if !slices.Equal(got, want) {
				t.Fatalf("%s: %s:\n got %v\nwant %v", when, id, got, want)
			}
			if len(want) > 1 { // and from somewhere on
				at := rng.IntN(len(want))
				var from change.Offset
				if _, err := fmt.Sscan(want[at], &from); err != nil {
					t.Fatal(err)
				}
				if got, _ := history(t, s, id, from); !slices.Equal(got, want[at:]) {
					t.Fatalf("%s: %s from %d:\n got %v\nwant %v", when, id, from, got, want[at:])
				}
			}
		}
	}
	reopen := func() {
		t.Helper()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, dir, opt)
	}
	for range 5 {
		for range 40 {
			mustApply(t, s, storetest.Split(src.Next(), 1+rng.IntN(3))...)
		}
		compare("before filters")
		s.MakeFilters(t.Context())
		compare("with filters")
		reopen()
	}
	made := filters(t, dir)
	if segs, _ := filepath.Glob(filepath.Join(dir, "log", "*.seg")); len(made) != len(segs)-1 || len(made) < 3 {
		t.Fatalf("%d filters of %d segments", len(made), len(segs))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	mustBeSound(t, dir)
	damage := map[string]func(path string, b []byte) []byte{
		"a bit":       func(_ string, b []byte) []byte { b[rng.IntN(len(b))] ^= 1 << rng.IntN(8); return b },
		"cut":         func(_ string, b []byte) []byte { return b[:rng.IntN(len(b))] },
		"empty":       func(string, []byte) []byte { return nil },
		"of another":  func(string, []byte) []byte { return mustRead(t, made[0]) },
		"half a page": func(_ string, b []byte) []byte { clear(b[len(b)/2:]); return b },
	}
	for name, spoil := range damage {
		t.Run(name, func(t *testing.T) {
			victim := made[1+rng.IntN(len(made)-1)]
			if err := os.WriteFile(victim, spoil(victim, mustRead(t, victim)), 0o640); err != nil {
				t.Fatal(err)
			}
			r, err := store.Check(dir)
			if err != nil || len(r.Problems) != 1 || !strings.Contains(errors.Join(r.Problems...).Error(), victim) {
				t.Errorf("fsck: %v, %v", err, r.Problems)
			}
			s = open(t, dir, opt)
			s.MakeFilters(t.Context()) // knows of nothing wrong yet
			compare("with a damaged filter")
			s.MakeFilters(t.Context())
			compare("with a new one")
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			mustBeSound(t, dir)
		})
	}
}

// TestHistoryReadsLittle: a project with a change in each of a few places costs those
// places, not the log; and retention takes the filters with the segments.
func TestHistoryReadsLittle(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, store.Options{SegmentBytes: 1 << 20, NoSync: true})
	rel := storetest.NewSource(1).Relation(change.Verra)
	row := func(id string, i int) change.Change {
		return change.Change{Op: change.Create, Relation: rel, After: storetest.Encode(rel, map[string]change.Value{
			"project_id": change.T(id), "project_name": change.T(strings.Repeat(fmt.Sprint(id, i), 20)),
		})}
	}
	const txns, rows = 120, 400
	for i := range txns {
		at := change.LSN(100 * (i + 1))
		txn := change.Txn{XID: uint32(i + 1), CommitLSN: at, EndLSN: at + 50, First: true, Final: true}
		for j := range rows {
			txn.Changes = append(txn.Changes, row(fmt.Sprintf("VCS-%d", rows*i+j), i))
		}
		if i == 20 {
			txn.Changes = append(txn.Changes, row("GS-1", i))
		}
		mustApply(t, s, txn)
	}
	before, all := history(t, s, "GS-1", 1)
	s.MakeFilters(t.Context())
	got, spent := history(t, s, "GS-1", 1)
	if len(got) != 1 || !slices.Equal(got, before) {
		t.Fatalf("got %v, want %v", got, before)
	}
	size, made := 0, filters(t, dir)
	for _, f := range made {
		size += len(mustRead(t, f))
	}
	t.Logf("%d changes: %d bytes of log and filters without filters, %d with them; %d filters have %d bytes", txns*rows, all, spent, len(made), size)
	if spent > size+1<<20+200<<10 || all < 8*spent {
		t.Errorf("read %d of %d bytes; the filters have %d", spent, all, size)
	}
	if err := s.Maintain(t.Context()); err != nil { // retention stays behind the checkpoint
		t.Fatal(err)
	}
	s.SetRetention(store.Retention{Bytes: 1})
	if err := s.Trim(); err != nil {
		t.Fatal(err)
	}
	if left := filters(t, dir); len(made) < 5 || len(left) != 0 {
		t.Errorf("%d filters, %d of them are left without their segments", len(made), len(left))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func mustRead(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func mustBeSound(t *testing.T, dir string) {
	t.Helper()
	if r, err := store.Check(dir); err != nil || len(r.Problems) > 0 {
		t.Fatalf("fsck: %v, %v", err, r.Problems)
	}
}

// TestProjectsOfAnotherTable: a table without a view that is called as one of the views'
// has no part in the history of a project.
func TestProjectsOfAnotherTable(t *testing.T) {
	s := open(t, t.TempDir(), store.Options{})
	other := &change.Relation{Schema: "shop", Name: change.Verra, Plain: true, Columns: []change.Column{{Name: "project_id", Type: change.OIDText, Key: true}}}
	verra := change.Standard(change.Verra)
	row := make([]change.Value, len(verra.Columns))
	row[verra.Index("project_id")] = change.T("P")
	mustApply(t, s, change.Txn{XID: 1, CommitLSN: 10, EndLSN: 15, First: true, Final: true, Changes: []change.Change{
		{Op: change.Create, Relation: other, After: change.NewRow(change.T("P")), LSN: 9},
		{Op: change.Create, Relation: verra, After: change.NewRow(row...), LSN: 9},
	}})
	if got, _ := history(t, s, "P", 1); len(got) != 1 {
		t.Errorf("the history of P is %q", got)
	}
}
