package feeds

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"time"

	"carbond/feeds/carbonmark"
	"carbond/feeds/finance"
	"carbond/feeds/news"
	"carbond/feeds/verra"
)

// DefaultVerraURL is the registry's web site, which says where its services are.
const DefaultVerraURL = "https://registry.verra.org"

func (o Options) withDefaults() Options {
	o.Interval, o.Timeout = or(o.Interval, time.Minute), or(o.Timeout, totalTimeout)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = machineClock{}
	}
	v := &o.Verra
	v.URL, v.Standard, v.Interval = or(v.URL, DefaultVerraURL), or1(v.Standard), or(v.Interval, o.Interval)
	v.SweepEvery, v.Spacing = or(v.SweepEvery, 12*time.Hour), or(v.Spacing, 2*time.Second)
	v.TotalsPerPoll, v.TotalsEvery = or(v.TotalsPerPoll, 10), or(v.TotalsEvery, 24*time.Hour)
	c := &o.Carbonmark
	c.URL, c.Interval = or(c.URL, carbonmark.DefaultBase), or(c.Interval, o.Interval)
	c.FullEvery, c.PageSize, c.Spacing = or(c.FullEvery, 10*time.Minute), or(c.PageSize, 100), or(c.Spacing, time.Second)
	c.GraphGap = or(c.GraphGap, 30*time.Second)
	f := &o.Finance
	if f.URL == "" || strings.TrimRight(f.URL, "/") == finance.DefaultURL {
		f.URL = finance.DefaultURL
		f.Failover, f.Cookie = or(f.Failover, finance.FailoverURL), or(f.Cookie, finance.CookieURL)
	}
	if len(f.Tickers) == 0 {
		f.Tickers = finance.DefaultTickers()
	}
	f.Interval, f.Closed, f.CapsEvery = or(f.Interval, o.Interval), or(f.Closed, 15*time.Minute), or(f.CapsEvery, 45*time.Minute)
	f.ChartsEvery = or(f.ChartsEvery, 15*time.Minute)
	o.News = o.News.withDefaults()
	return o
}

// or1 is VCS for the zero Standard, whose list makes it no comparable type.
func or1(s verra.Standard) verra.Standard {
	if s.ID == "" {
		return verra.VCS()
	}
	if s.Acronym == "" {
		s.Acronym = verra.VCS().Acronym
	}
	return s
}

func (n NewsOptions) withDefaults() NewsOptions {
	if n.Feeds == nil {
		n.Feeds = news.DefaultSources()
	}
	n.Feeds = slices.Clone(n.Feeds)
	for i := range n.Feeds {
		f := &n.Feeds[i]
		f.Feed, f.Name = slug(or(f.Feed, f.Name)), or(f.Name, f.Feed)
		for name, every := range n.Intervals {
			if answersTo(*f, name) {
				f.Every = every
			}
		}
	}
	n.GDELTGap = or(n.GDELTGap, news.GDELTSpacing)
	return n
}

// answersTo reports whether a feed goes by that name.
func answersTo(f NewsFeed, name string) bool { return f.Name == name || f.Feed == slug(name) }

// slug makes a name fit for labels and file names: lower case letters, digits
// and single dashes.
func slug(name string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(name) {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	return strings.TrimRight(b.String(), "-")
}

// userAgent is the honest name of this program, with whom to ask.
func (o Options) userAgent() string {
	ua := "carbond/" + or(o.Version, "dev")
	if o.Contact != "" {
		ua += " (" + strings.Trim(o.Contact, "()") + ")"
	}
	return ua
}

// urls lists the configured addresses, by what they are for.
func (o Options) urls() map[string]string {
	m := map[string]string{}
	if !o.Verra.Disabled {
		m["verra"] = o.Verra.URL
		m["verra base"] = o.Verra.Base
	}
	if !o.Carbonmark.Disabled {
		m["carbonmark"] = o.Carbonmark.URL
		if o.Carbonmark.GraphKey != "" {
			m["carbonmark graph"] = o.Carbonmark.GraphURL
		}
	}
	if !o.Finance.Disabled && o.Finance.Provider == nil {
		m["finance"], m["finance failover"], m["finance cookie"] = o.Finance.URL, o.Finance.Failover, o.Finance.Cookie
	}
	if !o.News.Disabled {
		for _, f := range o.News.Feeds {
			m["news "+f.Feed] = f.URL
		}
	}
	return m
}

// localHosts are the configured hosts on private networks.
func (o Options) localHosts() map[string]bool {
	out := map[string]bool{}
	for _, s := range o.urls() {
		if u, err := url.Parse(s); err == nil && s != "" && localName(u.Hostname()) {
			out[lowerHost(u)] = true
		}
	}
	return out
}

// check names every wrong option.
func (o Options) check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	urls := o.urls()
	for what, s := range urls {
		if s == "" && (strings.Contains(what, " ") && !strings.HasPrefix(what, "news ")) {
			continue
		}
		u, err := url.Parse(s)
		switch {
		case err != nil, u.Host == "", u.Scheme != "http" && u.Scheme != "https":
			bad("%s: want an http or https URL", what)
		case u.Fragment != "":
			bad("%s: a URL with a fragment cannot be polled", what)
		}
	}
	if strings.ContainsAny(o.Contact+o.Version, "\r\n\x00") {
		bad("contact: want one line")
	}
	for what, d := range map[string]time.Duration{
		"interval": o.Interval, "verra interval": o.Verra.Interval, "carbonmark interval": o.Carbonmark.Interval,
		"finance interval": o.Finance.Interval, "verra sweep": o.Verra.SweepEvery, "carbonmark full list": o.Carbonmark.FullEvery,
	} {
		if d < 100*time.Millisecond {
			bad("%s: %v is shorter than 100ms", what, d)
		}
	}
	for _, r := range o.Verra.Status.Own {
		if !slices.Contains(verra.Statuses(), r.Status) || r.Pattern == "" {
			bad("verra status %s = %q: want one of %s", r.Pattern, r.Status, strings.Join(verra.Statuses(), ", "))
		}
	}
	for _, t := range o.Finance.Tickers {
		if err := finance.CheckSymbol(t); err != nil && !o.Finance.Disabled {
			bad("finance ticker: %w", err)
		}
	}
	if !o.News.Disabled {
		errs = append(errs, o.News.check()...)
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

func (n NewsOptions) check() (errs []error) {
	names := map[string]bool{}
	for _, f := range n.Feeds {
		switch {
		case f.Feed == "":
			errs = append(errs, fmt.Errorf("news feed %q: want a name with a letter or digit", f.Name))
		case names[f.Feed]:
			errs = append(errs, fmt.Errorf("news feed %q: the name is taken by another feed", f.Name))
		}
		names[f.Feed] = true
		if news.OptInOnly(f.URL) && !n.GoogleNews {
			errs = append(errs, fmt.Errorf("news feed %q: Google News allows personal, non-commercial use only; switch google_news on to confirm", f.Name))
		}
	}
	for name, every := range n.Intervals {
		switch {
		case !slices.ContainsFunc(n.Feeds, func(f NewsFeed) bool { return answersTo(f, name) }):
			errs = append(errs, fmt.Errorf("interval of news feed %q: there is no such feed", name))
		case every < 100*time.Millisecond:
			errs = append(errs, fmt.Errorf("interval of news feed %q: %v is shorter than 100ms", name, every))
		}
	}
	return errs
}

// sources builds all enabled sources, in the order in which they are shown.
func (o Options) sources() []source {
	local := o.localHosts()
	var out []source
	if !o.Verra.Disabled {
		out = append(out, newVerra(o.Verra, local))
	}
	if !o.Carbonmark.Disabled {
		out = append(out, newCarbonmark(o.Carbonmark, local))
	}
	if !o.Finance.Disabled {
		out = append(out, newFinance(o.Finance, local))
	}
	if !o.News.Disabled {
		d := newDesk()
		var rules *robotRules
		if o.News.Robots {
			rules = newRobotRules()
		}
		for _, f := range o.News.Feeds {
			out = append(out, newNews(f, o, d, rules, local))
		}
	}
	return out
}

// source builds the named source afresh.
func (o Options) source(name string) source {
	for _, s := range o.sources() {
		if s.name() == name {
			return s
		}
	}
	return nil
}

// fingerprint changes when the address of a source does: what is remembered of
// another address is worth nothing.
func (o Options) fingerprint(name string) string {
	key := strings.TrimSpace(name)
	switch key {
	case "verra":
		return digest([]byte(o.Verra.URL), []byte(o.Verra.Base), []byte(o.Verra.Standard.ID))
	case "carbonmark":
		return digest([]byte(o.Carbonmark.URL))
	case "finance":
		return digest([]byte(o.Finance.URL), []byte(strings.Join(o.Finance.Tickers, ",")))
	}
	for _, f := range o.News.Feeds {
		if newsName(f.Feed) == key {
			return digest([]byte(f.URL), []byte(f.Name))
		}
	}
	return ""
}
