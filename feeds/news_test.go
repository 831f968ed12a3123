package feeds_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"carbond/feeds"
	"carbond/feeds/internal/fetch"
	"carbond/feeds/news"
	"carbond/store/change"
)

const rss = `<?xml version="1.0"?><rss version="2.0"><channel><title>t</title>%s</channel></rss>`

func story(n int, title string) string {
	return fmt.Sprintf(`<item><title>%s</title><link>https://a.example/%d</link><pubDate>%s</pubDate><description>Carbon market</description></item>`,
		title, n, time.Now().Add(-time.Duration(n)*time.Hour).UTC().Format(time.RFC1123Z))
}

func newsRunner(t *testing.T, m *memory, u *upstream, path string, list ...news.Source) *feeds.Runner {
	return runner(t, only(feeds.Options{News: news.Options{Feeds: list}, Transport: u, StatePath: path}, "news"), m)
}

func TestNewsConditionalRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		doc, etag := fmt.Sprintf(rss, story(1, "Carbon price up")+story(2, "Carbon tax")), `W/"odd ,value"`
		broken := false
		u := &upstream{handle: func(r *http.Request) *http.Response {
			switch {
			case broken:
				return answer(200, "text/xml", "<rss><channel><item>", "ETag", `"new"`)
			case r.Header.Get("If-None-Match") == etag && r.Header.Get("If-Modified-Since") == "yesterday":
				return answer(304, "", "")
			}
			return answer(200, "text/xml", doc, "ETag", etag, "Last-Modified", "yesterday")
		}}
		path := t.TempDir() + "/feeds.json"
		list := []news.Source{{Feed: "a", Name: "Outlet", URL: "https://a.example/feed"}}
		r := newsRunner(t, m, u, path, list...)
		if rep := mustFetch(t, r, "news/a"); rep.Written.Inserted != 2 {
			t.Errorf("%+v", rep.Written)
		}
		if rep := mustFetch(t, r, "news"); rep.Upstream != "not modified" || rep.Written.Changed() || rep.Items != 2 {
			t.Errorf("%+v", rep)
		}
		// A document that cannot be read must not leave its validators.
		broken = true
		if _, err := fetchNow(t, r, "news/a"); err == nil {
			t.Error("broken document passed")
		}
		broken = false
		if rep := mustFetch(t, r, "news/a"); rep.Upstream != "not modified" {
			t.Errorf("%+v", rep)
		}
		stop(t, r)
		// Validators survive a restart, unless the table is another one.
		again := newsRunner(t, m, u, path, list...)
		if rep := mustFetch(t, again, "news/a"); rep.Upstream != "not modified" {
			t.Errorf("after a restart: %+v", rep)
		}
		fresh := newsRunner(t, newMemory(), u, path, list...)
		if rep := mustFetch(t, fresh, "news/a"); rep.Written.Inserted != 2 {
			t.Errorf("with an empty table: %+v", rep)
		}
	})
}

// stop runs r for a moment and ends it, which saves its state.
func stop(t *testing.T, r *feeds.Runner) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// Two feeds that carry the same story must not overwrite each other for ever.
func TestNewsStoryHasOneOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, n := newMemory(), 0
		u := &upstream{handle: func(r *http.Request) *http.Response {
			n++ // another body each time
			return answer(200, "text/xml", fmt.Sprintf(rss, story(1, "Carbon price at "+r.URL.Host)+fmt.Sprintf("<!-- %d -->", n)))
		}}
		r := newsRunner(t, m, u, "",
			news.Source{Feed: "a", Name: "A", URL: "https://a.example/feed"}, news.Source{Feed: "b", Name: "B", URL: "https://b.example/feed"})
		for range 5 {
			mustFetch(t, r, "news")
		}
		if m.count(change.News) != 1 || m.writes() != 1 {
			t.Errorf("%d rows, %d writes", m.count(change.News), m.writes())
		}
	})
}

// A story without a date keeps the time at which it was first seen.
func TestNewsEstimatedDateStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, title := newMemory(), "Carbon price"
		u := &upstream{handle: func(r *http.Request) *http.Response {
			return answer(200, "text/xml", fmt.Sprintf(rss, "<item><title>"+title+"</title><link>https://a.example/1</link></item>"))
		}}
		r := newsRunner(t, m, u, "", news.Source{Feed: "a", Name: "A", URL: "https://a.example/feed"})
		mustFetch(t, r, "news")
		rows, _ := m.Rows(t.Context(), change.News, []string{"published_at", "title"})
		<-time.After(time.Hour)
		title = "Carbon price, updated"
		mustFetch(t, r, "news")
		now, _ := m.Rows(t.Context(), change.News, []string{"published_at", "title"})
		if now[0].Value(0) != rows[0].Value(0) || now[0].Value(1).Text != title {
			t.Errorf("%v became %v", rows, now)
		}
	})
}

// A story without a readable date is marked and takes that of its nearest dated
// neighbour; in a document without any date it has none.
func TestNewsEstimatedDateIsMarked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		items := map[string]string{
			"/dated": "<item><title>Carbon price 1</title><link>https://a.example/1</link><pubDate>Sat, 01 May 1999 10:00:00 GMT</pubDate></item>" +
				"<item><title>Carbon price 2</title><link>https://a.example/2</link><pubDate>soon</pubDate></item>",
			"/bare": "<item><title>Carbon price 3</title><link>https://a.example/3</link><pubDate>soon</pubDate></item>",
		}
		u := &upstream{handle: func(r *http.Request) *http.Response {
			return answer(200, "text/xml", fmt.Sprintf(rss, items[r.URL.Path]))
		}}
		r := newsRunner(t, m, u, "", news.Source{Feed: "a", Name: "A", URL: "https://a.example/dated"}, news.Source{Feed: "b", Name: "B", URL: "https://b.example/bare"})
		mustFetch(t, r, "news")
		for link, want := range map[string][3]string{
			"https://a.example/1": {"1999-05-01 10:00:00+00", "Sat, 01 May 1999 10:00:00 +0000", "f"},
			"https://a.example/2": {"1999-05-01 10:00:00+00", "Sat, 01 May 1999 10:00:00 +0000", "t"},
			"https://a.example/3": {"-", "-", "t"},
		} {
			guid := news.GUID(link)
			got := [3]string{m.col(change.News, "published_at", guid), m.col(change.News, "published", guid), m.col(change.News, "published_estimated", guid)}
			if got != want {
				t.Errorf("%s: %q, want %q", link, got, want)
			}
		}
	})
}

// A cache that answers 304 for ever is asked without validators now and then.
func TestNewsFrozenCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, full := newMemory(), 0
		u := &upstream{handle: func(r *http.Request) *http.Response {
			if r.Header.Get("If-None-Match") != "" {
				return answer(304, "", "")
			}
			full++
			return answer(200, "text/xml", fmt.Sprintf(rss, fmt.Sprintf("<item><title>Carbon price %d</title><link>https://a.example/%d</link></item>", full, full)), "ETag", `"a"`)
		}}
		r := newsRunner(t, m, u, "", news.Source{Feed: "a", Name: "A", URL: "https://a.example/feed"})
		for range 52 {
			mustFetch(t, r, "news")
		}
		if full != 3 || m.count(change.News) != 3 {
			t.Errorf("%d of 52 requests were unconditional, %d stories", full, m.count(change.News))
		}
	})
}

func TestNewsFailures(t *testing.T) {
	files := map[string]fetch.Kind{
		"html_instead.html": fetch.KindHTML, "empty_body.txt": fetch.KindEmpty, "json_cut.json": fetch.KindTruncated,
		"json_error_instead.json": fetch.KindInvalid, "empty_channel.xml": fetch.KindShrunk, "xml_cut.xml": fetch.KindTruncated,
	}
	for f, kind := range files {
		t.Run(f, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMemory()
				body := fixture(t, "news", "testdata", "news", "bbc_science_environment.xml")
				u := &upstream{handle: func(*http.Request) *http.Response { return answer(200, "text/xml", body) }}
				r := newsRunner(t, m, u, "", news.Source{Feed: "bbc", Name: "BBC", URL: "https://a.example/feed"})
				mustFetch(t, r, "news")
				old, _ := json.Marshal(m.tables)
				switch f {
				case "json_cut.json":
					body = `{"version":"https://jsonfeed.org/version/1.1","items":[{"id":"1","title":"carbon tax`
				case "xml_cut.xml":
					body = `<rss><channel><item><title>carbon tax`
				default:
					body = fixture(t, "news", "testdata", "news", f)
				}
				_, err := fetchNow(t, r, "news")
				if err == nil || kind != "" && fetch.KindOf(err) != kind {
					t.Errorf("%q: %v", fetch.KindOf(err), err)
				}
				if now, _ := json.Marshal(m.tables); string(now) != string(old) {
					t.Error("stored stories changed")
				}
			})
		})
	}
}

func TestGDELTLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		text := fixture(t, "news", "testdata", "news", "gdelt_ratelimit_200.txt")
		u := &upstream{handle: func(*http.Request) *http.Response { return answer(200, "text/plain", text) }}
		r := runner(t, only(feeds.Options{Transport: u}, "news"), m)
		if _, err := fetchNow(t, r, "news/reuters"); fetch.KindOf(err) != fetch.KindRateLimited {
			t.Error(err)
		}
		if _, err := fetchNow(t, r, "news/ap"); fetch.KindOf(err) != fetch.KindPaused {
			t.Error(err)
		}
		<-time.After(time.Hour)
		text = fixture(t, "news", "testdata", "news", "gdelt_reuters.json")
		mustFetch(t, r, "news/reuters")
		mustFetch(t, r, "news/ap")
		seen := u.requests()
		if gap := seen[2].at.Sub(seen[1].at); gap < 7*time.Second || len(seen) != 3 {
			t.Errorf("%v between requests", gap)
		}
		if m.count(change.News) == 0 {
			t.Error("no stories")
		}
	})
}
