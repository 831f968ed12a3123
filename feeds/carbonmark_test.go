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
	offer string // answer of /prices, "" for 404
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
	if strings.HasSuffix(r.URL.Path, "/prices") {
		if k.offer == "" {
			return answer(404, "application/json", `{"message":"not found"}`)
		}
		return asJSON(k.offer)
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
			k.bare, k.offer = bare, "[]"
			u := &upstream{handle: k.serve}
			r := runner(t, only(feeds.Options{Transport: u, Carbonmark: carbonmark.Options{PageSize: 10}}, "carbonmark"), m)
			rep := mustFetch(t, r, "carbonmark")
			// Three of other registries are projects too.
			if rep.Written.Inserted != 27 || len(u.requests()) != 4 {
				t.Errorf("bare %v: %+v, %d requests", bare, rep.Written, len(u.requests()))
			}
			for range 5 { // pages in between
				if rep := mustFetch(t, r, "carbonmark"); rep.Requests != 1 || rep.Written.Changed() {
					t.Errorf("bare %v: %+v", bare, rep)
				}
			}
			<-time.After(11 * time.Minute)
			if rep := mustFetch(t, r, "carbonmark"); rep.Requests != 4 || rep.Written.Changed() || rep.Items != 24 {
				t.Errorf("bare %v: full list again: %+v", bare, rep)
			}
		})
	}
}

// TestCarbonmarkPrices: the price of a project is its lowest one above 0, of its own or
// of an offer; what is listed is the sum of the offers, and not known without them.
func TestCarbonmarkPrices(t *testing.T) {
	offer := func(project string, price, supply string) string {
		return fmt.Sprintf(`{"sourceId":"listing-%s-%s-%s","type":"listing","purchasePrice":%[2]s,"supply":%[3]s,"listing":{"creditId":{"vintage":2014,"projectId":%[1]q}}}`, project, price, supply)
	}
	for name, tt := range map[string]struct {
		own    string // JSON
		offers string
		price  string // as stored, "-" for NULL
		listed string
	}{
		"own":                  {`"3.4"`, "[]", "3.4", "0"},
		"own, no offers known": {`"3.4"`, "", "3.4", "-"},
		"none":                 {`"0"`, "[]", "-", "0"},
		"no price at all":      {"null", "[]", "-", "0"},
		"cheaper offer":        {`"3.4"`, "[" + offer("VCS-934", "1.79", "10") + "," + offer("VCS-934", "4", "2.5") + "]", "1.79", "12.5"},
		"dearer offer":         {`"3.4"`, "[" + offer("VCS-934", "5", "10") + "]", "3.4", "10"},
		"offer alone":          {`"0"`, "[" + offer("VCS-934", "5", "10") + "]", "5", "10"},
		"offer for nothing":    {`"0"`, "[" + offer("VCS-934", "0", "10") + "]", "-", "10"},
		"sold out":             {`"3.4"`, "[" + offer("VCS-934", "1", "0") + "]", "3.4", "0"},
		"of another":           {`"3.4"`, "[" + offer("VCS-1", "1", "5") + "]", "3.4", "0"},
		"how much nobody says": {`"3.4"`, "[" + offer("VCS-934", "1", "null") + "]", "1", "-"},
		"unreadable offers":    {`"3.4"`, `{"error":"x"}`, "3.4", "-"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, k := newMemory(), newMarket(t, "v20_carbonProjects_page1.json")
				k.offer = tt.offers
				for i := range k.items {
					if k.items[i]["key"] == "VCS-934" {
						k.items[i]["price"] = json.RawMessage(tt.own)
					}
				}
				r := runner(t, only(feeds.Options{Transport: &upstream{handle: k.serve}}, "carbonmark"), m)
				mustFetch(t, r, "carbonmark")
				if price, listed := m.col(change.Carbonmark, "price_usd", "VCS-934"), m.col(change.Carbonmark, "listed", "VCS-934"); price != tt.price || listed != tt.listed {
					t.Errorf("price %s, listed %s; want %s, %s", price, listed, tt.price, tt.listed)
				}
				k.offer = "[]" // and a price goes with its offer
				<-time.After(11 * time.Minute)
				mustFetch(t, r, "carbonmark")
				want := strings.Trim(strings.ReplaceAll(tt.own, "null", "0"), `"`)
				if want == "0" {
					want = "-"
				}
				if price, listed := m.col(change.Carbonmark, "price_usd", "VCS-934"), m.col(change.Carbonmark, "listed", "VCS-934"); price != want || listed != "0" {
					t.Errorf("then price %s, listed %s; want %s, 0", price, listed, want)
				}
			})
		})
	}
}

// TestCarbonmarkProjects: projects of registries that have no feed are projects, and who
// else knows something of them is not overruled.
func TestCarbonmarkProjects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, k := newMemory(), newMarket(t, "v20_carbonProjects_page1.json", "v20_carbonProjects_page2.json")
		if _, err := m.Write(t.Context(), []change.Edit{{
			Table: change.Verra, Columns: []string{"project_id", "project_name", "country"},
			Rows: []change.Row{change.NewRow(change.T("GS-11234"), change.T("imported"), change.Value{})},
		}}); err != nil {
			t.Fatal(err)
		}
		r := runner(t, only(feeds.Options{Transport: &upstream{handle: k.serve}}, "carbonmark"), m)
		mustFetch(t, r, "carbonmark")
		for id, want := range map[string]string{
			"GS-11234":    "Gold Standard|imported|Kenya|2022|GS-TPDDTEC|Energy Efficiency|Africa|-|-",
			"ICR-112":     "ICR|*|Iceland|2020|ACM0010|Biogas|Europe|-|-",
			"PURO-302684": "Puro|*|Finland|2023|PURO-BIOCHAR|Biochar|Europe|-|-",
			"VCS-934":     "|*|||||||",
		} {
			var got []string
			for _, c := range []string{"registry", "project_name", "country", "vintage", "methodology", "project_type", "region", "registry_status", "supply"} {
				v := m.col(change.Verra, c, id)
				if c == "project_name" && v != "imported" {
					v = "*"
				}
				got = append(got, v)
			}
			if s := strings.Join(got, "|"); s != want {
				t.Errorf("%s: %s, want %s", id, s, want)
			}
		}
		if n := m.count(change.Verra); n != 3 {
			t.Errorf("%d projects", n)
		}
	})
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
