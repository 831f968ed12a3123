package news

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"carbond/feeds/internal/payload"
)

// GDELTBase is where the DOC 2.0 service is. It allows one request in five
// seconds; its data moves every fifteen minutes.
const (
	GDELTBase    = "https://api.gdeltproject.org"
	GDELTPath    = "/api/v2/doc/doc"
	GDELTSpacing = 7 * time.Second // between two requests, to stay clear of the limit
)

// GDELTAttribution must stand where the product is documented.
const GDELTAttribution = "Reuters and Associated Press headlines are found through the GDELT Project (https://www.gdeltproject.org/)."

// gdeltTime is the layout of seendate.
const gdeltTime = "20060102T150405Z"

// GDELTQuery builds a query for stories of one domain that hold any of the
// terms. The service has rules that it punishes with a text and status 200:
// phrases are quoted, a single term stands without parentheses, and no keyword
// is shorter than three characters.
func GDELTQuery(domain string, terms ...string) (string, error) {
	if domain == "" || strings.ContainsAny(domain, " \t\"():/") {
		return "", fmt.Errorf("%w: domain %q", ErrBadQuery, domain)
	}
	if len(terms) == 0 {
		return "domainis:" + domain, nil
	}
	parts := make([]string, len(terms))
	for i, t := range terms {
		t = strings.Join(strings.Fields(t), " ")
		if utf8.RuneCountInString(t) < 3 || strings.ContainsAny(t, `"():`) {
			return "", fmt.Errorf("%w: term %q", ErrBadQuery, t)
		}
		if strings.ContainsAny(t, " -") {
			t = `"` + t + `"`
		}
		parts[i] = t
	}
	either := strings.Join(parts, " OR ")
	if len(parts) > 1 {
		either = "(" + either + ")"
	}
	return either + " domainis:" + domain, nil
}

// GDELTURL builds the request for a query: the newest 75 stories of a day.
func GDELTURL(base, query string) string {
	q := url.Values{
		"query": {query}, "mode": {"ArtList"}, "format": {"json"}, "maxrecords": {"75"},
		"timespan": {"1d"}, "sort": {"DateDesc"},
	}
	return strings.TrimRight(base, "/") + GDELTPath + "?" + q.Encode()
}

// article is the part of an answer that is used.
type article struct {
	URL   payload.Text `json:"url"`
	Title payload.Text `json:"title"`
	Seen  payload.Text `json:"seendate"`
}

// parseGDELT reads an ArtList answer. "{}" is how GDELT says "nothing found".
func parseGDELT(b []byte, c *collector) error {
	if b[0] != '{' {
		return gdeltText(b)
	}
	all, err := members(b, c)
	if err != nil {
		return err
	}
	list, ok := all["articles"]
	if !ok && len(all) > 0 {
		return fmt.Errorf("%w: a JSON object without articles", ErrNotFeed)
	}
	return elements(list, c, func(elem []byte) bool {
		var a article
		if payload.Unmarshal(elem, &a) != nil {
			return false
		}
		d := draft{title: tighten(a.Title.String())}
		d.take(a.URL.String(), nil)
		if at, err := time.Parse(gdeltTime, strings.TrimSpace(a.Seen.String())); err == nil {
			d.dates = []string{at.Format(time.RFC3339)}
		}
		c.add(d)
		return true
	})
}

// tighten takes out the spaces that GDELT puts around punctuation: "EU ' s carbon
// market : prices fall 5 . 2 %".
func tighten(title string) string {
	for _, r := range tightens {
		title = r.form.ReplaceAllString(title, r.with)
	}
	return title
}

var tightens = func() (out []struct {
	form *regexp.Regexp
	with string
},
) {
	for _, r := range [][2]string{
		{`(\pL)\s+(['’])\s+(s|t|re|ve|ll|d|m|S)\b`, "$1$2$3"}, // EU ' s
		{`(\pL{2,}s)\s+(['’])\s+`, "$1$2 "},                   // traders ' views
		{`(\d)\s+([.,])\s+(\d)`, "$1$2$3"},                    // 5 . 2
		{`\s+([,;:!?%)\]}»”])`, "$1"},                         // what next ?
		{`\s+(\.)(\s|$)`, "$1$2"},                             // The end .
		{`([(\[{«“])\s+`, "$1"},                               // ( again
		{`([$€£])\s+(\d)`, "$1$2"},                            // $ 5
		{`(^|\s)"\s+([^"]*?)\s+"`, `$1"$2"`},                  // " quoted "
		{`(\pL)\s+-\s+(\pL)(\pL*)\b`, "$1 - $2$3"},            // a dash stays a dash
	} {
		out = append(out, struct {
			form *regexp.Regexp
			with string
		}{regexp.MustCompile(r[0]), r[1]})
	}
	return out
}()

// gdeltText names what GDELT says in plain text, with whatever status.
func gdeltText(b []byte) error {
	head := strings.ToLower(string(b[:min(len(b), headBytes)]))
	switch {
	case strings.HasPrefix(head, "<"):
		return ErrHTML
	case strings.Contains(head, "limit requests"), strings.Contains(head, "too many requests"):
		return ErrRateLimited
	}
	return ErrBadQuery
}
