package feeds_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"carbond/feeds"
	"carbond/feeds/verra"
	"carbond/store/change"
)

// A ledger that can be read to its end is read, and no project is asked for; the
// sum of a ledger that is too long is asked project by project.
func TestVerraShortLedgersAreRead(t *testing.T) {
	tests := map[string]struct {
		extra map[string]int
		sums  map[string]bool // ledgers whose sums are asked
	}{
		"both short":       {nil, map[string]bool{}},
		"long retirements": {map[string]int{"retirements": 305_135}, map[string]bool{"retirements": true}},
		"both long":        {map[string]int{"retirements": 305_135, "cancellations": 20_000}, map[string]bool{"retirements": true, "cancellations": true}},
		"rows are missing": {map[string]int{"cancellations": 1}, map[string]bool{"cancellations": true}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			follow(t, verra.Options{TotalsPerPoll: 20}, func(t *testing.T, r *feeds.Runner, m *memory, g *registry, u *upstream) {
				g.extra = tc.extra
				mustFetch(t, r, "verra")
				for id, want := range map[string]string{"VCS-934": "1824231", "VCS-1175": "24110", "VCS-1340": "2654806"} {
					if got := m.col(change.Verra, "supply", id); got != want {
						t.Errorf("supply of %s is %s, want %s", id, got, want)
					}
				}
				for _, s := range u.requests() {
					if ledger, ok := strings.CutSuffix(s.path, "/aggregateResultBySearchFilter"); ok {
						if ledger = ledger[strings.LastIndexByte(ledger, '/')+1:]; !tc.sums[ledger] {
							t.Errorf("the sum of %s was asked for", ledger)
						}
					}
				}
			})
		})
	}
}

// What a changed project lost since the ledgers were read comes with the change.
func TestVerraShortLedgersAreFreshened(t *testing.T) {
	follow(t, verra.Options{}, func(t *testing.T, r *feeds.Runner, m *memory, g *registry, u *upstream) {
		g.extra = nil
		mustFetch(t, r, "verra")
		g.edit(func(tables map[string][]map[string]any) {
			for _, e := range tables["project"] {
				if number(e) == "934" {
					e["modifiedDate"] = "2026-11-23T09:00:00"
				}
			}
			for _, ledger := range []string{"retirements", "cancellations"} {
				tables[ledger] = append(tables[ledger], map[string]any{"entityId": 77, "projectId": json.Number("934"), "holdingQuantity": json.Number("1000")})
			}
		})
		mustFetch(t, r, "verra")
		if got := m.col(change.Verra, "supply", "VCS-934"); got != "1822231" {
			t.Errorf("supply is %s", got)
		}
	})
}

// A project for which the service has no usable sum does not keep the others
// from theirs.
func TestVerraUnusableSumDelaysNoOther(t *testing.T) {
	follow(t, verra.Options{}, func(t *testing.T, r *feeds.Runner, m *memory, g *registry, u *upstream) {
		g.spoil = func(_ string, r *http.Request, body search) *http.Response {
			if f := body.Filter.Model["projectId"].Filters; len(f) > 0 && f[0].Filter == "397" {
				return answer(500, "application/json", `{"status":500}`)
			}
			return nil
		}
		for range 4 {
			mustFetch(t, r, "verra")
			<-time.After(time.Minute)
		}
		if got := m.col(change.Verra, "supply", "VCS-934"); got != "1824231" {
			t.Errorf("supply of VCS-934 is %s", got)
		}
		if got := m.col(change.Verra, "supply", "VCS-397"); got != "-" {
			t.Errorf("supply of VCS-397 is made up: %s", got)
		}
		asked := len(u.requests())
		mustFetch(t, r, "verra")
		if n := len(u.requests()) - asked; n != 2 {
			t.Errorf("%d requests, the sum should rest", n)
		}
	})
}

// A stand-in on the own machine may change without a trace in the newest page, or
// fail at first: it is read in full again within ten polls, not half a day.
func TestVerraLocalIsSweptOften(t *testing.T) {
	follow(t, verra.Options{URL: "http://127.0.0.1:4711", Interval: time.Second}, func(t *testing.T, r *feeds.Runner, m *memory, g *registry, u *upstream) {
		g.spoil = func(string, *http.Request, search) *http.Response { return answer(400, "text/plain", "") }
		if _, err := fetchNow(t, r, "verra"); err == nil {
			t.Fatal("the first sweep should fail")
		}
		g.spoil = nil
		<-time.After(6 * time.Second)
		mustFetch(t, r, "verra")
		if n := m.count(change.Verra); n != 20 {
			t.Fatalf("%d projects six seconds after a failed sweep", n)
		}
		g.edit(func(tables map[string][]map[string]any) { tables["project"][0]["projectName"] = "Renamed" })
		g.spoil = func(resource string, r *http.Request, body search) *http.Response {
			if s := body.Filter.Pagination.Sort; len(s) > 0 && s[0].Dir == "DESC" {
				return asJSON(fixture(t, "verra", "testdata", "projects_modified_desc.json"))
			}
			return nil
		}
		<-time.After(11 * time.Second)
		mustFetch(t, r, "verra")
		if got := m.col(change.Verra, "project_name", "VCS-"+number(g.tables["project"][0])); got != "Renamed" {
			t.Errorf("the change has not come: %q", got)
		}
	})
}

func number(e map[string]any) string { return fmt.Sprint(e["projectId"]) }
