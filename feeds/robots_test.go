package feeds_test

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"carbond/feeds"
	"carbond/feeds/internal/fetch"
	"carbond/feeds/news"
	"carbond/store/change"
)

// robots.txt is honoured when that is asked for, and read once a day.
func TestNewsRobots(t *testing.T) {
	const rules = "User-agent: *\nDisallow: /closed\n"
	page := fixture(t, "news", "testdata", "news", "guardian_environment.xml")
	tests := map[string]struct {
		asked  bool
		robots func() *http.Response
		path   string
		kind   fetch.Kind // "" = polled
	}{
		"not asked for":  {false, func() *http.Response { return answer(200, "text/plain", rules) }, "/closed/feed", ""},
		"closed":         {true, func() *http.Response { return answer(200, "text/plain", rules) }, "/closed/feed", fetch.KindBlocked},
		"open":           {true, func() *http.Response { return answer(200, "text/plain", rules) }, "/feed", ""},
		"no rules":       {true, func() *http.Response { return answer(404, "text/html", "<html>") }, "/closed/feed", ""},
		"rules hidden":   {true, func() *http.Response { return answer(403, "text/html", "<html>") }, "/closed/feed", ""},
		"server error":   {true, func() *http.Response { return answer(500, "text/plain", "") }, "/feed", fetch.KindHTTPStatus},
		"cannot reached": {true, func() *http.Response { return nil }, "/feed", fetch.KindNetwork},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, u := newMemory(), &upstream{handle: func(r *http.Request) *http.Response {
					if r.URL.Path == "/robots.txt" {
						return tc.robots()
					}
					return answer(200, "application/rss+xml", page)
				}}
				r := runner(t, only(feeds.Options{Transport: u, News: news.Options{
					Robots: tc.asked, Feeds: []news.Source{{Name: "A", URL: "https://news.example.org" + tc.path}},
				}}, "news"), m)
				_, err := fetchNow(t, r, "news/a")
				if fetch.KindOf(err) != tc.kind {
					t.Fatalf("%v", err)
				}
				polled, read := 0, 0
				for _, s := range u.requests() {
					if s.path == "/robots.txt" {
						read++
					} else {
						polled++
					}
				}
				if (polled > 0) != (tc.kind == "") || (read > 0) != tc.asked || (m.count(change.News) > 0) != (tc.kind == "") {
					t.Errorf("%d polls, rules read %d times, %d rows", polled, read, m.count(change.News))
				}
				if tc.kind == fetch.KindBlocked && !strings.Contains(err.Error(), "robots.txt of news.example.org") {
					t.Error(err)
				}
			})
		})
	}
}

// The rules are read again after a day; a site that then is down keeps its old ones.
func TestNewsRobotsAreReadDaily(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, read := newMemory(), 0
		u := &upstream{handle: func(r *http.Request) *http.Response {
			if r.URL.Path != "/robots.txt" {
				return answer(200, "application/rss+xml", fixture(t, "news", "testdata", "news", "guardian_environment.xml"))
			}
			if read++; read > 1 {
				return answer(500, "text/plain", "")
			}
			return answer(200, "text/plain", "User-agent: carbond\nAllow: /feed\nDisallow: /")
		}}
		r := runner(t, only(feeds.Options{Transport: u, News: news.Options{
			Robots: true, Feeds: []news.Source{{Name: "A", URL: "https://news.example.org/feed"}},
		}}, "news"), m)
		for _, want := range []int{1, 1, 2, 2} {
			mustFetch(t, r, "news/a")
			if read != want {
				t.Errorf("read %d times, want %d", read, want)
			}
			<-time.After(13 * time.Hour)
		}
	})
}
