package feeds_test

import (
	"net/http"
	"strings"
	"testing"

	"carbond/feeds"
	"carbond/feeds/internal/fetch"
	"carbond/feeds/verra"
	"carbond/store/change"
)

// The document is found beside the configured path too, and what it said holds
// while it cannot be read.
func TestVerraDocument(t *testing.T) {
	const doc = "/config/environment.config.json"
	for name, site := range map[string]string{
		"root": "http://127.0.0.1:4711", "slash": "http://127.0.0.1:4711/", "path": "http://127.0.0.1:4711/uiapi", "path and slash": "http://127.0.0.1:4711/uiapi/",
	} {
		t.Run(name, func(t *testing.T) {
			follow(t, verra.Options{URL: site}, func(t *testing.T, r *feeds.Runner, m *memory, g *registry, u *upstream) {
				down := false
				u.handle = func(r *http.Request) *http.Response {
					if r.URL.Path == doc && down {
						return answer(500, "text/plain", "")
					}
					if strings.HasSuffix(r.URL.Path, doc) && r.URL.Path != doc {
						return answer(404, "text/plain", "")
					}
					return g.serve(r)
				}
				mustFetch(t, r, "verra")
				if n := m.count(change.Verra); n != 20 {
					t.Fatalf("%d projects", n)
				}
				down = true
				g.spoil = func(string, *http.Request, search) *http.Response { return answer(400, "text/plain", "") }
				if _, err := fetchNow(t, r, "verra"); fetch.KindOf(err) != fetch.KindHTTPStatus {
					t.Errorf("a failing search: %v", err)
				}
				g.spoil = nil
				mustFetch(t, r, "verra") // reads the document again, in vain
			})
		})
	}
}

// A configured search base is used as it is, over plain http on the own machine too.
func TestVerraConfiguredBase(t *testing.T) {
	for _, base := range []string{"http://127.0.0.1:4711/base", "http://127.0.0.1:4711/base/", "https://search.example.org"} {
		t.Run(base, func(t *testing.T) {
			follow(t, verra.Options{Base: base, TotalsPerPoll: -1}, func(t *testing.T, r *feeds.Runner, m *memory, g *registry, u *upstream) {
				mustFetch(t, r, "verra")
				if n := m.count(change.Verra); n != 20 {
					t.Errorf("%d projects", n)
				}
				for _, s := range u.requests() {
					if strings.HasSuffix(s.path, "Search") && !strings.HasPrefix(strings.TrimRight(base, "/"), "https://"+s.host) && s.host != "127.0.0.1:4711" {
						t.Errorf("asked %s%s", s.host, s.path)
					}
				}
			})
		})
	}
}
