package finance

import (
	"encoding/json"
	"fmt"
	"slices"

	"carbond/feeds/internal/payload"
)

// meta is the block of current figures that spark and chart answers share.
type meta struct {
	Symbol     payload.Text `json:"symbol"`
	Currency   payload.Text `json:"currency"`
	Instrument payload.Text `json:"instrumentType"`
	Price      figure       `json:"regularMarketPrice"`
	Time       figure       `json:"regularMarketTime"`
	Volume     figure       `json:"regularMarketVolume"`
	Previous   figure       `json:"previousClose"`
	Chart      figure       `json:"chartPreviousClose"` // the close before the range, which is a day
	Zone       payload.Text `json:"exchangeTimezoneName"`
	Exchange   payload.Text `json:"exchangeName"`
	Period     struct {
		Regular struct {
			Start figure `json:"start"`
			End   figure `json:"end"`
		} `json:"regular"`
	} `json:"currentTradingPeriod"`
}

func (m meta) entry(symbol string) entry {
	previous := m.Previous
	if v, ok := previous.Float(); !ok || v <= 0 {
		previous = m.Chart
	}
	return entry{
		symbol: symbol, kind: m.Instrument.String(), currency: m.Currency.String(),
		price: m.Price, previous: previous, volume: m.Volume, time: m.Time,
	}
}

// ParseSpark reads an answer of SparkURL: version 7, or the flat form of
// version 8 that some hosts give. Prices come from the block of current figures
// (the bars contain nulls and lag behind); the flat form has none, so there the
// last bar with a close is the price and its time.
//
// Symbols that Yahoo does not know are simply absent: they are in Missing.
func ParseSpark(body []byte, contentType string, ask Ask) (Result, error) {
	env, err := open(body, contentType)
	if err != nil {
		return Result{}, fmt.Errorf("parse spark: %w", err)
	}
	c := collect(ask)
	if env.Spark != nil {
		err = c.each(env.Spark.Result, c.spark)
	} else {
		err = c.flat(body)
	}
	if err != nil {
		return Result{}, fmt.Errorf("parse spark: %w", err)
	}
	res, err := c.finish()
	if err != nil {
		return Result{}, fmt.Errorf("parse spark: %w", err)
	}
	return res, nil
}

// open guards a body and returns its envelope without failure.
func open(body []byte, contentType string) (envelope, error) {
	var env envelope
	if err := pageError(body); err != nil {
		return env, err
	}
	if err := payload.Decode(body, contentType, payload.Object, &env); err != nil {
		return env, err
	}
	return env, env.failure()
}

// spark adds one entry of the version 7 form.
func (c *collector) spark(elem json.RawMessage) {
	var s struct {
		Symbol   payload.Text    `json:"symbol"`
		Response json.RawMessage `json:"response"`
	}
	if payload.Unmarshal(elem, &s) != nil {
		c.skip("", ReasonMalformed)
		return
	}
	symbol := s.Symbol.String()
	if !c.known(entry{symbol: symbol}) {
		return
	}
	reason := ReasonNoData
	err := payload.Each(s.Response, maxElements, func(raw json.RawMessage) error {
		if reason != ReasonNoData {
			return nil // the first response is the answer
		}
		reason = ReasonMalformed
		var r struct {
			Meta *meta `json:"meta"`
		}
		if payload.IsObject(raw) && payload.Unmarshal(raw, &r) == nil && r.Meta != nil {
			c.add(r.Meta.entry(symbol))
			c.session(symbol, *r.Meta)
			reason = ""
		}
		return nil
	})
	if err != nil {
		reason = ReasonMalformed
	}
	if reason != "" {
		c.skip(symbol, reason)
	}
}

// flat adds the entries of the version 8 form: an object by symbol.
func (c *collector) flat(body []byte) error {
	var all map[string]json.RawMessage
	if err := payload.Decode(body, "", payload.Object, &all); err != nil {
		return err
	}
	if len(all) > maxElements {
		return payload.ErrTooMany
	}
	symbols := make([]string, 0, len(all))
	for s := range all {
		symbols = append(symbols, s)
	}
	slices.Sort(symbols) // the same answer must give the same Result
	for _, s := range symbols {
		c.bars(s, all[s])
	}
	return nil
}

func (c *collector) bars(symbol string, raw json.RawMessage) {
	c.seen++
	var b struct {
		Timestamp json.RawMessage `json:"timestamp"`
		Close     json.RawMessage `json:"close"`
		Previous  figure          `json:"previousClose"`
	}
	if !c.known(entry{symbol: symbol}) {
		return
	}
	if !payload.IsObject(raw) || payload.Unmarshal(raw, &b) != nil {
		c.skip(symbol, ReasonMalformed)
		return
	}
	times, closes, err := figures(b.Timestamp, b.Close)
	if err != nil || len(times) != len(closes) {
		c.skip(symbol, ReasonMalformed)
		return
	}
	last := len(closes) - 1
	for last >= 0 && closes[last].Absent() {
		last--
	}
	if last < 0 {
		c.skip(symbol, ReasonNoPrice)
		return
	}
	c.add(entry{symbol: symbol, price: closes[last], previous: b.Previous, time: times[last]})
}

// figures reads two lists of numbers.
func figures(a, b json.RawMessage) (x, y []figure, err error) {
	read := func(raw json.RawMessage) (out []figure, err error) {
		err = payload.Each(raw, maxElements, func(elem json.RawMessage) error {
			var f figure
			if err := f.UnmarshalJSON(elem); err != nil {
				return err
			}
			out = append(out, f)
			return nil
		})
		return out, err
	}
	if x, err = read(a); err != nil {
		return nil, nil, err
	}
	y, err = read(b)
	return x, y, err
}
