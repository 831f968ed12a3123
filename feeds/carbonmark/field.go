package carbonmark

import (
	"net/url"
	"time"

	"carbond/feeds/internal/payload"
	"carbond/feeds/internal/text"
)

// clean makes plain text of at most limit characters.
func clean(t payload.Text, limit int) string { return text.Clean(t.String(), limit) }

// stamp reads a time, zero when absent, and counts one that is unusable.
func stamp(t payload.Text, field string, tally *payload.Tally) time.Time {
	if t.String() == "" && !t.Bad() {
		return time.Time{}
	}
	at, ok := payload.Time(t.String())
	if !ok {
		tally.Refuse(field)
	}
	return at
}

// between reads a number from 0 to high, nil when absent, and counts one that
// is unusable.
func between(n payload.Number, high float64, field string, tally *payload.Tally) *float64 {
	v, refused := n.Between(0, high)
	if refused {
		tally.Refuse(field)
	}
	return v
}

// link returns a web address, or "".
func link(t payload.Text) string {
	u, err := url.Parse(t.String())
	if err != nil || u.Host == "" || u.User != nil || len(t.String()) > 1000 || (u.Scheme != "https" && u.Scheme != "http") {
		return ""
	}
	return u.String()
}
