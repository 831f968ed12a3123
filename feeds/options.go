package feeds

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"carbond/feeds/news"
	"carbond/feeds/verra"
)

// Options configure a Runner. The zero Options poll all four upstreams at
// their public addresses with the intervals of the documentation.
//
// A configured URL may use plain http and may name a host on a private network
// ("http://127.0.0.1:8080"); such a host is then trusted as the user's own: it
// is not spared by spacing and start offsets, and hints about longer intervals
// are ignored. URLs that upstreams hand out (redirects, discovery) must be
// https and public, or stay at the configured origin.
type Options struct {
	Version string // of carbond, for the User-Agent
	Contact string // "+https://…; mail" for the User-Agent; "" leaves it out

	Interval  time.Duration // between polls of sources that set none; 0 = 60 s
	StatePath string        // JSON file for what must survive a restart; "" = memory only
	Timeout   time.Duration // of one request, body included; 0 = 20 s
	// StaleAfter is the age of the last success from which a feed counts as
	// stale; 0 = ten intervals, at least 30 minutes, or one for an upstream on the
	// user's own machine.
	StaleAfter time.Duration

	Verra      VerraOptions
	Carbonmark CarbonmarkOptions
	Finance    FinanceOptions
	News       NewsOptions

	KeepFinance time.Duration // age from which finance rows are pruned, the newest per ticker excepted; 0 = keep all
	KeepNews    time.Duration // age from which news rows are pruned; 0 = keep all

	Log       *slog.Logger          // nil = discard
	Metrics   prometheus.Registerer // nil = none
	Clock     Clock                 // nil = the machine's
	Transport http.RoundTripper     // nil = one with the rules of conduct; anything else is for tests
}

// VerraOptions configure the Verra registry.
type VerraOptions struct {
	Disabled bool
	URL      string            // site with the configuration document; "" = https://registry.verra.org
	Base     string            // search base, instead of the one in the configuration document
	Standard verra.Standard    // zero = VCS
	Headers  map[string]string // extra request headers; nil = Origin and Referer of the site
	Status   verra.StatusMap   // zero = built in
	// LinkPrefix is the address of a project's public page up to its number;
	// "" = verra.DefaultLinkPrefix.
	LinkPrefix string

	Interval   time.Duration // of incremental polls; 0 = Options.Interval
	SweepEvery time.Duration // full sweep; 0 = 12 h; on the user's own machine at most ten intervals
	Spacing    time.Duration // least time between requests; 0 = 2 s
	// TotalsPerPoll is how many projects get their retirement and cancellation
	// totals per poll, two requests each; 0 = 10, negative = none.
	TotalsPerPoll int
	TotalsEvery   time.Duration // age at which totals are asked again; 0 = 24 h
}

// CarbonmarkOptions configure Carbonmark.
type CarbonmarkOptions struct {
	Disabled  bool
	URL       string        // REST base; "" = https://v20.api.carbonmark.com
	APIKey    string        // optional bearer key of the REST API
	Interval  time.Duration // one page; 0 = Options.Interval
	FullEvery time.Duration // whole list; 0 = 10 min; on the user's own machine at most ten intervals
	PageSize  int           // 0 = 100
	Spacing   time.Duration // least time between requests; 0 = 1 s

	GraphKey string        // key of The Graph's gateway; "" = no fallback
	GraphURL string        // subgraph address; "" = the gateway with the id of FEEDS
	GraphGap time.Duration // least time between queries; 0 = 30 s
}

// FinanceOptions configure the finance feed. The built-in provider is Yahoo's
// unofficial API, for personal use; set Provider to use a licensed one.
type FinanceOptions struct {
	Disabled bool
	URL      string   // "" = https://query1.finance.yahoo.com
	Failover string   // asked after network errors only; "" = query2 for the default URL
	Cookie   string   // where the quote cookie comes from; "" = https://fc.yahoo.com for the default URL
	Tickers  []string // nil = the 47 of the documentation
	Provider QuoteProvider

	Interval  time.Duration // in market hours; 0 = Options.Interval
	Closed    time.Duration // outside; 0 = 15 min
	CapsEvery time.Duration // market capitalisation; 0 = 45 min
	// ChartsEvery is how often calls for single tickers may stand in for batch
	// calls that fail; 0 = 15 min, negative = never.
	ChartsEvery time.Duration
	AlwaysOpen  bool // ignore market hours
}

// NewsOptions configure the news feeds.
type NewsOptions struct {
	Disabled bool
	Feeds    []NewsFeed    // nil = news.DefaultSources()
	Every    time.Duration // for feeds that set none; 0 = 15 min, or Options.Interval for a feed on a private network
	GDELTGap time.Duration // least time between requests to GDELT; 0 = 7 s
	// Intervals replaces the interval of single feeds, by their Feed or Name.
	// A name of none of the Feeds is an error.
	Intervals map[string]time.Duration
	// Robots honours the robots.txt of the feeds' sites. Google News is the
	// decision of GoogleNews alone.
	Robots bool
	// GoogleNews allows feeds of news.google.com, whose terms permit personal,
	// non-commercial use only.
	GoogleNews bool
}

// NewsFeed is one RSS, Atom, RDF or JSON feed, or one GDELT query. Feed is its
// unique name, shown and used as metric label; Name the outlet as stored in
// news.source.
type NewsFeed = news.Source

// or returns v, or def when v is the zero value.
func or[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}
