package carbonmark

import (
	"net/url"

	"carbond/feeds/internal/payload"
	"carbond/feeds/internal/text"
)

// clean makes plain text of at most limit characters.
func clean(t payload.Text, limit int) string { return text.Clean(t.String(), limit) }

// link returns a web address, or "".
func link(t payload.Text) string {
	u, err := url.Parse(t.String())
	if err != nil || u.Host == "" || u.User != nil || len(t.String()) > 1000 || (u.Scheme != "https" && u.Scheme != "http") {
		return ""
	}
	return u.String()
}
