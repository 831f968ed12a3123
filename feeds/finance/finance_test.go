package finance_test

import (
	"errors"
	"fmt"
	"math"
	"net/url"
	"strings"
	"testing"

	"carbond/feeds/finance"
)

func TestHabits(t *testing.T) {
	const at = `"regularMarketTime":1795208401`
	tests := map[string]struct {
		entry  string
		ask    finance.Ask
		row    string // ticker price volume change, "" for none
		reason finance.Reason
	}{
		"plain":             {entry: `{"symbol":"KRBN","regularMarketPrice":34,"regularMarketPreviousClose":32,"regularMarketVolume":7,` + at + `}`, row: "KRBN 34 7 6.25"},
		"change given":      {entry: `{"symbol":"KRBN","regularMarketPrice":34,"regularMarketPreviousClose":32,"regularMarketChangePercent":6.2,` + at + `}`, row: "KRBN 34 - 6.2"},
		"previous zero":     {entry: `{"symbol":"KRBN","regularMarketPrice":34,"regularMarketPreviousClose":0,` + at + `}`, row: "KRBN 34 - -"},
		"previous negative": {entry: `{"symbol":"KRBN","regularMarketPrice":34,"regularMarketPreviousClose":-3,` + at + `}`, row: "KRBN 34 - -"},
		"milliseconds":      {entry: `{"symbol":"KRBN","regularMarketPrice":34,"regularMarketTime":1795208401000}`, row: "KRBN 34 - -"},
		"raw and fmt":       {entry: `{"symbol":"KRBN","regularMarketPrice":{"raw":34.5,"fmt":"x"},` + at + `}`, row: "KRBN 34.5 - -"},
		"raw of nonsense":   {entry: `{"symbol":"KRBN","regularMarketPrice":{"raw":[1]},` + at + `}`, reason: finance.ReasonNoPrice},
		"string number":     {entry: `{"symbol":"KRBN","regularMarketPrice":"1,049.02",` + at + `}`, row: "KRBN 1049.02 - -"},
		"decimal comma":     {entry: `{"symbol":"KRBN","regularMarketPrice":"49,02",` + at + `}`, reason: finance.ReasonNoPrice},
		"hexadecimal":       {entry: `{"symbol":"KRBN","regularMarketPrice":"0x10",` + at + `}`, reason: finance.ReasonNoPrice},
		"not a number":      {entry: `{"symbol":"KRBN","regularMarketPrice":"NaN",` + at + `}`, reason: finance.ReasonNoPrice},
		"absurd":            {entry: `{"symbol":"KRBN","regularMarketPrice":1e300,` + at + `}`, reason: finance.ReasonPrice},
		"zero":              {entry: `{"symbol":"KRBN","regularMarketPrice":0,` + at + `}`, reason: finance.ReasonPrice},
		"minus one":         {entry: `{"symbol":"KRBN","regularMarketPrice":-1,` + at + `}`, reason: finance.ReasonPrice},
		"fractional volume": {entry: `{"symbol":"KRBN","regularMarketPrice":34,"regularMarketVolume":1.5,` + at + `}`, row: "KRBN 34 - -"},
		"negative volume":   {entry: `{"symbol":"KRBN","regularMarketPrice":34,"regularMarketVolume":-5,` + at + `}`, row: "KRBN 34 - -"},
		"no time":           {entry: `{"symbol":"KRBN","regularMarketPrice":34}`, reason: finance.ReasonNoTime},
		"time of 1970":      {entry: `{"symbol":"KRBN","regularMarketPrice":34,"regularMarketTime":0}`, reason: finance.ReasonTime},
		"future time":       {entry: `{"symbol":"KRBN","regularMarketPrice":34,"regularMarketTime":1795430000}`, reason: finance.ReasonTime},
		"other currency":    {entry: `{"symbol":"KRBN","currency":"CAD","regularMarketPrice":34,` + at + `}`, row: "KRBN 34 - - CAD"},
		"pence":             {entry: `{"symbol":"KRBN","currency":"GBp","regularMarketPrice":34,` + at + `}`, row: "KRBN 34 - - GBp"},
		"no currency":       {entry: `{"symbol":"KRBN","currency":"<b>5","regularMarketPrice":34,` + at + `}`, row: "KRBN 34 - -"},
		"unasked":           {entry: `{"symbol":"XXX","regularMarketPrice":34,` + at + `}`, reason: finance.ReasonUnrequested},
		"no symbol":         {entry: `{"regularMarketPrice":34,` + at + `}`, reason: finance.ReasonUnrequested},
		"zombie":            {entry: `{"symbol":"KRBN","quoteType":"ECNQUOTE","regularMarketPrice":34,` + at + `}`, reason: finance.ReasonDelisted},
		"null entry":        {entry: `null`, reason: finance.ReasonMalformed},
		"entry is a list":   {entry: `[1]`, reason: finance.ReasonMalformed},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			tc.ask.Symbols, tc.ask.Now = []string{"KRBN", "OK"}, now
			good := `{"symbol":"OK","regularMarketPrice":1,"currency":"USD",` + at + `}`
			body := `{"quoteResponse":{"result":[` + tc.entry + `,` + good + `],"error":null}}`
			res, err := finance.ParseQuote([]byte(body), "application/json", tc.ask)
			if err != nil {
				t.Fatal(err)
			}
			var got string
			for _, r := range res.Rows {
				if r.Ticker != "OK" {
					got = show(r)
				}
			}
			var reason finance.Reason
			for _, s := range res.Skipped {
				if s.Ticker != "OK" {
					reason = s.Reason
				}
			}
			if got != tc.row || reason != tc.reason {
				t.Errorf("row %q reason %q, want %q %q", got, reason, tc.row, tc.reason)
			}
		})
	}
}

func show(r finance.Row) string {
	volume, change := "-", "-"
	if r.Volume != nil {
		volume = fmt.Sprint(*r.Volume)
	}
	if r.ChangePercent != nil {
		change = fmt.Sprint(*r.ChangePercent)
	}
	out := fmt.Sprint(r.Ticker, " ", r.Price, " ", volume, " ", change)
	if r.Currency != "" && r.Currency != "USD" {
		out += " " + r.Currency
	}
	return out
}

// The newest copy of a ticker stays, in whatever order the copies come.
func TestDoublesKeepTheNewest(t *testing.T) {
	old := `{"symbol":"LI","regularMarketPrice":1,"regularMarketTime":1795100000}`
	young := `{"symbol":"LI","regularMarketPrice":2,"regularMarketTime":1795200000}`
	for _, list := range []string{old + "," + young, young + "," + old} {
		body := `{"quoteResponse":{"result":[` + list + `]}}`
		res, err := finance.ParseQuote([]byte(body), "", finance.Ask{Symbols: []string{"LI"}, Now: now})
		if err != nil || len(res.Rows) != 1 || res.Rows[0].Price != 2 || len(res.Skipped) != 1 {
			t.Errorf("%s: %+v, %v", list, res, err)
		}
	}
}

func TestBatches(t *testing.T) {
	got := finance.Batches(append(finance.DefaultTickers(), "KRBN"))
	if len(got) != 3 || len(got[0]) != 20 || len(got[1]) != 20 || len(got[2]) != 7 {
		t.Errorf("batches of %d %d %d", len(got[0]), len(got[1]), len(got[2]))
	}
	if finance.Batches(nil) != nil {
		t.Error("no tickers should give no batch")
	}
}

func TestRequests(t *testing.T) {
	u, err := finance.SparkURL(finance.DefaultURL+"/", []string{"KRBN", "ORSTED.CO", "^GSPC"})
	if err != nil || u != "https://query1.finance.yahoo.com/v7/finance/spark?interval=5m&range=1d&symbols=KRBN%2CORSTED.CO%2C%5EGSPC" {
		t.Errorf("%s, %v", u, err)
	}
	u, err = finance.QuoteURL("http://127.0.0.1:1", []string{"KRBN"}, "a/b&c")
	if err != nil || !strings.HasSuffix(u, "/v7/finance/quote?crumb=a%2Fb%26c&symbols=KRBN") {
		t.Errorf("%s, %v", u, err)
	}
	u, err = finance.ChartURL(finance.DefaultURL, "^GSPC")
	if p, perr := url.Parse(u); err != nil || perr != nil || p.Path != "/v8/finance/chart/^GSPC" {
		t.Errorf("%s, %v", u, err)
	}
	tests := map[string]struct {
		symbols []string
		base    string
		err     error
	}{
		"none":     {base: finance.DefaultURL, err: finance.ErrNoSymbols},
		"too many": {base: finance.DefaultURL, symbols: finance.DefaultTickers()[:21], err: finance.ErrTooManySymbols},
		"comma":    {base: finance.DefaultURL, symbols: []string{"A,B"}, err: finance.ErrSymbol},
		"lower":    {base: finance.DefaultURL, symbols: []string{"krbn"}, err: finance.ErrSymbol},
		"long":     {base: finance.DefaultURL, symbols: []string{strings.Repeat("A", 21)}, err: finance.ErrSymbol},
	}
	for name, tc := range tests {
		if _, err := finance.SparkURL(tc.base, tc.symbols); !errors.Is(err, tc.err) {
			t.Errorf("%s: %v, want %v", name, err, tc.err)
		}
	}
	if _, err := finance.CrumbURL("not a url"); err == nil {
		t.Error("a base URL without a host was accepted")
	}
	if _, err := finance.QuoteURL(finance.DefaultURL, []string{"A"}, ""); !errors.Is(err, finance.ErrInvalidCrumb) {
		t.Errorf("empty crumb: %v", err)
	}
}

func TestCrumb(t *testing.T) {
	tests := map[string]struct {
		body string
		want string
		err  error
	}{
		"good":     {body: "aBc.D/1e\n", want: "aBc.D/1e"},
		"long":     {body: strings.Repeat("x", 33), err: finance.ErrInvalidCrumb},
		"sentence": {body: "no crumb today", err: finance.ErrInvalidCrumb},
		"markup":   {body: "a<b", err: finance.ErrInvalidCrumb},
		"json":     {body: `{"finance":{"result":null,"error":{"code":"Unauthorized","description":"Invalid Cookie"}}}`, err: finance.ErrUnauthorized},
		"binary":   {body: "a\x00b", err: finance.ErrInvalidCrumb},
	}
	for name, tc := range tests {
		got, err := finance.ParseCrumb([]byte(tc.body))
		if got != tc.want || !errors.Is(err, tc.err) {
			t.Errorf("%s: %q, %v, want %q, %v", name, got, err, tc.want, tc.err)
		}
	}
}

// Whatever arrives, a Result obeys the invariants of the package.
func FuzzParse(f *testing.F) {
	for name := range fixtures {
		f.Add(read(f, "testdata/yahoo/"+name))
	}
	ask := finance.Ask{Symbols: finance.DefaultTickers(), Now: now}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, parse := range []parser{finance.ParseSpark, finance.ParseChart, finance.ParseQuote, crumb} {
			res, err := parse(body, "", ask)
			if err != nil && (len(res.Rows) > 0 || len(res.Caps) > 0) {
				t.Fatalf("rows beside the error %v", err)
			}
			last := ""
			for _, r := range res.Rows {
				if r.Ticker <= last || !(r.Price > 0) || math.IsInf(r.Price, 0) || r.Timestamp <= 0 || r.Timestamp > now.Unix()+3600 {
					t.Fatalf("impossible row %+v after %q", r, last)
				}
				if c := r.ChangePercent; c != nil && (math.IsNaN(*c) || *c < -100) {
					t.Fatalf("impossible change %v", *c)
				}
				last = r.Ticker
			}
		}
	})
}
