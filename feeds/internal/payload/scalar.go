package payload

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"time"
)

// maxNumberText bounds the text of a number: 2^256 has 78 digits, so a longer
// one is an attack or garbage.
const maxNumberText = 128

// Number is a JSON value that should be a number. It decodes from a number or
// from a string with or without thousands commas, and never fails to decode.
// The zero Number is absent.
type Number struct {
	text string // plain decimal without commas, "" when absent or bad
	bad  bool
}

// UnmarshalJSON takes any JSON value. Absent are null, "" and "-"; a value that
// is not a decimal number is bad.
func (n *Number) UnmarshalJSON(b []byte) error {
	*n = Number{}
	s := string(b)
	switch {
	case s == "null":
		return nil
	case len(s) > 0 && s[0] == '"':
		var text Text
		_ = text.UnmarshalJSON(b)
		s = strings.TrimSpace(text.s)
	}
	n.set(s)
	return nil
}

// ParseNumber reads a number from text as CSV files carry it.
func ParseNumber(s string) Number {
	var n Number
	n.set(strings.TrimSpace(s))
	return n
}

func (n *Number) set(s string) {
	if s == "" || s == "-" {
		return
	}
	plain, ok := plainNumber(s)
	n.text, n.bad = plain, !ok
}

// Absent reports a missing, null or empty value.
func (n Number) Absent() bool { return n.text == "" && !n.bad }

// Bad reports a value that is there but is no decimal number.
func (n Number) Bad() bool { return n.bad }

// Text returns the number as sent, without commas, "" when absent or bad. It
// keeps every digit, for exact arithmetic.
func (n Number) Text() string { return n.text }

// Float returns the value; ok is false when it is absent, bad or not finite.
func (n Number) Float() (v float64, ok bool) {
	if n.text == "" {
		return 0, false
	}
	v, err := strconv.ParseFloat(n.text, 64)
	return v, err == nil && !math.IsInf(v, 0)
}

// Between returns the value when low <= value <= high. When the value is there
// but is not usable, refused is true; an absent value is nil without refusal.
func (n Number) Between(low, high float64) (v *float64, refused bool) {
	if n.Absent() {
		return nil, false
	}
	f, ok := n.Float()
	if !ok || f < low || f > high {
		return nil, true
	}
	f += 0 // -0 becomes 0, so that equal rows stay equal as text
	return &f, false
}

// Int returns the value when it is a whole number that fits: 934.0 and "934"
// count, and integers keep all their digits.
func (n Number) Int() (v int64, ok bool) {
	if v, err := strconv.ParseInt(n.text, 10, 64); err == nil {
		return v, true
	}
	f, ok := n.Float()
	if !ok || f != math.Trunc(f) || math.Abs(f) >= 1<<53 {
		return 0, false
	}
	return int64(f), true
}

// plainNumber validates a decimal number and drops its thousands commas. It is
// stricter than strconv, which takes hexadecimal, underscores and infinities.
func plainNumber(s string) (string, bool) {
	if len(s) > maxNumberText {
		return "", false
	}
	sign := ""
	if s[0] == '-' || s[0] == '+' {
		sign, s = strings.TrimPrefix(s[:1], "+"), s[1:]
	}
	mantissa, exp, hasExp := strings.Cut(strings.ReplaceAll(s, "E", "e"), "e")
	whole, frac, hasFrac := strings.Cut(mantissa, ".")
	whole, ok := dropCommas(whole)
	if !ok || !digits(whole) || (hasFrac && !digits(frac)) {
		return "", false
	}
	if hasExp && !digits(strings.TrimLeft(exp[:min(1, len(exp))], "+-")+exp[min(1, len(exp)):]) {
		return "", false
	}
	out := sign + whole
	if hasFrac {
		out += "." + frac
	}
	if hasExp {
		out += "e" + exp
	}
	return out, true
}

// dropCommas accepts commas only between groups of three digits, so that the
// decimal comma of "1,5" is not read as fifteen.
func dropCommas(s string) (string, bool) {
	groups := strings.Split(s, ",")
	if len(groups) == 1 {
		return s, true
	}
	for i, g := range groups {
		if i == 0 && (len(g) == 0 || len(g) > 3) || i > 0 && len(g) != 3 {
			return "", false
		}
	}
	return strings.Join(groups, ""), true
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// Text is a JSON value that should be a string. Numbers decode to their
// literal, null to "", and everything else to a bad Text; it never fails to
// decode. The zero Text is absent.
type Text struct {
	s   string
	bad bool
}

// UnmarshalJSON takes any JSON value.
func (t *Text) UnmarshalJSON(b []byte) error {
	*t = Text{}
	if len(b) == 0 || string(b) == "null" {
		return nil
	}
	switch c := b[0]; {
	case c == '"':
		t.bad = json.Unmarshal(b, &t.s) != nil
	case c == '-' || c >= '0' && c <= '9':
		t.s = string(b)
	default:
		t.bad = true
	}
	return nil
}

// String returns the text as sent, "" when absent or bad. It is not cleaned.
func (t Text) String() string { return t.s }

// Bad reports a value that is neither text nor a number nor null.
func (t Text) Bad() bool { return t.bad }

// timeLayouts are the forms seen in upstream answers; those without a zone are
// taken as UTC.
var timeLayouts = [...]string{
	time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02T15:04:05.999Z0700",
	"2006-01-02 15:04:05", time.DateOnly,
}

// Time reads a time stamp; ok is false for text that is no time or lies outside
// the years 1990 to 2199.
func Time(s string) (t time.Time, ok bool) {
	s = strings.TrimSpace(s)
	if len(s) < len(time.DateOnly) || len(s) > 40 {
		return time.Time{}, false
	}
	for _, layout := range timeLayouts {
		t, err := time.Parse(layout, s)
		if err == nil && t.Year() >= 1990 && t.Year() < 2200 {
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}
