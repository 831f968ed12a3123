package feeds

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"carbond/feeds/carbonmark"
	"carbond/feeds/finance"
	"carbond/feeds/internal/fetch"
	"carbond/feeds/internal/poll"
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

	Verra      verra.Options
	Carbonmark carbonmark.Options
	Finance    finance.Options
	News       news.Options

	Log       *slog.Logger          // nil = discard
	Metrics   prometheus.Registerer // nil = none
	Clock     fetch.Clock           // nil = the machine's
	Transport http.RoundTripper     // nil = one with the rules of conduct; anything else is for tests
}

func (o Options) withDefaults() Options {
	o.Interval, o.Timeout = poll.Or(o.Interval, time.Minute), poll.Or(o.Timeout, fetch.DefaultTimeout)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = fetch.MachineClock{}
	}
	o.Verra, o.Carbonmark = o.Verra.WithDefaults(o.Interval), o.Carbonmark.WithDefaults(o.Interval)
	o.Finance, o.News = o.Finance.WithDefaults(o.Interval), o.News.WithDefaults(o.Interval)
	return o
}

// upstream is what the Options of every room have in common.
type upstream interface {
	Addresses() map[string]string
	Check() []error
}

// enabled lists the Options of the upstreams that are on.
func (o Options) enabled() (out []upstream) {
	for _, u := range []struct {
		off bool
		opt upstream
	}{{o.Verra.Disabled, o.Verra}, {o.Carbonmark.Disabled, o.Carbonmark}, {o.Finance.Disabled, o.Finance}, {o.News.Disabled, o.News}} {
		if !u.off {
			out = append(out, u.opt)
		}
	}
	return out
}

// check names every wrong option.
func (o Options) check() error {
	errs := poll.CheckIntervals(map[string]time.Duration{"interval": o.Interval})
	for _, up := range o.enabled() {
		for what, s := range up.Addresses() {
			if s == "" && strings.Contains(what, " ") && !strings.HasPrefix(what, "news ") {
				continue
			}
			u, err := url.Parse(s)
			switch {
			case err != nil, u.Host == "", u.Scheme != "http" && u.Scheme != "https":
				errs = append(errs, fmt.Errorf("%s: want an http or https URL", what))
			case u.Fragment != "":
				errs = append(errs, fmt.Errorf("%s: a URL with a fragment cannot be polled", what))
			}
		}
		errs = append(errs, up.Check()...)
	}
	if strings.ContainsAny(o.Contact+o.Version, "\r\n\x00") {
		errs = append(errs, errors.New("contact: want one line"))
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

// sources builds all enabled sources, in the order in which they are shown.
func (o Options) sources() []poll.Source {
	var out []poll.Source
	if !o.Verra.Disabled {
		out = append(out, verra.NewPoller(o.Verra))
	}
	if !o.Carbonmark.Disabled {
		out = append(out, carbonmark.NewPoller(o.Carbonmark))
	}
	if !o.Finance.Disabled {
		out = append(out, finance.NewPoller(o.Finance))
	}
	if !o.News.Disabled {
		for _, p := range news.NewPollers(o.News) {
			out = append(out, p)
		}
	}
	return out
}

// source builds the named source afresh.
func (o Options) source(name string) poll.Source {
	for _, s := range o.sources() {
		if s.Name() == name {
			return s
		}
	}
	return nil
}

// Transport returns a transport for other senders of the program, by the rules of the
// feeds: configured addresses may be private, what they resolve to may not be unless it
// says so itself.
func Transport(configured ...string) *http.Transport { return fetch.Transport(configured...) }
