package view_test

import (
	"testing"

	"carbond/store/change"
	"carbond/store/internal/view"
)

// FuzzShape gives rows of foreign bytes to what reads them: errors, no panics.
func FuzzShape(f *testing.F) {
	f.Add("2026-11-23 12:00:00.5+05:30", "0044-03-15 12:00:00+00 BC", "infinity", "1e400")
	f.Add("294276-12-31 23:59:59.999999+00", "-infinity", "-9223372036854775808", "NaN")
	f.Fuzz(func(t *testing.T, a, b, c, d string) {
		for _, table := range change.Tables() {
			sh, err := view.NewSchema(change.Standard(table), 1)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range []change.Row{change.Row(a), change.NewRow(change.T(a), change.T(b), change.Value{}, change.T(c), change.T(d), change.T(a), change.T(b))} {
				if key, err := sh.Key(r); err == nil && r.Check() == nil {
					s := view.New(1)
					s.Put(view.Entry{Key: key, Row: r, Schema: sh}, 2)
					for range s.Projects("", "") {
					}
					for range s.News("") {
					}
					for range s.Quotes("", "") {
					}
					if _, had := s.Remove(sh.Table, key, 3); !had {
						t.Fatalf("row %q is not there", key)
					}
				}
			}
		}
		x, ok := view.ReadInstant(change.T(a))
		if y, again := view.ReadInstant(change.T(a)); x != y || ok != again {
			t.Fatal("not a function")
		}
	})
}
