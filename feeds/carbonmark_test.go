package feeds_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"carbond/feeds"
	"carbond/feeds/carbonmark"
	"carbond/feeds/internal/fetch"
	"carbond/store/change"
)

// market plays Carbonmark's list, and the subgraph.
type market struct {
	items []map[string]any
	bare  bool
	down  bool
	graph string
}

func newMarket(t *testing.T, files ...string) *market {
	k := &market{}
	for _, f := range files {
		var page struct{ Items []map[string]any }
		if err := json.Unmarshal([]byte(fixture(t, "carbonmark", "testdata", f)), &page); err != nil {
			t.Fatal(err)
		}
		k.items = append(k.items, page.Items...)
	}
	return k
}

func (k *market) serve(r *http.Request) *http.Response {
	if r.URL.Host == "gateway.thegraph.com" {
		if r.Header.Get("Authorization") != "Bearer graph-key" || strings.Contains(r.URL.String(), "graph-key") {
			return asJSON(`{"errors":[{"message":"auth error: missing authorization header"}]}`)
		}
		return asJSON(k.graph)
	}
	if k.down {
		return answer(500, "application/json", `{"message":"An internal server error occurred"}`)
	}
	limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
	offset, _ := strconv.Atoi(r.URL.Query().Get("offset"))
	end := min(offset+limit, len(k.items))
	part := []map[string]any{}
	if offset < end {
		part = k.items[offset:end]
	}
	if k.bare {
		b, _ := json.Marshal(part)
		return asJSON(string(b))
	}
	b, _ := json.Marshal(map[string]any{"items": part, "itemsCount": len(k.items)})
	return asJSON(string(b))
}

func TestCarbonmarkList(t *testing.T) {
	for _, bare := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			m, k := newMemory(), newMarket(t, "v20_carbonProjects_page1.json", "v20_carbonProjects_page2.json")
			k.bare = bare
			u := &upstream{handle: k.serve}
			r := runner(t, only(feeds.Options{Transport: u, Carbonmark: carbonmark.Options{PageSize: 10}}, "carbonmark"), m)
			rep := mustFetch(t, r, "carbonmark")
			if rep.Written.Inserted != 24 || len(u.requests()) != 3 {
				t.Errorf("bare %v: %+v, %d requests", bare, rep.Written, len(u.requests()))
			}
			for range 5 { // pages in between
				if rep := mustFetch(t, r, "carbonmark"); rep.Requests != 1 || rep.Written.Changed() {
					t.Errorf("bare %v: %+v", bare, rep)
				}
			}
			<-time.After(11 * time.Minute)
			if rep := mustFetch(t, r, "carbonmark"); rep.Requests != 3 || rep.Written.Changed() || rep.Items != 24 {
				t.Errorf("bare %v: full list again: %+v", bare, rep)
			}
		})
	}
}

// A list that never becomes complete is a failure, but what arrived is there.
func TestCarbonmarkPartOfTheList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		page := fixture(t, "carbonmark", "testdata", "v20_carbonProjects_page1.json") // whatever is asked for
		m, u := newMemory(), &upstream{handle: func(*http.Request) *http.Response { return asJSON(page) }}
		r := runner(t, only(feeds.Options{Transport: u}, "carbonmark"), m)
		if _, err := fetchNow(t, r, "carbonmark"); fetch.KindOf(err) != fetch.KindTruncated || m.count(change.Carbonmark) != 12 {
			t.Errorf("%v with %d rows", err, m.count(change.Carbonmark))
		}
	})
}

func TestCarbonmarkShrinksAndLoses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, k := newMemory(), newMarket(t, "v20_carbonProjects_page1.json", "v20_carbonProjects_page2.json")
		for n := range 100 {
			e := map[string]any{}
			for key, v := range k.items[0] {
				e[key] = v
			}
			e["key"] = fmt.Sprintf("VCS-%d", 900000+n)
			k.items = append(k.items, e)
		}
		u := &upstream{handle: k.serve}
		r := runner(t, only(feeds.Options{Transport: u}, "carbonmark"), m)
		mustFetch(t, r, "carbonmark")
		all := k.items
		k.items = all[:60]
		<-time.After(time.Hour)
		if _, err := fetchNow(t, r, "carbonmark"); fetch.KindOf(err) != fetch.KindShrunk || m.count(change.Carbonmark) != 124 {
			t.Errorf("%v with %d rows", err, m.count(change.Carbonmark))
		}
		k.items = all[:123]
		for want := range 3 {
			if m.count(change.Carbonmark) != 124 {
				t.Fatalf("deleted after %d lists", want)
			}
			<-time.After(time.Hour)
			mustFetch(t, r, "carbonmark")
		}
		if m.count(change.Carbonmark) != 123 {
			t.Errorf("%d rows after three lists", m.count(change.Carbonmark))
		}
	})
}

// The subgraph stands in for the service, at the pace of the full list and
// never above two queries a minute; without a key it is not asked.
func TestCarbonmarkSubgraph(t *testing.T) {
	for _, key := range []string{"", "graph-key"} {
		synctest.Test(t, func(t *testing.T) {
			m, k := newMemory(), newMarket(t)
			k.down, k.graph = true, fixture(t, "carbonmark", "testdata", "subgraph", "carbonProjects_page1.json")
			u := &upstream{handle: k.serve}
			r := runner(t, only(feeds.Options{Transport: u, Carbonmark: carbonmark.Options{GraphKey: key}}, "carbonmark"), m)
			_, err := fetchNow(t, r, "carbonmark")
			if key == "" {
				if fetch.KindOf(err) != fetch.KindHTTPStatus || m.count(change.Carbonmark) != 0 {
					t.Errorf("%v", err)
				}
				return
			}
			if err != nil || m.count(change.Carbonmark) != 12 {
				t.Fatalf("%d rows, %v", m.count(change.Carbonmark), err)
			}
			for range 60 {
				_, _ = fetchNow(t, r, "carbonmark")
				<-time.After(time.Minute)
			}
			asked := 0
			for _, s := range u.requests() {
				if s.host == "gateway.thegraph.com" {
					asked++
				}
			}
			if asked > 7 {
				t.Errorf("%d queries in an hour", asked)
			}
			for _, f := range []string{"error_auth_missing_200.json", "error_bad_indexers_200.json", "data_null_200.json", "partial_data_with_errors_200.json", "error_payment_200.json"} {
				k.graph = fixture(t, "carbonmark", "testdata", "subgraph", f)
				<-time.After(3 * time.Hour)
				if _, err := fetchNow(t, r, "carbonmark"); err == nil || m.count(change.Carbonmark) != 12 {
					t.Errorf("%s: %v with %d rows", f, err, m.count(change.Carbonmark))
				}
			}
		})
	}
}
