package finance

import (
	"context"
	"errors"
	"time"

	"carbond/feeds/internal/fetch"
	"carbond/feeds/internal/poll"
)

// chartSpacing is the least time between two calls of a chart.
const chartSpacing = 2 * time.Second

// charts stands in for batches that failed: it asks for the tickers that rows
// lack one by one, at most every ChartsEvery, since that is sixteen times the
// requests. A refusal or a dead network is never met with more requests. Without
// a single price cause remains the error.
func (s *Poller) charts(ctx context.Context, c *poll.Cycle, rows []Row, cause error, now time.Time) ([]Row, error) {
	if !s.chartsDue(cause, now) {
		return rows, cause
	}
	s.chartsAt = now
	have := make(map[string]bool, len(rows))
	for _, r := range rows {
		have[r.Ticker] = true
	}
	got := 0
	for _, ticker := range s.opt.Tickers {
		if have[ticker] {
			continue
		}
		have[ticker] = true
		res, err := s.chart(ctx, c, ticker, now)
		if err != nil {
			c.Log.Debug("charts do not stand in", "kind", fetch.KindOf(err), "error", err)
			return rows, cause // what arrived is worth storing
		}
		got += len(res.Rows)
		rows = append(rows, res.Rows...)
	}
	if got == 0 {
		return rows, cause
	}
	s.note = "read ticker by ticker, since " + cause.Error()
	return rows, nil
}

// chartsDue reports whether cause is a failure of the batch call itself, and
// whether the charts have rested for long enough.
func (s *Poller) chartsDue(cause error, now time.Time) bool {
	if errors.Is(cause, ErrClock) {
		return false // charts tell the same
	}
	every := s.opt.ChartsEvery
	if s.isLocal {
		every = min(every, s.opt.Interval)
	}
	if every < 0 || now.Sub(s.chartsAt) < every {
		return false
	}
	switch fetch.KindOf(cause) {
	case fetch.KindHTTPStatus, fetch.KindNotFound, fetch.KindGone, fetch.KindHTML, fetch.KindNotJSON, fetch.KindInvalid, fetch.KindEmpty:
		return true
	}
	return false
}

// chart asks for one ticker. One that is not there gives no row and no error.
func (s *Poller) chart(ctx context.Context, c *poll.Cycle, ticker string, now time.Time) (Result, error) {
	addr, err := ChartURL(s.opt.URL, ticker)
	if err != nil {
		return Result{}, fetch.Fail(fetch.KindInvalid, "ask for a chart", "%w", err)
	}
	req, res, err := s.get(ctx, c, addr, chartSpacing)
	var e *fetch.Error
	switch {
	case errors.As(err, &e) && (e.Status == 404 || e.Status == 422):
		return Result{}, nil
	case err != nil:
		return Result{}, err
	}
	out, err := ParseChart(res.Body, res.ContentType(), Ask{Symbols: []string{ticker}, Now: now})
	s.mem.Markets.take(out.Sessions)
	if err = s.named(c, req, err); fetch.KindOf(err) == fetch.KindEmpty {
		return Result{}, nil
	}
	return out, err
}
