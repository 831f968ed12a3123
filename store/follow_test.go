package store_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"carbond/store"
	"carbond/store/change"
	"carbond/store/storetest"
)

// mirror is what a watcher holds: rows by view, window and key.
type mirror map[string]map[string]any

func newMirror(snap *store.Snapshot) mirror {
	m := mirror{}
	for p := range snap.Projects("", "") {
		m.set("projects", p.ProjectID, p)
	}
	for _, src := range storetest.Outlets {
		for n := range snap.News(src) {
			m.set("news/"+src, n.GUID, n)
		}
	}
	for q := range snap.Quotes("", "") {
		m.set("finance", q.Ticker, q)
	}
	return m
}

func (m mirror) set(view, key string, row any) {
	if m[view] == nil {
		m[view] = map[string]any{}
	}
	m[view][key] = row
}

func (m mirror) apply(d change.Delta) error {
	var view, key string
	var row any
	switch {
	case d.Project != nil:
		view, key, row = "projects", d.Project.ProjectID, *d.Project
	case d.News != nil:
		view, key, row = "news/"+d.Window, d.News.GUID, *d.News
	default:
		view, key, row = "finance", d.Quote.Ticker, *d.Quote
	}
	old, had := m[view][key]
	if d.Diff > 0 {
		if had {
			return fmt.Errorf("%s %s comes twice", view, key)
		}
		m.set(view, key, row)
		return nil
	}
	if !had || old != row {
		return fmt.Errorf("%s %s leaves as %+v, was %+v", view, key, row, old)
	}
	delete(m[view], key)
	return nil
}

func (m mirror) diff(want mirror) string {
	for _, v := range []string{"projects", "finance", "news/", "news/Reuters", "news/BBC", "news/The Guardian"} {
		if len(m[v]) != len(want[v]) {
			return fmt.Sprintf("%s: %d rows, want %d", v, len(m[v]), len(want[v]))
		}
		for k, row := range want[v] {
			if m[v][k] != row {
				return fmt.Sprintf("%s %s: %+v, want %+v", v, k, m[v][k], row)
			}
		}
	}
	return ""
}

// TestFollow holds the watch invariant: a snapshot plus the deltas behind it is
// the snapshot at the offset that they lead to, from any transaction end on,
// and every delta fits what is there.
func TestFollow(t *testing.T) {
	sd := seed(t)
	rng := rand.New(rand.NewPCG(sd, 3))
	src := storetest.NewSource(sd)
	src.Plain = true
	s := open(t, t.TempDir(), store.Options{NoSync: true, SegmentBytes: 16 << 10})
	defer s.Close()
	ctx := context.Background()
	ends := []change.Offset{0}
	for range 500 {
		mustApply(t, s, storetest.Split(src.Next(), 1+rng.IntN(4))...)
		if at := s.Position().Offset; at != ends[len(ends)-1] {
			ends = append(ends, at)
		}
	}
	for range 6 {
		i := rng.IntN(len(ends))
		f, snap, err := s.Follow(ctx, ends[i])
		if err != nil {
			t.Fatal(err)
		}
		m := newMirror(snap)
		for f.Offset() < ends[len(ends)-1] {
			txns, err := f.Next(ctx)
			if err != nil {
				t.Fatal(err)
			}
			for _, txn := range txns {
				i++
				if txn.Offset != ends[i] {
					t.Fatalf("transaction ends at %d, want %d", txn.Offset, ends[i])
				}
				for d := range txn.All {
					if err := m.apply(d); err != nil {
						t.Fatalf("offset %d: %v", txn.Offset, err)
					}
				}
				if rng.IntN(20) > 0 {
					continue
				}
				then, err := s.AsOf(ctx, txn.Offset)
				if err != nil {
					t.Fatal(err)
				}
				if d := m.diff(newMirror(then)); d != "" {
					t.Fatalf("offset %d: %s", txn.Offset, d)
				}
			}
		}
		if d := m.diff(newMirror(s.Snapshot())); d != "" {
			t.Fatal(d)
		}
	}
}

// TestAsOfFromNear asks for versions one after the other, each from the one before
// it, which may be older or newer, for all or for what a filter selects.
func TestAsOfFromNear(t *testing.T) {
	sd := seed(t)
	rng := rand.New(rand.NewPCG(sd, 4))
	src := storetest.NewSource(sd)
	src.Plain = true
	s := open(t, t.TempDir(), store.Options{NoSync: true, SegmentBytes: 16 << 10})
	defer s.Close()
	var ends []change.Offset
	filters := map[change.Selection]bool{{}: true, {View: change.ViewProjects}: true, {View: change.ViewFinance}: true, {View: change.ViewNews}: true}
	for range 400 {
		mustApply(t, s, src.Next())
		ends = append(ends, s.Position().Offset)
		for p := range s.Snapshot().Projects("", "") {
			filters[change.Selection{View: change.ViewProjects, Filter: p.Country}] = true
		}
		for n := range s.Snapshot().News("") {
			filters[change.Selection{View: change.ViewNews, Filter: n.Source}] = true
		}
		for q := range s.Snapshot().Quotes("", "") {
			filters[change.Selection{View: change.ViewFinance, Filter: q.Ticker}] = true
		}
	}
	for of := range filters {
		var near change.ViewSnapshot
		shown := 0
		for range 12 {
			at := ends[rng.IntN(len(ends))]
			then, err := s.Past().AsOf(t.Context(), at, of, near)
			if err != nil {
				t.Fatal(err)
			}
			plain, err := s.AsOf(t.Context(), at)
			if err != nil {
				t.Fatal(err)
			}
			if of == (change.Selection{}) {
				if d := newMirror(then.(*store.Snapshot)).diff(newMirror(plain)); d != "" {
					t.Fatalf("offset %d: %s", at, d)
				}
			}
			got, want := selected(then, of), selected(plain, of)
			if d := strings.Join(got, "\n"); d != strings.Join(want, "\n") || then.Offset() != at {
				t.Fatalf("%+v as of offset %d: %d,\n%s\n--- want\n%s", of, at, then.Offset(), d, strings.Join(want, "\n"))
			}
			near, shown = then, shown+len(got)
		}
		if shown == 0 && of.Filter == "" && of.View != "" {
			t.Errorf("%+v had no row at any time", of)
		}
	}
}

// selected lists what a selection has of a version.
func selected(s change.ViewSnapshot, of change.Selection) (lines []string) {
	switch of.View {
	case change.ViewProjects:
		for p := range s.Projects(of.Filter, "") {
			lines = append(lines, fmt.Sprintf("%+v", p))
		}
	case change.ViewNews:
		for n := range s.News(of.Filter) {
			lines = append(lines, fmt.Sprintf("%+v", n))
		}
	case change.ViewFinance:
		for q := range s.Quotes(of.Filter, "") {
			lines = append(lines, fmt.Sprintf("%+v", q))
		}
	}
	return lines
}

// TestFollowBulk makes transactions that are too large to hold their deltas:
// what Bulk yields must lead from one snapshot to the next all the same.
func TestFollowBulk(t *testing.T) {
	s := open(t, t.TempDir(), store.Options{NoSync: true})
	defer s.Close()
	ctx := context.Background()
	f, snap, err := s.Follow(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	m := newMirror(snap)
	rel := change.Standard(change.Verra)
	var b change.RowBuilder
	big := change.Txn{First: true, Final: true, CommitLSN: 10, EndLSN: 11}
	for i := range 30_000 {
		big.Changes = append(big.Changes, change.Change{Op: change.Create, Relation: rel, After: projectRow(&b, i, 0)})
	}
	small := change.Txn{First: true, Final: true, CommitLSN: 20, EndLSN: 21, Changes: []change.Change{
		{Op: change.Update, Relation: rel, After: projectRow(&b, 7, 1)},
	}}
	gone := change.Txn{First: true, Final: true, CommitLSN: 30, EndLSN: 31, Changes: []change.Change{{Op: change.Truncate, Relation: rel}}}
	var sizes []int
	for _, txn := range []change.Txn{big, small, gone} {
		mustApply(t, s, txn)
		for f.Offset() < s.Position().Offset {
			txns, err := f.Next(ctx)
			if err != nil {
				t.Fatal(err)
			}
			for _, x := range txns {
				n := 0
				for d := range x.All {
					n++
					if err := m.apply(d); err != nil {
						t.Fatal(err)
					}
				}
				sizes = append(sizes, n)
			}
		}
		if d := m.diff(newMirror(s.Snapshot())); d != "" {
			t.Fatal(d)
		}
	}
	if want := []int{30_000, 2, 30_000}; !slices.Equal(sizes, want) {
		t.Fatalf("deltas per transaction %v, want %v", sizes, want)
	}
}
