package feeds

import (
	"context"
	"errors"
	"time"

	"carbond/feeds/finance"
)

// chartSpacing is the least time between two calls of a chart.
const chartSpacing = 2 * time.Second

// charts stands in for batches that failed: it asks for the tickers that rows
// lack one by one, at most every ChartsEvery, since that is sixteen times the
// requests. A refusal or a dead network is never met with more requests. Without
// a single price cause remains the error.
func (s *financeSource) charts(ctx context.Context, c *cycle, rows []Quote, cause error, now time.Time) ([]Quote, error) {
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
			c.log.Debug("charts do not stand in", "kind", KindOf(err), "error", err)
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
func (s *financeSource) chartsDue(cause error, now time.Time) bool {
	every := s.opt.ChartsEvery
	if s.isLocal {
		every = min(every, s.opt.Interval)
	}
	if every < 0 || now.Sub(s.chartsAt) < every {
		return false
	}
	switch KindOf(cause) {
	case KindHTTPStatus, KindNotFound, KindGone, KindHTML, KindNotJSON, KindInvalid, KindEmpty:
		return true
	}
	return false
}

// chart asks for one ticker. One that is not there gives no row and no error.
func (s *financeSource) chart(ctx context.Context, c *cycle, ticker string, now time.Time) (finance.Result, error) {
	addr, err := finance.ChartURL(s.opt.URL, ticker)
	if err != nil {
		return finance.Result{}, fail(KindInvalid, "ask for a chart", "%w", err)
	}
	req, res, err := s.get(ctx, c, addr, chartSpacing)
	var e *Error
	switch {
	case errors.As(err, &e) && (e.Status == 404 || e.Status == 422):
		return finance.Result{}, nil
	case err != nil:
		return finance.Result{}, err
	}
	out, err := finance.ParseChart(res.Body, res.ContentType(), finance.Ask{Symbols: []string{ticker}, Now: now})
	if err = s.named(c, req, err); KindOf(err) == KindEmpty {
		return finance.Result{}, nil
	}
	return out, err
}
