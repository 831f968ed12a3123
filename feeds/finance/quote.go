package finance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"carbond/feeds/internal/payload"
)

// quote is the part of a quote entry that is used. Funds have netAssets in
// place of marketCap; that is another figure, so their market cap stays unset.
type quote struct {
	Symbol    payload.Text `json:"symbol"`
	Kind      payload.Text `json:"quoteType"`
	Currency  payload.Text `json:"currency"`
	Price     figure       `json:"regularMarketPrice"`
	Previous  figure       `json:"regularMarketPreviousClose"`
	Change    figure       `json:"regularMarketChangePercent"`
	Volume    figure       `json:"regularMarketVolume"`
	Time      figure       `json:"regularMarketTime"`
	MarketCap figure       `json:"marketCap"`
}

// ParseQuote reads an answer of QuoteURL. Its Caps are what the request is made
// for; its Rows are as good as those of spark.
func ParseQuote(body []byte, contentType string, ask Ask) (Result, error) {
	env, err := open(body, contentType)
	if err != nil {
		return Result{}, fmt.Errorf("parse quote: %w", err)
	}
	if env.Quote == nil {
		return Result{}, fmt.Errorf("parse quote: %w: no quoteResponse object", payload.ErrShape)
	}
	c := collect(ask)
	if err := c.each(env.Quote.Result, c.quote); err != nil {
		return Result{}, fmt.Errorf("parse quote: %w", err)
	}
	res, err := c.finish()
	if err != nil {
		return Result{}, fmt.Errorf("parse quote: %w", err)
	}
	return withCaps(res), nil
}

func (c *collector) quote(elem json.RawMessage) {
	var q quote
	if payload.Unmarshal(elem, &q) != nil {
		c.skip("", ReasonMalformed)
		return
	}
	e := entry{
		symbol: q.Symbol.String(), kind: q.Kind.String(), currency: q.Currency.String(),
		price: q.Price, previous: q.Previous, volume: q.Volume, time: q.Time,
	}
	if !c.known(e) {
		return
	}
	if pct, refused := q.Change.Between(-100, maxChange); !refused {
		e.change = pct // Yahoo's own figure; without it the previous close decides
	}
	c.add(e)
	if mc, _ := q.MarketCap.Between(1, maxCap); mc != nil {
		c.cap(Cap{Ticker: e.symbol, MarketCap: *mc})
	}
}

// cap keeps the last market cap of a ticker.
func (c *collector) cap(m Cap) {
	i := slices.IndexFunc(c.res.Caps, func(o Cap) bool { return o.Ticker == m.Ticker })
	if i < 0 {
		c.res.Caps = append(c.res.Caps, m)
		return
	}
	c.res.Caps[i] = m
}

// withCaps sorts the caps and puts each into its ticker's row.
func withCaps(res Result) Result {
	slices.SortFunc(res.Caps, func(a, b Cap) int { return strings.Compare(a.Ticker, b.Ticker) })
	for i := range res.Rows {
		for _, m := range res.Caps {
			if m.Ticker == res.Rows[i].Ticker {
				res.Rows[i].MarketCap = &m.MarketCap
			}
		}
	}
	return res
}

// maxCrumb is the longest text that is taken for a crumb.
const maxCrumb = 32

// ParseCrumb reads an answer of CrumbURL. A crumb is a short word; a text, a
// page or a JSON object in its place is an error, never a crumb.
func ParseCrumb(body []byte) (string, error) {
	if err := bodyError(body, ""); err != nil {
		return "", fmt.Errorf("parse crumb: %w", err)
	}
	b := bytes.TrimSpace(body)
	switch {
	case len(b) == 0:
		return "", fmt.Errorf("parse crumb: %w", payload.ErrEmpty)
	case len(b) > maxCrumb, bytes.ContainsAny(b, "< {}\t\r\n"), !printable(b):
		return "", fmt.Errorf("parse crumb: %w: %d bytes that are no crumb", ErrInvalidCrumb, len(b))
	}
	return string(b), nil
}

func printable(b []byte) bool {
	for _, c := range b {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return true
}
