package finance

import (
	"fmt"
	"net/url"
	"strings"
)

// Where Yahoo is, unless the configuration says otherwise.
const (
	DefaultURL  = "https://query1.finance.yahoo.com"
	FailoverURL = "https://query2.finance.yahoo.com" // for network errors only, never around a 429
	CookieURL   = "https://fc.yahoo.com"             // sets the A3 cookie that a crumb belongs to
)

// MaxSymbols is how many symbols one spark or quote request may name; Yahoo
// refuses more with status 400.
const MaxSymbols = 20

// Batches cuts tickers into requests of at most MaxSymbols, in order, without
// repeats. The parts share memory with no other slice.
func Batches(tickers []string) [][]string {
	seen := make(map[string]bool, len(tickers))
	var out [][]string
	for _, t := range tickers {
		if seen[t] {
			continue
		}
		seen[t] = true
		if n := len(out); n == 0 || len(out[n-1]) == MaxSymbols {
			out = append(out, make([]string, 0, min(MaxSymbols, len(tickers))))
		}
		out[len(out)-1] = append(out[len(out)-1], t)
	}
	return out
}

// CheckSymbol reports whether s can be a Yahoo symbol: capital letters, digits
// and the marks that classes, indexes, futures and exchanges use ("BRK-B",
// "^GSPC", "CO2=F", "ORSTED.CO"), at most 20 characters. The error wraps
// ErrSymbol.
func CheckSymbol(s string) error {
	ok := s != "" && len(s) <= 20
	for i := 0; ok && i < len(s); i++ {
		c := s[i]
		ok = c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte(".-^=", c) >= 0
	}
	if !ok {
		return fmt.Errorf("%w: %q", ErrSymbol, s[:min(len(s), 40)])
	}
	return nil
}

// SparkURL is the request for the prices of up to MaxSymbols symbols.
func SparkURL(base string, symbols []string) (string, error) {
	q := url.Values{"range": {"1d"}, "interval": {"5m"}}
	return build(base, "/v7/finance/spark", symbols, q)
}

// QuoteURL is the request for the quotes of up to MaxSymbols symbols: the only
// source of market caps. It needs the cookie that the crumb belongs to.
func QuoteURL(base string, symbols []string, crumb string) (string, error) {
	if crumb == "" {
		return "", fmt.Errorf("build quote request: %w", ErrInvalidCrumb)
	}
	return build(base, "/v7/finance/quote", symbols, url.Values{"crumb": {crumb}})
}

// ChartURL is the request for one symbol, the fallback when spark fails.
func ChartURL(base, symbol string) (string, error) {
	if err := CheckSymbol(symbol); err != nil {
		return "", err
	}
	q := url.Values{"range": {"1d"}, "interval": {"5m"}}
	return join(base, "/v8/finance/chart/"+url.PathEscape(symbol), q)
}

// CrumbURL is the request for a crumb; it needs the cookie of CookieURL.
func CrumbURL(base string) (string, error) { return join(base, "/v1/test/getcrumb", nil) }

func build(base, path string, symbols []string, q url.Values) (string, error) {
	switch {
	case len(symbols) == 0:
		return "", ErrNoSymbols
	case len(symbols) > MaxSymbols:
		return "", fmt.Errorf("%w: %d, the limit is %d", ErrTooManySymbols, len(symbols), MaxSymbols)
	}
	for _, s := range symbols {
		if err := CheckSymbol(s); err != nil {
			return "", err
		}
	}
	q.Set("symbols", strings.Join(symbols, ","))
	return join(base, path, q)
}

func join(base, path string, q url.Values) (string, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" {
		return "", fmt.Errorf("base URL %q: want a URL such as %s", base, DefaultURL)
	}
	return strings.TrimRight(base, "/") + path + query(q), nil
}

func query(q url.Values) string {
	if len(q) == 0 {
		return ""
	}
	return "?" + q.Encode()
}
