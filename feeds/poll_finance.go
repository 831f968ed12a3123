package feeds

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"carbond/feeds/finance"
	"carbond/store/change"
)

// Quote is the price of one ticker at one moment, with what else the provider
// knows: nil figures are unknown.
type Quote = finance.Row

// QuoteProvider is a source of quotes that takes the place of Yahoo's
// unofficial API: implement it over a licensed provider. Quotes returns what it
// has; a ticker that it does not know is left out. It is called from one
// goroutine at a time and should honour ctx.
type QuoteProvider interface {
	Quotes(ctx context.Context, tickers []string) ([]Quote, error)
}

// Figures of the finance feed.
const (
	yahooGroup      = "yahoo" // all of its hosts rest together
	yahooFirstPause = 5 * time.Minute
	capsMaxAge      = 24 * time.Hour // an older market cap is unknown again
)

type financeSource struct {
	opt     FinanceOptions
	base    *url.URL
	isLocal bool
	mem     financeMemory
	cookie  string // of the quote call; a secret, never saved
	crumb   string
	digest  string // of the last written rows, never saved: the table may be another one then

	chartsAt time.Time // last time that charts stood in
	note     string    // why they do
}

// financeMemory is what the finance feed remembers.
type financeMemory struct {
	CapsAt   time.Time            `json:"caps_at,omitzero"` // last attempt
	Caps     map[string]capMemory `json:"caps,omitempty"`
	LastSeen map[string]time.Time `json:"last_seen,omitempty"` // per ticker: last price, or first question
}

type capMemory struct {
	Value float64   `json:"value"`
	At    time.Time `json:"at"`
}

func newFinance(opt FinanceOptions, local map[string]bool) *financeSource {
	base, _ := url.Parse(opt.URL) // checked by Options.check
	s := &financeSource{opt: opt, base: base, isLocal: local[lowerHost(base)]}
	s.forget()
	return s
}

func (s *financeSource) name() string   { return change.Finance }
func (s *financeSource) table() string  { return change.Finance }
func (s *financeSource) local() bool    { return s.isLocal && s.opt.Provider == nil }
func (s *financeSource) volatile() bool { return false }
func (s *financeSource) save() any      { return s.mem }

func (s *financeSource) forget() {
	s.mem = financeMemory{Caps: map[string]capMemory{}, LastSeen: map[string]time.Time{}}
}

func (s *financeSource) restore(data json.RawMessage) error {
	s.forget()
	if err := json.Unmarshal(data, &s.mem); err != nil {
		return fmt.Errorf("read memory of the finance feed: %w", err)
	}
	if s.mem.Caps == nil || s.mem.LastSeen == nil {
		s.forget()
	}
	return nil
}

// interval is short while the market is open, and never oversleeps its opening.
func (s *financeSource) interval(now time.Time) time.Duration {
	if s.opt.AlwaysOpen || s.local() || finance.Open(now) {
		return s.opt.Interval
	}
	return max(min(s.opt.Closed, finance.NextOpen(now).Sub(now)), time.Second)
}

func (s *financeSource) poll(ctx context.Context, c *cycle) (result, error) {
	now := c.now()
	s.note = ""
	rows, err := s.prices(ctx, c, now)
	if len(rows) == 0 {
		if err == nil {
			err = fail(KindEmpty, "read quotes", "no ticker has a price")
		}
		return result{}, err
	}
	if err == nil {
		s.refreshCaps(ctx, c, now)
	}
	for i := range rows {
		if m, ok := s.mem.Caps[rows[i].Ticker]; ok && rows[i].MarketCap == nil && now.Sub(m.At) < capsMaxAge {
			rows[i].MarketCap = &m.Value
		}
	}
	edit := financeEdit(rows)
	sum := digest([]byte(editText(edit)))
	res := result{items: len(rows), unchanged: err == nil && sum == s.digest}
	if !res.unchanged {
		if werr := c.write(ctx, edit); werr != nil {
			return result{}, werr
		}
	}
	res.notes = s.seen(c, rows, now)
	if s.note != "" {
		res.notes = append(res.notes, s.note)
	}
	if err != nil {
		return res, err // what arrived is stored; the rest failed
	}
	s.digest = sum
	return res, nil
}

// prices asks for all tickers, by the provider or in batches of spark. It may
// return rows together with an error: then some batches failed.
func (s *financeSource) prices(ctx context.Context, c *cycle, now time.Time) (rows []Quote, err error) {
	if s.opt.Provider != nil {
		rows, err = s.opt.Provider.Quotes(ctx, slices.Clone(s.opt.Tickers))
		if err != nil {
			err = &Error{Kind: transportKind(err), Op: "ask the quote provider", Err: err}
		}
		return sane(rows, s.opt.Tickers, now), err
	}
	var errs []error
	for _, batch := range finance.Batches(s.opt.Tickers) {
		res, err := s.spark(ctx, c, batch, now)
		rows = append(rows, res.Rows...)
		switch {
		case errors.Is(err, finance.ErrNoResult), errors.Is(err, finance.ErrNoRows), errors.Is(err, finance.ErrNotFound):
			continue // a batch of tickers that are all gone
		case err != nil:
			errs = append(errs, err)
			switch KindOf(err) {
			case KindPaused, KindNetwork, KindTimeout: // nobody there: the other batches would meet the same
				return rows, errs[0]
			case KindRateLimited, KindCanceled:
				return rows, err
			}
		}
	}
	switch {
	case len(errs) > 0:
		return s.charts(ctx, c, rows, errs[0], now)
	case len(rows) == 0:
		return s.charts(ctx, c, rows, fail(KindEmpty, "read quotes", "no ticker has a price"), now)
	}
	return rows, nil
}

// spark asks for one batch, at the failover host too when the first cannot be
// reached. A refusal is never evaded that way.
func (s *financeSource) spark(ctx context.Context, c *cycle, batch []string, now time.Time) (finance.Result, error) {
	res, err := s.call(ctx, c, s.opt.URL, batch, now)
	if k := KindOf(err); s.opt.Failover != "" && (k == KindNetwork || k == KindTimeout) {
		again, ferr := s.call(ctx, c, s.opt.Failover, batch, now)
		if KindOf(ferr) != KindPaused { // else both rest, and why is what the first said
			return again, ferr
		}
	}
	return res, err
}

func (s *financeSource) call(ctx context.Context, c *cycle, base string, batch []string, now time.Time) (finance.Result, error) {
	addr, err := finance.SparkURL(base, batch)
	if err != nil {
		return finance.Result{}, fail(KindInvalid, "ask for prices", "%w", err)
	}
	req, res, err := s.get(ctx, c, addr, 0)
	if err != nil {
		return finance.Result{}, err
	}
	out, err := finance.ParseSpark(res.Body, res.ContentType(), finance.Ask{Symbols: batch, Now: now})
	return out, s.named(c, req, err)
}

// get asks Yahoo, with the cookie once there is one.
func (s *financeSource) get(ctx context.Context, c *cycle, addr string, spacing time.Duration) (*request, *response, error) {
	u, err := url.Parse(addr)
	if err != nil {
		return nil, nil, fail(KindInvalid, "ask Yahoo", "address cannot be built")
	}
	req := &request{
		Method: http.MethodGet, URL: u, Group: yahooGroup, FirstPause: yahooFirstPause, Spacing: spacing,
		Header: http.Header{"Accept": {"application/json"}},
	}
	if s.cookie != "" {
		req.Header.Set("Cookie", s.cookie)
	}
	res, err := c.get(ctx, req)
	return req, res, err
}

// named gives a parser's error its kind; a 429 in disguise pauses the group.
func (s *financeSource) named(c *cycle, req *request, err error) error {
	op := req.Method + " " + shown(req.URL)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, finance.ErrRateLimited), errors.Is(err, finance.ErrDenied):
		return c.client.limited(req, err)
	case errors.Is(err, finance.ErrUnauthorized), errors.Is(err, finance.ErrInvalidCrumb), errors.Is(err, finance.ErrConsent):
		return &Error{Kind: KindAuth, Op: op, Err: err}
	case errors.Is(err, finance.ErrUnavailable):
		return &Error{Kind: KindHTTPStatus, Op: op, Err: err}
	case errors.Is(err, finance.ErrNoResult), errors.Is(err, finance.ErrNoRows), errors.Is(err, finance.ErrNotFound):
		return &Error{Kind: KindEmpty, Op: op, Err: err}
	}
	return &Error{Kind: KindOf(err), Op: op, Err: err}
}

// seen keeps the time of each ticker's last price and returns notes on those
// that have been silent for too long.
func (s *financeSource) seen(c *cycle, rows []Quote, now time.Time) []string {
	for _, t := range s.opt.Tickers {
		if _, ok := s.mem.LastSeen[t]; !ok {
			s.mem.LastSeen[t] = now
		}
	}
	for _, r := range rows {
		at := time.Unix(r.Timestamp, 0).UTC()
		if old := s.mem.LastSeen[r.Ticker]; at.After(old) || old.After(now) {
			s.mem.LastSeen[r.Ticker] = at
		}
	}
	var notes []string
	for _, t := range s.opt.Tickers {
		if finance.PossiblyDelisted(s.mem.LastSeen[t], now) {
			notes = append(notes, t+": possibly_delisted, no price since "+s.mem.LastSeen[t].Format(time.DateOnly))
		}
	}
	return notes
}

// sane drops rows of a provider that the table cannot hold.
func sane(rows []Quote, asked []string, now time.Time) []Quote {
	return slices.DeleteFunc(slices.Clone(rows), func(r Quote) bool {
		return !slices.Contains(asked, r.Ticker) || floatOf(&r.Price).Kind != change.Text || r.Price <= 0 ||
			r.Timestamp <= 0 || r.Timestamp > now.Add(time.Hour).Unix()
	})
}

func financeEdit(rows []Quote) change.Edit {
	e := change.Edit{
		Table:   change.Finance,
		Columns: []string{"ticker", "timestamp", "price", "volume", "market_cap", "change_percent"},
	}
	at := map[string]bool{}
	for _, r := range rows {
		stamp := strconv.FormatInt(r.Timestamp, 10)
		if at[r.Ticker+"\x00"+stamp] {
			continue
		}
		at[r.Ticker+"\x00"+stamp] = true
		e.Rows = append(e.Rows, change.NewRow(
			change.T(r.Ticker), change.T(stamp), floatOf(&r.Price), intOf(r.Volume), floatOf(r.MarketCap), floatOf(r.ChangePercent),
		))
	}
	return e
}

// editText is all that an Edit wants, for fingerprints.
func editText(e change.Edit) string {
	var b []byte
	for _, r := range e.Rows {
		b = append(b, r...)
	}
	return string(b)
}
