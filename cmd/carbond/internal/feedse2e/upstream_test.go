package feedse2e_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// upstream is a server that can be made to misbehave.
type upstream struct {
	*httptest.Server
	good http.Handler

	mu   sync.Mutex // guards what follows
	bad  http.Handler
	seen []*http.Request // bodies are not kept
}

// newUpstream serves a handler on loopback until the test ends.
func newUpstream(t testing.TB, good http.Handler) *upstream {
	u := &upstream{good: good}
	u.Server = httptest.NewServer(u)
	t.Cleanup(func() {
		u.CloseClientConnections() // a stalled answer ends with its connection
		u.Close()
	})
	return u
}

func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	u.mu.Lock()
	h := u.bad
	u.seen = append(u.seen, r.Clone(r.Context()))
	u.mu.Unlock()
	if h == nil {
		h = u.good
	}
	h.ServeHTTP(w, r)
}

// misbehave answers all requests by bad, until it is nil again.
func (u *upstream) misbehave(bad http.Handler) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.bad = bad
}

// requests are those seen so far whose path contains part.
func (u *upstream) requests(part string) (out []*http.Request) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, r := range u.seen {
		if strings.Contains(r.URL.Path, part) {
			out = append(out, r)
		}
	}
	return out
}
