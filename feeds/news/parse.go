package news

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mmcdole/gofeed"
	"github.com/mmcdole/gofeed/rss"
)

// Parse reads an answer of src: RSS, RDF, Atom, JSON Feed, or GDELT's list of
// articles wherever it comes from (a proxy or a file may have any address). Only
// at a GDELT query do {} and plain text mean what GDELT means by them.
// contentType is the header as received, now the time of fetching, shared what
// Feed.Shared of earlier documents held. The errors are those of this package;
// callers apply CheckEmpty to what comes back without one.
func Parse(body []byte, contentType string, src Source, now time.Time, shared ...string) (*Feed, error) {
	b := bytes.TrimSpace(Transcode(body, contentType))
	c := &collector{src: src, now: now.UTC().Truncate(time.Second), shared: map[string]bool{}}
	for _, s := range shared {
		c.shared[s] = true
	}
	var err error
	switch {
	case len(b) == 0:
		err = ErrEmpty
	case src.GDELT():
		err = parseGDELT(b, c)
	case b[0] == '{':
		err = parseJSON(b, c)
	case b[0] == '<' || rootTag.Match(b):
		err = parseXML(b, c)
	default:
		err = fmt.Errorf("%w: plain text", ErrNotFeed)
	}
	if err != nil {
		return nil, fmt.Errorf("parse feed %s: %w", src.Feed, err)
	}
	return c.finish(), nil
}

// parseXML reads a document as it stands, and mends it when that fails or loses
// items.
func parseXML(b []byte, c *collector) error {
	if page(b) {
		return ErrHTML
	}
	f, err := readXML(b)
	if errors.Is(err, ErrTooComplex) {
		return err
	}
	if err != nil {
		mended, cut, ok := mend(b)
		if !ok {
			return err
		}
		again, merr := readXML(mended)
		if merr != nil || len(again.Items) == 0 {
			return err
		}
		f, c.feed.Cut = again, cut
	}
	convertFeed(f, c)
	return nil
}

// readXML reads a document that is good XML.
func readXML(b []byte) (*gofeed.Feed, error) {
	s, err := look(b)
	if err != nil {
		return nil, err
	}
	// Without a search for images, which parses every text as HTML.
	p := gofeed.NewParser()
	p.KeepOriginalFeed = true // <ttl> has no place in the universal form
	p.RSSTranslator = &gofeed.DefaultRSSTranslator{DisableContentImageScan: true}
	f, err := p.Parse(bytes.NewReader(b))
	switch {
	case errors.Is(err, gofeed.ErrFeedTypeNotDetected):
		return nil, ErrNotFeed
	case err != nil:
		return nil, syntax(err)
	case len(f.Items) < s.items:
		// One unclosed tag can swallow everything that follows, silently.
		return nil, fmt.Errorf("%w: %d of its %d items can be read", ErrMalformed, len(f.Items), s.items)
	}
	return f, nil
}

// page reports whether a document that begins with "<" is a web page.
func page(b []byte) bool {
	head := bytes.ToLower(b[:min(len(b), headBytes)])
	return bytes.HasPrefix(head, []byte("<!doctype html")) || bytes.HasPrefix(head, []byte("<html")) ||
		bytes.HasPrefix(head, []byte("<head")) || bytes.HasPrefix(head, []byte("<body"))
}

// convertFeed drafts the items. Authors, editors, bodies, images and enclosures
// are not looked at.
func convertFeed(f *gofeed.Feed, c *collector) {
	c.feed.Every = hint(f)
	against := base(f.Link, c.src.URL)
	original, _ := f.OriginalFeed().(*rss.Feed)
	for i, it := range f.Items {
		if it == nil {
			c.feed.Total++
			c.feed.Dropped.Malformed++
			continue
		}
		d := draft{
			title: it.Title, id: it.GUID, summary: it.Description, categories: it.Categories,
			dates: dates(it), sponsored: sponsored(it),
		}
		permalink := true
		if original != nil && i < len(original.Items) && original.Items[i].GUID != nil {
			permalink = !strings.EqualFold(strings.TrimSpace(original.Items[i].GUID.IsPermalink), "false")
		}
		for _, link := range append([]string{it.Link}, alternates(it)...) {
			if d.take(link, against) {
				break
			}
		}
		if d.link == "" && permalink {
			d.take(it.GUID, nil) // resolving it would turn plain ids into links
		}
		c.add(d)
	}
}

// alternates are the addresses of an item in Atom's own elements, which RSS
// feeds use too.
func alternates(it *gofeed.Item) (out []string) {
	for _, prefix := range []string{"atom", "atom10", "a10"} {
		for _, e := range it.Extensions[prefix]["link"] {
			if rel := e.Attrs["rel"]; rel == "" || rel == "alternate" {
				out = append(out, cmp.Or(e.Attrs["href"], e.Value))
			}
		}
	}
	return out
}

// dates are the texts that may hold an item's date, the best first.
func dates(it *gofeed.Item) []string {
	out := []string{it.Published}
	more := func(prefixes, names []string) {
		for _, prefix := range prefixes {
			for _, name := range names {
				for _, e := range it.Extensions[prefix][name] {
					out = append(out, e.Value)
				}
			}
		}
	}
	atom := []string{"atom", "atom10", "a10"}
	if it.DublinCoreExt != nil {
		out = append(out, it.DublinCoreExt.Date...)
	}
	more([]string{"dc"}, []string{"date", "issued", "created"})
	more([]string{"dcterms", "dct"}, []string{"issued", "available", "created", "date", "dateSubmitted", "valid"})
	more([]string{"prism"}, []string{"publicationDate", "publicationdate", "coverDate", "coverdate", "onlineDate", "creationDate"})
	more(atom, []string{"published", "issued", "created"})
	out = append(out, it.Updated)
	more([]string{"dcterms", "dct", "dc"}, []string{"modified", "dateModified"})
	more([]string{"prism"}, []string{"modificationDate"})
	more(atom, []string{"updated", "modified"})
	return out
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
