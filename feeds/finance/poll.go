package finance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"carbond/feeds/internal/fetch"
	"carbond/feeds/internal/poll"
	"carbond/store/change"
)

// Provider is a source of quotes that takes the place of Yahoo's
// unofficial API: implement it over a licensed provider. Quotes returns what it
// has; a ticker that it does not know is left out. It is called from one
// goroutine at a time and should honour ctx.
type Provider interface {
	Quotes(ctx context.Context, tickers []string) ([]Row, error)
}

// Figures of the finance feed.
const (
	yahooGroup      = "yahoo" // all of its hosts are paused together
	yahooFirstPause = 5 * time.Minute
	capsMaxAge      = 24 * time.Hour // an older market cap is unknown again
)

type Poller struct {
	opt     Options
	base    *url.URL
	isLocal bool
	mem     memory
	cookie  string // of the quote call; a secret, never saved
	crumb   string
	digest  string // of the last written rows, never saved: the table may be another one then

	chartsAt time.Time // last time that charts stood in
	note     string    // why they do
}

// memory is what the finance feed remembers.
type memory struct {
	CapsAt   time.Time            `json:"caps_at,omitzero"` // last attempt
	Caps     map[string]capMemory `json:"caps,omitempty"`
	Markets  exchanges            `json:"markets,omitzero"`
	LastSeen map[string]time.Time `json:"last_seen,omitempty"` // per ticker: last price, or first question
}

type capMemory struct {
	Value float64   `json:"value"`
	At    time.Time `json:"at"`
}

// NewPoller returns the poller of prices.
func NewPoller(opt Options) *Poller {
	base, _ := url.Parse(opt.URL) // checked with the options
	s := &Poller{opt: opt, base: base, isLocal: fetch.LocalName(base.Hostname())}
	s.forget()
	return s
}

// Name implements poll.Source.
func (s *Poller) Name() string { return change.Finance }

// Table implements poll.Source.
func (s *Poller) Table() string { return change.Finance }

// Local implements poll.Source.
func (s *Poller) Local() bool { return s.isLocal && s.opt.Provider == nil }

// Volatile implements poll.Source.
func (s *Poller) Volatile() bool { return false }

// Save implements poll.Source.
func (s *Poller) Save() any { return s.mem }

// Fingerprint implements poll.Source.
func (s *Poller) Fingerprint() string {
	return fetch.Digest([]byte(s.opt.URL), []byte(strings.Join(s.opt.Tickers, ",")))
}

func (s *Poller) forget() {
	s.mem = memory{Caps: map[string]capMemory{}, LastSeen: map[string]time.Time{}}
}

// Restore implements poll.Source.
func (s *Poller) Restore(data json.RawMessage) error {
	s.forget()
	if err := json.Unmarshal(data, &s.mem); err != nil {
		return fmt.Errorf("read memory of the finance feed: %w", err)
	}
	if s.mem.Caps == nil || s.mem.LastSeen == nil {
		s.forget()
	}
	return nil
}

// Interval is short while the market is open, and never oversleeps its opening.
func (s *Poller) Interval(now time.Time) time.Duration {
	if s.opt.AlwaysOpen || s.Local() {
		return s.opt.Interval
	}
	open, next := s.mem.Markets.open(s.opt.Tickers, now)
	if open {
		return s.opt.Interval
	}
	return max(min(s.opt.Closed, next.Sub(now)), time.Second)
}

// Poll implements poll.Source.
func (s *Poller) Poll(ctx context.Context, c *poll.Cycle) (poll.Result, error) {
	now := c.Now()
	s.note = ""
	rows, err := s.prices(ctx, c, now)
	if len(rows) == 0 {
		if err == nil {
			err = fetch.Fail(fetch.KindEmpty, "read quotes", "no ticker has a price")
		}
		return poll.Result{}, err
	}
	if err == nil {
		s.refreshCaps(ctx, c, now)
	}
	for i := range rows {
		if m, ok := s.mem.Caps[rows[i].Ticker]; ok && rows[i].MarketCap == nil && now.Sub(m.At) < capsMaxAge {
			rows[i].MarketCap = &m.Value
		}
	}
	edit := edit(rows)
	var b []byte // all that the edit wants
	for _, r := range edit.Rows {
		b = append(b, r...)
	}
	sum := fetch.Digest(b)
	res := poll.Result{Items: len(rows), Unchanged: err == nil && sum == s.digest}
	if !res.Unchanged {
		if werr := c.Write(ctx, edit); werr != nil {
			return poll.Result{}, werr
		}
	}
	res.Notes = s.seen(c, rows, now)
	if s.note != "" {
		res.Notes = append(res.Notes, s.note)
	}
	if err != nil {
		return res, err // what arrived is stored; the rest failed
	}
	s.digest = sum
	return res, nil
}

// prices asks for all tickers, by the provider or in batches of spark. It may
// return rows together with an error: then some batches failed.
func (s *Poller) prices(ctx context.Context, c *poll.Cycle, now time.Time) (rows []Row, err error) {
	if s.opt.Provider != nil {
		rows, err = s.opt.Provider.Quotes(ctx, slices.Clone(s.opt.Tickers))
		if err != nil {
			err = &fetch.Error{Kind: fetch.TransportKind(err), Op: "ask the quote provider", Err: err}
		}
		// Without rows of a provider that the table cannot hold.
		return slices.DeleteFunc(slices.Clone(rows), func(r Row) bool {
			return !slices.Contains(s.opt.Tickers, r.Ticker) || poll.Float(&r.Price).Kind != change.Text || r.Price <= 0 ||
				r.Timestamp <= 0 || r.Timestamp > now.Add(time.Hour).Unix()
		}), err
	}
	var errs []error
	for _, batch := range Batches(s.opt.Tickers) {
		res, err := s.spark(ctx, c, batch, now)
		rows = append(rows, res.Rows...)
		switch {
		case errors.Is(err, ErrNoResult), errors.Is(err, ErrNoRows), errors.Is(err, ErrNotFound):
			continue // a batch of tickers that are all gone
		case err != nil:
			errs = append(errs, err)
			switch fetch.KindOf(err) {
			case fetch.KindPaused, fetch.KindNetwork, fetch.KindTimeout: // nobody there: the other batches would meet the same
				return rows, errs[0]
			case fetch.KindRateLimited, fetch.KindCanceled:
				return rows, err
			}
		}
	}
	switch {
	case len(errs) > 0:
		return s.charts(ctx, c, rows, errs[0], now)
	case len(rows) == 0:
		return s.charts(ctx, c, rows, fetch.Fail(fetch.KindEmpty, "read quotes", "no ticker has a price"), now)
	}
	return rows, nil
}

// spark asks for one batch, at the failover host too when the first cannot be
// reached. A refusal is never evaded that way.
func (s *Poller) spark(ctx context.Context, c *poll.Cycle, batch []string, now time.Time) (Result, error) {
	res, err := s.call(ctx, c, s.opt.URL, batch, now)
	if k := fetch.KindOf(err); s.opt.Failover != "" && (k == fetch.KindNetwork || k == fetch.KindTimeout) {
		again, ferr := s.call(ctx, c, s.opt.Failover, batch, now)
		if fetch.KindOf(ferr) != fetch.KindPaused { // else both are paused, and the first said why
			return again, ferr
		}
	}
	return res, err
}

func (s *Poller) call(ctx context.Context, c *poll.Cycle, base string, batch []string, now time.Time) (Result, error) {
	addr, err := SparkURL(base, batch)
	if err != nil {
		return Result{}, fetch.Fail(fetch.KindInvalid, "ask for prices", "%w", err)
	}
	req, res, err := s.get(ctx, c, addr, 0)
	if err != nil {
		return Result{}, err
	}
	out, err := ParseSpark(res.Body, res.ContentType(), Ask{Symbols: batch, Now: now})
	s.mem.Markets.take(out.Sessions)
	return out, s.named(c, req, err)
}

// get asks Yahoo, with the cookie once there is one.
func (s *Poller) get(ctx context.Context, c *poll.Cycle, addr string, spacing time.Duration) (*fetch.Request, *fetch.Response, error) {
	u, err := url.Parse(addr)
	if err != nil {
		return nil, nil, fetch.Fail(fetch.KindInvalid, "ask Yahoo", "address cannot be built")
	}
	req := &fetch.Request{
		Method: http.MethodGet, URL: u, Group: yahooGroup, FirstPause: yahooFirstPause, Spacing: spacing,
		Header: http.Header{"Accept": {"application/json"}},
	}
	if s.cookie != "" {
		req.Header.Set("Cookie", s.cookie)
	}
	res, err := c.Get(ctx, req)
	return req, res, err
}

// named gives a parser's error its kind; a 429 in disguise pauses the group.
func (s *Poller) named(c *poll.Cycle, req *fetch.Request, err error) error {
	op := req.Method + " " + fetch.Shown(req.URL)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrRateLimited), errors.Is(err, ErrDenied):
		return c.Limited(req, err)
	case errors.Is(err, ErrUnauthorized), errors.Is(err, ErrInvalidCrumb), errors.Is(err, ErrConsent):
		return &fetch.Error{Kind: fetch.KindAuth, Op: op, Err: err}
	case errors.Is(err, ErrUnavailable):
		return &fetch.Error{Kind: fetch.KindHTTPStatus, Op: op, Err: err}
	case errors.Is(err, ErrNoResult), errors.Is(err, ErrNoRows), errors.Is(err, ErrNotFound):
		return &fetch.Error{Kind: fetch.KindEmpty, Op: op, Err: err}
	}
	return &fetch.Error{Kind: fetch.KindOf(err), Op: op, Err: err}
}

// seen keeps the time of each ticker's last price and returns notes on those
// that have been silent for too long.
func (s *Poller) seen(c *poll.Cycle, rows []Row, now time.Time) []string {
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
		if s.mem.Markets.silent(t, s.mem.LastSeen[t], now) {
			notes = append(notes, t+": possibly_delisted, no price since "+s.mem.LastSeen[t].Format(time.DateOnly))
		}
	}
	return notes
}

func edit(rows []Row) change.Edit {
	e := change.Edit{
		Table:   change.Finance,
		Columns: []string{"ticker", "timestamp", "price", "volume", "market_cap", "change_percent", "currency"},
	}
	at := map[string]bool{}
	for _, r := range rows {
		stamp := strconv.FormatInt(r.Timestamp, 10)
		if at[r.Ticker+"\x00"+stamp] {
			continue
		}
		at[r.Ticker+"\x00"+stamp] = true
		e.Rows = append(e.Rows, change.NewRow(
			change.T(r.Ticker), change.T(stamp), poll.Float(&r.Price), poll.Int(r.Volume), poll.Float(r.MarketCap), poll.Float(r.ChangePercent), poll.Text(r.Currency),
		))
	}
	return e
}
