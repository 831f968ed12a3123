package sample_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"carbond/feeds/carbonmark"
	"carbond/feeds/finance"
	"carbond/feeds/internal/payload"
	"carbond/feeds/news"
	"carbond/feeds/sample"
	"carbond/feeds/verra"
)

var start = time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)

// clock is a time that tests move.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// upstream is a world behind a server.
type upstream struct {
	*sample.World
	clock *clock
	urls  sample.URLs
	http  *http.Client
	tb    testing.TB
}

func serve(tb testing.TB, seed uint64) *upstream {
	tb.Helper()
	c := &clock{t: start}
	w := sample.New(sample.Options{Seed: seed, Now: c.now})
	srv := httptest.NewServer(w.Handler())
	tb.Cleanup(srv.Close)
	jar, err := cookiejar.New(nil)
	if err != nil {
		tb.Fatal(err)
	}
	client := srv.Client()
	client.Jar = jar
	tb.Cleanup(client.CloseIdleConnections)
	return &upstream{World: w, clock: c, urls: w.URLs(srv.URL), http: client, tb: tb}
}

func (u *upstream) do(r payload.Request) (status int, contentType string, body []byte) {
	u.tb.Helper()
	req, err := http.NewRequestWithContext(u.tb.Context(), r.Method, r.URL, bytes.NewReader(r.Body))
	if err != nil {
		u.tb.Fatal(err)
	}
	for k, v := range r.Header {
		req.Header.Set(k, v)
	}
	resp, err := u.http.Do(req)
	if err != nil {
		u.tb.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err = io.ReadAll(resp.Body)
	if err != nil {
		u.tb.Fatal(err)
	}
	return resp.StatusCode, resp.Header.Get("Content-Type"), body
}

func (u *upstream) get(url string, err error) (contentType string, body []byte) {
	u.tb.Helper()
	if err != nil {
		u.tb.Fatal(err)
	}
	_, contentType, body = u.do(payload.Request{Method: http.MethodGet, URL: url})
	return contentType, body
}

func TestMarketplace(t *testing.T) {
	u := serve(t, 1)
	c := carbonmark.Client{Base: u.urls.Carbonmark}
	var keys []string
	for offset := 0; ; offset += 10 {
		_, contentType, body := u.do(c.Projects(10, offset))
		page, err := carbonmark.ParseProjects(body, contentType)
		if err != nil || page.Total != 24 || page.Tally.Skipped()+len(page.Tally.Refused) > 0 {
			t.Fatalf("%+v, %v", page, err)
		}
		for _, p := range page.Rows {
			keys = append(keys, p.Key)
			if p.Supply == nil || *p.Supply <= 0 || p.Price == nil || len(p.Vintages) == 0 {
				t.Errorf("incomplete %+v", p)
			}
		}
		if len(page.Rows) == 0 {
			break
		}
	}
	if len(keys) != 24 {
		t.Errorf("%d projects over all pages", len(keys))
	}
	_, contentType, body := u.do(c.Prices(keys[:2]...))
	if p, err := carbonmark.ParsePrices(body, contentType); err != nil || len(p.Rows) != 2 || p.Rows[0].ProjectID == "" {
		t.Errorf("%+v, %v", p, err)
	}
}

func (u *upstream) prices() map[string]finance.Row {
	u.tb.Helper()
	out := map[string]finance.Row{}
	for _, batch := range finance.Batches(finance.DefaultTickers()) {
		contentType, body := u.get(finance.SparkURL(u.urls.Finance, batch))
		res, err := finance.ParseSpark(body, contentType, finance.Ask{Symbols: batch, Now: u.clock.now()})
		if err != nil || len(res.Missing)+len(res.Skipped) > 0 {
			u.tb.Fatalf("%+v, %v", res, err)
		}
		for _, r := range res.Rows {
			out[r.Ticker] = r
		}
	}
	return out
}

func TestMarketMoves(t *testing.T) {
	u := serve(t, 1)
	before := u.prices()
	if again := u.prices(); len(before) != 47 || again["KRBN"].Price != before["KRBN"].Price {
		t.Errorf("%d tickers; KRBN %v then %v at the same time", len(before), before["KRBN"], again["KRBN"])
	}
	u.clock.add(10 * time.Second)
	moved := 0
	for ticker, r := range u.prices() {
		if r.Price != before[ticker].Price && r.Timestamp > before[ticker].Timestamp {
			moved++
		}
	}
	if moved < 40 {
		t.Errorf("only %d of 47 prices moved in ten seconds", moved)
	}
}

func TestQuotesWantCookieAndCrumb(t *testing.T) {
	u := serve(t, 1)
	ask := finance.Ask{Symbols: []string{"KRBN", "TSLA"}, Now: u.clock.now()}
	contentType, body := u.get(finance.QuoteURL(u.urls.Finance, ask.Symbols, "x"))
	if _, err := finance.ParseQuote(body, contentType, ask); !errors.Is(err, finance.ErrUnauthorized) {
		t.Errorf("without a cookie: %v", err)
	}
	u.get(u.urls.Cookie, nil)
	contentType, body = u.get(finance.QuoteURL(u.urls.Finance, ask.Symbols, "x"))
	if _, err := finance.ParseQuote(body, contentType, ask); !errors.Is(err, finance.ErrInvalidCrumb) {
		t.Errorf("with a wrong crumb: %v", err)
	}
	_, body = u.get(finance.CrumbURL(u.urls.Finance))
	crumb, err := finance.ParseCrumb(body)
	if err != nil {
		t.Fatal(err)
	}
	contentType, body = u.get(finance.QuoteURL(u.urls.Finance, ask.Symbols, crumb))
	res, err := finance.ParseQuote(body, contentType, ask)
	if err != nil || len(res.Rows) != 2 || len(res.Caps) != 1 || res.Caps[0].Ticker != "TSLA" {
		t.Errorf("%+v, %v", res, err)
	}
	contentType, body = u.get(finance.ChartURL(u.urls.Finance, "KRBN"))
	if res, err := finance.ParseChart(body, contentType, ask); err != nil || len(res.Rows) != 1 {
		t.Errorf("%+v, %v", res, err)
	}
	contentType, body = u.get(finance.ChartURL(u.urls.Finance, "GONE"))
	if _, err := finance.ParseChart(body, contentType, ask); !errors.Is(err, finance.ErrNotFound) {
		t.Errorf("%v", err)
	}
}

func (u *upstream) stories() map[string][]news.Item {
	u.tb.Helper()
	out := map[string][]news.Item{}
	for _, s := range u.urls.News {
		contentType, body := u.get(s.URL, nil)
		f, err := news.Parse(body, contentType, s, u.clock.now())
		if err != nil {
			u.tb.Fatalf("%s: %v", s.Feed, err)
		}
		out[s.Name] = f.Items
	}
	return out
}

func TestHeadlines(t *testing.T) {
	u := serve(t, 1)
	before := u.stories()
	for _, name := range []string{"Reuters", "Associated Press", "The Guardian", "BBC", "Bloomberg", "Financial Times", "CNBC", "Carbon Pulse"} {
		if len(before[name]) == 0 {
			t.Errorf("no stories of %s", name)
		}
	}
	for name, items := range before {
		for _, it := range items {
			if !strings.HasPrefix(it.Title, sample.Mark) || it.DateEstimated || it.Source != name {
				t.Errorf("%s: %+v", name, it)
			}
			if strings.Contains(it.Title, "Football") {
				t.Errorf("%s: an unrelated story passed the filter", name)
			}
		}
	}
	u.clock.add(time.Minute)
	fresh := 0
	for name, items := range u.stories() {
		if len(items) > 0 && (len(before[name]) == 0 || items[0].GUID != before[name][0].GUID) {
			fresh++
		}
	}
	if fresh < 3 {
		t.Errorf("fresh headlines at only %d outlets after a minute", fresh)
	}
}

func TestConditionalGet(t *testing.T) {
	u := serve(t, 1)
	url := u.urls.News[2].URL
	resp, err := u.http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	again := payload.Request{Method: http.MethodGet, URL: url, Header: map[string]string{"If-None-Match": resp.Header.Get("ETag")}}
	if status, _, _ := u.do(again); status != http.StatusNotModified {
		t.Errorf("status %d, want 304", status)
	}
	u.clock.add(10 * time.Minute)
	if status, _, _ := u.do(again); status != http.StatusOK {
		t.Errorf("status %d after new stories, want 200", status)
	}
}

// Two worlds with one seed are the same at the same time, whoever looked before.
func TestDeterministic(t *testing.T) {
	a, b := serve(t, 7), serve(t, 7)
	for range 5 {
		a.clock.add(13 * time.Second)
		a.prices()
	}
	b.clock.add(65 * time.Second)
	for _, u := range []*upstream{a, b} {
		u.urls.News = u.urls.News[:3]
	}
	x, err := json.Marshal([]any{a.prices(), a.stories()})
	if err != nil {
		t.Fatal(err)
	}
	y, err := json.Marshal([]any{b.prices(), b.stories()})
	if err != nil || !bytes.Equal(x, y) {
		t.Errorf("worlds differ, %v", err)
	}
	pa, _ := ledger(a, verra.Retirements, 400, verra.ParseRetirements)
	pb, _ := ledger(b, verra.Retirements, 400, verra.ParseRetirements)
	if len(pa) != len(pb) || len(pa) == 0 {
		t.Errorf("%d and %d retirements", len(pa), len(pb))
	}
	c := serve(t, 8)
	c.clock.add(65 * time.Second)
	if c.prices()["KRBN"].Price == a.prices()["KRBN"].Price {
		t.Error("another seed gives the same price")
	}
}

// A demo that runs for two days keeps answering with sound figures.
func TestLongRun(t *testing.T) {
	u := serve(t, 3)
	u.clock.add(48 * time.Hour)
	for _, r := range u.prices() {
		if r.Price <= 0 || *r.ChangePercent < -60 || *r.ChangePercent > 150 {
			t.Errorf("%+v after two days", r)
		}
	}
	rows, total := ledger(u, verra.Issuances, 400, verra.ParseIssuances)
	if total > 10_000 || len(rows) != total {
		t.Errorf("%d issuances of %d", len(rows), total)
	}
}
