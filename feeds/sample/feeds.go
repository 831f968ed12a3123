package sample

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	listedStories = 15 // shown by a feed
	maxStories    = 40 // kept by an outlet
)

// story is one headline.
type story struct {
	number         int
	title, summary string
	at             time.Time
}

// story publishes a fresh headline.
func (w *World) story(r *rand.Rand, o *outlet, at time.Time) {
	w.nextStory++
	h := headlines[r.IntN(len(headlines))]
	o.stories = append(o.stories, story{
		number: w.nextStory, title: fmt.Sprintf("%s: "+h.title+" (no. %d)", Mark, place(r.IntN(places)), w.nextStory),
		summary: Mark + ". " + h.summary, at: at,
	})
	if n := len(o.stories) - maxStories; n > 0 {
		o.stories = append(o.stories[:0:0], o.stories[n:]...)
	}
}

// newest returns an outlet's newest stories, newest first.
func (o *outlet) newest() []story {
	s := slices.Clone(o.stories[max(len(o.stories)-listedStories, 0):])
	slices.Reverse(s)
	return s
}

func (o *outlet) link(s story) string {
	return fmt.Sprintf("https://example.org/sample/%s/%d", o.slug, s.number)
}

// feed answers one outlet's document with both validators.
func (w *World) feed(rw http.ResponseWriter, r *http.Request) {
	var doc, contentType string
	var modified time.Time
	w.look(func() {
		i := slices.IndexFunc(w.outlets, func(o *outlet) bool { return o.slug == r.PathValue("feed") && o.form != formGDELT })
		if i < 0 {
			return
		}
		o := w.outlets[i]
		modified = o.stories[len(o.stories)-1].at
		switch o.form {
		case formAtom:
			doc, contentType = o.atom(modified), "application/atom+xml; charset=utf-8"
		case formRDF:
			doc, contentType = o.rdf(), "application/rdf+xml; charset=utf-8"
		default:
			doc, contentType = o.rss(modified), "application/rss+xml; charset=utf-8"
		}
	})
	if doc == "" {
		http.NotFound(rw, r)
		return
	}
	sum := sha256.Sum256([]byte(doc))
	rw.Header().Set("Content-Type", contentType)
	rw.Header().Set("ETag", `W/"`+hex.EncodeToString(sum[:8])+`"`)
	http.ServeContent(rw, r, "", modified, strings.NewReader(doc))
}

// x escapes text for XML.
func x(s string) string {
	var b bytes.Buffer
	if err := xml.EscapeText(&b, []byte(s)); err != nil {
		return ""
	}
	return b.String()
}

const xmlHead = `<?xml version="1.0" encoding="UTF-8"?>` + "\n"

func (o *outlet) rss(built time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, xmlHead+`<rss version="2.0" xmlns:dc="http://purl.org/dc/elements/1.1/"><channel><title>%s %s</title><link>https://example.org/sample/%s</link>`+
		`<description>%s</description><lastBuildDate>%s</lastBuildDate>`, Mark, x(o.name), o.slug, Mark, built.Format(time.RFC1123Z))
	for _, s := range o.newest() {
		fmt.Fprintf(&b, "\n<item><title>%s</title><link>%s?utm_source=rss&amp;at_medium=RSS</link><guid isPermaLink=\"false\">%s-%d</guid>"+
			"<dc:creator>someone@example.org</dc:creator><description>%s</description><pubDate>%s</pubDate></item>",
			x(s.title), o.link(s), o.slug, s.number, x("<p>"+s.summary+"</p>"), s.at.Format(time.RFC1123Z))
	}
	b.WriteString("\n</channel></rss>\n")
	return b.String()
}

func (o *outlet) atom(updated time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, xmlHead+`<feed xmlns="http://www.w3.org/2005/Atom"><title>%s %s</title><link href="https://example.org/sample/%s"/>`+
		`<id>https://example.org/sample/%s</id><updated>%s</updated>`, Mark, x(o.name), o.slug, o.slug, updated.Format(time.RFC3339))
	for _, s := range o.newest() {
		fmt.Fprintf(&b, "\n<entry><title>%s</title><link rel=\"alternate\" href=\"%s\"/><id>tag:example.org,2026:%s-%d</id>"+
			"<published>%s</published><updated>%s</updated><summary type=\"html\">%s</summary></entry>",
			x(s.title), o.link(s), o.slug, s.number, s.at.Format(time.RFC3339), s.at.Format(time.RFC3339), x("<p>"+s.summary+"</p>"))
	}
	b.WriteString("\n</feed>\n")
	return b.String()
}

func (o *outlet) rdf() string {
	var b strings.Builder
	fmt.Fprintf(&b, xmlHead+`<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://purl.org/rss/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/">`+
		`<channel rdf:about="https://example.org/sample/%s"><title>%s %s</title><link>https://example.org/sample/%s</link><description>%s</description></channel>`,
		o.slug, Mark, x(o.name), o.slug, Mark)
	for _, s := range o.newest() {
		fmt.Fprintf(&b, "\n<item rdf:about=\"%s\"><title>%s</title><link>%s</link><description>%s</description><dc:date>%s</dc:date></item>",
			o.link(s), x(s.title), o.link(s), x(s.summary), s.at.Format(time.RFC3339))
	}
	b.WriteString("\n</rdf:RDF>\n")
	return b.String()
}

// gdelt answers a query by the domain that it names.
func (w *World) gdelt(rw http.ResponseWriter, r *http.Request) {
	q := r.URL.Query().Get("query")
	if len(q) < 3 || r.URL.Query().Get("format") != "json" {
		rw.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = rw.Write([]byte("One or more of your keywords were too short, too long or too common."))
		return
	}
	list := []object{}
	w.look(func() {
		for _, o := range w.outlets {
			if o.form != formGDELT || !strings.Contains(q, "domainis:"+o.domain) {
				continue
			}
			for _, s := range o.newest() {
				list = append(list, object{
					"url": o.link(s), "url_mobile": "", "title": s.title + " ", "seendate": s.at.Format("20060102T150405Z"),
					"socialimage": "", "domain": o.domain, "language": "English", "sourcecountry": "United States",
				})
			}
		}
	})
	if len(list) == 0 {
		reply(rw, http.StatusOK, object{})
		return
	}
	reply(rw, http.StatusOK, object{"articles": list})
}
