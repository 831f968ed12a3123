package run

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"time"
)

// Upstream is a news feed with one item, until it is broken.
type Upstream struct {
	URL    string
	broken atomic.Bool
}

// StartUpstream serves until ctx ends.
func StartUpstream(ctx context.Context) *Upstream {
	u := &Upstream{}
	s := httptest.NewServer(u)
	u.URL = s.URL + "/feed"
	context.AfterFunc(ctx, s.Close)
	return u
}

// Break makes every answer an error from now on.
func (u *Upstream) Break() { u.broken.Store(true) }

const rss = `<?xml version="1.0" encoding="UTF-8"?>
<rss version="2.0"><channel><title>Carbon news</title><link>http://127.0.0.1/</link><description>sample</description>
<item><guid>one</guid><title>Carbon credits and offsets</title><link>http://127.0.0.1/one</link>
<description>A forest project issues carbon credits.</description><pubDate>%s</pubDate></item>
</channel></rss>
`

// ServeHTTP answers any path.
func (u *Upstream) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	if u.broken.Load() {
		http.Error(w, "broken", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/rss+xml")
	fmt.Fprintf(w, rss, time.Now().UTC().Format(time.RFC1123Z))
}
