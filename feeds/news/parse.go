package news

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mmcdole/gofeed"

	"carbond/feeds/internal/payload"
)

// Parse reads an answer of src: RSS, RDF, Atom, JSON Feed, or GDELT's list of
// articles wherever it comes from (a proxy or a file may have any address). Only
// at a GDELT query do {} and plain text mean what GDELT means by them. contentType is the header as received, now
// the time of fetching. The errors are those of this package; callers apply
// CheckEmpty to what comes back without one.
func Parse(body []byte, contentType string, src Source, now time.Time) (*Feed, error) {
	b := bytes.TrimSpace(Transcode(body, contentType))
	var feed *Feed
	var err error
	switch {
	case len(b) == 0:
		err = ErrEmpty
	case src.GDELT():
		feed, err = parseGDELT(b, src, now)
	case b[0] == '<':
		feed, err = parseXML(b, src, now)
	case b[0] == '{':
		feed, err = parseJSON(b, src, now)
	default:
		err = fmt.Errorf("%w: plain text", ErrNotFeed)
	}
	if err != nil {
		return nil, fmt.Errorf("parse feed %s: %w", src.Feed, err)
	}
	return feed, nil
}

func parseXML(b []byte, src Source, now time.Time) (*Feed, error) {
	if page(b) {
		return nil, ErrHTML
	}
	s, err := look(b)
	if err != nil {
		return nil, err
	}
	f, err := reader().Parse(bytes.NewReader(b))
	switch {
	case errors.Is(err, gofeed.ErrFeedTypeNotDetected):
		return nil, ErrNotFeed
	case err != nil:
		return nil, syntax(err)
	case len(f.Items) == 0 && s.items > 0:
		// One unclosed tag can swallow everything that follows, silently.
		return nil, fmt.Errorf("%w: none of its %d items can be read", ErrMalformed, s.items)
	}
	return convertFeed(f, src, now), nil
}

// parseJSON reads a JSON Feed, or a list of articles in GDELT's form. Any other
// object would also pass for a feed with no items, so the members that make one
// are checked first.
func parseJSON(b []byte, src Source, now time.Time) (*Feed, error) {
	if bytes.Count(b, []byte("{")) > maxObjects {
		return nil, fmt.Errorf("%w: more than %d objects", ErrTooComplex, maxObjects)
	}
	var head struct {
		Version  payload.Text      `json:"version"`
		Items    *[]payload.Number `json:"items"` // decodes from anything, only counts
		Articles json.RawMessage   `json:"articles"`
	}
	err := payload.Decode(b, "", payload.Object, &head)
	switch {
	case errors.Is(err, payload.ErrTruncated):
		return nil, ErrTruncated
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	case head.Items == nil && len(head.Articles) > 0 && head.Articles[0] == '[':
		return parseGDELT(b, src, now)
	case head.Items == nil || !strings.Contains(head.Version.String(), "jsonfeed.org"):
		return nil, fmt.Errorf("%w: a JSON object of another kind", ErrNotFeed)
	case len(*head.Items) > maxDocItems:
		return nil, fmt.Errorf("%w: more than %d items", ErrTooComplex, maxDocItems)
	}
	f, err := reader().Parse(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("%w: items of the wrong form", ErrMalformed)
	}
	return convertFeed(f, src, now), nil
}

// reader returns a parser for one document. It looks for no images: that search
// parses every text as HTML.
func reader() *gofeed.Parser {
	p := gofeed.NewParser()
	p.KeepOriginalFeed = true // <ttl> has no place in the universal form
	p.RSSTranslator = &gofeed.DefaultRSSTranslator{DisableContentImageScan: true}
	return p
}

// page reports whether a document that begins with "<" is a web page.
func page(b []byte) bool {
	head := bytes.ToLower(b[:min(len(b), headBytes)])
	return bytes.HasPrefix(head, []byte("<!doctype html")) || bytes.HasPrefix(head, []byte("<html")) ||
		bytes.HasPrefix(head, []byte("<head")) || bytes.HasPrefix(head, []byte("<body"))
}

// convertFeed drafts the items. Authors, editors, bodies, images and enclosures
// are not looked at.
func convertFeed(f *gofeed.Feed, src Source, now time.Time) *Feed {
	c := collect(src, now)
	c.feed.Every = hint(f)
	against := base(f.Link, src.URL)
	for _, it := range f.Items {
		if it == nil {
			c.feed.Total++
			c.feed.Dropped.Malformed++
			continue
		}
		d := draft{
			title: it.Title, id: it.GUID, summary: it.Description, categories: it.Categories,
			at: it.PublishedParsed, sponsored: sponsored(it),
		}
		if d.at == nil {
			d.at = it.UpdatedParsed
		}
		var ok bool
		if d.link, ok = CleanLink(it.Link, against); !ok {
			// A permalink may stand in; resolving it would turn plain ids
			// into links.
			d.link, _ = CleanLink(it.GUID, nil)
		}
		c.add(d)
	}
	return c.finish()
}

// sponsored reports an item that its publisher marks as paid for.
func sponsored(it *gofeed.Item) bool {
	for _, names := range it.Extensions {
		for _, e := range names["sponsored"] {
			if strings.EqualFold(strings.TrimSpace(e.Value), "true") {
				return true
			}
		}
	}
	return false
}
