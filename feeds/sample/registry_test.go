package sample_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"carbond/feeds/sample"
	"carbond/feeds/verra"
)

func (u *upstream) registry() verra.Client {
	u.tb.Helper()
	contentType, body := u.get(u.urls.Verra+"/config/environment.config.json", nil)
	env, err := verra.ParseEnvironment(body, contentType)
	if err != nil {
		u.tb.Fatal(err)
	}
	return verra.Client{Env: env, Standard: verra.VCS()}
}

// ledger reads a whole ledger in pages of the given size.
func ledger[T any](u *upstream, r verra.Resource, limit int, parse func([]byte, string) (verra.Page[T], error), filters ...verra.Filter) (rows []T, total int) {
	u.tb.Helper()
	c := u.registry()
	for start := 0; start == 0 || start < total; start += limit {
		req, err := c.Search(verra.Search{Resource: r, Start: start, Limit: limit, Sort: []verra.Sort{verra.SortSweep()}, Filters: filters})
		if err != nil {
			u.tb.Fatal(err)
		}
		_, contentType, body := u.do(req)
		page, err := parse(body, contentType)
		if err != nil {
			u.tb.Fatal(err)
		}
		rows, total = append(rows, page.Rows...), page.Total
	}
	return rows, total
}

// sum is what the registry says of a whole ledger.
func (u *upstream) sum(r verra.Resource) float64 {
	u.tb.Helper()
	req, err := u.registry().Aggregate(r)
	if err != nil {
		u.tb.Fatal(err)
	}
	_, contentType, body := u.do(req)
	sum, err := verra.ParseAggregate(body, contentType)
	if err != nil {
		u.tb.Fatal(err)
	}
	return sum
}

func TestRegistrySweepAddsUp(t *testing.T) {
	u := serve(t, 1)
	u.clock.add(10 * time.Minute)
	projects, total := ledger(u, verra.Projects, 70, verra.ParseProjects)
	countries, active, brazil, placed, estimated, owned := map[string]bool{}, 0, 0, 0, 0, 0
	for _, p := range projects {
		countries[p.Country] = true
		if p.Country == "Brazil" {
			brazil++
		}
		if p.StateCode == "REGISTERED" {
			active++
		}
		if p.Latitude != nil {
			placed++
		}
		if p.AnnualEstimate != nil {
			estimated++
		}
		if p.Proponents != "" {
			owned++
		}
		if !strings.HasPrefix(p.Name, sample.Mark) {
			t.Errorf("%q does not say %s", p.Name, sample.Mark)
		}
	}
	if len(projects) != 240 || total != 240 || len(countries) < 20 || brazil < 10 || active == 0 || projects[0].Country != "Brazil" {
		t.Errorf("%d projects of %d in %d countries, %d in Brazil, %d registered", len(projects), total, len(countries), brazil, active)
	}
	for what, n := range map[string]int{"a place": placed, "an estimate": estimated, "a proponent": owned} {
		if n < 120 || n == 240 {
			t.Errorf("%d projects have %s", n, what)
		}
	}
	issued, total := ledger(u, verra.Issuances, 400, verra.ParseIssuances)
	sum := 0.0
	for _, i := range issued {
		sum += *i.Quantity
	}
	if got := u.sum(verra.Issuances); got != sum || len(issued) != total {
		t.Errorf("aggregate %v, rows add up to %v, %d rows of %d", got, sum, len(issued), total)
	}
	type lot struct {
		project int64
		vintage int32
	}
	left, vintages := map[lot]float64{}, map[int32]int{}
	for _, i := range issued {
		left[lot{i.Number, *i.Vintage}] += *i.Quantity
		vintages[*i.Vintage]++
	}
	for r, parse := range map[verra.Resource]func([]byte, string) (verra.Page[verra.Units], error){
		verra.Retirements: verra.ParseRetirements, verra.Cancellations: verra.ParseCancellations,
	} {
		gone, _ := ledger(u, r, 400, parse)
		for _, g := range gone {
			if left[lot{g.Number, *g.Vintage}] -= *g.Quantity; left[lot{g.Number, *g.Vintage}] < 0 {
				t.Errorf("more is gone of vintage %d of project %d than was issued", *g.Vintage, g.Number)
			}
		}
	}
	if len(vintages) < 12 {
		t.Errorf("issuances by vintage: %v", vintages)
	}
	part, n := ledger(u, verra.Issuances, 50, verra.ParseIssuances, verra.ByProject(projects[0].Number))
	if n == 0 || n >= total || len(part) != n {
		t.Errorf("filter by project: %d of %d rows", n, total)
	}
	if _, n := ledger(u, verra.Issuances, 50, verra.ParseIssuances, verra.Filter{Field: "nonsense", Value: "x"}); n != total {
		t.Errorf("an unknown filter left %d of %d rows, upstream ignores it", n, total)
	}
	_, contentType, body := u.do(u.registry().Standards())
	if list, err := verra.ParseStandards(body, contentType); err != nil || len(list) != 2 {
		t.Errorf("standards %v, %v", list, err)
	}
}

func TestRegistryTraps(t *testing.T) {
	u := serve(t, 1)
	c := u.registry()
	req, err := c.Search(verra.Search{Resource: verra.Projects})
	if err != nil {
		t.Fatal(err)
	}
	wrong := c
	wrong.Standard.ID = "1"
	empty, err := wrong.Search(verra.Search{Resource: verra.Projects})
	if err != nil {
		t.Fatal(err)
	}
	if status, contentType, body := u.do(empty); status != 200 {
		t.Errorf("wrong standard: status %d", status)
	} else if _, err := verra.ParseProjects(body, contentType); !errors.Is(err, verra.ErrNoEntities) {
		t.Errorf("wrong standard: %v", err)
	}
	big := req
	big.Body = bytes.Replace(req.Body, []byte(`"limit":400`), []byte(`"limit":500`), 1)
	if status, _, _ := u.do(big); status != 500 {
		t.Errorf("limit 500: status %d", status)
	}
	bare := req
	bare.Header = map[string]string{"appkey": "x"}
	if status, _, _ := u.do(bare); status != 500 {
		t.Errorf("no registry headers: status %d", status)
	}
}
