package finance_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"carbond/feeds/finance"
	"carbond/feeds/internal/payload"
	"carbond/feeds/internal/payload/golden"
)

// now is the time at which all fixtures are read.
var now = time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)

type parser func(body []byte, contentType string, ask finance.Ask) (finance.Result, error)

func crumb(body []byte, _ string, _ finance.Ask) (finance.Result, error) {
	_, err := finance.ParseCrumb(body)
	return finance.Result{}, err
}

// fixtures says for every file who reads it and what comes of it.
var fixtures = map[string]struct {
	parse parser
	ask   string // comma list, "" = the default tickers
	err   error
	rows  int
	caps  int
	skips int
}{
	"spark_batch1.json":          {parse: finance.ParseSpark, ask: batch(0), rows: 20},
	"spark_batch2.json":          {parse: finance.ParseSpark, ask: batch(1), rows: 20},
	"spark_batch3.json":          {parse: finance.ParseSpark, ask: batch(2), rows: 7},
	"spark_missing_symbols.json": {parse: finance.ParseSpark, ask: "KRBN,TSLA,GONE,AY", rows: 2},
	"spark_nasty.json":           {parse: finance.ParseSpark, ask: "KRBN,KCCA,GRN,TSLA,NEE,LI", rows: 4, skips: 3},
	"spark_400_too_many.json":    {parse: finance.ParseSpark, err: finance.ErrTooManySymbols},
	"spark_result_null.json":     {parse: finance.ParseSpark, err: finance.ErrNoResult},
	"spark_v8_alt.json":          {parse: finance.ParseSpark, ask: batch(0), rows: 10},
	"truncated.json":             {parse: finance.ParseSpark, err: payload.ErrTruncated},
	"html_consent.html":          {parse: finance.ParseSpark, err: finance.ErrConsent},
	"html_will_be_right_back.html": {
		parse: finance.ParseSpark, err: finance.ErrUnavailable,
	},
	"chart_KRBN.json":                {parse: finance.ParseChart, ask: "KRBN", rows: 1},
	"chart_TSLA.json":                {parse: finance.ParseChart, ask: "TSLA", rows: 1},
	"chart_GRN_nulls.json":           {parse: finance.ParseChart, ask: "GRN", rows: 1},
	"chart_KCCA_no_trades.json":      {parse: finance.ParseChart, ask: "KCCA", rows: 1},
	"chart_not_found_404.json":       {parse: finance.ParseChart, err: finance.ErrNotFound},
	"chart_unprocessable_422.json":   {parse: finance.ParseChart, err: finance.ErrUnprocessable},
	"chart_zombie_delisted_200.json": {parse: finance.ParseChart, ask: "AY", err: finance.ErrNotFound},
	"chart_result_empty.json":        {parse: finance.ParseChart, err: finance.ErrNoResult},
	"chart_internal_500.json":        {parse: finance.ParseChart, err: finance.ErrUnavailable},
	"quote_47.json":                  {parse: finance.ParseQuote, rows: 47, caps: 40},
	"quote_nasty.json":               {parse: finance.ParseQuote, rows: 9, caps: 6, skips: 6},
	"quote_401_unauthorized.json":    {parse: finance.ParseQuote, err: finance.ErrUnauthorized},
	"quote_401_invalid_crumb.json":   {parse: finance.ParseQuote, err: finance.ErrInvalidCrumb},
	"quote_empty.json":               {parse: finance.ParseQuote, err: finance.ErrNoResult},
	"quote_result_null.json":         {parse: finance.ParseQuote, err: finance.ErrBadRequest},
	"crumb.txt":                      {parse: crumb},
	"crumb_429.txt":                  {parse: crumb, err: finance.ErrRateLimited},
	"crumb_html.txt":                 {parse: crumb, err: payload.ErrHTML},
	"error_429.http":                 {parse: finance.ParseSpark, err: finance.ErrRateLimited},
	"error_999.http":                 {parse: finance.ParseSpark, err: payload.ErrHTML},
	"tickers47.json":                 {parse: finance.ParseSpark, err: payload.ErrShape},
}

// batch returns one of the three requests for the default tickers.
func batch(i int) string { return strings.Join(finance.Batches(finance.DefaultTickers())[i], ",") }

func TestFixtures(t *testing.T) {
	files, err := filepath.Glob("testdata/yahoo/*")
	if err != nil || len(files) != len(fixtures) {
		t.Fatalf("%d fixture files, %d expectations (%v)", len(files), len(fixtures), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) { check(t, file) })
	}
}

func check(t *testing.T, file string) {
	tc, ok := fixtures[filepath.Base(file)]
	if !ok {
		t.Fatal("no expectation for this fixture")
	}
	ask := finance.Ask{Symbols: finance.DefaultTickers(), Now: now}
	if tc.ask != "" {
		ask.Symbols = strings.Split(tc.ask, ",")
	}
	body, contentType, _ := golden.Body(t, "yahoo/"+filepath.Base(file))
	res, err := tc.parse(body, contentType, ask)
	if !errors.Is(err, tc.err) || (err != nil) != (tc.err != nil) {
		t.Fatalf("error %v, want %v", err, tc.err)
	}
	if len(res.Rows) != tc.rows || len(res.Caps) != tc.caps || len(res.Skipped) != tc.skips {
		t.Errorf("%d rows, %d caps, %d skipped, want %d, %d, %d", len(res.Rows), len(res.Caps), len(res.Skipped), tc.rows, tc.caps, tc.skips)
	}
	got := struct {
		Error string `json:"error,omitempty"`
		finance.Result
	}{Result: res}
	if err != nil {
		got.Error = err.Error()
	}
	b, err := json.MarshalIndent(got, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	golden.Compare(t, filepath.Base(file), append(b, '\n'))
}

func read(tb testing.TB, name string) []byte {
	tb.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func TestDefaultTickersAreTheDocumentedOnes(t *testing.T) {
	var want []struct{ Symbol string }
	if err := json.Unmarshal(read(t, "testdata/yahoo/tickers47.json"), &want); err != nil {
		t.Fatal(err)
	}
	got := finance.DefaultTickers()
	if len(got) != 47 || len(want) != 47 {
		t.Fatalf("%d tickers, %d documented, want 47", len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i].Symbol || finance.CheckSymbol(got[i]) != nil {
			t.Errorf("ticker %d is %q, want %q", i, got[i], want[i].Symbol)
		}
	}
}
