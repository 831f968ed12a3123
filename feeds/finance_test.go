package feeds_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"carbond/feeds"
	"carbond/feeds/finance"
	"carbond/feeds/internal/fetch"
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

func financeRunner(t *testing.T, m *memory, u *upstream, opt finance.Options) *feeds.Runner {
	return runner(t, only(feeds.Options{Finance: opt, Transport: u}, "finance"), m)
}

func TestFinancePoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, u := newMemory(), &upstream{handle: yahoo}
		r := financeRunner(t, m, u, finance.Options{})
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
				r := financeRunner(t, m, u, finance.Options{Tickers: []string{"NEE"}})
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
		r := financeRunner(t, m, u, finance.Options{})
		for i, next := range []string{"disguise", "down"} {
			_, err := fetchNow(t, r, "finance")
			if fetch.KindOf(err) != fetch.KindRateLimited || len(u.requests()) != i+1 {
				t.Fatalf("%s: %v after %d requests", mode, err, len(u.requests()))
			}
			if _, err := fetchNow(t, r, "finance"); fetch.KindOf(err) != fetch.KindPaused {
				t.Errorf("not paused: %v", err)
			}
			s := status(r, "finance")
			<-time.After(time.Until(s.NextDue))
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

// A dead provider is asked for one batch, not for all, and what is told is why
// it failed, not that its host is paused after that.
func TestFinanceDeadProvider(t *testing.T) {
	half := func(*http.Request) *http.Response {
		res := answer(200, "application/json", `{"spark":`)
		res.Body = io.NopCloser(io.MultiReader(strings.NewReader(`{"spark":`), iotest.ErrReader(io.ErrUnexpectedEOF)))
		return res
	}
	for name, tc := range map[string]struct {
		handle   func(*http.Request) *http.Response
		kind     fetch.Kind
		requests int
	}{
		"refused": {func(*http.Request) *http.Response { return nil }, fetch.KindNetwork, 4}, // both hosts, each with its retry
		"stalls":  {func(r *http.Request) *http.Response { <-r.Context().Done(); return nil }, fetch.KindTimeout, 2},
		"breaks":  {half, fetch.KindTruncated, 5}, // and then the circuit is open
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u := &upstream{handle: tc.handle}
				r := financeRunner(t, newMemory(), u, finance.Options{})
				for range 3 {
					_, err := fetchNow(t, r, "finance")
					s := status(r, "finance")
					if fetch.KindOf(err) == fetch.KindPaused {
						if s.State != "paused" || s.LastError == "" || contains(s.LastError, "the host is paused") {
							t.Errorf("a resting host hides why: %+v", s)
						}
					} else if fetch.KindOf(err) != tc.kind || s.Failures == 0 {
						t.Errorf("got %v, want %s; %+v", err, tc.kind, s)
					}
					if s.Polls == 1 && len(u.requests()) != tc.requests {
						t.Errorf("%d requests in one poll, want %d", len(u.requests()), tc.requests)
					}
					<-time.After(time.Until(s.NextDue))
				}
			})
		})
	}
}

// A price is stored with the currency that the upstream names, and a ticker of
// another market is neither lost nor called delisted.
func TestFinanceCurrencies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		units := map[string]string{"KRBN": "USD", "RR.L": "GBp", "SOL.JO": "ZAc", "IBE.MC": "EUR", "BARE": "-"}
		u := &upstream{handle: func(r *http.Request) *http.Response {
			if !strings.Contains(r.URL.Path, "spark") {
				return answer(404, "text/html", "")
			}
			res := spark(r, 1010.5, time.Now())
			b, err := io.ReadAll(res.Body)
			if err != nil {
				t.Fatal(err)
			}
			text := string(b)
			for ticker, unit := range units {
				text = strings.Replace(text, fmt.Sprintf(`"symbol":%q,"currency":"USD"`, ticker), fmt.Sprintf(`"symbol":%q,"currency":%q`, ticker, strings.Trim(unit, "-")), 1)
			}
			return asJSON(text)
		}}
		opt := finance.Options{AlwaysOpen: true}
		for ticker := range units {
			opt.Tickers = append(opt.Tickers, ticker)
		}
		r := financeRunner(t, m, u, opt)
		rep, err := fetchNow(t, r, change.Finance)
		if err != nil || rep.Items != len(units) || len(rep.Notes) > 0 {
			t.Fatalf("%+v %v", rep, err)
		}
		for ticker, unit := range units {
			at := strconv.FormatInt(time.Now().Unix(), 10)
			if got := m.col(change.Finance, "currency", ticker, at); got != unit {
				t.Errorf("%s: currency %q, want %q", ticker, got, unit)
			}
			if got := m.col(change.Finance, "price", ticker, at); got != "1010.5" {
				t.Errorf("%s: price %s", ticker, got)
			}
		}
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
		r := financeRunner(t, m, u, finance.Options{Tickers: []string{"NEE", "PLUG"}})
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
	rows []finance.Row
	err  error
}

func (p provider) Quotes(context.Context, []string) ([]finance.Row, error) { return p.rows, p.err }

func TestFinanceProvider(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, u := newMemory(), &upstream{}
		p := &provider{rows: []finance.Row{
			{Ticker: "NEE", Price: 70, Timestamp: time.Now().Unix()}, {Ticker: "UNASKED", Price: 1, Timestamp: 1}, {Ticker: "NEE", Price: -1, Timestamp: 1},
		}}
		r := financeRunner(t, m, u, finance.Options{Tickers: []string{"NEE"}, Provider: p})
		if rep := mustFetch(t, r, "finance"); rep.Written.Inserted != 1 || len(u.requests()) != 0 {
			t.Errorf("%+v", rep)
		}
		p.err, p.rows = errors.New("contract ended"), nil
		if _, err := fetchNow(t, r, "finance"); err == nil || !strings.Contains(err.Error(), "contract ended") {
			t.Error(err)
		}
	})
}
