package feeds_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"carbond/feeds"
	"carbond/feeds/internal/fetch"
	"carbond/feeds/verra"
	"carbond/store/change"
)

// Everything that FEEDS knows the registry to do wrong leaves the stored
// projects as they are and names the failure.
func TestVerraTraps(t *testing.T) {
	page := func(t *testing.T, f string) func(string, *http.Request, search) *http.Response {
		body, typ := fixture(t, "verra", "testdata", f), "application/json"
		if strings.HasSuffix(f, ".html") {
			typ = "text/html"
		}
		return func(string, *http.Request, search) *http.Response { return answer(200, typ, body) }
	}
	tests := map[string]struct {
		spoil func(t *testing.T) func(string, *http.Request, search) *http.Response
		kind  fetch.Kind
	}{
		"web page": {func(t *testing.T) func(string, *http.Request, search) *http.Response {
			return page(t, "html_200_shell.html")
		}, fetch.KindHTML},
		"cut off": {func(t *testing.T) func(string, *http.Request, search) *http.Response {
			return page(t, "truncated.json")
		}, fetch.KindTruncated},
		"shrunk": {func(t *testing.T) func(string, *http.Request, search) *http.Response {
			return page(t, "projects_shrunk.json")
		}, fetch.KindShrunk},
		"no entities": {func(t *testing.T) func(string, *http.Request, search) *http.Response {
			return page(t, "wrong_standardid_200.json")
		}, fetch.KindEmpty},
		"empty body": {func(t *testing.T) func(string, *http.Request, search) *http.Response {
			return page(t, "empty_body.txt")
		}, fetch.KindEmpty},
		"null": {func(t *testing.T) func(string, *http.Request, search) *http.Response {
			return page(t, "null_body.json")
		}, fetch.KindEmpty},
		"bare array": {func(t *testing.T) func(string, *http.Request, search) *http.Response {
			return page(t, "empty_array.json")
		}, fetch.KindInvalid},
		"error object": {func(t *testing.T) func(string, *http.Request, search) *http.Response {
			return page(t, "error_500_generic.json")
		}, fetch.KindInvalid},
		"half of the rows": {func(t *testing.T) func(string, *http.Request, search) *http.Response {
			return page(t, "projects_nasty.json")
		}, fetch.KindTruncated},
		"status 500": {func(*testing.T) func(string, *http.Request, search) *http.Response {
			return func(string, *http.Request, search) *http.Response { return answer(500, "text/plain", "") }
		}, fetch.KindHTTPStatus},
		"connection refused": {func(*testing.T) func(string, *http.Request, search) *http.Response {
			return func(string, *http.Request, search) *http.Response { panic(http.ErrAbortHandler) }
		}, fetch.KindInvalid},
	}
	for name, tc := range tests {
		for _, sweep := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/sweep=%v", name, sweep), func(t *testing.T) {
				opt := verra.Options{TotalsPerPoll: -1, SweepEvery: time.Hour}
				follow(t, opt, func(t *testing.T, r *feeds.Runner, m *memory, g *registry, u *upstream) {
					mustFetch(t, r, "verra")
					old, _ := json.Marshal(m.tables)
					g.edit(func(tables map[string][]map[string]any) { g.spoil = tc.spoil(t) })
					if sweep {
						<-time.After(2 * time.Hour)
					}
					_, err := fetchNow(t, r, "verra")
					if sweep || name != "half of the rows" { // an incremental page is a part by nature
						if k := fetch.KindOf(err); k != tc.kind {
							t.Errorf("kind %q, want %q: %v", k, tc.kind, err)
						}
						if s := status(r, "verra"); s.State != "failing" || s.LastErrorKind != tc.kind || s.LastError == "" || s.Advice == "" {
							t.Errorf("status %+v", s)
						}
						if now, _ := json.Marshal(m.tables); string(now) != string(old) {
							t.Error("stored rows changed")
						}
					}
					g.edit(func(map[string][]map[string]any) { g.spoil = nil })
					<-time.After(2 * time.Hour)
					mustFetch(t, r, "verra")
					if s := status(r, "verra"); s.State != "ok" || m.count(change.Verra) < 20 {
						t.Errorf("not recovered: %+v", s)
					}
				})
			})
		}
	}
}

// A page that repeats and drops rows, as an unstable sort does.
func TestVerraUnstableSortIsRefused(t *testing.T) {
	follow(t, verra.Options{}, func(t *testing.T, r *feeds.Runner, m *memory, g *registry, u *upstream) {
		big := g.tables["project"]
		for n := range 1000 {
			e := map[string]any{}
			for k, v := range big[0] {
				e[k] = v
			}
			e["entityId"], e["projectId"], e["vcsProjectId"] = 200000000000+n, 100000+n, strconv.Itoa(100000+n)
			g.tables["project"] = append(g.tables["project"], e)
		}
		g.spoil = func(resource string, _ *http.Request, body search) *http.Response {
			if p := &body.Filter.Pagination; resource == "project" && p.Start >= 400 {
				p.Start -= 300 // rows slid between pages
				rows := g.page(resource, body)
				return rows
			}
			return nil
		}
		_, err := fetchNow(t, r, "verra")
		if k := fetch.KindOf(err); k != fetch.KindTruncated || m.count(change.Verra) != 0 {
			t.Errorf("%v with %d rows", err, m.count(change.Verra))
		}
	})
}

// The registry's answer to a wrong standard is an empty one; the right id is
// looked up and used from the next poll on.
func TestVerraStandardIsCorrected(t *testing.T) {
	follow(t, verra.Options{}, func(t *testing.T, r *feeds.Runner, m *memory, g *registry, u *upstream) {
		g.standard = "150000000000777"
		_, err := fetchNow(t, r, "verra")
		if fetch.KindOf(err) != fetch.KindEmpty {
			t.Fatal(err)
		}
		<-time.After(time.Hour)
		mustFetch(t, r, "verra")
		if m.count(change.Verra) != 20 {
			t.Error("no projects")
		}
	})
}

// A key that expired is read again from the configuration document, once.
func TestVerraReadsConfigurationAgain(t *testing.T) {
	follow(t, verra.Options{TotalsPerPoll: -1}, func(t *testing.T, r *feeds.Runner, m *memory, g *registry, u *upstream) {
		mustFetch(t, r, "verra")
		g.edit(func(map[string][]map[string]any) {
			g.env = strings.ReplaceAll(g.env, g.key, "NEW-KEY")
			g.key = "NEW-KEY"
		})
		mustFetch(t, r, "verra")
		g.edit(func(map[string][]map[string]any) { g.key = "UNKNOWN" })
		before := len(u.requests())
		_, err := fetchNow(t, r, "verra")
		if fetch.KindOf(err) != fetch.KindAuth {
			t.Fatal(err)
		}
		if n := len(u.requests()) - before; n != 3 {
			t.Errorf("%d requests, want search, document, search", n)
		}
		s := status(r, "verra")
		if wait := time.Until(s.NextDue); wait != time.Hour {
			t.Errorf("waits %v after a refusal", wait)
		}
		if strings.Contains(s.LastError, "KEY") || strings.Contains(s.LastError, "UNKNOWN") {
			t.Error("the key is shown")
		}
	})
}

// More issuances than the service can page are read by vintage; a filter that
// is ignored is noticed.
func TestVerraIssuancesByVintage(t *testing.T) {
	many := func(g *registry) {
		for n := range 12_000 {
			vintage := strconv.Itoa(2005 + n%20)
			if n%1000 == 0 {
				vintage = "2003 - 2004"
			}
			if n%3000 == 1 {
				vintage = "odd"
			}
			g.tables["issuances"] = append(g.tables["issuances"], map[string]any{
				"entityId": 300000000000 + n, "projectId": 397, "vintage": vintage, "holdingQuantity": json.Number("1"),
				"modifiedDate": "2026-01-01T00:00:00",
			})
		}
	}
	follow(t, verra.Options{}, func(t *testing.T, r *feeds.Runner, m *memory, g *registry, u *upstream) {
		many(g)
		mustFetch(t, r, "verra")
		want := 80113 + 12_000 - sum(g.pass("retirements", by("397"))) - sum(g.pass("cancellations", by("397")))
		if got := m.col(change.Verra, "supply", "VCS-397"); got != strconv.FormatFloat(want, 'f', -1, 64) {
			t.Errorf("supply is %s, want %v", got, want)
		}
		for _, s := range u.requests() {
			var b search
			_ = json.Unmarshal([]byte(s.body), &b)
			if b.Filter.Pagination.Start > 10_000 || b.Filter.Pagination.Limit > 400 {
				t.Errorf("asked beyond the limits: %s", s.body)
			}
		}
	})
	follow(t, verra.Options{}, func(t *testing.T, r *feeds.Runner, m *memory, g *registry, u *upstream) {
		many(g)
		g.spoil = func(resource string, _ *http.Request, body search) *http.Response {
			if len(body.Filter.Model) > 0 && resource == "issuances" {
				body.Filter.Model = nil
				return g.page(resource, body)
			}
			return nil
		}
		_, err := fetchNow(t, r, "verra")
		if err == nil || !strings.Contains(err.Error(), "was ignored") {
			t.Errorf("an ignored filter passed: %v", err)
		}
		if m.count(change.Verra) != 20 || m.col(change.Verra, "supply", "VCS-397") != "-" && m.col(change.Verra, "supply", "VCS-397") != "" {
			t.Error("supply was made up")
		}
	})
}

func by(project string) (s search) {
	_ = json.Unmarshal([]byte(`{"searchFilter":{"filterModel":{"projectId":{"columnFilters":[{"filter":"`+project+`"}]}}}}`), &s)
	return s
}

// A write that fails is made good by the next poll.
func TestVerraFailedWrite(t *testing.T) {
	follow(t, verra.Options{TotalsPerPoll: -1}, func(t *testing.T, r *feeds.Runner, m *memory, g *registry, u *upstream) {
		mustFetch(t, r, "verra")
		g.edit(func(tables map[string][]map[string]any) {
			tables["project"][3]["modifiedDate"], tables["project"][3]["projectName"] = "2026-11-23T09:00:00", "Renamed"
		})
		m.fail = errors.New("disk full")
		_, err := fetchNow(t, r, "verra")
		if fetch.KindOf(err) != fetch.KindWrite {
			t.Fatal(err)
		}
		m.fail = nil
		mustFetch(t, r, "verra")
		if got := m.col(change.Verra, "project_name", "VCS-"+fmt.Sprint(g.tables["project"][3]["projectId"])); got != "Renamed" {
			t.Errorf("the change was lost: %s", got)
		}
	})
}
