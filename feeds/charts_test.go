package feeds_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"carbond/feeds/finance"
	"carbond/store/change"
)

// chart answers the chart of one ticker; BEP is one that is gone.
func chart(r *http.Request) *http.Response {
	ticker := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	if ticker == "BEP" {
		return answer(404, "application/json", `{"chart":{"result":null,"error":{"code":"Not Found","description":"No data found, symbol may be delisted"}}}`)
	}
	return asJSON(fmt.Sprintf(`{"chart":{"result":[{"meta":{"symbol":%q,"currency":"USD","regularMarketPrice":77,"regularMarketTime":%d,"previousClose":70}}],"error":null}}`,
		ticker, time.Now().Unix()))
}

// Charts stand in for batches that fail, not often, and never against a refusal.
func TestFinanceChartsStandIn(t *testing.T) {
	refused := func(status int, body string) func(*http.Request) *http.Response {
		return func(*http.Request) *http.Response { return answer(status, "text/plain", body) }
	}
	tests := map[string]struct {
		spark  func(*http.Request) *http.Response
		every  time.Duration
		charts int // in two polls, one right after the other
		ok     bool
	}{
		"gone":         {refused(404, "no such call"), 0, 5, true},
		"broken":       {refused(200, "<html>We will be right back"), 0, 5, true},
		"server error": {refused(500, ""), 0, 5, true},
		"switched off": {refused(404, ""), -1, 0, false},
		"limited":      {refused(429, "Too Many Requests\r\n"), 0, 0, false},
		"denied":       {refused(403, ""), 0, 0, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, u := newMemory(), &upstream{handle: func(r *http.Request) *http.Response {
					switch {
					case strings.HasSuffix(r.URL.Path, "/spark"):
						return tc.spark(r)
					case strings.Contains(r.URL.Path, "/v8/finance/chart/"):
						return chart(r)
					}
					return yahoo(r)
				}}
				r := financeRunner(t, m, u, finance.Options{Tickers: []string{"KRBN", "NEE", "BEP", "LIN", "APD"}, ChartsEvery: tc.every})
				rep, err := fetchNow(t, r, "finance")
				if (err == nil) != tc.ok {
					t.Fatalf("%+v, %v", rep, err)
				}
				_, again := fetchNow(t, r, "finance")
				if again == nil {
					t.Error("charts stood in twice within their interval")
				}
				charts := 0
				for _, s := range u.requests() {
					if strings.Contains(s.path, "/v8/finance/chart/") {
						charts++
					}
				}
				if charts != tc.charts {
					t.Errorf("%d charts, want %d", charts, tc.charts)
				}
				if !tc.ok {
					return
				}
				if m.count(change.Finance) != 4 || !strings.Contains(strings.Join(rep.Notes, " "), "read ticker by ticker, since ") {
					t.Errorf("%d rows, notes %v", m.count(change.Finance), rep.Notes)
				}
			})
		})
	}
}

// Only what a batch lacks is asked ticker by ticker.
func TestFinanceChartsFillGaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, u := newMemory(), &upstream{handle: func(r *http.Request) *http.Response {
			switch {
			case strings.HasSuffix(r.URL.Path, "/spark") && strings.HasPrefix(r.URL.Query().Get("symbols"), "OXY"):
				return answer(500, "text/plain", "")
			case strings.Contains(r.URL.Path, "/v8/finance/chart/"):
				return chart(r)
			}
			return yahoo(r)
		}}
		rep := mustFetch(t, financeRunner(t, m, u, finance.Options{}), "finance")
		if rep.Written.Inserted != 47 {
			t.Errorf("%+v", rep.Written)
		}
		charts := 0
		for _, s := range u.requests() {
			if strings.Contains(s.path, "/v8/finance/chart/") {
				charts++
			}
		}
		if charts != 7 {
			t.Errorf("%d charts for a batch of 7", charts)
		}
	})
}
