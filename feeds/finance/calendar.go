package finance

import (
	"sync"
	"time"

	_ "time/tzdata" // New York's rules must be known in a container without zone files
)

// Regular session, in minutes after midnight in New York.
const (
	opens       = 9*60 + 30
	closes      = 16 * 60
	closesEarly = 13 * 60
)

// newYork is loaded on first use; the zone is compiled in.
var newYork = sync.OnceValue(func() *time.Location {
	loc, err := time.LoadLocation("America/New_York")
	if err != nil {
		panic("finance: time zone America/New_York is not compiled in: " + err.Error())
	}
	return loc
})

// Open reports whether the New York market is in its regular session at t:
// 09:30 to 16:00 on weekdays, 13:00 on the short days, never on exchange
// holidays. Holidays follow the exchange's published rules as of 2026 (from
// 2022 on, the first year of Juneteenth); single closures by order, such as
// days of mourning, are not known and count as open.
func Open(t time.Time) bool {
	ny := t.In(newYork())
	end, trading := session(ny)
	minute := ny.Hour()*60 + ny.Minute()
	return trading && minute >= opens && minute < end
}

// NextOpen returns t itself while the market is open, else the next time it
// opens.
func NextOpen(t time.Time) time.Time {
	if Open(t) {
		return t
	}
	ny := t.In(newYork())
	for day := 0; ; day++ {
		at := time.Date(ny.Year(), ny.Month(), ny.Day()+day, 0, opens, 0, 0, newYork())
		if _, trading := session(at); trading && at.After(t) {
			return at
		}
	}
}

// DelistedAfter is how many trading days a ticker may stay without a price.
const DelistedAfter = 5

// PossiblyDelisted reports whether a ticker that last had a price at last has
// been silent for DelistedAfter full trading days at now. Its last value stays;
// only the flag says that it is old.
func PossiblyDelisted(last, now time.Time) bool {
	return TradingDays(last, now) >= DelistedAfter
}

// TradingDays counts the sessions that began after from and ended by to, up to
// 1,000.
func TradingDays(from, to time.Time) int {
	start := from.In(newYork())
	n := 0
	for day := 0; n < 1000 && day < 2000; day++ {
		at := time.Date(start.Year(), start.Month(), start.Day()+day, 0, opens, 0, 0, newYork())
		end, trading := session(at)
		stop := time.Date(at.Year(), at.Month(), at.Day(), 0, end, 0, 0, newYork())
		if stop.After(to) {
			return n
		}
		if trading && at.After(from) {
			n++
		}
	}
	return n
}

// session returns the minute in which the session of t's day ends, and whether
// there is one. t is in New York time.
func session(t time.Time) (end int, trading bool) {
	y, m, d := t.Date()
	wd := t.Weekday()
	if wd == time.Saturday || wd == time.Sunday || holiday(y, m, d, wd) {
		return closes, false
	}
	if early(m, d, wd) {
		return closesEarly, true
	}
	return closes, true
}

// holiday reports the exchange's holidays. A fixed date that falls on a Sunday
// is kept on Monday, on a Saturday on the Friday before; New Year's Day on a
// Saturday is not kept, since the year is closed on the Friday.
func holiday(y int, m time.Month, d int, wd time.Weekday) bool {
	monday, friday := wd == time.Monday, wd == time.Friday
	kept := func(month time.Month, day int) bool {
		return m == month && (d == day || monday && d == day+1 || friday && d == day-1)
	}
	nth := (d-1)/7 + 1
	switch m {
	case time.January:
		return d == 1 || monday && d == 2 || monday && nth == 3
	case time.February:
		return monday && nth == 3
	case time.March, time.April:
		em, ed := easter(y)
		good := time.Date(y, em, ed-2, 0, 0, 0, 0, time.UTC)
		return m == good.Month() && d == good.Day()
	case time.May:
		return monday && d+7 > 31
	case time.June:
		return kept(time.June, 19)
	case time.July:
		return kept(time.July, 4)
	case time.September:
		return monday && nth == 1
	case time.November:
		return wd == time.Thursday && nth == 4
	case time.December:
		return kept(time.December, 25)
	}
	return false
}

// early reports the days that end at 13:00: 3 July and 24 December when they
// are trading days before a Tuesday to Friday holiday, and the day after
// Thanksgiving. Holidays are known not to be asked for.
func early(m time.Month, d int, wd time.Weekday) bool {
	switch {
	case m == time.July && d == 3, m == time.December && d == 24:
		return wd >= time.Monday && wd <= time.Thursday
	case m == time.November && wd == time.Friday:
		return (d-2)/7+1 == 4 && d > 1
	}
	return false
}

// easter returns the Gregorian Easter Sunday (the anonymous algorithm).
func easter(y int) (time.Month, int) {
	a, b, c := y%19, y/100, y%100
	d, e := b/4, b%4
	g := (8*b + 13) / 25
	h := (19*a + b - d - g + 15) % 30
	i, k := c/4, c%4
	l := (32 + 2*e + 2*i - h - k) % 7
	n := (a + 11*h + 22*l) / 451
	month := (h + l - 7*n + 114) / 31
	day := (h+l-7*n+114)%31 + 1
	return time.Month(month), day
}
