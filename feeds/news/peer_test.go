//go:build peers

package news_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"carbond/feeds/news"
)

var peerFiles = flag.String("peer", "", "folder of feed files, with what another parser reads beside them: NAME.xml and NAME.json")

// recorded is what gofeed's testdata say of a document.
type recorded struct {
	Items []struct {
		Title     string     `json:"title"`
		Link      string     `json:"link"`
		Published *time.Time `json:"publishedParsed"`
		Updated   *time.Time `json:"updatedParsed"`
	} `json:"items"`
}

// TestPeerFiles reads the documents of other parsers' tests and prints how often we
// read the same. Nothing here may end the program or lose a whole document that the
// other reads; single values differ where we clean or choose otherwise.
func TestPeerFiles(t *testing.T) {
	var read, refused int
	agree, of := map[string]int{}, map[string]int{}
	err := filepath.WalkDir(*peerFiles, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".xml" {
			return err
		}
		body, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var want recorded
		if b, err := os.ReadFile(strings.TrimSuffix(path, ".xml") + ".json"); err != nil || json.Unmarshal(b, &want) != nil {
			return nil
		}
		f, err := news.Parse(body, "application/xml", news.Source{Feed: "peer", Name: "peer", URL: "https://peer.example.org/feed", Everything: true}, time.Now())
		titled := 0
		for _, w := range want.Items {
			if w.Title != "" {
				titled++
			}
		}
		if err != nil {
			if refused++; titled > 0 {
				t.Errorf("%s: %d items with a title are refused: %v", path, titled, err)
			}
			return nil
		}
		read++
		for _, w := range want.Items {
			if w.Title == "" {
				continue // a story without a title is none
			}
			note := func(what string, same bool, got, want any) {
				if of[what]++; same {
					agree[what]++
					return
				}
				t.Logf("%s: %s %q, recorded %q", filepath.Base(path), what, fmt.Sprint(got), fmt.Sprint(want))
			}
			var got news.Item
			if len(f.Items) == 1 {
				got = f.Items[0] // whatever it is called here
			}
			for _, i := range f.Items {
				if strings.EqualFold(i.Title, strings.Join(strings.Fields(w.Title), " ")) || i.Link == w.Link && w.Link != "" {
					got = i
					break
				}
			}
			note("titles", got.Title == strings.Join(strings.Fields(w.Title), " "), got.Title, w.Title)
			if w.Link != "" {
				note("links", got.Link == strings.TrimSpace(w.Link), got.Link, w.Link)
			}
			if at := w.Published; at != nil || w.Updated != nil {
				if at == nil {
					at = w.Updated
				}
				note("dates", got.PublishedAt.Equal(at.Truncate(time.Second)), got.PublishedAt, at.UTC())
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if read == 0 {
		t.Fatalf("no document with a record beside it in %q: give -peer", *peerFiles)
	}
	t.Logf("%d documents read, %d refused", read, refused)
	for _, what := range []string{"titles", "links", "dates"} {
		t.Logf("%s: %d of %d as recorded", what, agree[what], of[what])
	}
}
