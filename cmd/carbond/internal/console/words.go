package console

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// count prints a number with its thousands apart.
func count[N int | int32 | int64 | uint64](n N) string { return thousands(fmt.Sprint(n)) }

// thousands sets the thousands of a decimal number apart.
func thousands(s string) string {
	sign, digits := "", s
	if strings.HasPrefix(s, "-") {
		sign, digits = "-", s[1:]
	}
	whole, fraction, point := strings.Cut(digits, ".")
	for _, r := range whole {
		if r < '0' || r > '9' {
			return s // NaN, +Inf or an exponent
		}
	}
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if point {
		whole += "." + fraction
	}
	return sign + whole
}

// decimal prints a number with so many digits behind the point, -1 for as many as
// it has.
func decimal(v float64, digits int) string {
	return thousands(strconv.FormatFloat(v, 'f', digits, 64))
}

// short prints a large number with a few digits: "1.2 M".
func short(v float64) string {
	for _, u := range []struct {
		of   float64
		unit string
	}{{1e12, " T"}, {1e9, " G"}, {1e6, " M"}, {1e4, " k"}} {
		if v >= u.of || v <= -u.of {
			d := u.of
			if u.unit == " k" {
				d = 1e3
			}
			return strconv.FormatFloat(v/d, 'f', 1, 64) + u.unit
		}
	}
	if v == float64(int64(v)) {
		return decimal(v, 0)
	}
	return decimal(v, 1)
}

// bytesText prints a size for people: "12.3 MiB".
func bytesText[N int64 | uint64](n N) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n), 0
	for v >= 1024 && unit < 4 {
		v /= 1024
		unit++
	}
	return fmt.Sprintf("%.1f %s", v, [...]string{"B", "KiB", "MiB", "GiB", "TiB"}[unit])
}

// seconds prints a span that is given in seconds.
func seconds(s float64) string { return span(time.Duration(s * float64(time.Second))) }

// span prints a duration in its two largest units: nobody reads the seconds of
// three days.
func span(d time.Duration) string {
	s := int64(d.Round(time.Second) / time.Second)
	switch {
	case s < 60:
		return fmt.Sprintf("%d s", s)
	case s < 60*60:
		return fmt.Sprintf("%d min %d s", s/60, s%60)
	case s < 24*60*60:
		return fmt.Sprintf("%d h %d min", s/3600, s/60%60)
	}
	return fmt.Sprintf("%d d %d h", s/86400, s/3600%24)
}

// clip cuts a text after n characters.
func clip(s string, n int) string {
	for i := range s {
		if n--; n < 0 {
			return s[:i] + "\u2026"
		}
	}
	return s
}

// label is the name of a column for people: "Project id".
func label(column string) string {
	s := strings.ReplaceAll(strings.ReplaceAll(column, "_usd", ", USD"), "_", " ")
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// web reports whether a link leads to the web; javascript: and others do not.
func web(link string) bool {
	return strings.HasPrefix(link, "https://") || strings.HasPrefix(link, "http://")
}
