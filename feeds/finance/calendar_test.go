package finance_test

import (
	"testing"
	"time"

	"carbond/feeds/finance"
)

func utc(s string) time.Time {
	t, err := time.Parse("2006-01-02 15:04:05", s)
	if err != nil {
		panic(err)
	}
	return t
}

func TestOpen(t *testing.T) {
	tests := map[string]struct {
		at   string // UTC
		want bool
	}{
		"winter, before":             {"2026-11-23 14:29:59", false},
		"winter, first second":       {"2026-11-23 14:30:00", true},
		"winter, last second":        {"2026-11-23 20:59:59", true},
		"winter, after":              {"2026-11-23 21:00:00", false},
		"summer, first second":       {"2026-07-01 13:30:00", true},
		"summer, after":              {"2026-07-01 20:00:00", false},
		"friday before clocks turn":  {"2026-10-30 13:30:00", true},
		"monday after clocks turn":   {"2026-11-02 13:30:00", false},
		"monday after, an hour on":   {"2026-11-02 14:30:00", true},
		"spring, friday before":      {"2026-03-06 13:45:00", false},
		"spring, monday after":       {"2026-03-09 13:45:00", true},
		"saturday":                   {"2026-11-21 16:00:00", false},
		"sunday":                     {"2026-11-22 16:00:00", false},
		"utc midnight is no session": {"2026-11-24 00:30:00", false},
		"day after thanksgiving":     {"2026-11-27 17:59:00", true},
		"its early end":              {"2026-11-27 18:00:00", false},
		"christmas eve":              {"2026-12-24 18:30:00", false},
		"christmas eve, morning":     {"2026-12-24 15:00:00", true},
		"day before july 4 2025":     {"2025-07-03 17:30:00", false},
		"christmas eve on a friday":  {"2027-12-24 15:00:00", false},
	}
	for name, tc := range tests {
		if got := finance.Open(utc(tc.at)); got != tc.want {
			t.Errorf("%s: Open(%s) = %v", name, tc.at, got)
		}
	}
}

// The holidays that the exchange announced for these years, and no others.
func TestHolidays(t *testing.T) {
	announced := map[int][]string{
		2022: {"01-17", "02-21", "04-15", "05-30", "06-20", "07-04", "09-05", "11-24", "12-26"},
		2023: {"01-02", "01-16", "02-20", "04-07", "05-29", "06-19", "07-04", "09-04", "11-23", "12-25"},
		2024: {"01-01", "01-15", "02-19", "03-29", "05-27", "06-19", "07-04", "09-02", "11-28", "12-25"},
		2025: {"01-01", "01-20", "02-17", "04-18", "05-26", "06-19", "07-04", "09-01", "11-27", "12-25"},
		2026: {"01-01", "01-19", "02-16", "04-03", "05-25", "06-19", "07-03", "09-07", "11-26", "12-25"},
		2027: {"01-01", "01-18", "02-15", "03-26", "05-31", "06-18", "07-05", "09-06", "11-25", "12-24"},
		2028: {"01-17", "02-21", "04-14", "05-29", "06-19", "07-04", "09-04", "11-23", "12-25"},
	}
	for year, days := range announced {
		want := map[string]bool{}
		for _, d := range days {
			want[d] = true
		}
		for d := time.Date(year, 1, 1, 16, 0, 0, 0, time.UTC); d.Year() == year; d = d.AddDate(0, 0, 1) {
			weekend := d.Weekday() == time.Saturday || d.Weekday() == time.Sunday
			if open := finance.Open(d); open == (weekend || want[d.Format("01-02")]) {
				t.Errorf("%s: open = %v", d.Format("2006-01-02 Mon"), open)
			}
		}
	}
}

func TestNextOpen(t *testing.T) {
	tests := map[string]struct {
		at, next string
	}{
		"open":             {"2026-11-23 15:00:00", "2026-11-23 15:00:00"},
		"evening":          {"2026-11-23 22:00:00", "2026-11-24 14:30:00"},
		"minutes before":   {"2026-11-23 14:25:00", "2026-11-23 14:30:00"},
		"long weekend":     {"2026-07-02 20:00:00", "2026-07-06 13:30:00"},
		"over thanksgivng": {"2026-11-25 21:00:00", "2026-11-27 14:30:00"},
		"clocks turn":      {"2026-10-30 20:00:00", "2026-11-02 14:30:00"},
		"fraction before":  {"2026-11-23 14:29:59", "2026-11-23 14:30:00"},
	}
	for name, tc := range tests {
		if got := finance.NextOpen(utc(tc.at)); !got.Equal(utc(tc.next)) {
			t.Errorf("%s: NextOpen = %v, want %s", name, got.UTC(), tc.next)
		}
	}
}

func TestPossiblyDelisted(t *testing.T) {
	tests := map[string]struct {
		last, now string
		days      int
		gone      bool
	}{
		"same day":          {"2026-11-16 21:00:00", "2026-11-16 23:00:00", 0, false},
		"over a weekend":    {"2026-11-20 21:00:00", "2026-11-23 14:00:00", 0, false},
		"four sessions":     {"2026-11-16 21:00:00", "2026-11-20 21:00:00", 4, false},
		"five sessions":     {"2026-11-13 21:00:00", "2026-11-20 21:00:00", 5, true},
		"with thanksgiving": {"2026-11-20 21:00:00", "2026-11-27 22:00:00", 4, false},
		"years":             {"2016-11-20 21:00:00", "2026-11-27 22:00:00", 1000, true},
		"backwards":         {"2026-11-20 21:00:00", "2026-11-02 22:00:00", 0, false},
	}
	for name, tc := range tests {
		if got := finance.TradingDays(utc(tc.last), utc(tc.now)); got != tc.days {
			t.Errorf("%s: %d trading days, want %d", name, got, tc.days)
		}
		if got := finance.PossiblyDelisted(utc(tc.last), utc(tc.now)); got != tc.gone {
			t.Errorf("%s: %v", name, got)
		}
	}
}
