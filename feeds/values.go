package feeds

import (
	"math"
	"strconv"
	"time"

	"carbond/store/change"
)

// textOf is s, or NULL for the empty text.
func textOf(s string) change.Value {
	if s == "" {
		return change.Value{}
	}
	return change.T(s)
}

// floatOf is v in the form that Postgres prints, or NULL for nil and for
// numbers that are none.
func floatOf(v *float64) change.Value {
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

// intOf is v, or NULL for nil.
func intOf[T int32 | int64](v *T) change.Value {
	if v == nil {
		return change.Value{}
	}
	return change.T(strconv.FormatInt(int64(*v), 10))
}

// timeOf is t in the form that Postgres prints in UTC, or NULL for the zero time.
func timeOf(t time.Time) change.Value {
	if t.IsZero() {
		return change.Value{}
	}
	return change.T(t.UTC().Format("2006-01-02 15:04:05.999999+00"))
}
