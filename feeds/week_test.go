package feeds_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"carbond/feeds"
	"carbond/feeds/internal/fetch"
	"carbond/feeds/news"
	"carbond/store/change"
)

// world plays all upstreams at their public names.
type world struct {
	g *registry
	k *market
}

func (w world) serve(r *http.Request) *http.Response {
	switch host := r.URL.Host; {
	case strings.HasSuffix(host, "yahoo.com"):
		return yahoo(r)
	case strings.HasSuffix(host, "carbonmark.com"):
		return w.k.serve(r)
	case host == "registry.verra.org" && strings.HasPrefix(r.URL.Path, "/config"), host == "prod-us.api.platts.com":
		return w.g.serve(r)
	case host == "api.gdeltproject.org":
		return asJSON(`{"articles":[{"url":"https://x.example/` + r.URL.Query().Get("timespan") + `","title":"Carbon credits","seendate":"20000101T000000Z","domain":"x"}]}`)
	}
	if r.Header.Get("If-None-Match") != "" {
		return answer(304, "", "")
	}
	return answer(200, "text/xml", fmt.Sprintf(rss, strings.ReplaceAll(story(1, "Carbon price"), "a.example", r.URL.Host)), "ETag", `"1"`)
}

// A week of all feeds, in virtual time: the requests per host stay within what
// the upstreams allow, and an hour without news writes nothing but prices. The
// short form has the 40 hours in which the markets are looked at.
func TestSimulatedWeek(t *testing.T) {
	start, length := time.Date(2026, 11, 16, 0, 0, 0, 0, time.UTC), 7*24*time.Hour // a Monday
	if testing.Short() {
		start, length = start.AddDate(0, 0, 1), 40*time.Hour
	}
	synctest.Test(t, func(t *testing.T) {
		<-time.After(time.Until(start))
		m := newMemory()
		w := world{newRegistry(t), newMarket(t, "v20_carbonProjects_page1.json", "v20_carbonProjects_page2.json")}
		u := &upstream{handle: w.serve}
		r := runner(t, feeds.Options{Transport: u, Version: "1", Contact: "+https://example.org; ops"}, m)
		ctx, cancel := context.WithTimeout(t.Context(), length)
		defer cancel()
		if err := r.Run(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		byHost := map[string][]time.Time{}
		for _, s := range u.requests() {
			byHost[s.host] = append(byHost[s.host], s.at)
			if s.header.Get("User-Agent") != "carbond/1 (+https://example.org; ops)" {
				t.Fatalf("User-Agent %q", s.header.Get("User-Agent"))
			}
		}
		limits := map[string]struct {
			minute, day, week int
			gap               time.Duration
		}{
			// 2 a minute for changes, 20 sweeps' pages and sums, totals of 20 projects a day.
			"prod-us.api.platts.com":   {minute: 30, day: 3200, week: 22400, gap: 2 * time.Second},
			"registry.verra.org":       {minute: 2, day: 4, week: 8, gap: 0},
			"v20.api.carbonmark.com":   {minute: 5, day: 1700, week: 11900, gap: time.Second},
			"query1.finance.yahoo.com": {minute: 15, day: 1600, week: 8500},
			"fc.yahoo.com":             {minute: 1, day: 40, week: 260},
			"api.gdeltproject.org":     {minute: 2, day: 2 * 24 * 5, week: 7 * 2 * 24 * 5, gap: 7 * time.Second},
			"www.theguardian.com":      {minute: 2, day: 24*7 + 24*3, week: 7 * (24*7 + 24*3)},
			"verra.org":                {minute: 1, day: 27, week: 7 * 27},
			"feeds.bbci.co.uk":         {minute: 2, day: 2 * 24 * 5, week: 7 * 2 * 24 * 5},
			"www.carbonbrief.org":      {minute: 1, day: 24 * 3, week: 7 * 24 * 3},
			"www.srnnews.com":          {minute: 1, day: 24 * 5, week: 7 * 24 * 5},
		}
		for host, limit := range limits {
			at := byHost[host]
			if len(at) == 0 {
				t.Errorf("%s was never asked", host)
			}
			if n := most(at, time.Minute); n > limit.minute {
				t.Errorf("%s: %d requests in a minute, limit %d", host, n, limit.minute)
			}
			if n := most(at, 24*time.Hour); n > limit.day {
				t.Errorf("%s: %d requests in a day, limit %d", host, n, limit.day)
			}
			if len(at) > limit.week {
				t.Errorf("%s: %d requests in a week, limit %d", host, len(at), limit.week)
			}
			for i := 1; i < len(at); i++ {
				if gap := at[i].Sub(at[i-1]); gap < limit.gap {
					t.Errorf("%s: %v between requests, least %v", host, gap, limit.gap)
					break
				}
			}
		}
		// Prices follow the market: a minute apart on weekdays in session, else 15.
		if n := count(byHost["query1.finance.yahoo.com"], time.Date(2026, 11, 18, 15, 0, 0, 0, time.UTC), time.Hour); n < 3*50 || n > 3*70+8 {
			t.Errorf("%d price requests in a market hour", n)
		}
		if n := count(byHost["query1.finance.yahoo.com"], time.Date(2026, 11, 21, 15, 0, 0, 0, time.UTC), 24*time.Hour); n > 3*24*5+40*6 {
			t.Errorf("%d price requests on a Saturday", n)
		}
		// The market opens at 14:30 UTC in November: nobody oversleeps it.
		if n := count(byHost["query1.finance.yahoo.com"], time.Date(2026, 11, 17, 14, 30, 0, 0, time.UTC), 2*time.Minute); n < 3 {
			t.Error("the opening was overslept")
		}
		for _, s := range r.Status() {
			if s.State != "ok" || s.Stale || s.LastError != "" {
				t.Errorf("%+v", s)
			}
		}
		t.Logf("%d requests in %v: %v", len(u.requests()), length, counts(byHost))
		if m.count(change.Verra) != 20+3 || m.count(change.Carbonmark) != 24 || m.count(change.News) < 10 {
			t.Error("tables are not filled")
		}
	})
}

func counts(by map[string][]time.Time) string {
	var out []string
	for _, h := range slices.Sorted(maps.Keys(by)) {
		out = append(out, fmt.Sprintf("%s %d", h, len(by[h])))
	}
	return strings.Join(out, ", ")
}

// most is the largest number of times within any window.
func most(at []time.Time, window time.Duration) (n int) {
	first := 0
	for i := range at {
		for at[i].Sub(at[first]) >= window {
			first++
		}
		n = max(n, i-first+1)
	}
	return n
}

func count(at []time.Time, from time.Time, d time.Duration) (n int) {
	for _, t := range at {
		if !t.Before(from) && t.Before(from.Add(d)) {
			n++
		}
	}
	return n
}

// run runs r in the background for d of virtual time.
func run(t *testing.T, r *feeds.Runner, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	if err := r.Run(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
}

// A feed that never answers delays no other.
func TestDeadFeedDelaysNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, w := newMemory(), world{newRegistry(t), newMarket(t, "v20_carbonProjects_page1.json")}
		u := &upstream{}
		u.handle = func(r *http.Request) *http.Response {
			if r.URL.Host == "dead.example" || strings.Contains(r.URL.Host, "platts") {
				<-r.Context().Done()
				return nil
			}
			u.mu.Lock()
			defer u.mu.Unlock()
			return w.serve(r)
		}
		opt := feeds.Options{Transport: u, News: news.Options{Feeds: []news.Source{
			{Name: "dead", URL: "https://dead.example/"}, {Name: "alive", URL: "https://alive.example/"},
		}}}
		opt.Finance.AlwaysOpen = true
		r := runner(t, opt, m)
		run(t, r, 3*time.Hour)
		for name, want := range map[string]string{"verra": "failing", "news/dead": "failing", "carbonmark": "ok", "finance": "ok", "news/alive": "ok"} {
			s := status(r, name)
			if s.State != want && !(want == "failing" && s.State == "paused") {
				t.Errorf("%s is %s (%s), want %s", name, s.State, s.LastError, want)
			}
			if want == "ok" && s.LastSuccess.IsZero() || want == "failing" && !s.Stale {
				t.Errorf("%s: %+v", name, s)
			}
		}
		if s := status(r, "carbonmark"); s.Polls < 160 {
			t.Errorf("carbonmark was polled %d times in three hours", s.Polls)
		}
		if s := status(r, "finance"); s.Polls < 160 {
			t.Errorf("finance was polled %d times in three hours", s.Polls)
		}
		// 180 polls of a healthy feed; a dead one is asked ever less.
		if s := status(r, "verra"); s.Polls > 30 {
			t.Errorf("a dead feed was polled %d times in three hours", s.Polls)
		}
	})
}

// What must survive a restart: due times, pauses of hosts, failures, switched
// off feeds.
func TestRestartKeepsState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		path := filepath.Join(t.TempDir(), "state", "feeds.json")
		u := &upstream{handle: func(r *http.Request) *http.Response {
			switch r.URL.Host {
			case "gone.example":
				return answer(410, "text/plain", "")
			case "limit.example":
				return answer(429, "text/plain", "", "Retry-After", "7200")
			}
			return answer(200, "text/xml", fmt.Sprintf(rss, story(1, "Carbon tax")))
		}}
		list := []news.Source{
			{Name: "gone", URL: "https://gone.example/"}, {Name: "limit", URL: "https://limit.example/"}, {Name: "fine", URL: "https://fine.example/", Every: time.Hour},
		}
		r := newsRunner(t, m, u, path, list...)
		run(t, r, 10*time.Minute)
		if n := len(u.requests()); n != 3 {
			t.Fatalf("%d requests", n)
		}
		r = newsRunner(t, m, u, path, list...)
		if s := status(r, "news/gone"); s.State != "disabled" || !strings.Contains(s.Disabled, "410") {
			t.Errorf("%+v", s)
		}
		if s := status(r, "news/limit"); s.Failures != 1 || s.NextDue.Before(time.Now().Add(time.Hour)) {
			t.Errorf("%+v", s)
		}
		if s := status(r, "news/fine"); s.Items != 1 || s.LastSuccess.IsZero() {
			t.Errorf("%+v", s)
		}
		if _, err := fetchNow(t, r, "news/limit"); fetch.KindOf(err) != fetch.KindPaused {
			t.Errorf("the pause was forgotten: %v", err)
		}
		run(t, r, 30*time.Minute)
		if n := len(u.requests()); n != 3 {
			t.Errorf("%d requests after the restart", n-3)
		}
		// Another address is another feed.
		list[0].URL = "https://new.example/"
		r = newsRunner(t, m, u, path, list...)
		if s := status(r, "news/gone"); s.State != "waiting" {
			t.Errorf("%+v", s)
		}
	})
}

func TestDamagedStateIsSetAside(t *testing.T) {
	for name, content := range map[string]string{
		"text": "not json", "cut off": `{"format":1,"feeds":{"verra"`, "newer": `{"format":99}`, "empty": "", "array": "[]", "null": "null",
		"odd memory": `{"format":1,"feeds":{},"memory":{"verra":"x","news/a":[1],"finance":{"caps":null}}}`,
	} {
		path := filepath.Join(t.TempDir(), "feeds.json")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := feeds.New(feeds.Options{StatePath: path}, newMemory())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if s := status(r, "verra"); s.State != "waiting" {
			t.Errorf("%s: %+v", name, s)
		}
		if _, err := os.Stat(path + ".damaged"); (err == nil) != (name != "odd memory") {
			t.Errorf("%s: set aside: %v", name, err)
		}
	}
}

// A clock that was wrong must not strand a feed for years.
func TestDueTimesFarOffAreDistrusted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "feeds.json")
		u := &upstream{handle: func(*http.Request) *http.Response {
			return answer(200, "text/xml", fmt.Sprintf(rss, story(1, "Carbon tax")))
		}}
		list := news.Source{Name: "a", URL: "https://a.example/"}
		r := newsRunner(t, newMemory(), u, path, list)
		run(t, r, 5*time.Minute)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		year := time.Now().UTC().Format("2006")
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(string(b), `"next_due": "`+year, `"next_due": "2199`)), 0o600); err != nil {
			t.Fatal(err)
		}
		r = newsRunner(t, newMemory(), u, path, list)
		if s := status(r, "news/a"); time.Until(s.NextDue) > time.Hour {
			t.Errorf("due %v", s.NextDue)
		}
	})
}

func TestNotFoundDisablesAfterThreeDays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{handle: func(*http.Request) *http.Response { return answer(404, "text/html", "<html>") }}
		r := newsRunner(t, newMemory(), u, "", news.Source{Name: "a", URL: "https://a.example/"})
		run(t, r, 70*time.Hour)
		if s := status(r, "news/a"); s.State != "failing" {
			t.Errorf("after 70 hours: %+v", s)
		}
		asked := len(u.requests())
		if asked > 140 { // 112 are expected, and 26 more do not come by chance
			t.Errorf("%d requests for a page that is not there", asked)
		}
		run(t, r, 5*time.Hour)
		if s := status(r, "news/a"); s.State != "disabled" || !strings.Contains(s.Disabled, "404") {
			t.Errorf("after 75 hours: %+v", s)
		}
		asked = len(u.requests())
		run(t, r, 24*time.Hour)
		if len(u.requests()) != asked {
			t.Error("a disabled feed was asked")
		}
	})
}

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewRegistry()
		ok := true
		u := &upstream{handle: func(*http.Request) *http.Response {
			if ok {
				return answer(200, "text/xml", fmt.Sprintf(rss, story(1, "Carbon tax")))
			}
			return answer(429, "text/plain", "", "Retry-After", "600")
		}}
		r := runner(t, only(feeds.Options{Transport: u, Metrics: reg, News: news.Options{Feeds: []news.Source{{Name: "a", URL: "https://a.example/"}}}}, "news"), newMemory())
		mustFetch(t, r, "news")
		mustFetch(t, r, "news")
		ok = false
		_, _ = fetchNow(t, r, "news")
		want := `
# HELP carbond_feed_backoff_seconds Wait that the last failure caused, 0 when the feed is well.
# TYPE carbond_feed_backoff_seconds gauge
carbond_feed_backoff_seconds{feed="news/a"} 900
# HELP carbond_feed_not_modified_total Polls that upstream answered without anything new.
# TYPE carbond_feed_not_modified_total counter
carbond_feed_not_modified_total{feed="news/a"} 1
# HELP carbond_feed_polls_total Polls by result: ok, or the kind of failure.
# TYPE carbond_feed_polls_total counter
carbond_feed_polls_total{feed="news/a",result="ok"} 2
carbond_feed_polls_total{feed="news/a",result="rate_limited"} 1
# HELP carbond_feed_requests_total HTTP requests sent, redirects and retries included.
# TYPE carbond_feed_requests_total counter
carbond_feed_requests_total{feed="news/a"} 3
`
		if err := testutil.GatherAndCompare(reg, strings.NewReader(want),
			"carbond_feed_backoff_seconds", "carbond_feed_not_modified_total", "carbond_feed_polls_total", "carbond_feed_requests_total"); err != nil {
			t.Error(err)
		}
		if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
			t.Error(problems, err)
		}
	})
}

// An appliance that was offline for a day is back within minutes.
func TestBackSoonAfterAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, k := newMemory(), newMarket(t, "v20_carbonProjects_page1.json")
		offline := true
		u := &upstream{}
		u.handle = func(r *http.Request) *http.Response {
			if offline {
				return nil
			}
			return k.serve(r)
		}
		r := runner(t, only(feeds.Options{Transport: u}, "carbonmark"), m)
		run(t, r, 24*time.Hour)
		if n := len(u.requests()); n > 24*20 {
			t.Errorf("%d tries in a day without a network", n)
		}
		offline = false
		run(t, r, 25*time.Minute)
		if s := status(r, "carbonmark"); s.State != "ok" || m.count(change.Carbonmark) == 0 {
			t.Errorf("%+v", s)
		}
	})
}
