package feeds_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
)

// registry plays Verra's backend: the configuration document, searches with
// paging, sorting and filters, and sums. Its habits can be spoiled.
type registry struct {
	mu        sync.Mutex
	tables    map[string][]map[string]any
	standard  string
	key       string // appkey that it wants
	spoil     func(resource string, r *http.Request, body search) *http.Response
	env       string
	pageLimit int
	extra     map[string]int    // rows that a ledger has beyond those of its table
	cache     map[string]string // answers by request, while the tables stay
}

type search struct {
	Filter struct {
		Pagination struct {
			Start, Limit int
			Sort         []struct{ Sort, Dir string } `json:"sortOptions"`
		}
		Model map[string]struct {
			Filters []struct{ FilterType, Type, Filter string } `json:"columnFilters"`
		} `json:"filterModel"`
		GroupKeys []string `json:"groupKeys"`
	} `json:"searchFilter"`
}

func newRegistry(t *testing.T) *registry {
	g := &registry{tables: map[string][]map[string]any{}, standard: "150000000000001", key: "EXAMPLE-PUBLIC-CLIENT-ID", pageLimit: 400, cache: map[string]string{}}
	g.extra = map[string]int{"retirements": 305_135} // as in the real one: too many to be read
	g.env = fixture(t, "verra", "testdata", "environment_config.json")
	g.load(t, "project", "projects_page_first.json", "projects_page_last.json")
	g.load(t, "issuances", "issuances_page.json")
	g.load(t, "retirements", "retirements_page.json")
	g.load(t, "cancellations", "cancellations_page.json")
	return g
}

func (g *registry) load(t *testing.T, resource string, files ...string) {
	t.Helper()
	for _, f := range files {
		var page struct{ Entities []map[string]any }
		d := json.NewDecoder(strings.NewReader(fixture(t, "verra", "testdata", f)))
		d.UseNumber()
		if err := d.Decode(&page); err != nil {
			t.Fatal(err)
		}
		g.tables[resource] = append(g.tables[resource], page.Entities...)
	}
}

// edit changes the tables between polls.
func (g *registry) edit(f func(tables map[string][]map[string]any)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f(g.tables)
	clear(g.cache)
}

func (g *registry) serve(r *http.Request) *http.Response {
	g.mu.Lock()
	defer g.mu.Unlock()
	path := r.URL.Path
	switch {
	case strings.HasSuffix(path, "/config/environment.config.json"):
		return asJSON(g.env)
	case strings.HasSuffix(path, "/standardsByRegistry/VERRA"):
		return asJSON(fmt.Sprintf(`[{"id":%q,"name":"Verified Carbon Standard","metaData":"VCS"}]`, g.standard))
	}
	parts := strings.Split(path, "/")
	resource, call := parts[len(parts)-2], parts[len(parts)-1]
	var body search
	if r.Method != http.MethodPost || json.NewDecoder(r.Body).Decode(&body) != nil {
		return answer(500, "application/json", `{"status":500}`)
	}
	if g.spoil != nil {
		if res := g.spoil(resource, r, body); res != nil {
			return res
		}
	}
	switch {
	case r.Header.Get("registry") != "VERRA", r.Header.Get("standardacronym") != "VCS", r.Header.Get("language") != "en":
		return answer(500, "application/json", `{"status":500}`)
	case r.Header.Get("appkey") != g.key:
		return answer(401, "application/json", `{"message":"no"}`)
	case r.Header.Get("standardid") != g.standard:
		return asJSON(`{"entities":[],"totalEntities":0,"start":0}`)
	case call == "aggregateResultBySearchFilter":
		return asJSON(fmt.Sprintf(`{"average":0,"sum":%g,"total":0}`, sum(g.pass(resource, body))))
	case call == "publicReportPageSearch":
		return g.page(resource, body)
	}
	return answer(404, "application/json", `{}`)
}

// pass applies the filters that the service honours.
func (g *registry) pass(resource string, body search) []map[string]any {
	rows := slices.Clone(g.tables[resource])
	for field, m := range body.Filter.Model {
		for _, f := range m.Filters {
			rows = slices.DeleteFunc(rows, func(e map[string]any) bool { return fmt.Sprint(e[field]) != f.Filter })
		}
	}
	return rows
}

func (g *registry) page(resource string, body search) *http.Response {
	p := body.Filter.Pagination
	if p.Limit > g.pageLimit || p.Start > 10_000 {
		return answer(500, "application/json", `{"status":500}`)
	}
	key := fmt.Sprint(resource, body, len(g.tables[resource]))
	if hit := g.cache[key]; hit != "" {
		return asJSON(hit)
	}
	rows := g.pass(resource, body)
	for _, s := range p.Sort {
		slices.SortStableFunc(rows, func(a, b map[string]any) int {
			c := strings.Compare(fmt.Sprint(a[s.Sort]), fmt.Sprint(b[s.Sort]))
			if s.Dir == "DESC" {
				c = -c
			}
			return c
		})
	}
	end := min(p.Start+p.Limit, len(rows))
	part := []map[string]any{}
	if p.Start < end {
		part = rows[p.Start:end]
	}
	b, _ := json.Marshal(map[string]any{
		"entities": part, "totalEntities": len(rows) + g.extra[resource], "start": p.Start, "limit": p.Limit, "first": false, "last": false,
	})
	g.cache[key] = string(b)
	return asJSON(string(b))
}

func sum(rows []map[string]any) (total float64) {
	for _, e := range rows {
		if n, ok := e["holdingQuantity"].(json.Number); ok {
			f, _ := n.Float64()
			total += f
		}
	}
	return total
}
