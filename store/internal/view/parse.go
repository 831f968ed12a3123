package view

import (
	"encoding/binary"
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

// integer reads a Postgres integer, as the casts leave it; NULL and foreign text
// are 0. A column whose type is not known may hold a numeric.
func integer(v change.Value) int64 {
	if v.Kind != change.Text {
		return 0
	}
	n, err := strconv.ParseInt(v.Text, 10, 64)
	if err != nil {
		n, _ = strconv.ParseInt(roundDecimal(v.Text), 10, 64) // the nearest one where it is out of range
	}
	return n
}

// integer4 reads an int4.
func integer4(v change.Value) int32 {
	return int32(min(max(integer(v), math.MinInt32), math.MaxInt32))
}

// truth reads a boolean; NULL and foreign text are false.
func truth(v change.Value) bool { return v.Text == "t" || v.Text == "true" }

// Instant is a moment or a date of Postgres. Dates reach further than 64 bits of
// microseconds.
type Instant struct {
	Day   int32 // from 2000-01-01 on, Postgres' own epoch; the extremes are the infinities
	Micro int64 // of the day, in UTC
}

// ReadInstant reads a timestamptz, timestamp or date in Postgres' ISO form
// ("2026-11-23 12:00:00.5+00", "infinity", "0044-03-15 BC"). NULL and foreign
// text are !ok. See src/backend/utils/adt/datetime.c, EncodeDateTime.
func ReadInstant(v change.Value) (t Instant, ok bool) {
	if v.Kind != change.Text {
		return t, false
	}
	switch v.Text {
	case "infinity":
		return Instant{Day: math.MaxInt32}, true
	case "-infinity":
		return Instant{Day: math.MinInt32}, true
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
	if !ok1 || !ok2 || !ok3 || !ok4 || !ok5 || m < 1 || m > 12 || d < 1 || d > 31 || y > maxYear {
		return t, false
	}
	if bc {
		y = 1 - y
	}
	us, ok := daytime(clock)
	return instant(days(y, m, d)-epochDays, us), ok
}

// instant makes one of days from 2000-01-01 on and microseconds, which need not
// stay inside the day.
func instant(day, us int64) Instant {
	const whole = 86400e6
	over := us / whole
	if us < over*whole {
		over--
	}
	return Instant{Day: int32(day + over), Micro: us - over*whole}
}

// maxYear is beyond the last year of a date.
const maxYear = 5874898

// epochDays are the days from 1970-01-01 to 2000-01-01.
const epochDays = 10957

// instantOf returns a time as an Instant.
func instantOf(t time.Time) Instant { return instant(-epochDays, t.UnixMicro()) }

// before reports whether t comes before o.
func (t Instant) before(o Instant) bool { return t.Day < o.Day || t.Day == o.Day && t.Micro < o.Micro }

// instantBytes is what appendTo appends.
const instantBytes = 9

// appendTo appends t in a form whose byte order is that of time.
func (t Instant) appendTo(k []byte) []byte {
	k = binary.BigEndian.AppendUint32(k, uint32(t.Day)^1<<31)
	return append(k, byte(t.Micro>>32), byte(t.Micro>>24), byte(t.Micro>>16), byte(t.Micro>>8), byte(t.Micro))
}

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
