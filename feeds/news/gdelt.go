package news

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
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
func parseGDELT(b []byte, src Source, now time.Time) (*Feed, error) {
	if b[0] != '{' {
		return nil, gdeltText(b)
	}
	if bytes.Count(b, []byte("{")) > maxObjects {
		return nil, fmt.Errorf("%w: more than %d objects", ErrTooComplex, maxObjects)
	}
	var all map[string]json.RawMessage
	err := payload.Decode(b, "", payload.Object, &all)
	if errors.Is(err, payload.ErrNotJSON) {
		err = payload.Decode(escape(b), "", payload.Object, &all)
	}
	switch {
	case errors.Is(err, payload.ErrTruncated):
		return nil, ErrTruncated
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	list, ok := all["articles"]
	if !ok && len(all) > 0 {
		return nil, fmt.Errorf("%w: a JSON object without articles", ErrNotFeed)
	}
	c := collect(src, now)
	err = payload.Each(list, maxDocItems, func(elem json.RawMessage) error {
		var a article
		if !payload.IsObject(elem) || payload.Unmarshal(elem, &a) != nil {
			c.feed.Total++
			c.feed.Dropped.Malformed++
			return nil
		}
		d := draft{title: a.Title.String()}
		d.link, _ = CleanLink(a.URL.String(), nil)
		if at, err := time.Parse(gdeltTime, strings.TrimSpace(a.Seen.String())); err == nil {
			d.at = &at
		}
		c.add(d)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return c.finish(), nil
}

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

// escape doubles the backslashes that begin no escape of JSON: GDELT copies
// some titles as they are.
func escape(b []byte) []byte {
	out := make([]byte, 0, len(b)+16)
	for i := 0; i < len(b); i++ {
		out = append(out, b[i])
		if b[i] != '\\' {
			continue
		}
		if i+1 < len(b) && bytes.IndexByte([]byte(`"\/bfnrtu`), b[i+1]) >= 0 {
			i++
			out = append(out, b[i])
			continue
		}
		out = append(out, '\\')
	}
	return out
}
