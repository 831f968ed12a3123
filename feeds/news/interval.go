package news

import (
	"strconv"
	"strings"
	"time"

	"github.com/mmcdole/gofeed"
	"github.com/mmcdole/gofeed/rss"
)

// Bounds of what a publisher's hint may do: it can slow a feed down to an hour,
// never stop it.
const (
	MinInterval = 10 * time.Minute
	MaxHint     = time.Hour
)

// Interval returns how long to wait between two fetches of a feed: the largest
// of what is configured and what the publisher asks for (Feed.Every, and the
// max-age of the answer), with hints counted up to MaxHint.
func Interval(configured time.Duration, hints ...time.Duration) time.Duration {
	every := max(configured, MinInterval)
	for _, h := range hints {
		every = max(every, min(h, MaxHint))
	}
	return every
}

// periods are the values of sy:updatePeriod.
var periods = map[string]time.Duration{
	"hourly": time.Hour, "daily": 24 * time.Hour, "weekly": 7 * 24 * time.Hour,
	"monthly": 30 * 24 * time.Hour, "yearly": 365 * 24 * time.Hour,
}

// hint returns the longest interval that the feed itself asks for, by <ttl> in
// minutes or by the syndication module; 0 when it says nothing.
func hint(f *gofeed.Feed) time.Duration {
	var ttl time.Duration
	if r, ok := f.OriginalFeed().(*rss.Feed); ok {
		ttl = seconds(strings.TrimSpace(r.TTL), time.Minute)
	}
	period := periods[strings.ToLower(extension(f, "updatePeriod"))]
	if n, err := strconv.Atoi(extension(f, "updateFrequency")); err == nil && n > 1 {
		period /= time.Duration(n)
	}
	return max(ttl, period)
}

// extension returns the text of an element of the syndication module.
func extension(f *gofeed.Feed, name string) string {
	if e := f.Extensions["sy"][name]; len(e) > 0 {
		return strings.TrimSpace(e[0].Value)
	}
	return ""
}

// seconds reads a whole number of units, at most a year.
func seconds(s string, unit time.Duration) time.Duration {
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n < 0 {
		return 0
	}
	const year = 365 * 24 * time.Hour
	return min(time.Duration(n)*unit, year)
}
