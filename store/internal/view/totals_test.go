package view_test

import (
	"fmt"
	"maps"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"carbond/store/change"
	"carbond/store/internal/view"
)

// naiveTotals adds up the rows of a state, exactly.
func naiveTotals(s *view.State, by string) (out []change.Total) {
	sums, totals := map[string]*big.Float{}, map[string]change.Total{}
	for p := range s.Projects("", "") {
		group := map[string]string{"": "", "country": p.Country, "registry_status": p.RegistryStatus, "vintage": strconv.Itoa(int(p.Vintage))}[by]
		if by == "vintage" && p.Null.Has(slices.Index(change.Projects.Names(), "vintage")) {
			group = ""
		}
		t := totals[group]
		t.Group = group
		t.Rows++
		switch {
		case p.Null.Has(slices.Index(change.Projects.Names(), "supply")):
			t.Unknown++
		case math.IsNaN(p.Supply):
			t.NaN++
		case math.IsInf(p.Supply, 0):
			t.Infinite++
		default:
			if sums[group] == nil {
				sums[group] = new(big.Float).SetPrec(4000)
			}
			sums[group].Add(sums[group], big.NewFloat(p.Supply))
		}
		totals[group] = t
	}
	for _, group := range slices.Sorted(maps.Keys(totals)) {
		t := totals[group]
		if sums[group] != nil {
			t.Supply, _ = sums[group].Float64()
		}
		out = append(out, t)
	}
	return out
}

func equalTotals(t *testing.T, what string, s *view.State) {
	t.Helper()
	for _, by := range []string{"", "country", "registry_status", "vintage"} {
		got, want := slices.Collect(s.Totals(by)), naiveTotals(s, by)
		if !slices.Equal(got, want) {
			t.Fatalf("%s, by %q:\n got %+v\nwant %+v", what, by, got, want)
		}
	}
}

// TestTotals compares what is kept with what adding up gives, in a state and in its
// copies, through changes, deletions, clearing and loading.
func TestTotals(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	sh, err := view.NewSchema(change.Standard(change.Verra), 1)
	if err != nil {
		t.Fatal(err)
	}
	supplies := []string{"0.1", "0.2", "-0.3", "1e308", "-1e308", "1e308", "5e-324", "NaN", "Infinity", "-Infinity", "123456789.125", "1e-300", ""}
	maybe := func(texts ...string) change.Value {
		if s := texts[rng.IntN(len(texts))]; s != "" {
			return change.T(s)
		}
		return change.Value{}
	}
	entry := func() view.Entry {
		vals := make([]change.Value, len(sh.Relation.Columns))
		set := func(name string, v change.Value) { vals[sh.Relation.Index(name)] = v }
		set("project_id", change.T(fmt.Sprint("P", rng.IntN(60))))
		set("country", maybe("Peru", "Chad", "India", ""))
		set("registry_status", maybe("ACTIVE", "RETIRED"))
		set("vintage", maybe("2019", "2020", "0", ""))
		set("supply", maybe(supplies...))
		row := change.NewRow(vals...)
		key, err := sh.Key(row)
		if err != nil {
			t.Fatal(err)
		}
		return view.Entry{Key: key, Row: row, Schema: sh}
	}
	s := view.New(1)
	var copies []*view.State
	var were [][]change.Total
	for step := range 3000 {
		switch e := entry(); rng.IntN(200) {
		case 0:
			s.Clear(view.Verra, 5)
		case 1, 2, 3:
			copies, were = append(copies, s.Copy()), append(were, naiveTotals(s, "country"))
			if rng.IntN(2) == 0 { // go on with the copy
				copies[len(copies)-1], s = s, copies[len(copies)-1]
			}
		case 4:
			s.Clear(view.Verra, 5)
			s.Load(view.Verra)
			for range 40 {
				s.Put(entry(), 0)
			}
			s.Loaded(view.Verra, 6)
		default:
			if rng.IntN(4) == 0 {
				s.Remove(view.Verra, e.Key, 7)
			} else {
				s.Put(e, 7)
			}
		}
		if step%50 == 0 {
			equalTotals(t, fmt.Sprint("step ", step), s)
		}
	}
	equalTotals(t, "the end", s)
	for i, c := range copies {
		equalTotals(t, fmt.Sprint("copy ", i), c)
		if got := slices.Collect(c.Totals("country")); !slices.Equal(got, were[i]) {
			t.Fatalf("copy %d changed: %+v, was %+v", i, got, were[i])
		}
	}
}

// BenchmarkTotals is what a changed supply costs beside so many projects.
func BenchmarkTotals(b *testing.B) {
	for _, n := range []int{1000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			sh, err := view.NewSchema(change.Standard(change.Verra), 1)
			if err != nil {
				b.Fatal(err)
			}
			entry := func(i int, supply string) view.Entry {
				vals := make([]change.Value, len(sh.Relation.Columns))
				id := fmt.Sprintf("P%07d", i)
				vals[sh.Relation.Index("project_id")], vals[sh.Relation.Index("supply")] = change.T(id), change.T(supply)
				vals[sh.Relation.Index("country")] = change.T(fmt.Sprint("Country ", i%100))
				return view.Entry{Key: id, Row: change.NewRow(vals...), Schema: sh}
			}
			s := view.New(1)
			s.Load(view.Verra)
			for i := range n {
				s.Put(entry(i, "5"), 0)
			}
			s.Loaded(view.Verra, 2)
			i := 0
			for b.Loop() {
				i++
				s.Put(entry(i*7919%n, strconv.Itoa(i)), 3)
				for range s.Totals("country") {
				}
			}
		})
	}
}
