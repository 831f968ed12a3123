package verra_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"carbond/feeds/internal/payload/golden"
	"carbond/feeds/verra"
)

var day = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

func row(id, project int64, vintage int32, tonnes float64, age int) verra.Units {
	u := verra.Units{EntityID: id, Number: project, ProjectID: verra.ProjectID(project), Modified: day.AddDate(0, 0, -age)}
	if vintage != 0 {
		u.Vintage = &vintage
	}
	if tonnes >= 0 {
		u.Quantity = &tonnes
	}
	return u
}

// show prints facts with "?" for unknown.
func show(f verra.Facts) string {
	num := func(v *float64) string {
		if v == nil {
			return "?"
		}
		return fmt.Sprint(*v)
	}
	year := "?"
	if f.Vintage != nil {
		year = fmt.Sprint(*f.Vintage)
	}
	return fmt.Sprintf("%s-%s-%s=%s %s", num(f.Issued), num(f.Retired), num(f.Cancelled), num(f.Supply), year)
}

func TestLedger(t *testing.T) {
	t.Parallel()
	all := func(l *verra.Ledger) {
		for _, r := range []verra.Resource{verra.Issuances, verra.Retirements, verra.Cancellations} {
			l.SetComplete(r, true)
		}
	}
	n := func(v float64) *float64 { return &v }
	cases := map[string]struct {
		fill func(*verra.Ledger)
		want string
	}{
		"nothing known": {func(*verra.Ledger) {}, "?-?-?=? ?"},
		"rows of an unfinished sweep": {func(l *verra.Ledger) {
			l.Add(verra.Issuances, row(1, 7, 2020, 10, 0))
		}, "?-?-?=? ?"},
		"retirements unknown": {func(l *verra.Ledger) {
			l.Add(verra.Issuances, row(1, 7, 2020, 10, 0))
			l.SetComplete(verra.Issuances, true)
			l.SetComplete(verra.Cancellations, true)
		}, "10-?-0=? 2020"},
		"nothing issued settles the rest": {func(l *verra.Ledger) {
			l.SetComplete(verra.Issuances, true)
		}, "0-0-0=0 ?"},
		"all known": {func(l *verra.Ledger) {
			l.Add(verra.Issuances, row(1, 7, 2020, 10, 0), row(2, 7, 2019, 5, 0), row(3, 8, 2024, 99, 0))
			l.Add(verra.Retirements, row(1, 7, 2020, 4, 0))
			l.Add(verra.Cancellations, row(1, 7, 2019, 1, 0))
			all(l)
		}, "15-4-1=10 2020"},
		"a total instead of rows": {func(l *verra.Ledger) {
			l.Add(verra.Issuances, row(1, 7, 2020, 10, 0))
			l.SetTotal(verra.Retirements, 7, n(4))
			l.SetComplete(verra.Issuances, true)
			l.SetComplete(verra.Cancellations, true)
		}, "10-4-0=6 2020"},
		"a total taken back": {func(l *verra.Ledger) {
			l.Add(verra.Issuances, row(1, 7, 2020, 10, 0))
			l.SetTotal(verra.Retirements, 7, n(4))
			l.SetTotal(verra.Retirements, 7, nil)
			l.SetComplete(verra.Issuances, true)
			l.SetComplete(verra.Cancellations, true)
		}, "10-?-0=? 2020"},
		"a quantity unknown": {func(l *verra.Ledger) {
			l.Add(verra.Issuances, row(1, 7, 2020, 10, 0), row(2, 7, 2021, -1, 0))
			all(l)
		}, "?-0-0=? 2021"},
		"the same row again": {func(l *verra.Ledger) {
			l.Add(verra.Issuances, row(1, 7, 2020, 10, 0), row(1, 7, 2020, 10, 0))
			all(l)
		}, "10-0-0=10 2020"},
		"an older copy of a row": {func(l *verra.Ledger) {
			l.Add(verra.Issuances, row(1, 7, 2020, 10, 0), row(1, 7, 2021, 12, 5))
			all(l)
		}, "10-0-0=10 2020"},
		"a newer copy of a row": {func(l *verra.Ledger) {
			l.Add(verra.Issuances, row(1, 7, 2021, 12, 5), row(1, 7, 2020, 10, 0))
			all(l)
		}, "10-0-0=10 2020"},
		"a row that moves to another project": {func(l *verra.Ledger) {
			l.Add(verra.Issuances, row(1, 7, 2021, 12, 5), row(1, 8, 2021, 12, 0))
			all(l)
		}, "0-0-0=0 ?"},
		"more retired than issued": {func(l *verra.Ledger) {
			l.Add(verra.Issuances, row(1, 7, 2020, 10, 0))
			l.Add(verra.Retirements, row(1, 7, 2020, 11, 0))
			all(l)
		}, "10-11-0=? 2020"},
		"fractions leave no noise": {func(l *verra.Ledger) {
			l.Add(verra.Issuances, row(1, 7, 2020, 0.1, 0), row(2, 7, 2020, 0.2, 0))
			l.Add(verra.Retirements, row(1, 7, 2020, 0.3, 0))
			all(l)
		}, "0.3-0.3-0=0 2020"},
		"a resource without a book": {func(l *verra.Ledger) {
			if l.Add(verra.Holdings, row(1, 7, 2020, 1, 0)) != nil {
				panic("holdings have no book")
			}
			l.SetTotal(verra.Projects, 7, n(1))
			l.SetComplete(verra.Projects, true)
		}, "?-?-?=? ?"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := verra.NewLedger()
			c.fill(l)
			if got := show(l.Facts(7)); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

// TestLedgerVintages adds up by vintage what is known, and nothing else.
func TestLedgerVintages(t *testing.T) {
	t.Parallel()
	n := func(v float64) *float64 { return &v }
	complete := func(l *verra.Ledger, books ...verra.Resource) {
		for _, r := range books {
			l.SetComplete(r, true)
		}
	}
	cases := map[string]struct {
		fill func(*verra.Ledger)
		also []int32
		want string
	}{
		"an unfinished sweep": {func(l *verra.Ledger) { l.Add(verra.Issuances, row(1, 7, 2020, 10, 0)) }, nil, ""},
		"all known": {func(l *verra.Ledger) {
			l.Add(verra.Issuances, row(1, 7, 2020, 10, 0), row(2, 7, 2019, 5, 0), row(3, 7, 2020, 2, 0), row(4, 8, 2020, 99, 0))
			l.Add(verra.Retirements, row(1, 7, 2020, 4, 0), row(2, 7, 2020, 1, 0))
			l.Add(verra.Cancellations, row(1, 7, 2019, 5, 0))
			complete(l, verra.Issuances, verra.Retirements, verra.Cancellations)
		}, nil, "2019 5-0-5=0, 2020 12-5-0=7"},
		"what is gone is not known": {func(l *verra.Ledger) {
			l.Add(verra.Issuances, row(1, 7, 2020, 10, 0))
			l.Add(verra.Retirements, row(1, 7, 2020, 4, 0))
			complete(l, verra.Issuances, verra.Cancellations)
		}, nil, "2020 10-?-0=?"},
		"a total of one vintage": {func(l *verra.Ledger) {
			l.Add(verra.Issuances, row(1, 7, 2020, 10, 0))
			l.SetTotal(verra.Retirements, 7, n(4))
			l.SetTotal(verra.Cancellations, 7, n(0))
			complete(l, verra.Issuances)
		}, nil, "2020 10-4-0=6"},
		"totals of two vintages": {func(l *verra.Ledger) {
			l.Add(verra.Issuances, row(1, 7, 2020, 10, 0), row(2, 7, 2021, 1, 0))
			l.SetTotal(verra.Retirements, 7, n(4))
			l.SetTotal(verra.Cancellations, 7, n(0))
			complete(l, verra.Issuances)
		}, nil, "2020 10-?-0=?, 2021 1-?-0=?"},
		"a vintage unknown": {func(l *verra.Ledger) {
			l.Add(verra.Issuances, row(1, 7, 2020, 10, 0))
			l.Add(verra.Retirements, row(1, 7, 0, 4, 0))
			complete(l, verra.Issuances, verra.Retirements, verra.Cancellations)
		}, nil, "2020 10-?-0=?"},
		"an issuance without a vintage": {func(l *verra.Ledger) {
			l.Add(verra.Issuances, row(1, 7, 2020, 10, 0), row(2, 7, 0, 1, 0))
			complete(l, verra.Issuances)
		}, nil, ""},
		"more gone than issued": {func(l *verra.Ledger) {
			l.Add(verra.Issuances, row(1, 7, 2020, 10, 0))
			l.Add(verra.Retirements, row(1, 7, 2020, 11, 0), row(2, 7, 2018, 1, 0))
			complete(l, verra.Issuances, verra.Retirements, verra.Cancellations)
		}, nil, "2018 0-1-0=?, 2020 10-11-0=?"},
		"a vintage that was corrected": {func(l *verra.Ledger) {
			l.Add(verra.Issuances, row(1, 7, 2020, 10, 1))
			l.Add(verra.Issuances, row(1, 7, 2021, 10, 0))
			complete(l, verra.Issuances, verra.Retirements, verra.Cancellations)
		}, []int32{2020}, "2020 0-0-0=0, 2021 10-0-0=10"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			l := verra.NewLedger()
			c.fill(l)
			var got []string
			for _, v := range l.Vintages(7, c.also...) {
				f := show(verra.Facts{Issued: v.Issued, Retired: v.Retired, Cancelled: v.Cancelled, Supply: v.Available})
				got = append(got, fmt.Sprintf("%d %s", v.Vintage, strings.TrimSuffix(f, " ?")))
			}
			if s := strings.Join(got, ", "); s != c.want {
				t.Errorf("got %s, want %s", s, c.want)
			}
		})
	}
}

func TestLedgerNamesChangedProjects(t *testing.T) {
	t.Parallel()
	l := verra.NewLedger()
	steps := []struct {
		rows []verra.Units
		want []int64
	}{
		{[]verra.Units{row(2, 9, 2020, 1, 3), row(1, 7, 2020, 1, 3), row(3, 7, 2020, 1, 3)}, []int64{7, 9}},
		{[]verra.Units{row(1, 7, 2020, 1, 3)}, nil},
		{[]verra.Units{row(1, 7, 2020, 2, 4)}, nil},
		{[]verra.Units{row(1, 7, 2020, 2, 2)}, []int64{7}},
		{[]verra.Units{row(1, 8, 2020, 2, 1)}, []int64{7, 8}},
	}
	for i, s := range steps {
		if got := l.Add(verra.Issuances, s.rows...); !slices.Equal(got, s.want) {
			t.Errorf("step %d: %v, want %v", i, got, s.want)
		}
	}
}

// Whatever the order in which rows arrive, and however often, the facts are the
// same to the last bit.
func TestLedgerDoesNotDependOnOrder(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 1))
	var rows []verra.Units
	for i := range int64(200) {
		rows = append(rows, row(i+1, 7, 2000+int32(r.IntN(25)), r.Float64()*1e6, r.IntN(5)))
	}
	facts := func() string {
		l := verra.NewLedger()
		l.Add(verra.Issuances, rows...)
		l.SetComplete(verra.Issuances, true)
		return show(l.Facts(7))
	}
	want := facts()
	for range 20 {
		rows = append(rows, rows[r.IntN(len(rows))])
		r.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
		if got := facts(); got != want {
			t.Fatalf("seed %d: %s, want %s", seed, got, want)
		}
	}
}

// Odd rows leave figures unset, never wrong.
func TestLedgerOfOddIssuances(t *testing.T) {
	t.Parallel()
	l := verra.NewLedger()
	l.Add(verra.Issuances, units(t, "issuances_nasty.json", verra.ParseIssuances)...)
	l.SetComplete(verra.Issuances, true)
	for project, want := range map[int64]string{
		934:  "2.877068e+06-?-?=? 2019", // no vintage, a range, a vintage
		3352: "416014-?-?=? 2024",       // vintage as number; one row twice
		1175: "?-?-?=? 2012",            // quantity null and missing
		1340: "2.655231e+06-?-?=? ?",    // vintages 9999 and FY21
		3005: "?-?-?=? 2022",            // negative quantity
		4020: "0.5-?-?=? 2023",
	} {
		if got := show(l.Facts(project)); got != want {
			t.Errorf("%d: %s, want %s", project, got, want)
		}
	}
}

func TestVintage(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]int32{
		"2024": 2024, " 2024 ": 2024, "2003 - 2004": 2004, "2003-2004": 2004, "2003–2004": 2004, "2003 / 2004": 2004, "2004 - 2004": 2004,
	} {
		if got, ok := verra.Vintage(in); !ok || got != want {
			t.Errorf("%q: %d %v", in, got, ok)
		}
	}
	for _, in := range []string{"", "FY21", "9999", "1970", "24", "2004 - 2003", "2003 - ", "- 2004", "2003 - 2004 - 2005", "2024.0", "+2024", "２０２４"} {
		if got, ok := verra.Vintage(in); ok {
			t.Errorf("%q: accepted as %d", in, got)
		}
	}
}

func BenchmarkParseProjects(b *testing.B) {
	body := golden.Read(b, "projects_page_first.json")
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if _, err := verra.ParseProjects(body, jsonType); err != nil {
			b.Fatal(err)
		}
	}
}
