package daemon

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"carbond/feeds"
	"carbond/feeds/carbonmark"
	"carbond/feeds/finance"
	"carbond/feeds/news"
	"carbond/feeds/verra"

	"github.com/jackc/pgx/v5/pgconn"

	"carbond/cmd/carbond/internal/config"
)

func TestDSN(t *testing.T) {
	const odd = `p'a\ss/w@rd &?%#=:x`
	for name, tc := range map[string]struct{ url, password, user, want string }{
		"url":           {"postgres://u@h:1/d?sslmode=disable", odd, "u", odd},
		"url overrides": {"postgresql://u:old@h/d", odd, "u", odd},
		"in the query":  {"postgres://u@h/d?password=old&application_name=a+b", odd, "u", odd},
		"no user":       {"postgres:///d?host=/run/x&user=v", odd, "v", odd},
		"many hosts":    {"postgres://u@h1:1,h2:2/d", odd, "u", odd},
		"keywords":      {"host=h user=u dbname=d", odd, "u", odd},
		"none":          {"postgres://u:old@h/d", "", "u", "old"},
	} {
		t.Run(name, func(t *testing.T) {
			s := dsn(config.Postgres{URL: config.NewSecret(tc.url), Password: config.NewSecret(tc.password)})
			c, err := pgconn.ParseConfig(s)
			if err != nil {
				t.Fatal(err)
			}
			if c.Password != tc.want || c.User != tc.user {
				t.Errorf("user %q password %q", c.User, c.Password)
			}
		})
	}
}

// TestQuerySource says which password goes where.
func TestQuerySource(t *testing.T) {
	t.Setenv("PGPASSFILE", "/nonexistent")
	for name, tc := range map[string]struct{ query, password, want string }{
		"none":         {"", "file", "file"},
		"its own":      {"postgres://q:own@pool:6432/d", "file", "own"},
		"the common":   {"postgres://q@pool:6432/d", "file", "file"},
		"not the URLs": {"postgres://q@pool:6432/d", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s, pooler := querySource(config.Postgres{URL: config.NewSecret("postgres://u:first@h/d"), Password: config.NewSecret(tc.password), QueryURL: config.NewSecret(tc.query)})
			for _, url := range []string{s.URL, s.Fresh()} {
				c, err := pgconn.ParseConfig(url)
				if err != nil {
					t.Fatal(err)
				}
				if c.Password != tc.want || (c.Host == "pool") != pooler || pooler != (tc.query != "") {
					t.Errorf("host %q password %q, pooler %t", c.Host, c.Password, pooler)
				}
			}
		})
	}
}

// Every address, header, status, ticker and interval of the feeds is the
// configuration's to say.
func TestFeedKeysReachTheFeeds(t *testing.T) {
	conf := filepath.Join(t.TempDir(), "c.yaml")
	text := `
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
`
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, _, err := config.Load(config.Options{Path: conf})
	if err != nil {
		t.Fatal(err)
	}
	got := FeedOptions(cfg, "1.2")
	want := feeds.Options{
		Version: "1.2", Contact: "+https://example.com", Interval: 90 * time.Second, Timeout: 7 * time.Second, StatePath: filepath.Join(cfg.DataDir, "feeds.json"),
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
	if err := feeds.Check(got); err != nil {
		t.Error(err)
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
		err = Check(cfg)
		if (err != nil) != (want != "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", set, err)
		}
	}
}
