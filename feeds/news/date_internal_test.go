package news

import (
	"testing"
	"time"
)

var dateNow = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

func TestReadDate(t *testing.T) {
	for s, want := range dateForms {
		at, exact, ok := readDate(s, dateNow)
		got := "-"
		if ok {
			got = at.Format("2006-01-02T15:04:05")
			if !exact {
				got += "?"
			}
		}
		if got != want {
			t.Errorf("%q = %s, want %s", s, got, want)
		}
	}
}
