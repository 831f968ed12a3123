package feeds_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"carbond/feeds"
	"carbond/feeds/carbonmark"
	"carbond/feeds/finance"
	"carbond/feeds/news"
	"carbond/feeds/postgres"
	"carbond/feeds/verra"
	"carbond/replicate/pgtest"
)

// eventually polls until ok or gives up after a generous time.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(2 * time.Minute)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("still not: %s", what)
		}
	}
}

// All feeds against real sockets of one local stand-in and a real Postgres:
// rows arrive, one stalled address delays no other, unchanged polls leave the
// log alone.
func TestLocalStandInIntoPostgres(t *testing.T) {
	url := pgtest.Shared(t).Database(t)
	pgtest.Exec(t, url, tables)
	pool, err := pgxpool.New(context.Background(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	g, k := newRegistry(t), newMarket(t, "v20_carbonProjects_page1.json")
	at := time.Now().Truncate(time.Second)
	hold := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var res *http.Response
		switch path := r.URL.Path; {
		case path == "/stalled":
			<-hold
			return
		case strings.HasPrefix(path, "/carbonProjects"):
			res = k.serve(r)
		case strings.HasSuffix(path, "/spark"):
			res = spark(r, 42, at)
		case path == "/feed":
			res = answer(200, "text/xml", fmt.Sprintf(rss, `<item><title>Carbon tax</title><link>https://a.example/1</link><pubDate>Mon, 23 Nov 2026 10:00:00 GMT</pubDate></item>`))
		default:
			res = g.serve(r)
		}
		w.Header().Set("Content-Type", res.Header.Get("Content-Type"))
		w.WriteHeader(res.StatusCode)
		_, _ = io.Copy(w, res.Body)
	}))
	defer srv.Close()
	defer close(hold)
	opt := feeds.Options{
		Interval: 150 * time.Millisecond, Timeout: time.Minute, StatePath: filepath.Join(t.TempDir(), "feeds.json"),
		Verra: verra.Options{URL: srv.URL}, Carbonmark: carbonmark.Options{URL: srv.URL}, Finance: finance.Options{URL: srv.URL},
		News: news.Options{Feeds: []news.Source{{Name: "Stalled", URL: srv.URL + "/stalled"}, {Name: "Outlet", URL: srv.URL + "/feed"}}},
	}
	r := runner(t, opt, postgres.New(pool))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	polled := func(n uint64) func() bool {
		return func() bool {
			for _, s := range r.Status() {
				if s.Name != "news/stalled" && s.Polls < n {
					return false
				}
			}
			return true
		}
	}
	eventually(t, "every live feed polled four times", polled(4))
	// A row that is written or locked shows it in xmin or xmax.
	const touched = `SELECT string_agg(concat_ws('/', n, a, b), ' ' ORDER BY n) FROM (
		SELECT 'v' AS n, max(xmin::text::bigint) AS a, max(xmax::text::bigint) AS b FROM verra UNION ALL
		SELECT 'c', max(xmin::text::bigint), max(xmax::text::bigint) FROM carbonmark UNION ALL
		SELECT 'f', max(xmin::text::bigint), max(xmax::text::bigint) FROM finance UNION ALL
		SELECT 'n', max(xmin::text::bigint), max(xmax::text::bigint) FROM news) t`
	before := one(t, url, touched)
	polls := status(r, "verra").Polls
	eventually(t, "five more polls", polled(polls+5))
	if now := one(t, url, touched); now != before {
		t.Errorf("unchanged polls touched rows: %s became %s", before, now)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	got := one(t, url, "SELECT (SELECT count(*) FROM verra) || ' ' || (SELECT count(*) FROM carbonmark) || ' ' || (SELECT count(*) FROM finance) || ' ' || (SELECT count(*) FROM news)")
	if got != "22 12 47 1" { // two projects are of the market
		t.Errorf("rows: %s", got)
	}
	row := pgtest.Text(t, url, "SELECT registry_status, country, vintage, supply FROM verra WHERE project_id = 'VCS-934'")
	if s := fmt.Sprint(row); !strings.HasPrefix(s, "[[ACTIVE Democratic Republic of the Congo 2022 ") || strings.Contains(s, "null") {
		t.Errorf("VCS-934: %s", s)
	}
	if got := one(t, url, "SELECT published || ' ' || published_at::text || ' ' || source FROM news"); !strings.HasPrefix(got, "Mon, 23 Nov 2026 10:00:00 +0000 2026-11-23") || !strings.HasSuffix(got, " Outlet") {
		t.Errorf("news: %s", got)
	}
	if s := status(r, "news/stalled"); s.LastSuccess != (time.Time{}) {
		t.Errorf("%+v", s)
	}
}

// tables are the four tables, with a column of a user's own.
const tables = `
CREATE TABLE verra (id bigserial, project_id text PRIMARY KEY, project_name text, project_link text, project_summary text,
	registry_status text, country text, vintage int, supply double precision, updated_at timestamptz, my_note text DEFAULT 'mine');
CREATE TABLE carbonmark (id text PRIMARY KEY, project_id text, project_name text, vintage int, amount double precision, updated_at timestamptz);
CREATE TABLE finance (ticker text, price double precision, volume bigint, market_cap double precision, change_percent double precision,
	timestamp bigint, PRIMARY KEY (ticker, timestamp));
CREATE TABLE news (guid text PRIMARY KEY, title text, link text, published text, published_at timestamptz, source text, summary text);`

func one(t *testing.T, url, sql string) string {
	t.Helper()
	rows := pgtest.Text(t, url, sql)
	if len(rows) != 1 || len(rows[0]) != 1 {
		t.Fatalf("%s: %v", sql, rows)
	}
	return rows[0][0]
}
