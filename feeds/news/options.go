package news

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"carbond/feeds/internal/poll"
)

// Options configure the news feeds.
type Options struct {
	Disabled bool
	Feeds    []Source      // nil = DefaultSources()
	Every    time.Duration // for feeds that set none; 0 = 15 min, or the feeds' common interval for a feed on a private network
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
	// Whole names feeds, by their Feed or Name, that are taken whole; nil = Carbon
	// Pulse and Verra news. Other names than those of Feeds are ignored.
	Whole   []string
	Words   []string // enough for a story, beside the built-in words
	Exclude []string // against a story when in its title
	// Keep is the age at which stories are pruned; older ones are not written. 0 = never.
	Keep time.Duration

	interval time.Duration // of feeds on the user's own machine that set none
}

// WithDefaults fills in what is unset; interval is that of feeds on the user's
// own machine that set none.
func (o Options) WithDefaults(interval time.Duration) Options {
	if o.Feeds == nil {
		o.Feeds = DefaultSources()
	}
	o.Feeds = slices.Clone(o.Feeds)
	if o.Whole == nil {
		o.Whole = DefaultWhole()
	}
	words, _ := NewWords(o.Words, o.Exclude) // Check says what is wrong
	for i := range o.Feeds {
		f := &o.Feeds[i]
		f.Feed, f.Name = slug(poll.Or(f.Feed, f.Name)), poll.Or(f.Name, f.Feed)
		f.Words = words
		for _, name := range o.Whole {
			f.Everything = f.Everything || answersTo(*f, name)
		}
		for name, every := range o.Intervals {
			if answersTo(*f, name) {
				f.Every = every
			}
		}
	}
	o.interval = interval
	o.GDELTGap = poll.Or(o.GDELTGap, GDELTSpacing)
	return o
}

// DefaultWhole names the feeds that are about carbon markets and nothing else.
func DefaultWhole() []string { return []string{"Carbon Pulse", "Verra news"} }

// answersTo reports whether a feed goes by that name.
func answersTo(f Source, name string) bool { return f.Name == name || f.Feed == slug(name) }

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

// Addresses lists the configured addresses by what they are for.
func (o Options) Addresses() map[string]string {
	m := make(map[string]string, len(o.Feeds))
	for _, f := range o.Feeds {
		m["news "+f.Feed] = f.URL
	}
	return m
}

// Check names every wrong option.
func (o Options) Check() (errs []error) {
	if _, err := NewWords(o.Words, o.Exclude); err != nil {
		errs = append(errs, err)
	}
	names := map[string]bool{}
	for _, f := range o.Feeds {
		switch {
		case f.Feed == "":
			errs = append(errs, fmt.Errorf("news feed %q: want a name with a letter or digit", f.Name))
		case names[f.Feed]:
			errs = append(errs, fmt.Errorf("news feed %q: the name is taken by another feed", f.Name))
		}
		names[f.Feed] = true
		if OptInOnly(f.URL) && !o.GoogleNews {
			errs = append(errs, fmt.Errorf("news feed %q: Google News allows personal, non-commercial use only; switch google_news on to confirm", f.Name))
		}
	}
	for name, every := range o.Intervals {
		switch {
		case !slices.ContainsFunc(o.Feeds, func(f Source) bool { return answersTo(f, name) }):
			errs = append(errs, fmt.Errorf("interval of news feed %q: there is no such feed", name))
		case every < 100*time.Millisecond:
			errs = append(errs, fmt.Errorf("interval of news feed %q: %v is shorter than 100ms", name, every))
		}
	}
	return errs
}
