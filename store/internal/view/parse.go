package view

import (
	"math"
	"strconv"
	"strings"
	"time"

	"carbond/store/change"
)

// number reads a Postgres number; NULL and foreign text are 0.
func number(v change.Value) float64 {
	if v.Kind != change.Text {
		return 0
	}
	f, err := strconv.ParseFloat(v.Text, 64)
	if err != nil && !math.IsInf(f, 0) {
		return 0
	}
	return f
}

// integer reads a Postgres integer; NULL is 0. A column that somebody made
// numeric is rounded as its cast to an integer does, half away from zero.
func integer(v change.Value) int64 {
	if v.Kind != change.Text {
		return 0
	}
	n, err := strconv.ParseInt(v.Text, 10, 64)
	if err == nil {
		return n
	}
	f := number(v)
	if f != f || math.Abs(f) >= 1<<63 {
		return 0
	}
	return int64(math.Round(f))
}

// casts reports whether cast may change a value of the type.
func casts(oid uint32) bool { return oid == change.OIDFloat4 || oid == change.OIDBPChar }

// cast returns a value as the queries of the views see it, which cast each
// column to the type that it has in carbond's own tables: a real is widened
// bit by bit, so 0.1 becomes 0.10000000149011612, and char(n) loses its padding,
// in keys and joins too.
func cast(v change.Value, oid uint32) change.Value {
	if v.Kind != change.Text {
		return v
	}
	switch oid {
	case change.OIDFloat4:
		if f, err := strconv.ParseFloat(v.Text, 32); err == nil {
			v.Text = strconv.FormatFloat(f, 'g', -1, 64)
		}
	case change.OIDBPChar:
		v.Text = strings.TrimRight(v.Text, " ")
	}
	return v
}

// Instant reads a timestamptz in Postgres' ISO form ("2026-11-23
// 12:00:00.5+00", "infinity", "0044-03-15 12:00:00+00 BC") as microseconds
// since 2000-01-01, Postgres' own epoch: counted from 1970 the last years of its
// range would not fit. NULL and foreign text are !ok.
// See src/backend/utils/adt/datetime.c, EncodeDateTime.
func Instant(v change.Value) (us int64, ok bool) {
	if v.Kind != change.Text {
		return 0, false
	}
	switch v.Text {
	case "infinity":
		return math.MaxInt64, true
	case "-infinity":
		return math.MinInt64, true
	}
	s, bc := strings.CutSuffix(v.Text, " BC")
	date, clock, ok := strings.Cut(s, " ")
	if !ok {
		if date, clock, ok = strings.Cut(s, "T"); !ok {
			date, clock = s, "00:00:00+00"
		}
	}
	ys, rest, ok1 := strings.Cut(date, "-")
	ms, ds, ok2 := strings.Cut(rest, "-")
	y, ok3 := digits(ys)
	m, ok4 := digits(ms)
	d, ok5 := digits(ds)
	if !ok1 || !ok2 || !ok3 || !ok4 || !ok5 || m < 1 || m > 12 || d < 1 || d > 31 || y > 294277 {
		return 0, false
	}
	if bc {
		y = 1 - y
	}
	us, ok = daytime(clock)
	return (days(y, m, d)-epochDays)*86400e6 + us, ok
}

// epochDays are the days from 1970-01-01 to 2000-01-01.
const epochDays = 10957

// micros returns a time on the scale of Instant.
func micros(t time.Time) int64 { return t.UnixMicro() - epochDays*86400e6 }

// daytime reads "12:00:00.5+05:30" as microseconds since midnight UTC.
func daytime(s string) (int64, bool) {
	zone, sign := "", int64(1)
	if i := strings.IndexAny(s, "+-Z"); i >= 0 {
		if s[i] == '+' {
			sign = -1
		}
		s, zone = s[:i], s[i+1:]
	}
	s, frac, _ := strings.Cut(s, ".")
	t, ok := sexagesimal(s)
	if !ok {
		return 0, false
	}
	off := int64(0)
	if zone != "" {
		if off, ok = sexagesimal(zone); !ok {
			return 0, false
		}
	}
	us := int64(0)
	if frac != "" {
		if len(frac) > 6 {
			frac = frac[:6]
		}
		if us, ok = digits(frac); !ok {
			return 0, false
		}
		for i := len(frac); i < 6; i++ {
			us *= 10
		}
	}
	return (t+sign*off)*1e6 + us, true
}

// sexagesimal reads hh[:mm[:ss]] as seconds.
func sexagesimal(s string) (int64, bool) {
	var t int64
	unit := int64(3600)
	for part := range strings.SplitSeq(s, ":") {
		n, ok := digits(part)
		if !ok || unit == 0 {
			return 0, false
		}
		t += n * unit
		unit /= 60
	}
	return t, true
}

func digits(s string) (int64, bool) {
	if s == "" || len(s) > 9 {
		return 0, false
	}
	var n int64
	for i := range len(s) {
		c := s[i] - '0'
		if c > 9 {
			return 0, false
		}
		n = n*10 + int64(c)
	}
	return n, true
}

// days counts the days from 1970-01-01 to a proleptic Gregorian date (Howard
// Hinnant, "chrono-Compatible Low-Level Date Algorithms", days_from_civil).
func days(y, m, d int64) int64 {
	if m <= 2 {
		y--
	}
	era := y / 400
	if y < 0 {
		era = (y - 399) / 400
	}
	yoe := y - era*400
	mp := (m + 9) % 12
	doy := (153*mp+2)/5 + d - 1
	doe := yoe*365 + yoe/4 - yoe/100 + doy
	return era*146097 + doe - 719468
}
