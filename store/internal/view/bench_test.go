package view_test

import (
	"fmt"
	"testing"

	"carbond/store/change"
	"carbond/store/internal/view"
)

// market is a state of 5,000 projects, half of them with an offer, and 47
// tickers with 20 prices each.
func market(b *testing.B) (s *view.State, put func(table string, values ...change.Value) view.Entry) {
	s = view.New(1)
	shapes := map[string]*view.Schema{}
	put = func(table string, values ...change.Value) view.Entry {
		sh := shapes[table]
		if sh == nil {
			var err error
			if sh, err = view.NewSchema(change.Standard(table), uint32(len(shapes)+1)); err != nil {
				b.Fatal(err)
			}
			shapes[table] = sh
		}
		full := make([]change.Value, len(sh.Relation.Columns))
		copy(full, values)
		row := change.NewRow(full...)
		key, err := sh.Key(row)
		if err != nil {
			b.Fatal(err)
		}
		e := view.Entry{Key: key, Row: row, Schema: sh}
		s.Put(e, 2)
		return e
	}
	for i := range 5000 {
		id := change.T(fmt.Sprintf("VCS-%04d", i))
		put(change.Verra, change.T("1"), id, change.T("Rimba Lestari Forest Conservation"), change.T("https://registry.example.org/app/projectDetail"),
			change.T("a summary"), change.T("ACTIVE"), change.T(fmt.Sprint("Country ", i%80)), change.T("2021"), change.T("12345.5"), change.T("2026-11-23 12:00:00+00"))
		if i%2 == 0 {
			put(change.Carbonmark, id, id, change.T("Rimba Lestari"), change.T("2020"), change.T("10.5"), change.T("2026-11-23 12:00:00+00"))
		}
	}
	for i := range 47 * 20 {
		put(change.Finance, change.T(fmt.Sprint("T", i%47)), change.T("31.25"), change.T("1000"), change.T("1e+09"), change.T("-0.5"), change.T(fmt.Sprint(1700000000+i)))
	}
	return s, put
}

// BenchmarkScan reads whole views.
func BenchmarkScan(b *testing.B) {
	s, _ := market(b)
	b.Run("projects", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			n := 0
			for p := range s.Projects("", "") {
				n += int(p.Vintage)
			}
			if n != 5000*2021 {
				b.Fatal(n)
			}
		}
	})
	b.Run("finance", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			n := 0
			for q := range s.Quotes("", "") {
				n += int(q.Volume)
			}
			if n != 47_000 {
				b.Fatal(n)
			}
		}
	})
}

// BenchmarkDelta is what one changed project costs.
func BenchmarkDelta(b *testing.B) {
	s, put := market(b)
	b.ReportAllocs()
	before := s.Copy()
	e := put(change.Verra, change.T("1"), change.T("VCS-0040"), change.T("another name"), change.Value{}, change.Value{}, change.T("RETIRED"), change.T("Country 3"), change.T("2022"), change.T("1"))
	for b.Loop() {
		var t view.Touched
		t.Add(e.Schema, e.Row)
		if d := view.Deltas(before, s, &t); len(d) != 2 {
			b.Fatal(len(d))
		}
	}
}
