package verra

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"carbond/feeds/internal/poll"
)

// DefaultSite is the registry's web site, which says where its services are.
const DefaultSite = "https://registry.verra.org"

// Options configure the Verra registry.
type Options struct {
	Disabled bool
	URL      string            // site with the configuration document; "" = https://registry.verra.org
	Base     string            // search base, instead of the one in the configuration document
	Standard Standard          // zero = VCS
	Headers  map[string]string // extra request headers; nil = Origin and Referer of the site
	Status   StatusMap         // zero = built in
	// LinkPrefix is the address of a project's public page up to its number;
	// "" = DefaultLinkPrefix.
	LinkPrefix string

	Interval   time.Duration // of incremental polls; 0 = the feeds' common interval
	SweepEvery time.Duration // full sweep; 0 = 12 h; on the user's own machine at most ten intervals
	Spacing    time.Duration // least time between requests; 0 = 2 s
	// TotalsPerPoll is how many projects get their retirement and cancellation
	// totals per poll, two requests each; 0 = 10, negative = none.
	TotalsPerPoll int
	TotalsEvery   time.Duration // age at which totals are asked again; 0 = 24 h
}

// WithDefaults fills in what is unset; interval is that of feeds that set none.
func (o Options) WithDefaults(interval time.Duration) Options {
	o.URL, o.Interval = poll.Or(o.URL, DefaultSite), poll.Or(o.Interval, interval)
	if o.Standard.ID == "" {
		o.Standard = VCS()
	}
	o.Standard.Acronym = poll.Or(o.Standard.Acronym, VCS().Acronym)
	o.SweepEvery, o.Spacing = poll.Or(o.SweepEvery, 12*time.Hour), poll.Or(o.Spacing, 2*time.Second)
	o.TotalsPerPoll, o.TotalsEvery = poll.Or(o.TotalsPerPoll, 10), poll.Or(o.TotalsEvery, 24*time.Hour)
	return o
}

// Addresses lists the configured addresses by what they are for.
func (o Options) Addresses() map[string]string {
	return map[string]string{"verra": o.URL, "verra base": o.Base}
}

// Check names every wrong option.
func (o Options) Check() (errs []error) {
	for _, r := range o.Status.Own {
		if !slices.Contains(Statuses(), r.Status) || r.Pattern == "" {
			errs = append(errs, fmt.Errorf("verra status %s = %q: want one of %s", r.Pattern, r.Status, strings.Join(Statuses(), ", ")))
		}
	}
	return append(errs, poll.CheckIntervals(map[string]time.Duration{"verra interval": o.Interval, "verra sweep": o.SweepEvery})...)
}
