package sample_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
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

// start is ten o'clock in New York, on a Monday.
var start = time.Date(2026, 11, 23, 15, 0, 0, 0, time.UTC)

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
	return serveFrom(tb, sample.Options{Seed: seed, Start: start})
}

func serveFrom(tb testing.TB, opt sample.Options) *upstream {
	tb.Helper()
	c := &clock{t: opt.Start}
	opt.Now = c.now
	w := sample.New(opt)
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

// market reads all projects of the marketplace, and what is for sale.
func (u *upstream) market() ([]carbonmark.Project, carbonmark.Offers) {
	u.tb.Helper()
	c := carbonmark.Client{Base: u.urls.Carbonmark}
	var all []carbonmark.Project
	for offset := 0; ; offset += 50 {
		_, contentType, body := u.do(c.Projects(50, offset))
		page, err := carbonmark.ParseProjects(body, contentType)
		if err != nil || page.Total != 204 || page.Tally.Skipped()+len(page.Tally.Refused) > 0 {
			u.tb.Fatalf("%+v, %v", page, err)
		}
		if all = append(all, page.Rows...); len(page.Rows) == 0 {
			break
		}
	}
	_, contentType, body := u.do(c.Prices())
	page, err := carbonmark.ParsePrices(body, contentType)
	if err != nil || page.Tally.Skipped()+len(page.Tally.Refused) > 0 {
		u.tb.Fatalf("%+v, %v", page, err)
	}
	return all, carbonmark.OffersOf(page.Rows)
}

// Several registries, projects without anything for sale, dear kinds and cheap ones, and
// within a kind a discount for age.
func TestMarketplace(t *testing.T) {
	u := serve(t, 1)
	all, offers := u.market()
	registries, unsold, byKind := map[string]int{}, 0, map[string][2]float64{}
	var young, old [2]float64
	for _, p := range all {
		registries[p.Registry]++
		row := p.Row(offers)
		if row.PriceUSD == nil {
			if unsold++; len(p.Vintages) > 0 || *row.Listed != 0 {
				t.Errorf("no price of %+v", p)
			}
			continue
		}
		if *p.Supply <= 0 || *row.Listed > *p.Supply+0.01 || *row.PriceUSD < 0.1 {
			t.Errorf("%+v: %+v", p, row)
		}
		k := byKind[p.Categories[0]]
		byKind[p.Categories[0]] = [2]float64{k[0] + *row.PriceUSD, k[1] + 1}
		if p.Categories[0] == "Renewable Energy" {
			n := &old
			if p.Vintages[0] >= 2020 {
				n = &young
			}
			n[0], n[1] = n[0]+*row.PriceUSD, n[1]+1
		}
	}
	mean := func(k [2]float64) float64 { return k[0] / k[1] }
	if len(all) != 204 || len(registries) != 6 || registries["VCS"] != 144 || unsold < 10 || unsold > 50 {
		t.Errorf("%d projects, by registry %v, %d with nothing for sale", len(all), registries, unsold)
	}
	if re, blue, removal := mean(byKind["Renewable Energy"]), mean(byKind["Blue Carbon"]), mean(byKind["Industrial Processing"]); !(re < blue && blue < removal) {
		t.Errorf("prices by kind: %v", byKind)
	}
	if mean(young) <= mean(old) {
		t.Errorf("young credits cost %v, old ones %v", mean(young), mean(old))
	}
	c := carbonmark.Client{Base: u.urls.Carbonmark}
	_, contentType, body := u.do(c.Prices(all[0].Key, all[1].Key))
	if p, err := carbonmark.ParsePrices(body, contentType); err != nil || len(p.Rows) < 2 || len(carbonmark.OffersOf(p.Rows)) != 2 {
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

// moved counts the prices that differ, with a later time.
func moved(before, after map[string]finance.Row) (n int) {
	for ticker, r := range after {
		if r.Price != before[ticker].Price && r.Timestamp > before[ticker].Timestamp {
			n++
		}
	}
	return n
}

// Prices move in market hours and stand still at night, on a weekend and on a holiday; a
// day begins with the volume of nothing and the close of the day before.
func TestMarketHours(t *testing.T) {
	u := serve(t, 1)
	before := u.prices()
	if again := u.prices(); len(before) != 47 || again["KRBN"].Price != before["KRBN"].Price {
		t.Errorf("%d tickers; KRBN %v then %v at the same time", len(before), before["KRBN"], again["KRBN"])
	}
	last := before
	for _, step := range []struct {
		what string
		by   time.Duration
		move bool
	}{
		{"five minutes", 5 * time.Minute, true},
		{"to the close", 5*time.Hour + 56*time.Minute, true},
		{"the evening", 6 * time.Hour, false},
		{"to Tuesday's opening", 11*time.Hour + 30*time.Minute, true},
		{"to Wednesday's close", 30*time.Hour + 30*time.Minute, true},
		{"Thanksgiving", 24 * time.Hour, false},
		{"Friday", 24 * time.Hour, true},
		{"the weekend", 64 * time.Hour, false},
		{"Monday", 3 * time.Hour, true},
	} {
		u.clock.add(step.by)
		now := u.prices()
		if n := moved(last, now); step.move != (n > 35) || !step.move && n > 0 {
			t.Errorf("%s, %v: %d of 47 prices moved", step.what, u.clock.now(), n)
		}
		if step.what == "to Tuesday's opening" && (*now["TSLA"].Volume >= *last["TSLA"].Volume/4 || math.Abs(*now["TSLA"].ChangePercent) > 5) {
			t.Errorf("TSLA opens at %+v after %+v", now["TSLA"], last["TSLA"])
		}
		last = now
	}
	for ticker, r := range last {
		if ratio := r.Price / before[ticker].Price; ratio < 0.7 || ratio > 1.4 {
			t.Errorf("%s went from %v to %v in a week", ticker, before[ticker].Price, r.Price)
		}
	}
}

// A world that starts on a Sunday has the prices of Friday's close.
func TestStartOnASunday(t *testing.T) {
	u := serveFrom(t, sample.Options{Seed: 2, Start: start.AddDate(0, 0, -1)})
	friday := time.Date(2026, 11, 20, 21, 0, 0, 0, time.UTC).Unix()
	for ticker, r := range u.prices() {
		if r.Timestamp > friday || r.Timestamp < friday-200 {
			t.Errorf("%s traded at %v", ticker, time.Unix(r.Timestamp, 0).UTC())
		}
	}
}

// The calendar of a world may be another one than that of the clock.
func TestCalendar(t *testing.T) {
	u := serveFrom(t, sample.Options{Seed: 2, Start: start.AddDate(0, 0, -1), Calendar: start})
	for _, step := range []struct {
		by   time.Duration
		move bool
	}{{10 * time.Minute, true}, {6 * time.Hour, true}, {10 * time.Hour, false}} {
		before := u.prices()
		u.clock.add(step.by)
		if n := moved(before, u.prices()); (n > 35) != step.move || !step.move && n > 0 {
			t.Errorf("%v: %d of 47 prices moved", u.clock.now(), n)
		}
	}
}

// At a hundred times the speed the same things happen in the same order, in a hundredth
// of the time, and none of them in the future.
func TestSpeed(t *testing.T) {
	slow, fast := serve(t, 5), serveFrom(t, sample.Options{Seed: 5, Start: start, Speed: 100})
	slow.clock.add(50 * time.Hour)
	fast.clock.add(30 * time.Minute)
	a, b := slow.prices(), fast.prices()
	for ticker, r := range b {
		if r.Price != a[ticker].Price || *r.Volume != *a[ticker].Volume || r.Timestamp > fast.clock.now().Unix() {
			t.Errorf("%s: %+v, at life's own speed %+v", ticker, r, a[ticker])
		}
	}
	for name, items := range fast.stories() {
		for _, it := range items {
			if it.PublishedAt.After(fast.clock.now()) {
				t.Errorf("%s: %+v", name, it)
			}
		}
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
	for _, name := range []string{"Verdant Wire", "Harbour Press", "The Lantern", "Northgate News", "Meridian Markets", "Canopy Journal", "Radio Alder"} {
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
	u.clock.add(2 * time.Hour)
	fresh := 0
	for name, items := range u.stories() {
		if len(items) > 0 && (len(before[name]) == 0 || items[0].GUID != before[name][0].GUID) {
			fresh++
		}
	}
	if fresh < 3 {
		t.Errorf("fresh headlines at only %d outlets after two hours", fresh)
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
	u.clock.add(24 * time.Hour)
	if status, _, _ := u.do(again); status != http.StatusOK {
		t.Errorf("status %d after new stories, want 200", status)
	}
}

// Two worlds with one seed are the same at the same time, whoever looked before.
func TestDeterministic(t *testing.T) {
	a, b := serve(t, 7), serve(t, 7)
	for range 5 {
		a.clock.add(13 * time.Minute)
		a.prices()
	}
	b.clock.add(65 * time.Minute)
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
	c.clock.add(65 * time.Minute)
	if c.prices()["KRBN"].Price == a.prices()["KRBN"].Price {
		t.Error("another seed gives the same price")
	}
}

// A world that runs for weeks keeps answering with sound figures, goes on moving, and is
// not larger than it was.
func TestLongRun(t *testing.T) {
	u := serve(t, 3)
	size := func() (rows int) {
		for _, r := range []verra.Resource{verra.Issuances, verra.Retirements, verra.Cancellations} {
			_, n := ledger(u, r, 400, verra.ParseRetirements)
			rows += n
		}
		return rows
	}
	was, issued := size(), u.sum(verra.Issuances)
	for week := range 3 {
		retired := u.sum(verra.Retirements)
		u.clock.add(7 * 24 * time.Hour)
		for _, r := range u.prices() {
			if r.Price <= 0 || *r.ChangePercent < -20 || *r.ChangePercent > 20 {
				t.Errorf("%+v after %d weeks", r, week+1)
			}
		}
		if now := u.sum(verra.Retirements); now <= retired || now > u.sum(verra.Issuances) {
			t.Errorf("%v tonnes retired, before that %v", now, retired)
		}
	}
	// No more than the vintage of this year for each project, and a row for each book.
	if now := size(); now > was+3*240 {
		t.Errorf("the ledgers had %d rows, and have %d", was, now)
	}
	if now := u.sum(verra.Issuances); now <= issued || now > 3*issued {
		t.Errorf("%v tonnes were issued, now %v", issued, now)
	}
	all, _ := u.market()
	sold := 0
	for _, p := range all {
		if p.Supply == nil || *p.Supply == 0 {
			sold++
		}
	}
	if sold > 50 {
		t.Errorf("%d of %d projects have nothing for sale after three weeks", sold, len(all))
	}
}
