package news_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"carbond/feeds/news"
)

// Documents that would make a recursive or copying parser blow up are refused
// before it sees them.
func TestHostileDocuments(t *testing.T) {
	rssOf := func(s string) string { return `<rss version="2.0"><channel>` + s + `</channel></rss>` }
	var spaces strings.Builder
	for i := range 200 {
		fmt.Fprintf(&spaces, ` xmlns:n%d="u%d"`, i, i)
	}
	tests := map[string]struct {
		body string
		err  error
	}{
		"deep":            {rssOf(strings.Repeat("<x:a>", 500_000)), news.ErrTooComplex},
		"deep and closed": {rssOf(strings.Repeat("<x:a>", 101) + strings.Repeat("</x:a>", 101)), news.ErrTooComplex},
		"many items":      {rssOf(strings.Repeat("<item/>", 500_000)), news.ErrTooComplex},
		"many elements":   {rssOf(strings.Repeat("<x/>", 500_000)), news.ErrTooComplex},
		"many attributes": {rssOf("<item" + strings.Repeat(` a="b"`, 300) + "/>"), news.ErrTooComplex},
		"many namespaces": {rssOf("<a" + spaces.String() + ">" + strings.Repeat(`<b xmlns:x="y"/>`, 100_000) + "</a>"), news.ErrTooComplex},
		"text in pieces":  {rssOf("<item><x:y>" + strings.Repeat("<![CDATA[a]]>", 100_000) + "</x:y></item>"), news.ErrTooComplex},
		"json objects":    {`{"version":"https://jsonfeed.org/version/1.1","items":[` + strings.Repeat("{},", 100_000) + `{}]}`, news.ErrTooComplex},
		"json items":      {`{"version":"https://jsonfeed.org/version/1.1","items":[` + strings.Repeat("1,", 100_000) + `1]}`, news.ErrTooComplex},
		"json cut off":    {`{"version":"https://jsonfeed.org/version/1.1","items":[{"id":"1"`, news.ErrTruncated},
		"json deep":       {`{"version":"https://jsonfeed.org/version/1.1","items":` + strings.Repeat("[", 20_000), news.ErrMalformed},
		"other xml":       {`<svg xmlns="http://www.w3.org/2000/svg"/>`, news.ErrNotFeed},
		"only a comment":  {`<!-- nothing -->`, news.ErrNotFeed},
		"html":            {"<HTML><body>", news.ErrHTML},
		"xhtml":           {`<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><body/></html>`, news.ErrHTML},
		"cut in an item":  {`<rss><channel><item><title>carbon tax</title>`, news.ErrTruncated},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := news.Parse([]byte(tc.body), "", rss, now); !errors.Is(err, tc.err) {
				t.Errorf("%v, want %v", err, tc.err)
			}
		})
	}
}

// A feed with more stories than are kept loses the oldest.
func TestItemLimit(t *testing.T) {
	var b strings.Builder
	b.WriteString("<rss><channel>")
	for i := range 700 {
		at := now.Add(-time.Duration(700-i) * time.Minute) // the oldest first
		fmt.Fprintf(&b, "<item><title>carbon tax %d</title><link>https://a.example/%d</link><pubDate>%s</pubDate></item>", i, i, at.Format(time.RFC1123Z))
	}
	b.WriteString("</channel></rss>")
	f := parse(t, b.String())
	if len(f.Items) != news.MaxItems || f.Total != 700 || f.Dropped.OverLimit != 200 || f.Items[0].Title != "carbon tax 699" {
		t.Errorf("%d of %d items, %+v, first %q", len(f.Items), f.Total, f.Dropped, f.Items[0].Title)
	}
}

func TestGDELTAnswers(t *testing.T) {
	tests := map[string]struct {
		body string
		kept int
		err  error
	}{
		"nothing":           {body: "{}"},
		"no articles":       {body: `{"articles":[]}`},
		"null":              {body: `{"articles":null}`},
		"good":              {body: `{"articles":[{"url":"https://r.example/1","title":"carbon tax","seendate":"20261123T100000Z"}]}`, kept: 1},
		"backslash":         {body: `{"articles":[{"url":"https://r.example/1","title":"carbon tax \'now\' C:\dir \u0041"}]}`, kept: 1},
		"odd elements":      {body: `{"articles":[null,1,[],{"url":5,"title":{}},{"url":"https://r.example/1","title":"carbon tax"}]}`, kept: 1},
		"no date":           {body: `{"articles":[{"url":"https://r.example/1","title":"carbon tax","seendate":"yesterday"}]}`, kept: 1},
		"list is an object": {body: `{"articles":{}}`, err: news.ErrMalformed},
		"error object":      {body: `{"error":"x"}`, err: news.ErrNotFeed},
		"cut off":           {body: `{"articles":[{"url":"https://r.ex`, err: news.ErrTruncated},
		"page":              {body: `<html>`, err: news.ErrHTML},
		"rate":              {body: "Please limit requests to one every 5 seconds", err: news.ErrRateLimited},
		"text":              {body: "Your query was too short", err: news.ErrBadQuery},
		"array":             {body: "[]", err: news.ErrBadQuery},
	}
	for name, tc := range tests {
		f, err := news.Parse([]byte(tc.body), "application/json", gdelt, now)
		if !errors.Is(err, tc.err) || err == nil && len(f.Items) != tc.kept {
			t.Errorf("%s: %+v, %v", name, f, err)
		}
	}
}

// Whatever arrives, what leaves obeys the invariants of the package.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/news/*")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		if info, err := os.Stat(file); err == nil && info.Size() > 20_000 {
			continue // large seeds only slow the search down
		}
		body, contentType, _ := load(f, file)
		f.Add(body, contentType)
	}
	f.Fuzz(func(t *testing.T, body []byte, contentType string) {
		for _, src := range []news.Source{rss, gdelt} {
			src.Everything = true
			feed, err := news.Parse(body, contentType, src, now)
			if (err == nil) != (feed != nil) {
				t.Fatalf("feed %v beside error %v", feed, err)
			}
			if err == nil {
				obeys(t, feed)
			}
		}
	})
}

func obeys(t *testing.T, feed *news.Feed) {
	seen := map[string]bool{}
	if len(feed.Items) > feed.Total || feed.Every < 0 {
		t.Fatalf("%d items of %d, every %v", len(feed.Items), feed.Total, feed.Every)
	}
	for _, it := range feed.Items {
		at, err := time.Parse(news.Layout, it.Published)
		link, _, _ := strings.Cut(it.Link, "#")
		switch {
		case len(it.GUID) != 32, seen[it.GUID]:
			t.Fatalf("identity %q", it.GUID)
		case it.PublishedAt.IsZero() && (it.Published != "" || !it.DateEstimated),
			!it.PublishedAt.IsZero() && (err != nil || !at.Equal(it.PublishedAt) || at.Year() < 1990 || at.After(now.Add(time.Hour))):
			t.Fatalf("date %q, %v", it.Published, it.PublishedAt)
		case it.Title == "" || utf8.RuneCountInString(it.Title) > news.MaxTitle || !utf8.ValidString(it.Title):
			t.Fatalf("title %q", it.Title)
		case utf8.RuneCountInString(it.Summary) > news.MaxSummary || !utf8.ValidString(it.Summary):
			t.Fatalf("summary %q", it.Summary)
		case it.Link != "" && !strings.HasPrefix(it.Link, "http://") && !strings.HasPrefix(it.Link, "https://"):
			t.Fatalf("link %q", it.Link)
		case it.Link != "" && (it.GUID != news.GUID(link) && !slices.Contains(feed.Shared, news.GUID(link)) || news.Canonical(news.Canonical(it.Link)) != news.Canonical(it.Link)):
			t.Fatalf("identity of link %q", it.Link)
		case strings.ContainsRune(it.Title+it.Summary+it.Link, 0):
			t.Fatalf("NUL in %+v", it)
		}
		seen[it.GUID] = true
	}
}

// FuzzTranscode: the result is always valid UTF-8, and reading it again changes
// nothing but what a byte order mark in the text hides.
func FuzzTranscode(f *testing.F) {
	f.Add([]byte("\xff\xfe<\x00"), "text/xml; charset=iso-8859-1")
	f.Add([]byte(`<?xml version="1.0" encoding="iso-8859-2"?>`+"\xb1"), "")
	f.Fuzz(func(t *testing.T, body []byte, contentType string) {
		if out := news.Transcode(body, contentType); !utf8.Valid(out) {
			t.Fatalf("%q", out)
		}
	})
}
