package poll

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"carbond/store/change"
)

// Text is s, or NULL for the empty text.
func Text(s string) change.Value {
	if s == "" {
		return change.Value{}
	}
	return change.T(s)
}

// Float is v in the form that Postgres prints, or NULL for nil and for
// numbers that are none.
func Float(v *float64) change.Value {
	if v == nil || math.IsNaN(*v) || math.IsInf(*v, 0) {
		return change.Value{}
	}
	return change.T(pgFloat(*v))
}

// pgFloat prints v as Postgres prints a double precision: the shortest digits
// that read back as v, with an exponent from 1e+15 up and below 1e-4.
func pgFloat(v float64) string {
	if a := math.Abs(v); a != 0 && (a >= 1e15 || a < 1e-4) {
		return strconv.FormatFloat(v, 'e', -1, 64)
	}
	return strconv.FormatFloat(v+0, 'f', -1, 64)
}

// Int is v, or NULL for nil.
func Int[T int32 | int64](v *T) change.Value {
	if v == nil {
		return change.Value{}
	}
	return change.T(strconv.FormatInt(int64(*v), 10))
}

// Bool is v in the form in which Postgres sends it.
func Bool(v bool) change.Value { return change.T(strconv.FormatBool(v)[:1]) }

// Time is t in the form that Postgres prints in UTC, or NULL for the zero time.
func Time(t time.Time) change.Value {
	if t.IsZero() {
		return change.Value{}
	}
	return change.T(t.UTC().Format("2006-01-02 15:04:05.999999+00"))
}

// Date is the day of t in the form that Postgres prints, or NULL for the zero time.
func Date(t time.Time) change.Value {
	if t.IsZero() {
		return change.Value{}
	}
	return change.T(t.Format(time.DateOnly))
}

// Set is the set of a list.
func Set[K comparable](list []K) map[K]bool {
	m := make(map[K]bool, len(list))
	for _, k := range list {
		m[k] = true
	}
	return m
}

// Or returns v, or def when v is the zero value.
func Or[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// Later returns the later of two times.
func Later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// CheckIntervals names the intervals that are too short.
func CheckIntervals(intervals map[string]time.Duration) (errs []error) {
	for what, d := range intervals {
		if d < 100*time.Millisecond {
			errs = append(errs, fmt.Errorf("%s: %v is shorter than 100ms", what, d))
		}
	}
	return errs
}
