package news

import (
	"net/url"
	"strings"
	"time"
)

// Source is one feed to read.
type Source struct {
	Feed       string        // short unique name: state, metrics, commands
	Name       string        // outlet, the source column; several feeds may share it
	URL        string        // what is fetched; for GDELT the whole query
	Every      time.Duration // configured interval, at least MinInterval
	Everything bool          // keep stories whatever they are about
	Words      *Words        // decide about the others; nil = the built-in ones
}

// GDELT reports whether the source is a query of GDELT's DOC service, on
// whatever host.
func (s Source) GDELT() bool {
	u, err := url.Parse(s.URL)
	return err == nil && strings.HasSuffix(strings.TrimRight(u.Path, "/"), GDELTPath)
}

// OptInOnly reports whether the terms of a feed forbid having it on without the
// user's own decision: Google News is for personal readers only and closed to
// robots.
func OptInOnly(feedURL string) bool {
	u, err := url.Parse(feedURL)
	return err == nil && strings.EqualFold(u.Hostname(), "news.google.com")
}

// GDELTSources returns the default feeds that are GDELT queries, against the
// service at base.
func GDELTSources(base string) []Source {
	var out []Source
	for _, s := range []struct{ feed, name, domain string }{
		{"reuters", "Reuters", "reuters.com"},
		{"ap", "Associated Press", "apnews.com"},
	} {
		query, err := GDELTQuery(s.domain, "carbon credits", "carbon market", "emissions trading", "carbon offset")
		if err != nil {
			continue // the constants above are valid, a test says so
		}
		out = append(out, Source{Feed: s.feed, Name: s.name, URL: GDELTURL(base, query), Every: 15 * time.Minute})
	}
	return out
}

// DefaultSources returns the feeds that are read unless the configuration lists
// others. Reuters and the Associated Press have no public feed and come through
// GDELT. The caller owns the slice.
func DefaultSources() []Source {
	out := GDELTSources(GDELTBase)
	for _, s := range []struct {
		feed, name, url string
		minutes         int
	}{
		{"srn", "SRN News", "https://www.srnnews.com/feed/", 15},
		{"bloomberg", "Bloomberg", "https://feeds.bloomberg.com/green/news.rss", 15},
		{"bloomberg-markets", "Bloomberg", "https://feeds.bloomberg.com/markets/news.rss", 15},
		{"guardian", "The Guardian", "https://www.theguardian.com/environment/rss", 10},
		{"guardian-carbon", "The Guardian", "https://www.theguardian.com/environment/carbon-offset-projects/rss", 30},
		{"bbc", "BBC", "https://feeds.bbci.co.uk/news/science_and_environment/rss.xml", 15},
		{"bbc-business", "BBC", "https://feeds.bbci.co.uk/news/business/rss.xml", 15},
		{"ft", "Financial Times", "https://www.ft.com/climate-capital?format=rss", 15},
		{"cnbc", "CNBC", "https://www.cnbc.com/id/19836768/device/rss/rss.html", 15},
		{"cnbc-top", "CNBC", "https://www.cnbc.com/id/100003114/device/rss/rss.html", 15},
		{"carbon-pulse", "Carbon Pulse", "https://carbon-pulse.com/feed/", 15},
		{"carbon-herald", "Carbon Herald", "https://carbonherald.com/feed/", 30},
		{"carbon-brief", "Carbon Brief", "https://www.carbonbrief.org/feed/", 30},
		{"climate-home", "Climate Home News", "https://www.climatechangenews.com/feed/", 30},
		{"verra-news", "Verra news", "https://verra.org/feed/", 60},
		{"esg-today", "ESG Today", "https://www.esgtoday.com/feed/", 30},
		{"nyt-climate", "New York Times", "https://rss.nytimes.com/services/xml/rss/nyt/Climate.xml", 15},
		{"dw", "Deutsche Welle", "https://rss.dw.com/rdf/rss-en-world", 30},
	} {
		out = append(out, Source{Feed: s.feed, Name: s.name, URL: s.url, Every: time.Duration(s.minutes) * time.Minute})
	}
	return out
}
