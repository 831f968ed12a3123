package main

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"carbond/cmd/carbond/internal/config"
	"carbond/feeds"
	"carbond/feeds/carbonmark"
	"carbond/feeds/finance"
	"carbond/feeds/news"
	"carbond/feeds/sample"
	"carbond/feeds/verra"
)

// Every address, header, status, ticker and interval of the feeds is the
// configuration's to say.
func TestFeedKeysReachTheFeeds(t *testing.T) {
	conf := file(t, "c.yaml", `
feeds:
  interval: 90s
  timeout: 7s
  verra_url: https://registry.example.com
  verra_search_url: https://search.example.com/public
  verra_headers: {Origin: https://o.example.com}
  verra_standard: 42
  verra_statuses: {suspended: ON_HOLD}
  verra_link_prefix: https://registry.example.com/p/
  verra_sweep: 6h
  carbonmark_url: https://v21.example.com
  graph_url: https://graph.example.com/id/x
  finance_url: https://prices.example.com
  finance_failover_url: https://prices2.example.com
  finance_cookie_url: https://cookie.example.com
  finance_tickers: [KRBN]
  finance_charts: 20m
  robots: true
  news_urls: {Outlet: https://news.example.com/rss}
  news_extra: {Journal: https://journal.example.com/rss}
  news_intervals: {Outlet: 20m}
  user_agent_contact: +https://example.com
  stale_after: 2h
  finance_history: 30d
  news_history: 40d
`)
	cfg, _, err := config.Load(config.Options{Path: conf})
	if err != nil {
		t.Fatal(err)
	}
	got := feedOptions(cfg, "state")
	want := feeds.Options{
		Version: version, Contact: "+https://example.com", Interval: 90 * time.Second, Timeout: 7 * time.Second, StatePath: "state",
		StaleAfter: 2 * time.Hour,
		Verra: verra.Options{
			URL: "https://registry.example.com", Base: "https://search.example.com/public", Standard: verra.Standard{ID: "42"},
			Headers:    map[string]string{"Origin": "https://o.example.com"},
			Status:     verra.StatusMap{Own: []verra.StatusRule{{Pattern: "SUSPENDED", Status: verra.OnHold}}},
			LinkPrefix: "https://registry.example.com/p/", SweepEvery: 6 * time.Hour,
		},
		Carbonmark: carbonmark.Options{URL: "https://v21.example.com", GraphURL: "https://graph.example.com/id/x"},
		Finance: finance.Options{
			URL: "https://prices.example.com", Failover: "https://prices2.example.com", Cookie: "https://cookie.example.com", Tickers: []string{"KRBN"},
			ChartsEvery: 20 * time.Minute, Keep: 30 * 24 * time.Hour,
		},
		News: news.Options{
			Robots: true, Whole: []string{"Carbon Pulse", "Verra news"}, Keep: 40 * 24 * time.Hour,
			Feeds: []news.Source{{Name: "Outlet", URL: "https://news.example.com/rss"}, {Name: "Journal", URL: "https://journal.example.com/rss"}}, Intervals: map[string]time.Duration{"Outlet": 20 * time.Minute},
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if _, err := feeds.New(got, nothing{}); err != nil {
		t.Error(err)
	}
}

// /readyz names a feed from its first failure on, and says more the longer it lasts.
func TestFeedTrouble(t *testing.T) {
	at := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	tests := map[string]struct {
		feed feeds.FeedStatus
		want string
	}{
		"well":        {feeds.FeedStatus{Name: "verra", LastSuccess: at}, ""},
		"fails":       {feeds.FeedStatus{Name: "verra", LastSuccess: at, Failures: 2, LastError: "HTTP 500"}, "verra failed 2 times in a row: HTTP 500"},
		"stale":       {feeds.FeedStatus{Name: "verra", LastSuccess: at, Failures: 9, Stale: true, LastError: "HTTP 500"}, "verra is stale since 2026-11-23T10:00:00Z: HTTP 500"},
		"never there": {feeds.FeedStatus{Name: "verra", Failures: 9, Stale: true, LastError: "HTTP 500"}, "verra has not succeeded yet: HTTP 500"},
		"disabled":    {feeds.FeedStatus{Name: "news/x", Failures: 1, Disabled: "410"}, "news/x is disabled: 410"},
	}
	for name, tc := range tests {
		if got := feedTrouble(tc.feed); got != tc.want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestFeedsFetchShowsAndWritesNothing(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := sample.New(sample.Options{Seed: 7})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx, l) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	urls := w.URLs("http://" + l.Addr().String())
	env := append(embedded(t), "CARBOND_FEEDS_CARBONMARK_URL="+urls.Carbonmark, "CARBOND_FEEDS_ENABLED=carbonmark")

	out := must(t, env, "feeds", "fetch", "carbonmark", "--rows", "2")
	if !strings.Contains(out, "would insert 24, update 0, delete 0") || !strings.Contains(out, "... and 22 more") {
		t.Error(out)
	}
	// The same again: a dry run leaves no memory behind.
	if again := must(t, env, "feeds", "fetch", "carbonmark"); !strings.Contains(again, "would insert 24") {
		t.Error(again)
	}
	if code, _, errs := command(t, env, "feeds", "fetch", "verra"); code != 64 || !strings.Contains(errs, "carbonmark") {
		t.Errorf("a feed that is off: %d %s", code, errs)
	}
	// A daemon with the feed on fills itself, and then a poll finds little new.
	p := start(t, append(env, "CARBOND_FEEDS_ENABLED=carbonmark"), "serve")
	p.until("rows", func() bool {
		_, body := p.get("/metrics")
		return strings.Contains(body, `carbond_table_rows{table="carbonmark"} 24`)
	})
	if out := must(t, nil, "feeds", "--http-addr", p.http); !strings.Contains(out, "carbonmark  ok") {
		t.Error(out)
	}
	code, out, errs := command(t, env, "feeds", "fetch", "carbonmark")
	if code != 0 || !strings.Contains(errs, "a daemon holds") {
		t.Errorf("%d %s%s", code, out, errs)
	}
	p.stop()
	if out := must(t, env, "feeds", "fetch", "carbonmark"); strings.Contains(out, "would insert 24") {
		t.Errorf("compared with nothing:\n%s", out)
	}
}

// What serve refuses in the options of the feeds, check-config refuses as well.
func TestCheckConfigChecksFeeds(t *testing.T) {
	for set, want := range map[string]string{
		"finance_tickers: [krbn]": "krbn", "finance_tickers: [KRBN]": "",
		"news_extra: {A: 'https://news.google.com/rss'}": "google_news", "news_intervals: {Nobody: 20m}": "Nobody",
	} {
		conf := filepath.Join(t.TempDir(), "carbond.yaml")
		if err := os.WriteFile(conf, []byte("feeds:\n  "+set+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, _, err := config.Load(config.Options{Path: conf})
		if err != nil {
			t.Fatal(err)
		}
		err = checkFeeds(cfg, feedOptions(cfg, ""))
		if (err != nil) != (want != "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", set, err)
		}
	}
}
