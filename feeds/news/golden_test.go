package news_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"path/filepath"
	"testing"
	"time"

	"carbond/feeds/internal/payload/golden"
	"carbond/feeds/news"
)

// now is the time at which all fixtures are fetched.
var now = time.Date(2026, 11, 23, 10, 30, 0, 0, time.UTC)

// fixtures says for every file what comes of it: the items of the document, the
// stories kept of them, or the error.
var fixtures = map[string]struct {
	total, kept int
	err         error
	status      int // of a .http file
}{
	"atom.xml":                         {total: 12, kept: 8},
	"bad_dates.xml":                    {total: 12, kept: 12},
	"bbc_science_environment.xml":      {total: 12, kept: 8},
	"bbc_science_environment.xml.gz":   {total: 12, kept: 8},
	"bloomberg_green.xml":              {total: 12, kept: 8},
	"cnbc_energy.xml":                  {total: 12, kept: 7}, // one of the eight is sponsored
	"duplicates.xml":                   {total: 12, kept: 6}, // of eight stories
	"empty_body.txt":                   {err: news.ErrEmpty},
	"empty_channel.xml":                {},
	"entity_bomb.xml":                  {total: 1},
	"false_friends.xml":                {total: 12},
	"ft_climate_capital.xml":           {total: 8, kept: 6},
	"gdelt_ap.json":                    {total: 10, kept: 8},
	"gdelt_bad_query_200.txt":          {err: news.ErrBadQuery},
	"gdelt_empty_200.json":             {},
	"gdelt_ratelimit_200.txt":          {err: news.ErrRateLimited},
	"gdelt_reuters.json":               {total: 10, kept: 8},
	"gdelt_reuters.rss.xml":            {total: 10, kept: 8},
	"googlenews_ap.xml":                {total: 10, kept: 8},
	"googlenews_reuters.xml":           {total: 10, kept: 8},
	"guardian_environment.xml":         {total: 9, kept: 9},
	"html_instead.html":                {err: news.ErrHTML},
	"http_200_etag.http":               {total: 1, kept: 1, status: 200},
	"http_301.http":                    {err: news.ErrEmpty, status: 301},
	"http_302_loop.http":               {err: news.ErrEmpty, status: 302},
	"http_304.http":                    {err: news.ErrEmpty, status: 304},
	"http_403_cloudflare.http":         {err: news.ErrHTML, status: 403},
	"http_404.http":                    {err: news.ErrNotFeed, status: 404},
	"http_410.http":                    {err: news.ErrNotFeed, status: 410},
	"http_429_absurd.http":             {err: news.ErrEmpty, status: 429},
	"http_429_date.http":               {err: news.ErrEmpty, status: 429},
	"http_429_seconds.http":            {err: news.ErrNotFeed, status: 429},
	"http_503.http":                    {err: news.ErrEmpty, status: 503},
	"iso8859_1.xml":                    {total: 10, kept: 8},
	"json_error_instead.json":          {err: news.ErrNotFeed},
	"jsonfeed.json":                    {total: 10, kept: 6},
	"malformed_bare_ampersand.xml":     {total: 10, kept: 6},
	"malformed_control_chars.xml":      {total: 10, kept: 6},
	"malformed_leading_junk.xml":       {total: 12, kept: 8},
	"malformed_truncated.xml":          {total: 8, kept: 5}, // the ninth is cut
	"malformed_unclosed_tag.xml":       {total: 12, kept: 8},
	"malformed_undefined_entity.xml":   {total: 10, kept: 6},
	"many_items_300.xml":               {total: 300, kept: 300},
	"missing_fields.xml":               {total: 11, kept: 7},
	"no_declaration_latin1.xml":        {total: 10, kept: 8},
	"no_guid.xml":                      {total: 12, kept: 8},
	"rdf_rss10.xml":                    {total: 10, kept: 6},
	"true_friends.xml":                 {total: 12, kept: 11},
	"utf16le_bom.xml":                  {total: 10, kept: 8},
	"utf8_bom.xml":                     {total: 10, kept: 8},
	"whitespace_only.txt":              {err: news.ErrEmpty},
	"windows1252_declared.xml":         {total: 10, kept: 8},
	"windows1252_mislabelled_utf8.xml": {total: 10, kept: 8},
	"wordpress_carbonherald.xml":       {total: 10, kept: 8},
	"wordpress_carbonpulse.xml":        {total: 12, kept: 10},
}

// rss and gdelt are the two kinds of source that the fixtures answer.
var (
	rss   = news.Source{Feed: "fixture", Name: "Fixture", URL: "https://feeds.example.org/rss.xml"}
	gdelt = news.Source{Feed: "gdelt", Name: "Reuters", URL: news.GDELTURL(news.GDELTBase, "carbon")}
)

func TestFixtures(t *testing.T) {
	files, err := filepath.Glob("testdata/news/*")
	if err != nil || len(files) != len(fixtures) {
		t.Fatalf("%d fixture files, %d expectations (%v)", len(files), len(fixtures), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) { check(t, file) })
	}
}

func check(t *testing.T, file string) {
	name := filepath.Base(file)
	tc, ok := fixtures[name]
	if !ok {
		t.Fatal("no expectation for this fixture")
	}
	body, contentType, status := load(t, file)
	if status != tc.status {
		t.Errorf("status %d, want %d", status, tc.status)
	}
	src := rss
	if ok, _ := filepath.Match("gdelt_*_200.*", name); ok || filepath.Ext(name) == ".json" && name[:5] == "gdelt" {
		src = gdelt
	}
	feed, err := news.Parse(body, contentType, src, now)
	if !errors.Is(err, tc.err) || (err != nil) != (tc.err != nil) {
		t.Fatalf("error %v, want %v", err, tc.err)
	}
	got := struct {
		Error string `json:"error,omitempty"`
		*news.Feed
	}{Feed: feed}
	if err != nil {
		got.Error = err.Error()
	} else if feed.Total != tc.total || len(feed.Items) != tc.kept {
		t.Errorf("%d items, %d kept, want %d, %d", feed.Total, len(feed.Items), tc.total, tc.kept)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(got); err != nil {
		t.Fatal(err)
	}
	golden.Compare(t, name, b.Bytes())
}

// load reads a fixture, unpacking raw HTTP answers and gzip.
func load(tb testing.TB, file string) (body []byte, contentType string, status int) {
	tb.Helper()
	body, contentType, status = golden.Body(tb, "news/"+filepath.Base(file))
	if filepath.Ext(file) == ".gz" {
		z, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			tb.Fatal(err)
		}
		if body, err = io.ReadAll(z); err != nil {
			tb.Fatal(err)
		}
	}
	return body, contentType, status
}
