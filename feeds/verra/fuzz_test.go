package verra_test

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"unicode"

	"carbond/feeds/internal/payload"
	"carbond/feeds/internal/payload/golden"
	"carbond/feeds/verra"
)

func named(err error) bool {
	for _, want := range []error{
		nil, payload.ErrEmpty, payload.ErrNull, payload.ErrHTML, payload.ErrNotJSON, payload.ErrTruncated, payload.ErrShape,
		payload.ErrTooMany, verra.ErrNoEntities,
	} {
		if errors.Is(err, want) {
			return true
		}
	}
	return false
}

func seed(f *testing.F) { golden.Seed(f, ".json", ".html", ".txt") }

func goodNumber(v *float64) bool { return v == nil || *v >= 0 && *v <= 1e12 && !math.IsNaN(*v) }

func goodText(s string) bool {
	return !strings.ContainsFunc(s, unicode.IsControl) && len([]rune(s)) <= 1000
}

func checkTally(t *testing.T, rows int, tally payload.Tally) {
	t.Helper()
	if rows+tally.Skipped()+tally.Duplicates != tally.Elements {
		t.Fatalf("%d rows of %+v", rows, tally)
	}
}

func FuzzProjects(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		page, err := verra.ParseProjects(body, jsonType)
		if !named(err) {
			t.Fatalf("unnamed error %v", err)
		}
		checkTally(t, len(page.Rows), page.Tally)
		seen := map[string]bool{}
		for _, p := range page.Rows {
			r := p.Row(verra.Facts{}, verra.RowOptions{})
			if seen[r.ProjectID] || !strings.HasPrefix(r.ProjectID, "VCS-") || r.RegistryStatus == "" || r.Supply != nil || !goodNumber(p.AnnualEstimate) {
				t.Fatalf("row %+v", r)
			}
			seen[r.ProjectID] = true
			for _, s := range []string{r.ProjectName, r.ProjectSummary, r.Country, p.StateCode, p.Label} {
				if !goodText(s) {
					t.Fatalf("text %q", s)
				}
			}
		}
	})
}

func FuzzUnits(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		page, err := verra.ParseIssuances(body, jsonType)
		if !named(err) {
			t.Fatalf("unnamed error %v", err)
		}
		checkTally(t, len(page.Rows), page.Tally)
		l := verra.NewLedger()
		l.Add(verra.Issuances, page.Rows...)
		l.SetComplete(verra.Issuances, true)
		for _, u := range page.Rows {
			facts := l.Facts(u.Number)
			if !goodNumber(u.Quantity) || u.EntityID <= 0 || u.Vintage != nil && (*u.Vintage < 1990 || *u.Vintage > 2100) {
				t.Fatalf("row %+v", u)
			}
			if facts.Supply != nil && *facts.Supply < 0 || facts.Vintage != nil && u.Vintage != nil && *facts.Vintage < *u.Vintage {
				t.Fatalf("facts %+v of %+v", facts, u)
			}
		}
	})
}

func FuzzOthers(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		for name, parse := range parsers {
			v, err := parse(body, jsonType)
			if !named(err) {
				t.Fatalf("%s: unnamed error %v", name, err)
			}
			if _, err := json.Marshal(v); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	})
}

func FuzzVintage(f *testing.F) {
	for _, s := range []string{"2024", "2003 - 2004", "FY21", "9999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if y, ok := verra.Vintage(s); ok && (y < 1990 || y > 2100) {
			t.Fatalf("%q gives %d", s, y)
		}
	})
}
