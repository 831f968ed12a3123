package feeds_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"carbond/feeds"
	"carbond/feeds/finance"
	"carbond/store/change"
)

// spark answers prices for the asked symbols but those in missing.
func spark(r *http.Request, price float64, at time.Time, missing ...string) *http.Response {
	var parts []string
	for _, s := range strings.Split(r.URL.Query().Get("symbols"), ",") {
		if strings.Contains(" "+strings.Join(missing, " ")+" ", " "+s+" ") {
			continue
		}
		parts = append(parts, fmt.Sprintf(`{"symbol":%q,"response":[{"meta":{"symbol":%q,"currency":"USD","regularMarketPrice":%g,`+
			`"regularMarketTime":%d,"regularMarketVolume":1000,"previousClose":50}}]}`, s, s, price, at.Unix()))
	}
	return asJSON(`{"spark":{"result":[` + strings.Join(parts, ",") + `],"error":null}}`)
}

// quotes answers market caps when the crumb is right.
func quotes(r *http.Request, crumb string) *http.Response {
	if r.URL.Query().Get("crumb") != crumb || r.Header.Get("Cookie") != "A3=d; A1=e" {
		return answer(401, "application/json", `{"finance":{"result":null,"error":{"code":"Unauthorized","description":"Invalid Crumb"}}}`)
	}
	var parts []string
	for _, s := range strings.Split(r.URL.Query().Get("symbols"), ",") {
		limit := `,"marketCap":5000000000`
		if s == "KRBN" {
			limit = `,"netAssets":1000000`
		}
		parts = append(parts, fmt.Sprintf(`{"symbol":%q,"currency":"USD","regularMarketPrice":1,"regularMarketTime":%d%s}`, s, time.Now().Unix(), limit))
	}
	return asJSON(`{"quoteResponse":{"result":[` + strings.Join(parts, ",") + `],"error":null}}`)
}

// yahoo plays the provider with a price that depends on the minute.
func yahoo(r *http.Request) *http.Response {
	now := time.Now().Truncate(time.Minute)
	switch {
	case r.URL.Host == "fc.yahoo.com":
		res := answer(404, "text/html", "<html>")
		res.Header["Set-Cookie"] = []string{"A3=d; Domain=.yahoo.com", "A1=e; Secure", "gone=x; Max-Age=0"}
		return res
	case strings.HasSuffix(r.URL.Path, "/getcrumb"):
		return answer(200, "text/plain", "cRuMb.1")
	case strings.HasSuffix(r.URL.Path, "/spark"):
		return spark(r, 50+float64(now.Minute()), now)
	case strings.HasSuffix(r.URL.Path, "/quote"):
		return quotes(r, "cRuMb.1")
	}
	return answer(404, "text/plain", "")
}

func financeRunner(t *testing.T, m *memory, u *upstream, opt feeds.FinanceOptions) *feeds.Runner {
	return runner(t, only(feeds.Options{Finance: opt, Transport: u}, "finance"), m)
}

func TestFinancePoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, u := newMemory(), &upstream{handle: yahoo}
		r := financeRunner(t, m, u, feeds.FinanceOptions{})
		rep := mustFetch(t, r, "finance")
		if rep.Written.Inserted != 47 || rep.Requests != 3+2+3 {
			t.Errorf("%+v with %d requests", rep.Written, rep.Requests)
		}
		at := strconv.FormatInt(time.Now().Truncate(time.Minute).Unix(), 10)
		for col, want := range map[string]string{"price": "50", "volume": "1000", "market_cap": "5000000000", "change_percent": "0"} {
			if got := m.col(change.Finance, col, "NEE", at); got != want {
				t.Errorf("%s is %q, want %q", col, got, want)
			}
		}
		if got := m.col(change.Finance, "market_cap", "KRBN", at); got != "-" {
			t.Errorf("a fund's market cap is %q", got)
		}
		// The same prices again: three requests, nothing written.
		if rep := mustFetch(t, r, "finance"); rep.Requests != 3 || rep.Written.Changed() || rep.Upstream != "not modified" {
			t.Errorf("%+v", rep)
		}
		for _, s := range u.requests() {
			if !strings.HasPrefix(s.header.Get("User-Agent"), "carbond/") {
				t.Errorf("User-Agent %q", s.header.Get("User-Agent"))
			}
		}
	})
}

// An expired crumb costs one more login, not the prices.
func TestFinanceWithoutCrumb(t *testing.T) {
	tests := map[string]func(*http.Request) *http.Response{
		"text":    func(*http.Request) *http.Response { return answer(200, "text/plain", "Too Many Requests\r\n") },
		"page":    func(*http.Request) *http.Response { return answer(200, "text/html", "<html>no</html>") },
		"refused": func(*http.Request) *http.Response { return answer(401, "text/plain", "") },
		"gone":    func(*http.Request) *http.Response { return nil },
	}
	for name, crumb := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMemory()
				u := &upstream{handle: func(r *http.Request) *http.Response {
					if strings.HasSuffix(r.URL.Path, "/getcrumb") {
						return crumb(r)
					}
					return yahoo(r)
				}}
				r := financeRunner(t, m, u, feeds.FinanceOptions{Tickers: []string{"NEE"}})
				mustFetch(t, r, "finance")
				at := strconv.FormatInt(time.Now().Truncate(time.Minute).Unix(), 10)
				if m.col(change.Finance, "price", "NEE", at) != "50" || m.col(change.Finance, "market_cap", "NEE", at) != "-" {
					t.Error("prices did not survive, or a market cap was made up")
				}
			})
		})
	}
}

// A 429 stops every Yahoo request, whatever its form and host; network errors
// fail over to the second host, a refusal never does.
func TestFinanceRefusalAndFailover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		mode := "limit"
		u := &upstream{handle: func(r *http.Request) *http.Response {
			switch mode {
			case "limit":
				return answer(429, "text/plain", "Too Many Requests\r\n")
			case "disguise":
				return answer(200, "text/plain", "Too Many Requests\r\n")
			case "down":
				if r.URL.Host == "query1.finance.yahoo.com" {
					return nil
				}
			}
			return yahoo(r)
		}}
		r := financeRunner(t, m, u, feeds.FinanceOptions{})
		for i, next := range []string{"disguise", "down"} {
			_, err := fetch(t, r, "finance")
			if feeds.KindOf(err) != feeds.KindRateLimited || len(u.requests()) != i+1 {
				t.Fatalf("%s: %v after %d requests", mode, err, len(u.requests()))
			}
			if _, err := fetch(t, r, "finance"); feeds.KindOf(err) != feeds.KindPaused {
				t.Errorf("not paused: %v", err)
			}
			s := status(r, "finance")
			<-time.After(s.NextDue.Sub(time.Now()))
			mode = next
		}
		mustFetch(t, r, "finance")
		for _, s := range u.requests()[2:] {
			if s.host == "query2.finance.yahoo.com" && m.count(change.Finance) == 47 {
				return
			}
		}
		t.Error("no failover after a network error")
	})
}

func TestFinanceDelisted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		u := &upstream{handle: func(r *http.Request) *http.Response {
			if strings.HasSuffix(r.URL.Path, "/spark") {
				return spark(r, 1, time.Now(), "PLUG")
			}
			return answer(404, "text/plain", "")
		}}
		r := financeRunner(t, m, u, feeds.FinanceOptions{Tickers: []string{"NEE", "PLUG"}})
		if rep := mustFetch(t, r, "finance"); len(rep.Notes) != 0 {
			t.Error(rep.Notes)
		}
		<-time.After(9 * 24 * time.Hour)
		if rep := mustFetch(t, r, "finance"); len(rep.Notes) != 1 || !strings.HasPrefix(rep.Notes[0], "PLUG: possibly_delisted") {
			t.Error(rep.Notes)
		}
	})
}

type provider struct {
	rows []feeds.Quote
	err  error
}

func (p provider) Quotes(context.Context, []string) ([]feeds.Quote, error) { return p.rows, p.err }

func TestFinanceProvider(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, u := newMemory(), &upstream{}
		p := &provider{rows: []feeds.Quote{
			{Ticker: "NEE", Price: 70, Timestamp: time.Now().Unix()}, {Ticker: "UNASKED", Price: 1, Timestamp: 1}, {Ticker: "NEE", Price: -1, Timestamp: 1},
		}}
		r := financeRunner(t, m, u, feeds.FinanceOptions{Tickers: []string{"NEE"}, Provider: p})
		if rep := mustFetch(t, r, "finance"); rep.Written.Inserted != 1 || len(u.requests()) != 0 {
			t.Errorf("%+v", rep)
		}
		p.err, p.rows = errors.New("contract ended"), nil
		if _, err := fetch(t, r, "finance"); err == nil || !strings.Contains(err.Error(), "contract ended") {
			t.Error(err)
		}
	})
}

// market plays Carbonmark's list, and the subgraph.
type market struct {
	items []map[string]any
	bare  bool
	down  bool
	graph string
}

func newMarket(t *testing.T, files ...string) *market {
	k := &market{}
	for _, f := range files {
		var page struct{ Items []map[string]any }
		if err := json.Unmarshal([]byte(fixture(t, "carbonmark", "testdata", f)), &page); err != nil {
			t.Fatal(err)
		}
		k.items = append(k.items, page.Items...)
	}
	return k
}

func (k *market) serve(r *http.Request) *http.Response {
	if r.URL.Host == "gateway.thegraph.com" {
		if r.Header.Get("Authorization") != "Bearer graph-key" || strings.Contains(r.URL.String(), "graph-key") {
			return asJSON(`{"errors":[{"message":"auth error: missing authorization header"}]}`)
		}
		return asJSON(k.graph)
	}
	if k.down {
		return answer(500, "application/json", `{"message":"An internal server error occurred"}`)
	}
	limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
	offset, _ := strconv.Atoi(r.URL.Query().Get("offset"))
	end := min(offset+limit, len(k.items))
	part := []map[string]any{}
	if offset < end {
		part = k.items[offset:end]
	}
	if k.bare {
		b, _ := json.Marshal(part)
		return asJSON(string(b))
	}
	b, _ := json.Marshal(map[string]any{"items": part, "itemsCount": len(k.items)})
	return asJSON(string(b))
}

func TestCarbonmarkList(t *testing.T) {
	for _, bare := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			m, k := newMemory(), newMarket(t, "v20_carbonProjects_page1.json", "v20_carbonProjects_page2.json")
			k.bare = bare
			u := &upstream{handle: k.serve}
			r := runner(t, only(feeds.Options{Transport: u, Carbonmark: feeds.CarbonmarkOptions{PageSize: 10}}, "carbonmark"), m)
			rep := mustFetch(t, r, "carbonmark")
			if rep.Written.Inserted != 24 || len(u.requests()) != 3 {
				t.Errorf("bare %v: %+v, %d requests", bare, rep.Written, len(u.requests()))
			}
			for range 5 { // pages in between
				if rep := mustFetch(t, r, "carbonmark"); rep.Requests != 1 || rep.Written.Changed() {
					t.Errorf("bare %v: %+v", bare, rep)
				}
			}
			<-time.After(11 * time.Minute)
			if rep := mustFetch(t, r, "carbonmark"); rep.Requests != 3 || rep.Written.Changed() || rep.Items != 24 {
				t.Errorf("bare %v: full list again: %+v", bare, rep)
			}
		})
	}
}

func TestCarbonmarkShrinksAndLoses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, k := newMemory(), newMarket(t, "v20_carbonProjects_page1.json", "v20_carbonProjects_page2.json")
		for n := range 100 {
			e := map[string]any{}
			for key, v := range k.items[0] {
				e[key] = v
			}
			e["key"] = fmt.Sprintf("VCS-%d", 900000+n)
			k.items = append(k.items, e)
		}
		u := &upstream{handle: k.serve}
		r := runner(t, only(feeds.Options{Transport: u}, "carbonmark"), m)
		mustFetch(t, r, "carbonmark")
		all := k.items
		k.items = all[:60]
		<-time.After(time.Hour)
		if _, err := fetch(t, r, "carbonmark"); feeds.KindOf(err) != feeds.KindShrunk || m.count(change.Carbonmark) != 124 {
			t.Errorf("%v with %d rows", err, m.count(change.Carbonmark))
		}
		k.items = all[:123]
		for want := range 3 {
			if m.count(change.Carbonmark) != 124 {
				t.Fatalf("deleted after %d lists", want)
			}
			<-time.After(time.Hour)
			mustFetch(t, r, "carbonmark")
		}
		if m.count(change.Carbonmark) != 123 {
			t.Errorf("%d rows after three lists", m.count(change.Carbonmark))
		}
	})
}

// The subgraph stands in for the service, at the pace of the full list and
// never above two queries a minute; without a key it is not asked.
func TestCarbonmarkSubgraph(t *testing.T) {
	for _, key := range []string{"", "graph-key"} {
		synctest.Test(t, func(t *testing.T) {
			m, k := newMemory(), newMarket(t)
			k.down, k.graph = true, fixture(t, "carbonmark", "testdata", "subgraph", "carbonProjects_page1.json")
			u := &upstream{handle: k.serve}
			r := runner(t, only(feeds.Options{Transport: u, Carbonmark: feeds.CarbonmarkOptions{GraphKey: key}}, "carbonmark"), m)
			_, err := fetch(t, r, "carbonmark")
			if key == "" {
				if feeds.KindOf(err) != feeds.KindHTTPStatus || m.count(change.Carbonmark) != 0 {
					t.Errorf("%v", err)
				}
				return
			}
			if err != nil || m.count(change.Carbonmark) != 12 {
				t.Fatalf("%d rows, %v", m.count(change.Carbonmark), err)
			}
			for range 60 {
				_, _ = fetch(t, r, "carbonmark")
				<-time.After(time.Minute)
			}
			asked := 0
			for _, s := range u.requests() {
				if s.host == "gateway.thegraph.com" {
					asked++
				}
			}
			if asked > 7 {
				t.Errorf("%d queries in an hour", asked)
			}
			for _, f := range []string{"error_auth_missing_200.json", "error_bad_indexers_200.json", "data_null_200.json", "partial_data_with_errors_200.json", "error_payment_200.json"} {
				k.graph = fixture(t, "carbonmark", "testdata", "subgraph", f)
				<-time.After(3 * time.Hour)
				if _, err := fetch(t, r, "carbonmark"); err == nil || m.count(change.Carbonmark) != 12 {
					t.Errorf("%s: %v with %d rows", f, err, m.count(change.Carbonmark))
				}
			}
		})
	}
}

const rss = `<?xml version="1.0"?><rss version="2.0"><channel><title>t</title>%s</channel></rss>`

func story(n int, title string) string {
	return fmt.Sprintf(`<item><title>%s</title><link>https://a.example/%d</link><pubDate>%s</pubDate><description>Carbon market</description></item>`,
		title, n, time.Now().Add(-time.Duration(n)*time.Hour).UTC().Format(time.RFC1123Z))
}

func newsRunner(t *testing.T, m *memory, u *upstream, path string, list ...feeds.NewsFeed) *feeds.Runner {
	return runner(t, only(feeds.Options{News: feeds.NewsOptions{Feeds: list}, Transport: u, StatePath: path}, "news"), m)
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
		list := []feeds.NewsFeed{{Feed: "a", Name: "Outlet", URL: "https://a.example/feed"}}
		r := newsRunner(t, m, u, path, list...)
		if rep := mustFetch(t, r, "news/a"); rep.Written.Inserted != 2 {
			t.Errorf("%+v", rep.Written)
		}
		if rep := mustFetch(t, r, "news"); rep.Upstream != "not modified" || rep.Written.Changed() || rep.Items != 2 {
			t.Errorf("%+v", rep)
		}
		// A document that cannot be read must not leave its validators.
		broken = true
		if _, err := fetch(t, r, "news/a"); err == nil {
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
			feeds.NewsFeed{Feed: "a", Name: "A", URL: "https://a.example/feed"}, feeds.NewsFeed{Feed: "b", Name: "B", URL: "https://b.example/feed"})
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
		r := newsRunner(t, m, u, "", feeds.NewsFeed{Feed: "a", Name: "A", URL: "https://a.example/feed"})
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

func TestNewsFailures(t *testing.T) {
	files := map[string]feeds.Kind{
		"html_instead.html": feeds.KindHTML, "empty_body.txt": feeds.KindEmpty, "malformed_truncated.xml": feeds.KindTruncated,
		"json_error_instead.json": feeds.KindInvalid, "empty_channel.xml": feeds.KindShrunk, "malformed_unclosed_tag.xml": "",
	}
	for f, kind := range files {
		t.Run(f, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMemory()
				body := fixture(t, "news", "testdata", "news", "bbc_science_environment.xml")
				u := &upstream{handle: func(*http.Request) *http.Response { return answer(200, "text/xml", body) }}
				r := newsRunner(t, m, u, "", feeds.NewsFeed{Feed: "bbc", Name: "BBC", URL: "https://a.example/feed"})
				mustFetch(t, r, "news")
				old, _ := json.Marshal(m.tables)
				body = fixture(t, "news", "testdata", "news", f)
				_, err := fetch(t, r, "news")
				if err == nil || kind != "" && feeds.KindOf(err) != kind {
					t.Errorf("%q: %v", feeds.KindOf(err), err)
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
		if _, err := fetch(t, r, "news/reuters"); feeds.KindOf(err) != feeds.KindRateLimited {
			t.Error(err)
		}
		if _, err := fetch(t, r, "news/ap"); feeds.KindOf(err) != feeds.KindPaused {
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

func TestOptionsAreChecked(t *testing.T) {
	tests := map[string]struct {
		opt  feeds.Options
		want string
	}{
		"scheme":      {feeds.Options{Verra: feeds.VerraOptions{URL: "ftp://a.example"}}, "verra: want an http or https URL"},
		"no url":      {feeds.Options{News: feeds.NewsOptions{Feeds: []feeds.NewsFeed{{Name: "x"}}}}, "news x: want an http"},
		"same name":   {feeds.Options{News: feeds.NewsOptions{Feeds: []feeds.NewsFeed{{Name: "x", URL: "https://a.example"}, {Name: "X!", URL: "https://b.example"}}}}, "taken by another feed"},
		"google news": {feeds.Options{News: feeds.NewsOptions{Feeds: []feeds.NewsFeed{{Name: "g", URL: "https://news.google.com/rss"}}}}, "google_news"},
		"ticker":      {feeds.Options{Finance: feeds.FinanceOptions{Tickers: []string{"nee!"}}}, "finance ticker"},
		"too fast":    {feeds.Options{Interval: time.Millisecond}, "shorter than"},
		"contact":     {feeds.Options{Contact: "a\r\nX: y"}, "one line"},
	}
	for name, tc := range tests {
		if _, err := feeds.New(tc.opt, newMemory()); !errors.Is(err, feeds.ErrOptions) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	r, err := feeds.New(feeds.Options{}, newMemory())
	if err != nil {
		t.Fatal(err)
	}
	if n := len(r.Status()); n != 3+20 {
		t.Errorf("%d feeds by default", n)
	}
	for _, s := range r.Status() {
		if strings.Contains(s.Name, " ") || s.State != "waiting" {
			t.Errorf("%+v", s)
		}
	}
	if _, err := r.Fetch(t.Context(), "nope", false); !errors.Is(err, feeds.ErrUnknownFeed) {
		t.Error(err)
	}
	if len(finance.DefaultTickers()) != 47 {
		t.Error("47 tickers by default")
	}
}
