package carbonmark_test

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"unicode"

	"carbond/feeds/carbonmark"
	"carbond/feeds/internal/payload"
	"carbond/feeds/internal/payload/golden"
)

func named(err error) bool {
	for _, want := range []error{
		nil, payload.ErrEmpty, payload.ErrNull, payload.ErrHTML, payload.ErrNotJSON, payload.ErrTruncated, payload.ErrShape,
		payload.ErrTooMany, carbonmark.ErrAuth, carbonmark.ErrPayment, carbonmark.ErrRemoved, carbonmark.ErrNoGraph,
		carbonmark.ErrIndexers, carbonmark.ErrRate, carbonmark.ErrQuery,
	} {
		if errors.Is(err, want) {
			return true
		}
	}
	return false
}

func check(t *testing.T, rows []carbonmark.Row, tally payload.Tally, err error) {
	t.Helper()
	if !named(err) {
		t.Fatalf("unnamed error %v", err)
	}
	if err != nil {
		return
	}
	if len(rows)+tally.Skipped()+tally.Duplicates != tally.Elements {
		t.Fatalf("%d rows of %+v", len(rows), tally)
	}
	seen := map[string]bool{}
	for _, r := range rows {
		if r.ID == "" || seen[r.ID] || len([]rune(r.ID)) > 200 || len([]rune(r.ProjectName)) > 300 ||
			strings.ContainsFunc(r.ID+r.ProjectID+r.ProjectName, unicode.IsControl) {
			t.Fatalf("row %+v", r)
		}
		seen[r.ID] = true
		if r.Amount != nil && (*r.Amount < 0 || math.IsNaN(*r.Amount) || *r.Amount > 1e15) {
			t.Fatalf("amount of %+v: %v", r, *r.Amount)
		}
		if r.Vintage != nil && (*r.Vintage < 1990 || *r.Vintage > 2100) {
			t.Fatalf("vintage of %+v: %v", r, *r.Vintage)
		}
	}
}

func seed(f *testing.F) { golden.Seed(f, ".json", ".html") }

func FuzzProjects(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		p, err := carbonmark.ParseProjects(body, jsonType)
		check(t, rowsOf(p.Rows, func(p carbonmark.Project) carbonmark.Row { return p.Row(nil) }), p.Tally, err)
	})
}

func FuzzGraph(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		p, err := carbonmark.ParseGraphProjects(body, jsonType)
		check(t, rowsOf(p.Rows, carbonmark.GraphProject.Row), p.Tally, err)
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
		prices, err := carbonmark.ParsePrices(body, jsonType)
		if err == nil {
			for id, o := range carbonmark.OffersOf(prices.Rows) {
				if id == "" || o.Price != nil && !(*o.Price > 0) || o.Listed != nil && !(*o.Listed > 0) {
					t.Fatalf("%s: %+v", id, o)
				}
			}
		}
	})
}
