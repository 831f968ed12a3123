package finance

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"carbond/feeds/internal/payload"
)

// Row is one price of one ticker, a row of the finance table.
type Row struct {
	Ticker        string   `json:"ticker"`
	Price         float64  `json:"price"`
	Volume        *int64   `json:"volume,omitempty"`         // shares traded that day; nil when unknown
	MarketCap     *float64 `json:"market_cap,omitempty"`     // only quotes give it; nil when unknown
	ChangePercent *float64 `json:"change_percent,omitempty"` // against the previous close; nil when unknown
	Timestamp     int64    `json:"timestamp"`                // the market's time of the price, unix seconds
	// Currency is the upstream's name for the unit of Price: an ISO 4217 code, or
	// that of a hundredth (GBp, ZAc, ILA); "" when unknown. Nothing is converted.
	Currency string `json:"currency,omitempty"`
}

// Cap is a market capitalisation. It changes slowly and comes from a request
// of its own, so callers keep it and put it into later rows of the ticker.
type Cap struct {
	Ticker    string  `json:"ticker"`
	MarketCap float64 `json:"market_cap"`
}

// Reason says why an entry gave no row.
type Reason string

// The reasons.
const (
	ReasonMalformed   Reason = "malformed"    // not an object, or fields of the wrong kind
	ReasonUnrequested Reason = "unrequested"  // a symbol that was not asked for, or none
	ReasonNoData      Reason = "no_data"      // the entry holds no answer
	ReasonNoPrice     Reason = "no_price"     // price missing or not a number
	ReasonPrice       Reason = "price_range"  // price zero, negative or absurd
	ReasonNoTime      Reason = "no_time"      // market time missing
	ReasonTime        Reason = "time_range"   // market time before 2000 or after now
	ReasonDelisted    Reason = "not_found"    // the remains of a delisted symbol
	ReasonOlder       Reason = "older_double" // a newer entry of the same ticker was kept
)

// Skip is an entry that gave no row.
type Skip struct {
	Ticker string `json:"ticker"`
	Reason Reason `json:"reason"`
}

// Result is what an answer held.
type Result struct {
	Rows    []Row  `json:"rows"`              // by ticker, each once
	Caps    []Cap  `json:"caps,omitempty"`    // from quotes: also for entries without a usable price
	Skipped []Skip `json:"skipped,omitempty"` // in the order of the answer
	// Sessions are what the answer says of the trading hours of tickers.
	Sessions map[string]Session `json:"-"`
	Missing  []string           `json:"missing,omitempty"` // asked for, but without a row: callers count days until PossiblyDelisted
}

// Ask is what was asked for and when the answer came.
type Ask struct {
	Symbols []string  // entries of other symbols are left out
	Now     time.Time // rejects times in the future
}

// Limits of what can be true. The dearest share trades below a million dollars
// and no day of any market sees 10^13 shares.
const (
	maxPrice  = 1e8
	maxVolume = 1e13
	maxCap    = 1e15
	maxChange = 1e6
	clockSkew = 10 * time.Minute
)

// firstTime is the earliest plausible market time, 2000-01-01.
const firstTime = 946684800

// figure is a number that also comes wrapped: {"raw":84.6,"fmt":"84.60"}.
type figure struct{ payload.Number }

// UnmarshalJSON takes any JSON value and never fails.
func (f *figure) UnmarshalJSON(b []byte) error {
	if payload.IsObject(b) {
		var w struct {
			Raw payload.Number `json:"raw"`
		}
		if payload.Unmarshal(b, &w) == nil {
			f.Number = w.Raw
			return nil
		}
	}
	return f.Number.UnmarshalJSON(b)
}

// entry is one symbol's figures, gathered from whatever shape the answer has.
type entry struct {
	symbol   string
	kind     string // quoteType or instrumentType
	currency string
	price    figure
	previous figure
	change   *float64 // as given, nil to compute it
	volume   figure
	time     figure
}

// collector gathers rows and what was left out.
type collector struct {
	ask   Ask
	asked map[string]bool
	rows  map[string]Row
	res   Result
	seen  int           // entries, usable or not
	ahead time.Duration // how far the latest price is ahead of the clock
}

func collect(ask Ask) *collector {
	c := &collector{ask: ask, asked: make(map[string]bool, len(ask.Symbols)), rows: make(map[string]Row)}
	for _, s := range ask.Symbols {
		c.asked[s] = true
	}
	return c
}

func (c *collector) skip(ticker string, r Reason) {
	if CheckSymbol(ticker) != nil {
		ticker = "" // never repeat foreign text
	}
	c.res.Skipped = append(c.res.Skipped, Skip{Ticker: ticker, Reason: r})
}

// known reports whether the entry belongs to the request at all.
func (c *collector) known(e entry) bool {
	if c.asked[e.symbol] {
		return true
	}
	c.skip(e.symbol, ReasonUnrequested)
	return false
}

// add turns an entry into a row or a skip.
func (c *collector) add(e entry) {
	row, reason := c.row(e)
	if reason != "" {
		c.skip(e.symbol, reason)
		return
	}
	if old, ok := c.rows[row.Ticker]; ok {
		c.skip(row.Ticker, ReasonOlder)
		if row.Timestamp < old.Timestamp {
			return
		}
	}
	c.rows[row.Ticker] = row
}

func (c *collector) row(e entry) (Row, Reason) {
	if strings.EqualFold(e.kind, "ECNQUOTE") {
		return Row{}, ReasonDelisted
	}
	price, ok := e.price.Float()
	switch {
	case !ok:
		return Row{}, ReasonNoPrice
	case price <= 0 || price > maxPrice:
		return Row{}, ReasonPrice
	}
	at, reason := c.time(e.time)
	if reason != "" {
		return Row{}, reason
	}
	row := Row{Ticker: e.symbol, Price: price, Timestamp: at, ChangePercent: e.change, Currency: currency(e.currency)}
	if v, ok := e.volume.Int(); ok && v >= 0 && v <= maxVolume {
		row.Volume = &v
	}
	if row.ChangePercent == nil {
		row.ChangePercent = percentChange(price, e.previous)
	}
	return row, ""
}

// time reads a market time in seconds, or in milliseconds as some answers have
// it.
func (c *collector) time(f figure) (int64, Reason) {
	at, ok := f.Int()
	if !ok {
		return 0, ReasonNoTime
	}
	if at > 1e11 {
		at /= 1000
	}
	if ahead := time.Unix(at, 0).Sub(c.ask.Now); at > firstTime && ahead > clockSkew {
		c.ahead = max(c.ahead, ahead)
		return 0, ReasonTime
	}
	if at < firstTime {
		return 0, ReasonTime
	}
	return at, ""
}

// percentChange computes the change in percent, nil when the previous close is unknown
// or zero.
func percentChange(price float64, previous figure) *float64 {
	prev, ok := previous.Float()
	if !ok || prev <= 0 {
		return nil
	}
	pct := (price - prev) / prev * 100
	if pct > maxChange {
		return nil
	}
	return &pct
}

// currency accepts the names of currencies, so that no other text gets into the
// table.
func currency(s string) string {
	s = strings.TrimSpace(s)
	for _, r := range s {
		if (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') {
			return ""
		}
	}
	if len(s) > 8 {
		return ""
	}
	return s
}

// finish sorts and completes the Result. An answer without a usable entry is an
// error, since a poll that brings nothing has failed.
func (c *collector) finish() (Result, error) {
	if c.seen == 0 {
		return Result{}, ErrNoResult
	}
	if len(c.rows) == 0 && len(c.res.Caps) == 0 {
		err := ErrNoRows
		if s := c.res.Skipped; len(s) > 0 {
			switch {
			case s[0].Reason == ReasonDelisted:
				err = ErrNotFound
			case c.ahead > 0 && c.ahead < 24*time.Hour:
				return Result{}, fmt.Errorf("%w by %s: set this machine's clock", ErrClock, c.ahead.Round(time.Minute))
			}
			err = fmt.Errorf("%w: %d left out, the first because of %s", err, len(s), s[0].Reason)
		}
		return Result{}, err
	}
	res := c.res
	res.Rows = make([]Row, 0, len(c.rows))
	for _, row := range c.rows {
		res.Rows = append(res.Rows, row)
	}
	slices.SortFunc(res.Rows, func(a, b Row) int { return strings.Compare(a.Ticker, b.Ticker) })
	for _, s := range c.ask.Symbols {
		if _, ok := c.rows[s]; !ok && !slices.Contains(res.Missing, s) {
			res.Missing = append(res.Missing, s)
		}
	}
	return res, nil
}

// each runs fn over the entries of a result list; an entry that is no object is
// skipped.
func (c *collector) each(raw json.RawMessage, fn func(elem json.RawMessage)) error {
	return payload.Each(raw, maxElements, func(elem json.RawMessage) error {
		c.seen++
		if !payload.IsObject(elem) {
			c.skip("", ReasonMalformed)
			return nil
		}
		fn(elem)
		return nil
	})
}
