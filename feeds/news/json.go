package news

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"carbond/feeds/internal/payload"
)

// members returns the members of a JSON object, mended if need be. A list of
// items that is broken or cut holds those of them that can be read.
func members(b []byte, c *collector) (all map[string]json.RawMessage, err error) {
	if bytes.Count(b, []byte("{")) > maxObjects {
		return nil, fmt.Errorf("%w: more than %d objects", ErrTooComplex, maxObjects)
	}
	err = payload.Decode(b, "", payload.Object, &all)
	if err == nil {
		return all, nil
	}
	// A cut tail, or titles with quotes of their own, which can defeat the mending:
	// the items stand alone then.
	for _, name := range []string{"items", "articles"} {
		m := regexp.MustCompile(`"` + name + `"\s*:\s*\[`).FindIndex(b)
		if m == nil {
			continue
		}
		if list := payload.Pieces(b[m[1]-1:]); len(list) > len("[]") {
			c.feed.Cut = errors.Is(err, payload.ErrTruncated)
			all = map[string]json.RawMessage{name: list}
			if feedVersion.Match(b[:m[0]]) {
				all["version"] = json.RawMessage(`"https://jsonfeed.org/"`)
			}
			return all, nil
		}
	}
	if errors.Is(err, payload.ErrTruncated) {
		return nil, ErrTruncated
	}
	return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
}

// feedVersion is how a JSON Feed begins.
var feedVersion = regexp.MustCompile(`"version"\s*:\s*"[^"]*jsonfeed\.org`)

// elements calls take for every object of a list, and counts the elements that
// are none or of which take makes nothing.
func elements(list json.RawMessage, c *collector, take func(elem []byte) bool) error {
	err := payload.Each(list, maxDocItems, func(elem json.RawMessage) error {
		if !payload.IsObject(elem) || !take(elem) {
			c.feed.Total++
			c.feed.Dropped.Malformed++
		}
		return nil
	})
	switch {
	case errors.Is(err, payload.ErrTooMany):
		return fmt.Errorf("%w: more than %d items", ErrTooComplex, maxDocItems)
	case err != nil:
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return nil
}

// jsonItem is the part of an item of a JSON Feed that is used. Any member may be
// of any type: it counts as missing then.
type jsonItem struct {
	ID        payload.Text    `json:"id"`
	URL       payload.Text    `json:"url"`
	External  payload.Text    `json:"external_url"`
	Title     payload.Text    `json:"title"`
	Summary   payload.Text    `json:"summary"`
	Published payload.Text    `json:"date_published"`
	Modified  payload.Text    `json:"date_modified"`
	Tags      json.RawMessage `json:"tags"`
}

// parseJSON reads a JSON Feed, or a list of articles in GDELT's form.
func parseJSON(b []byte, c *collector) error {
	all, err := members(b, c)
	if err != nil {
		return err
	}
	var version, home payload.Text
	_ = version.UnmarshalJSON(all["version"])
	_ = home.UnmarshalJSON(all["home_page_url"])
	items, articles := all["items"], all["articles"]
	switch {
	case payload.IsNull(items) && len(articles) > 0 && articles[0] == '[':
		return parseGDELT(b, c)
	case payload.IsNull(items) || !strings.Contains(version.String(), "jsonfeed.org"):
		return fmt.Errorf("%w: a JSON object of another kind", ErrNotFeed)
	}
	against := base(home.String(), c.src.URL)
	return elements(items, c, func(elem []byte) bool {
		var it jsonItem
		if payload.Unmarshal(elem, &it) != nil {
			return false
		}
		d := draft{
			title: it.Title.String(), id: it.ID.String(), summary: it.Summary.String(), categories: texts(it.Tags),
			dates: []string{it.Published.String(), it.Modified.String()},
		}
		_ = d.take(it.URL.String(), against) || d.take(it.External.String(), against) || d.take(it.ID.String(), nil)
		c.add(d)
		return true
	})
}

// texts are the texts of a list, or the only text in place of one.
func texts(raw json.RawMessage) (out []string) {
	one := func(elem json.RawMessage) error {
		var t payload.Text
		if t.UnmarshalJSON(elem) == nil && t.String() != "" {
			out = append(out, t.String())
		}
		return nil
	}
	if payload.Each(raw, 100, one) != nil && len(out) == 0 {
		_ = one(raw)
	}
	return out
}
