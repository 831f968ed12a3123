package carbonmark

import (
	"time"

	"carbond/feeds/internal/poll"
)

// Options configure Carbonmark.
type Options struct {
	Disabled  bool
	URL       string        // REST base; "" = https://v20.api.carbonmark.com
	APIKey    string        // optional bearer key of the REST API
	Interval  time.Duration // one page; 0 = the feeds' common interval
	FullEvery time.Duration // whole list; 0 = 10 min; on the user's own machine at most ten intervals
	PageSize  int           // 0 = 100
	Spacing   time.Duration // least time between requests; 0 = 1 s

	GraphKey string        // key of The Graph's gateway; "" = no fallback
	GraphURL string        // subgraph address; "" = the gateway with the id of polygon-digital-carbon
	GraphGap time.Duration // least time between queries; 0 = 30 s
}

// WithDefaults fills in what is unset; interval is that of feeds that set none.
func (o Options) WithDefaults(interval time.Duration) Options {
	o.URL, o.Interval = poll.Or(o.URL, DefaultBase), poll.Or(o.Interval, interval)
	o.FullEvery, o.PageSize = poll.Or(o.FullEvery, 10*time.Minute), poll.Or(o.PageSize, 100)
	o.Spacing, o.GraphGap = poll.Or(o.Spacing, time.Second), poll.Or(o.GraphGap, 30*time.Second)
	return o
}

// Addresses lists the configured addresses by what they are for.
func (o Options) Addresses() map[string]string {
	m := map[string]string{"carbonmark": o.URL}
	if o.GraphKey != "" {
		m["carbonmark graph"] = o.GraphURL
	}
	return m
}

// Check names every wrong option.
func (o Options) Check() []error {
	return poll.CheckIntervals(map[string]time.Duration{"carbonmark interval": o.Interval, "carbonmark full list": o.FullEvery})
}
