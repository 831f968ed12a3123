package admin

import (
	"fmt"
	"strconv"
	"time"
)

// count prints a number with its thousands apart.
func count(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// bytesText prints a size for people: "12.3 MiB".
func bytesText(n int64) string {
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

// ago prints how long before the making of the page a time was, or "never".
func (m *markup) ago(t *time.Time) string {
	if t == nil || t.IsZero() {
		return "never"
	}
	if d := m.now.Sub(*t); d > -time.Second/2 {
		return span(max(d, 0)) + " ago"
	}
	return "in " + span(t.Sub(m.now))
}

// sinceText prints a span in seconds.
func sinceText(seconds float64) string {
	return span(time.Duration(seconds * float64(time.Second)))
}

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
