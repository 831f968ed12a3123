package finance

import (
	"fmt"
	"strings"
	"time"

	"carbond/feeds/internal/poll"
)

// Options configure the finance feed. The built-in provider is Yahoo's
// unofficial API, for personal use; set Provider to use a licensed one.
type Options struct {
	Disabled bool
	URL      string   // "" = https://query1.finance.yahoo.com
	Failover string   // asked after network errors only; "" = query2 for the default URL
	Cookie   string   // where the quote cookie comes from; "" = https://fc.yahoo.com for the default URL
	Tickers  []string // nil = the 47 of the documentation
	Provider Provider

	Interval  time.Duration // in market hours; 0 = the feeds' common interval
	Closed    time.Duration // outside; 0 = 15 min
	CapsEvery time.Duration // market capitalisation; 0 = 45 min
	// ChartsEvery is how often calls for single tickers may stand in for batch
	// calls that fail; 0 = 15 min, negative = never.
	ChartsEvery time.Duration
	AlwaysOpen  bool // ignore market hours
	// Keep is the age at which prices are pruned, the newest of each ticker
	// excepted; 0 = never.
	Keep time.Duration
}

// WithDefaults fills in what is unset; interval is that of feeds that set none.
func (o Options) WithDefaults(interval time.Duration) Options {
	if o.URL == "" || strings.TrimRight(o.URL, "/") == DefaultURL {
		o.URL = DefaultURL
		o.Failover, o.Cookie = poll.Or(o.Failover, FailoverURL), poll.Or(o.Cookie, CookieURL)
	}
	if len(o.Tickers) == 0 {
		o.Tickers = DefaultTickers()
	}
	o.Interval, o.Closed, o.CapsEvery = poll.Or(o.Interval, interval), poll.Or(o.Closed, 15*time.Minute), poll.Or(o.CapsEvery, 45*time.Minute)
	o.ChartsEvery = poll.Or(o.ChartsEvery, 15*time.Minute)
	return o
}

// Addresses lists the configured addresses by what they are for.
func (o Options) Addresses() map[string]string {
	if o.Provider != nil {
		return nil
	}
	return map[string]string{"finance": o.URL, "finance failover": o.Failover, "finance cookie": o.Cookie}
}

// Check names every wrong option.
func (o Options) Check() (errs []error) {
	for _, t := range o.Tickers {
		if err := CheckSymbol(t); err != nil {
			errs = append(errs, fmt.Errorf("finance ticker: %w", err))
		}
	}
	return append(errs, poll.CheckIntervals(map[string]time.Duration{"finance interval": o.Interval})...)
}
