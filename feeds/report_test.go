package feeds_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"carbond/feeds"
	"carbond/feeds/news"
	"carbond/store/change"
)

// A preview lists the rows that would change and no others.
func TestFetchListsWhatWouldChange(t *testing.T) {
	m := newMemory()
	titles := make([]string, 40)
	u := &upstream{handle: func(*http.Request) *http.Response {
		var b strings.Builder
		for i, title := range titles {
			fmt.Fprintf(&b, `<item><title>Carbon tax %s</title><link>https://a.example/%d</link><pubDate>Mon, 23 Nov 2020 10:00:00 GMT</pubDate></item>`, title, i)
		}
		return answer(200, "text/xml", fmt.Sprintf(rss, b.String()))
	}}
	r := newsRunner(t, m, u, "", news.Source{Name: "a", URL: "https://a.example/feed"})
	preview := func() (rows []string, rep feeds.Report) {
		t.Helper()
		rep, err := r.Fetch(t.Context(), "news/a", true)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range rep.Edits {
			if e.Table != change.News {
				t.Errorf("an edit of %s", e.Table)
			}
			for _, row := range e.Rows {
				rows = append(rows, row.Value(1).Text)
			}
		}
		slices.Sort(rows)
		return rows, rep
	}
	if rows, rep := preview(); len(rows) != 40 || rep.Written.Inserted != 40 {
		t.Errorf("new rows: %d, %+v", len(rows), rep.Written)
	}
	mustFetch(t, r, "news/a")
	titles[3], titles[39] = "three", "last"
	if rows, rep := preview(); strings.Join(rows, ", ") != "Carbon tax last, Carbon tax three" || rep.Written.Updated != 2 || rep.Written.Unchanged != 38 {
		t.Errorf("changed rows: %q, %+v", rows, rep.Written)
	}
	titles = append(titles, "new")
	if rows, _ := preview(); len(rows) != 3 {
		t.Errorf("changed and new rows: %q", rows)
	}
}
