package view

import (
	"math"
	"strconv"
	"strings"

	"carbond/store/change"
)

// cast is what the queries of the views do to the values of a column whose type
// is not that of carbond's own tables: they cast each column to that type.
type cast uint8

const (
	asIs     cast = iota
	trim          // char(n) to text: the padding goes, in keys and joins too
	widen         // real to double precision, bit by bit: 0.1 becomes 0.10000000149011612
	toFloat8      // numeric to double precision
	exact         // to a bigint that is a key: a fraction would make one row of two
	toInt4        // bigint to integer
	num4          // numeric to integer: half is rounded away from zero
	num8          // and to bigint
	real4         // real to integer: half is rounded to even
	real8
	double4 // double precision to integer: likewise
	double8
)

// strict reports whether SQL refuses the cast for some values.
func (c cast) strict() bool { return c != asIs && c != trim && c != widen && c != exact }

// castOf returns the cast of a type to another.
func castOf(from, to uint32) cast {
	switch to {
	case change.OIDText:
		if from == change.OIDBPChar {
			return trim
		}
	case change.OIDFloat8:
		switch from {
		case change.OIDFloat4:
			return widen
		case change.OIDNumeric:
			return toFloat8
		}
	case change.OIDInt4:
		return map[uint32]cast{change.OIDInt8: toInt4, change.OIDNumeric: num4, change.OIDFloat4: real4, change.OIDFloat8: double4}[from]
	case change.OIDInt8:
		return map[uint32]cast{change.OIDNumeric: num8, change.OIDFloat4: real8, change.OIDFloat8: double8}[from]
	}
	return asIs
}

// apply returns a value as SQL casts it. Where SQL refuses, it is the nearest
// that there is, and !ok.
func (c cast) apply(v change.Value) (out change.Value, ok bool) {
	if v.Kind != change.Text {
		return v, true
	}
	switch c {
	case trim:
		v.Text = strings.TrimRight(v.Text, " ")
	case widen:
		if f, err := strconv.ParseFloat(v.Text, 32); err == nil {
			v.Text = strconv.FormatFloat(f, 'g', -1, 64)
		}
	case toFloat8:
		f, err := strconv.ParseFloat(v.Text, 64)
		return v, err == nil || !math.IsInf(f, 0)
	case exact:
		if n, whole := wholeNumber(v.Text); whole {
			v.Text = n
		}
	case toInt4:
		return bounded(v.Text, 32)
	case num4:
		return bounded(roundDecimal(v.Text), 32)
	case num8:
		return bounded(roundDecimal(v.Text), 64)
	case real4:
		return bounded(roundFloat(v.Text, 32), 32)
	case real8:
		return bounded(roundFloat(v.Text, 32), 64)
	case double4:
		return bounded(roundFloat(v.Text, 64), 32)
	case double8:
		return bounded(roundFloat(v.Text, 64), 64)
	}
	return v, true
}

// bounded returns the digits of a whole number, or the nearest number of so many
// bits and !ok. What is no number at all is 0.
func bounded(s string, bits int) (change.Value, bool) {
	n, err := strconv.ParseInt(s, 10, bits)
	if err == nil {
		return change.T(s), true
	}
	return change.T(strconv.FormatInt(n, 10)), false
}

// roundDecimal rounds the text of a numeric to a whole number, half away from
// zero, without going through a double, which holds 17 digits only.
func roundDecimal(s string) string {
	whole, fraction, _ := strings.Cut(s, ".")
	if fraction == "" || fraction[0] < '5' {
		return whole
	}
	digits := []byte(whole)
	i := len(digits) - 1
	for ; i >= 0 && digits[i] == '9'; i-- {
		digits[i] = '0'
	}
	if i >= 0 && digits[i] >= '0' && digits[i] < '9' {
		digits[i]++
		return string(digits)
	}
	return string(digits[:i+1]) + "1" + string(digits[i+1:]) // 99 has become 100
}

// roundFloat rounds the text of a real or a double to a whole number, half to
// even.
func roundFloat(s string, bits int) string {
	if i := strings.IndexFunc(s, func(r rune) bool { return r != '-' && (r < '0' || r > '9') }); i < 0 {
		return s // digits alone: the shortest text of a whole number up to 1e15
	}
	f, err := strconv.ParseFloat(s, bits)
	if err != nil || f != f {
		return s
	}
	return strconv.FormatFloat(math.RoundToEven(f), 'f', 0, 64)
}

// wholeNumber returns the digits of a number without a fraction, however it is
// written: 5.00 and 1e+15 are such.
func wholeNumber(s string) (string, bool) {
	if whole, fraction, ok := strings.Cut(s, "."); ok && strings.Trim(fraction, "0") == "" {
		return whole, true
	}
	if f, err := strconv.ParseFloat(s, 64); err == nil && strings.ContainsAny(s, "eE") && f == math.Trunc(f) && !math.IsInf(f, 0) {
		return strconv.FormatFloat(f, 'f', 0, 64), true
	}
	return s, false
}
