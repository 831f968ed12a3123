package feeds_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"carbond/feeds"
	"carbond/feeds/verra"
	"carbond/store/change"
)

// follow runs f with a Runner on the registry, in virtual time.
func follow(t *testing.T, opt verra.Options, f func(t *testing.T, r *feeds.Runner, m *memory, g *registry, u *upstream)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		g, m := newRegistry(t), newMemory()
		u := &upstream{handle: g.serve}
		r := runner(t, only(feeds.Options{Verra: opt, Transport: u}, "verra"), m)
		f(t, r, m, g, u)
	})
}

func TestVerraSweepOfFixtures(t *testing.T) {
	follow(t, verra.Options{}, func(t *testing.T, r *feeds.Runner, m *memory, g *registry, u *upstream) {
		for range 3 { // totals come ten projects at a time
			if _, err := fetchNow(t, r, "verra"); err != nil {
				t.Fatal(err)
			}
		}
		if n := m.count(change.Verra); n != 20 {
			t.Fatalf("%d projects", n)
		}
		states := map[string]string{
			verra.Active: "934 397 3352 1175 1340 3005 1857 4020 3777 1396", verra.UnderValidation: "5962 5957 5955 1899 4411 4999",
			verra.OnHold: "2511", verra.Inactive: "2240 818", verra.Rejected: "2121",
		}
		for want, list := range states {
			for _, n := range strings.Fields(list) {
				if got := m.col(change.Verra, "registry_status", "VCS-"+n); got != want {
					t.Errorf("VCS-%s is %s, want %s", n, got, want)
				}
			}
		}
		issued := map[string]float64{
			"934": 2636576, "397": 80113, "3352": 416014, "1175": 43072, "1340": 2655231, "3005": 100897, "1857": 91253,
			"4020": 6118, "3777": 120044, "818": 991233, "1396": 12001, "5962": 0,
		}
		gone := func(n string) (out float64) {
			for _, table := range []string{"retirements", "cancellations"} {
				for _, e := range g.tables[table] {
					if fmt.Sprint(e["projectId"]) == n {
						out += sum([]map[string]any{e})
					}
				}
			}
			return out
		}
		for n, want := range issued {
			supply := strconv.FormatFloat(want-gone(n), 'f', -1, 64)
			if want < gone(n) {
				supply = "-" // the ledgers contradict each other
			}
			if got := m.col(change.Verra, "supply", "VCS-"+n); got != supply {
				t.Errorf("supply of VCS-%s is %s, want %s", n, got, supply)
			}
		}
		for col, want := range map[string]string{"project_name": "Blue Heron Rainforest Conservation Project", "country": "Democratic Republic of the Congo", "vintage": "2022"} {
			if got := m.col(change.Verra, col, "VCS-934"); got != want {
				t.Errorf("%s is %q", col, got)
			}
		}
		if got := m.col(change.Verra, "project_name", "VCS-2240"); got != "-" {
			t.Errorf("an empty name became %q", got)
		}
		if got := m.col(change.Verra, "vintage", "VCS-5962"); got != "-" {
			t.Errorf("a project without issuances has vintage %q", got)
		}
		if b, _ := json.Marshal(m.tables); strings.Contains(string(b), "@") {
			t.Error("an address was stored")
		}
	})
}

// An unchanged registry costs two requests a minute and writes nothing; a
// changed project arrives with the next poll.
func TestVerraIncrementalPoll(t *testing.T) {
	follow(t, verra.Options{TotalsPerPoll: -1}, func(t *testing.T, r *feeds.Runner, m *memory, g *registry, u *upstream) {
		mustFetch(t, r, "verra")
		writes := m.writes()
		for range 3 {
			before := len(u.requests())
			rep := mustFetch(t, r, "verra")
			if n := len(u.requests()) - before; n != 2 || rep.Requests != 2 {
				t.Errorf("%d requests", n)
			}
		}
		if m.writes() != writes {
			t.Error("an unchanged registry was written")
		}
		g.edit(func(tables map[string][]map[string]any) {
			tables["project"][3]["modifiedDate"] = "2026-11-23T09:00:00"
			tables["project"][3]["stateCode"] = "WITHDRAWN"
		})
		id := "VCS-" + fmt.Sprint(g.tables["project"][3]["projectId"])
		rep := mustFetch(t, r, "verra")
		if rep.Written.Updated != 1 || rep.Written.Inserted != 0 || m.col(change.Verra, "registry_status", id) != verra.Inactive {
			t.Errorf("%+v, %s", rep.Written, m.col(change.Verra, "registry_status", id))
		}
	})
}

func mustFetch(t *testing.T, r *feeds.Runner, name string) feeds.Report {
	t.Helper()
	rep, err := fetchNow(t, r, name)
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

// Rows disappear after three complete sweeps without them, and only those that
// the feed wrote itself.
func TestVerraAbsence(t *testing.T) {
	follow(t, verra.Options{SweepEvery: time.Hour, TotalsPerPoll: -1}, func(t *testing.T, r *feeds.Runner, m *memory, g *registry, u *upstream) {
		_, _ = m.Write(t.Context(), []change.Edit{verraEdit(change.NewRow(v("VCS-77777"), v("Peru"), null, null))})
		for n := range 100 { // so that one project less is no shrinking
			e := map[string]any{}
			for k, v := range g.tables["project"][0] {
				e[k] = v
			}
			e["entityId"], e["projectId"], e["vcsProjectId"] = int64(200000000000)+int64(n), 100000+n, strconv.Itoa(100000+n)
			g.tables["project"] = append(g.tables["project"], e)
		}
		mustFetch(t, r, "verra")
		g.edit(func(tables map[string][]map[string]any) { tables["project"] = tables["project"][:119] })
		for sweep := 1; sweep <= 3; sweep++ {
			if m.count(change.Verra) != 121 {
				t.Fatalf("a row was deleted before sweep %d", sweep)
			}
			<-time.After(2 * time.Hour)
			mustFetch(t, r, "verra")
		}
		if m.count(change.Verra) != 120 || m.col(change.Verra, "country", "VCS-77777") != "Peru" || m.col(change.Verra, "project_id", "VCS-100099") != "" {
			t.Errorf("%d rows after three sweeps", m.count(change.Verra))
		}
	})
}

// TestVerraVintages: the issuances come out by vintage, in all as many as the project has, and
// what is known of them adds up. What the registry corrects is written over, what it does not say
// takes nothing back, and the rows go with their project.
func TestVerraVintages(t *testing.T) {
	follow(t, verra.Options{SweepEvery: time.Hour, TotalsPerPoll: 20}, func(t *testing.T, r *feeds.Runner, m *memory, g *registry, u *upstream) {
		figures := func() map[string]map[string][4]string {
			out := map[string]map[string][4]string{}
			rows, err := m.Rows(t.Context(), change.Vintages, []string{"project_id", "vintage", "issued", "retired", "cancelled", "available"})
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range rows {
				id := r.Value(0).Text
				if out[id] == nil {
					out[id] = map[string][4]string{}
				}
				out[id][r.Value(1).Text] = [4]string{r.Value(2).Text, r.Value(3).Text, r.Value(4).Text, r.Value(5).Text}
			}
			return out
		}
		mustFetch(t, r, "verra")
		added := 0
		for id, years := range figures() {
			issued := 0.0
			for year, f := range years {
				n, known := [4]float64{}, true
				for i, s := range f {
					x, err := strconv.ParseFloat(s, 64)
					n[i], known = x, known && err == nil
				}
				issued += n[0]
				if known && n[0] != n[1]+n[2]+n[3] {
					t.Errorf("%s %s does not add up: %v", id, year, n)
				} else if known {
					added++
				}
			}
			if want := sum(g.pass("issuances", by(strings.TrimPrefix(id, "VCS-")))); issued != want {
				t.Errorf("%s has %v issued, want %v", id, issued, want)
			}
		}
		if added == 0 {
			t.Error("of no vintage all is known")
		}
		_, _ = m.Write(t.Context(), []change.Edit{{Table: change.Vintages, Columns: []string{"project_id", "vintage", "retired"}, Rows: []change.Row{change.NewRow(v("VCS-934"), v("1991"), v("5"))}}})
		<-time.After(2 * time.Hour)
		mustFetch(t, r, "verra")
		if f := figures()["VCS-934"]["1991"]; f[0] != "0" || f[1] == "" {
			t.Errorf("a vintage that the registry does not know has %q", f)
		}
	})
}

// RETIRED needs issued units of which none is left.
func TestVerraRetired(t *testing.T) {
	follow(t, verra.Options{TotalsPerPoll: 20}, func(t *testing.T, r *feeds.Runner, m *memory, g *registry, u *upstream) {
		left := 6118 - sum(g.pass("retirements", by("4020"))) - sum(g.pass("cancellations", by("4020")))
		g.tables["retirements"] = slices.DeleteFunc(g.tables["retirements"], func(e map[string]any) bool { return left < 0 && fmt.Sprint(e["projectId"]) == "4020" })
		left = 6118 - sum(g.pass("retirements", by("4020"))) - sum(g.pass("cancellations", by("4020")))
		g.tables["retirements"] = append(g.tables["retirements"], map[string]any{
			"entityId": 1, "projectId": json.Number("4020"), "holdingQuantity": json.Number(fmt.Sprint(left)),
		})
		mustFetch(t, r, "verra")
		if got := m.col(change.Verra, "registry_status", "VCS-4020"); got != verra.Retired {
			t.Errorf("VCS-4020 is %s", got)
		}
		if got := m.col(change.Verra, "supply", "VCS-4020"); got != "0" {
			t.Errorf("supply is %s", got)
		}
		// A sum that ignores its filter says nothing.
		g.edit(func(map[string][]map[string]any) {
			g.spoil = func(resource string, r *http.Request, body search) *http.Response {
				if strings.HasSuffix(r.URL.Path, "aggregateResultBySearchFilter") {
					return asJSON(`{"sum": 999999999}`)
				}
				return nil
			}
		})
		old := m.writes()
		<-time.After(25 * time.Hour)
		rep, err := fetchNow(t, r, "verra")
		if err != nil || m.writes() != old || !strings.Contains(strings.Join(rep.Notes, " "), "filter was ignored") {
			t.Errorf("%v, %d writes, %v", err, m.writes()-old, rep.Notes)
		}
	})
}

// A stand-in on the own machine stands in for the whole registry, even when its
// configuration document is a copy of the real one.
func TestVerraLocalStandIn(t *testing.T) {
	follow(t, verra.Options{URL: "http://127.0.0.1:4711"}, func(t *testing.T, r *feeds.Runner, m *memory, g *registry, u *upstream) {
		begin := time.Now()
		mustFetch(t, r, "verra")
		for _, s := range u.requests() {
			if s.host != "127.0.0.1:4711" {
				t.Errorf("asked %s", s.host)
			}
		}
		if took := time.Since(begin); took > time.Second {
			t.Errorf("own machine was spared for %v", took)
		}
		if m.col(change.Verra, "supply", "VCS-934") == "-" {
			t.Error("totals did not come with the first poll")
		}
	})
}

func TestVerraDryRun(t *testing.T) {
	follow(t, verra.Options{}, func(t *testing.T, r *feeds.Runner, m *memory, g *registry, u *upstream) {
		rep, err := r.Fetch(t.Context(), "verra", true)
		if err != nil || rep.Written.Inserted != 40 || m.count(change.Verra) != 0 || m.count(change.Vintages) != 0 || len(rep.Edits) == 0 {
			t.Errorf("%+v, %v, %d rows", rep.Written, err, m.count(change.Verra))
		}
		if s := status(r, "verra"); s.Polls != 0 {
			t.Error("a dry run was counted")
		}
		if rep := mustFetch(t, r, "verra"); rep.Written.Inserted != 40 {
			t.Errorf("after it: %+v", rep.Written)
		}
	})
}
