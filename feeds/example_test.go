package feeds_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"carbond/feeds"
	"carbond/feeds/finance"
	"carbond/feeds/news"
)

const exampleFeed = `<rss version="2.0"><channel><title>Journal</title>
<item><title>EUA futures settle higher</title><link>https://journal.example/eua</link><pubDate>Fri, 01 May 2026 10:00:00 GMT</pubDate></item>
<item><title>Football results</title><link>https://journal.example/ball</link><pubDate>Fri, 01 May 2026 09:00:00 GMT</pubDate></item>
</channel></rss>`

// A Runner polls what is due. Fetch asks one feed now; a dry run says what would be
// written.
func Example() {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/rss+xml")
		_, _ = io.WriteString(w, exampleFeed)
	}))
	defer upstream.Close()

	opt := feeds.Options{News: news.Options{
		Feeds: []news.Source{{Feed: "journal", Name: "Trade Journal", URL: upstream.URL}},
	}}
	opt.Verra.Disabled, opt.Carbonmark.Disabled, opt.Finance.Disabled = true, true, true
	r, err := feeds.New(opt, newMemory()) // a Writer: feeds/postgres, or a store
	if err != nil {
		log.Fatal(err)
	}
	rep, err := r.Fetch(context.Background(), "news", true)
	if err != nil {
		log.Fatal(err, feeds.Advice(err))
	}
	fmt.Println("would insert", rep.Written.Inserted)
	fmt.Println("left out of", rep.LeftOut[0])
	for _, row := range rep.Edits[0].Rows {
		fmt.Println(row.Value(1))
	}
	// Output:
	// would insert 1
	// left out of news/journal: 1 unrelated to carbon markets
	// EUA futures settle higher
}

// The parsers are pure: bytes and a time in, rows or a named error out.
func Example_parser() {
	body := `{"spark":{"result":[{"symbol":"RR.L","response":[{"meta":{"symbol":"RR.L","currency":"GBp",
		"regularMarketPrice":1010.5,"previousClose":1000,"regularMarketTime":1777629600}}]}],"error":null}}`
	res, err := finance.ParseSpark([]byte(body), "application/json", finance.Ask{
		Symbols: []string{"RR.L", "KRBN"}, Now: time.Date(2026, 5, 1, 10, 30, 0, 0, time.UTC),
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, q := range res.Rows {
		fmt.Println(q.Ticker, q.Price, q.Currency, *q.ChangePercent)
	}
	fmt.Println("missing", res.Missing)
	// Output:
	// RR.L 1010.5 GBp 1.05
	// missing [KRBN]
}
