package news_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"carbond/feeds/news"
)

// item is an RSS item with a headline that is kept.
func item(title, inner string) string {
	return "<item><title>Carbon price " + title + "</title>" + inner + "</item>"
}

func channel(items ...string) string {
	return `<rss version="2.0" xmlns:atom="http://www.w3.org/2005/Atom" xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:dcterms="http://purl.org/dc/terms/" xmlns:prism="http://prismstandard.org/namespaces/basic/2.0/"><channel><title>t</title><link>https://a.example/</link>` +
		strings.Join(items, "") + "</channel></rss>"
}

// titles are the kept headlines without their common beginning, in the order of
// the document's dates.
func titles(f *news.Feed) (out []string) {
	for _, it := range f.Items {
		out = append(out, strings.TrimPrefix(it.Title, "Carbon price "))
	}
	return out
}

func TestStoriesThatShareALink(t *testing.T) {
	const notices = "<link>https://a.example/notices/</link>"
	guid := func(s string) string { return `<guid isPermaLink="false">` + s + "</guid>" }
	tests := map[string]struct {
		items []string
		want  int
	}{
		"own ids":                 {[]string{item("one", notices+guid("n-1")), item("two", notices+guid("n-2")), item("three", notices+guid("n-3"))}, 3},
		"no ids":                  {[]string{item("one", notices), item("two", notices)}, 2},
		"the same id":             {[]string{item("one", notices+guid("n-1")), item("one, updated", notices+guid("n-1"))}, 1},
		"the same title":          {[]string{item("one", notices+guid("n-1")), item("one", notices+guid("n-2"))}, 1},
		"the id is the link":      {[]string{item("one", notices+"<guid>https://a.example/notices</guid>"), item("one, updated", notices+"<guid>https://a.example/notices/?utm_source=x</guid>")}, 1},
		"ids with counters":       {[]string{item("one", notices+guid("c1#0")), item("one, updated", notices+guid("c1#1"))}, 1},
		"fragments":               {[]string{item("one", "<link>https://a.example/live#b-1</link>"), item("two", "<link>https://a.example/live#b-2</link>")}, 2},
		"fragments in ids":        {[]string{item("one", "<guid>https://a.example/live#b-1</guid>"), item("two", "<guid>https://a.example/live#b-2</guid>")}, 2},
		"fragments of one title":  {[]string{item("one", "<link>https://a.example/live#top</link>"), item("one", "<link>https://a.example/live</link>")}, 1},
		"neither link nor id":     {[]string{item("one", ""), item("two", "")}, 2},
		"titles on several days":  {[]string{item("one", "<pubDate>20 Nov 2026</pubDate>"), item("one", "<pubDate>21 Nov 2026</pubDate>")}, 2},
		"an escape without need":  {[]string{item("one", "<link>https://a.example/%62%2d</link>"), item("one", "<link>https://a.example/b-</link>")}, 1},
		"escapes of other digits": {[]string{item("one", "<link>https://a.example/%c3%a9</link>"), item("one", "<link>https://a.example/%C3%A9</link>")}, 1},
		"tracking": {[]string{
			item("one", "<link>https://a.example/1?fbclid=1&amp;gclid=2</link>"), item("one", "<link>https://a.example/1?mc_cid=3&amp;_hsenc=x</link>"),
			item("one", "<link>https://a.example/1?partner=rss&amp;emc=rss</link>"), item("one", "<link>https://a.example/1?ref=rss</link>"), item("one", "<link>https://a.example/1</link>"),
		}, 1},
		"parameters that matter": {[]string{item("one", "<link>https://a.example/1?ref=42</link>"), item("two", "<link>https://a.example/1?ref=43</link>"), item("three", "<link>https://a.example/1?id=7</link>")}, 3},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if f := parse(t, channel(tc.items...)); len(f.Items) != tc.want {
				t.Errorf("%d stories: %q, %+v", len(f.Items), titles(f), f.Dropped)
			}
		})
	}
}

// A story that once shared its link keeps its identity when the others are gone.
func TestSharedLinkIsRemembered(t *testing.T) {
	one, two := item("one", "<link>https://a.example/n</link><guid>1</guid>"), item("two", "<link>https://a.example/n</link><guid>2</guid>")
	guids := func(f *news.Feed) string {
		for _, it := range f.Items {
			if strings.HasSuffix(it.Title, "two") {
				return it.GUID
			}
		}
		return ""
	}
	both := parse(t, channel(one, two))
	left, err := news.Parse([]byte(channel(two)), "", rss, now, both.Shared...)
	if err != nil || guids(left) == "" || guids(left) != guids(both) {
		t.Errorf("%v: %q became %q", err, guids(both), guids(left))
	}
	if alone := parse(t, channel(two)); guids(alone) != news.GUID("https://a.example/n") {
		t.Error("a link of one story is not its identity")
	}
}

func TestWhereTheLinkIs(t *testing.T) {
	for inner, want := range map[string]string{
		`<atom:link href="https://a.example/1"/>`: "https://a.example/1",
		`<atom:link rel="self" href="https://a.example/s"/><atom:link rel="alternate" href="https://a.example/2"/>`: "https://a.example/2",
		`<guid>https://a.example/3</guid>`:                                                          "https://a.example/3",
		`<guid isPermaLink="false">https://cms.example/?p=4</guid>`:                                 "",
		`<guid isPermaLink="false">https://cms.example/?p=5</guid><link>https://a.example/5</link>`: "https://a.example/5",
	} {
		if f := parse(t, channel(item("x", inner))); len(f.Items) != 1 || f.Items[0].Link != want {
			t.Errorf("%s: %+v", inner, f.Items)
		}
	}
}

// Dates stand in many elements; what has none takes that of its neighbour.
func TestDatesOfItems(t *testing.T) {
	const day = "2026-11-20"
	for _, inner := range []string{
		"<dcterms:issued>" + day + "T10:00:00Z</dcterms:issued>", "<dcterms:modified>" + day + "</dcterms:modified>", "<dcterms:created>" + day + "</dcterms:created>",
		"<prism:publicationDate>" + day + "</prism:publicationDate>", "<prism:coverDate>" + day + "</prism:coverDate>", "<dc:date>" + day + "</dc:date>",
		"<atom:published>" + day + "T10:00:00Z</atom:published>", "<atom:updated>" + day + "T10:00:00Z</atom:updated>", "<pubDate>ven., 20 nov. 2026 10:00:00 +0100</pubDate>",
		"<pubDate>nonsense</pubDate><dc:date>" + day + "</dc:date>",
	} {
		f := parse(t, channel(item("x", inner)))
		if len(f.Items) != 1 || f.Items[0].DateEstimated || f.Items[0].PublishedAt.Format(time.DateOnly) != day {
			t.Errorf("%s: %+v", inner, f.Items)
		}
	}
	dated := func(n, day int) string {
		return item(fmt.Sprint(n), fmt.Sprintf("<link>https://a.example/%d</link><pubDate>%d Nov 2026</pubDate>", n, day))
	}
	bare := func(n int) string { return item(fmt.Sprint(n), fmt.Sprintf("<link>https://a.example/%d</link>", n)) }
	f := parse(t, channel(bare(0), dated(1, 20), bare(2), bare(3), bare(4), dated(5, 10), bare(6)))
	got := map[string]int{}
	for _, it := range f.Items {
		if it.DateEstimated != !strings.ContainsAny(it.Title, "15") {
			t.Errorf("%q estimated: %v", it.Title, it.DateEstimated)
		}
		got[strings.TrimPrefix(it.Title, "Carbon price ")] = it.PublishedAt.Day()
	}
	if fmt.Sprint(got) != "map[0:20 1:20 2:20 3:20 4:10 5:10 6:10]" {
		t.Error(got)
	}
	if f = parse(t, channel(bare(0), bare(1))); !f.Items[0].PublishedAt.IsZero() || f.Items[0].Published != "" || !f.Items[0].DateEstimated {
		t.Errorf("no date in the whole document: %+v", f.Items[0])
	}
}

// What is broken in one item stays in it.
func TestBrokenDocuments(t *testing.T) {
	const head = `<?xml version="1.0"?>`
	good := func(n int) string { return item(fmt.Sprint(n), fmt.Sprintf("<link>https://a.example/%d</link>", n)) }
	tests := map[string]struct{ body, want string }{
		"end of CDATA in text":   {head + channel(good(1), item("2", "<description>a ]]> b</description>"), good(3)), "1 2 3"},
		"reference to a control": {head + channel(good(1), item("2 &#8;&#x1f;", ""), good(3)), "1 2 3"},
		"version 1.1":            {`<?xml version="1.1" encoding="UTF-8"?>` + channel(good(1), good(2)), "1 2"},
		"two byte order marks":   {"\ufeff\ufeff" + head + channel(good(1)), "1"},
		"warning first":          {"<br />\n<b>Notice</b>: x in <b>/y.php</b> on line <b>3</b><br />\n" + head + channel(good(1)), "1"},
		"text first":             {"Notice: x in /y.php\n" + head + channel(good(1)), "1"},
		"text behind":            {head + channel(good(1)) + "\n<script>x</script> bye", "1"},
		"cut in an item":         {strings.TrimSuffix(head+channel(good(1), good(2)), "k></item></channel></rss>"), "1"},
		"cut behind an item":     {strings.TrimSuffix(head+channel(good(1), good(2)), "</channel></rss>"), "1 2"},
		"an open title":          {head + channel(good(1), "<item><title>Carbon price 2<link>https://a.example/2</link></item>", good(3)), "1 2 3"},
		"an open item":           {head + channel(good(1), strings.TrimSuffix(good(2), "</item>"), good(3)), "1 2 3"},
		"raw markup":             {head + channel(good(1), item("2", "<description><p>a<br><img src=x alt='>'>b<p></description>"), good(3)), "1 2 3"},
		"bare signs":             {head + channel(good(1), item("2 &amp; < 3 & R&D", ""), good(3)), "1 2 & < 3 & R&D 3"},
		"markup in the title":    {head + channel(item("a<b and c>d", ""), item("<![CDATA[e<f and g>h ]]>", "")), "a<b and c>d e<f and g>h"},
		"capitals":               {"<RSS><CHANNEL><ITEM><TITLE>Carbon price 1</TITLE><GUID isPermaLink=false>x</GUID></ITEM></CHANNEL></RSS>", "1"},
		"atom": {`<feed xmlns="http://www.w3.org/2005/Atom"><entry><title>Carbon price 1 & 2</title><link href="https://a.example/1?a=1&b=2"/><updated>2026-11-20T00:00:00Z</updated></entry>` +
			`<entry><title type="html">Carbon price 3</title><id>tag:3</id><content type="xhtml"><div><p>x</div></content></entry></feed>`, "1 & 2 3"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			f, err := news.Parse([]byte(tc.body), "", rss, now)
			if err != nil {
				t.Fatal(err)
			}
			all := strings.Join(titles(f), " ")
			for word := range strings.SplitSeq(tc.want, " ") {
				if !strings.Contains(all, word) {
					t.Errorf("%q, want %q", all, tc.want)
				}
			}
			if n := strings.Count(tc.body, "<item>") + strings.Count(tc.body, "<entry>"); !strings.HasPrefix(name, "cut") && name != "capitals" && len(f.Items) != n {
				t.Errorf("%d of %d items", len(f.Items), n)
			}
			if f.Cut != strings.HasPrefix(name, "cut") {
				t.Errorf("cut: %v", f.Cut)
			}
		})
	}
}

func TestMixedCharsets(t *testing.T) {
	utf, latin := item("élevé, ét锚", ""), strings.ReplaceAll(item("for\xeat, prix \xe9lev\xe9", ""), "\xe9\xe9", "\xe9")
	for name, n := range map[string][2]int{"half": {3, 3}, "mostly UTF-8": {30, 1}, "mostly Latin-1": {1, 10}} {
		for _, head := range []string{"", `<?xml version="1.0" encoding="iso-8859-1"?>`, `<?xml version="1.0" encoding="utf-8"?>`} {
			var b strings.Builder
			for range n[0] {
				b.WriteString(utf)
			}
			for range n[1] {
				b.WriteString(latin)
			}
			body := string(news.Transcode([]byte(head+channel(b.String())), "text/xml"))
			if strings.Count(body, "élevé, ét锚") != n[0] || strings.Count(body, "forêt, prix élevé") != n[1] {
				t.Errorf("%s, %s: %.200q", name, head, body)
			}
		}
	}
}

func TestJSONFeedPerItem(t *testing.T) {
	good := `{"id":"b","url":"https://a.example/b","title":"Carbon price B","date_published":"2026-11-20T10:00:00Z"}`
	for _, odd := range []string{
		`"id":5`, `"authors":{"name":"N"}`, `"tags":"carbon"`, `"tags":[null,1,"x"]`, `"summary":null`, `"summary":{"a":1}`, `"url":["x"]`, `"id":null`,
		`"date_published":1795514400`, `"attachments":"none"`, `"summary":"a \x b"`, "\"summary\":\"tab\there\"", `"x":NaN`,
	} {
		f, err := news.Parse([]byte(`{"version":"https://jsonfeed.org/version/1.1","items":[{`+odd+`,"title":"Carbon price A","external_url":"https://a.example/a"},`+good+`,7,null]}`), "", rss, now)
		if err != nil || strings.Join(titles(f), " ") != "B A" && strings.Join(titles(f), " ") != "A B" || f.Dropped.Malformed != 2 {
			t.Errorf("%s: %v, %+v", odd, err, f)
		}
	}
	cut, err := news.Parse([]byte(`{"version":"https://jsonfeed.org/version/1","items":[`+good+`,{"id":"c","title":"Carbon pri`), "", rss, now)
	if err != nil || len(cut.Items) != 1 || !cut.Cut {
		t.Errorf("cut: %v, %+v", err, cut)
	}
}

func TestGDELTTitles(t *testing.T) {
	article := func(n int, title string) string {
		return fmt.Sprintf(`{"url":"https://r.example/%d","title":"%s","seendate":"20261120T101500Z","domain":"r.example"}`, n, title)
	}
	for _, bad := range []string{
		`carbon market \x up`, "carbon market\n up", "carbon market \bup", "carbon market \xe7o up", `carbon market "boom" says EU`, `carbon market \ud83d up`,
		`"Boom", in the carbon market`, `carbon market: he said "a", "b" and more`, `carbon market \`, `carbon market \u12`,
	} {
		body := `{"articles": [ ` + article(1, "carbon market good one") + ", " + article(2, bad) + ", " + article(3, "carbon market good two") + " ] }"
		f, err := news.Parse([]byte(body), "application/json", gdelt, now)
		if err != nil || !strings.Contains(fmt.Sprint(titles(f)), "good one") || !strings.Contains(fmt.Sprint(titles(f)), "good two") {
			t.Errorf("%q: %v, %+v", bad, err, f)
		}
	}
	for in, want := range map[string]string{
		"EU ' s carbon market : prices fall 5 . 2 % , traders say": "EU's carbon market: prices fall 5.2%, traders say",
		"UK ' s carbon market : what next ? Prices up ( again )":   "UK's carbon market: what next? Prices up (again)",
		"Carbon market hits $ 1 , 000 , buyers ' view":             "Carbon market hits $1,000, buyers' view",
		"Carbon market - a long wait":                              "Carbon market - a long wait",
		"Carbon market is ' open ' , says minister":                "Carbon market is ' open ', says minister",
	} {
		f, err := news.Parse([]byte(`{"articles":[`+article(1, in)+`]}`), "", gdelt, now)
		if err != nil || len(f.Items) != 1 || f.Items[0].Title != want {
			t.Errorf("%q: %v, %+v", in, err, f)
		}
	}
}
