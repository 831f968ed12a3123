package verra_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"carbond/feeds/internal/payload"
	"carbond/feeds/internal/payload/golden"
	"carbond/feeds/verra"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const jsonType = "application/json"

// parsers name each way to read a body, for the golden and the fuzz tests.
var parsers = map[string]func([]byte, string) (any, error){
	"environment": func(b []byte, ct string) (any, error) { e, err := verra.ParseEnvironment(b, ct); return e, err },
	"standards":   func(b []byte, ct string) (any, error) { v, err := verra.ParseStandards(b, ct); return v, err },
	"projects": func(b []byte, ct string) (any, error) {
		v, err := verra.ParseProjects(b, ct)
		return projectsAndRows(v), err
	},
	"issuances":     func(b []byte, ct string) (any, error) { v, err := verra.ParseIssuances(b, ct); return v, err },
	"retirements":   func(b []byte, ct string) (any, error) { v, err := verra.ParseRetirements(b, ct); return v, err },
	"cancellations": func(b []byte, ct string) (any, error) { v, err := verra.ParseCancellations(b, ct); return v, err },
	"aggregate":     func(b []byte, ct string) (any, error) { v, err := verra.ParseAggregate(b, ct); return v, err },
}

// projectsAndRows adds the table rows, as they are while units are unknown.
func projectsAndRows(p verra.Page[verra.Project]) any {
	rows := []verra.Row{}
	for _, project := range p.Rows {
		rows = append(rows, project.Row(verra.Facts{}, verra.RowOptions{}))
	}
	return struct {
		verra.Page[verra.Project]
		TableRows []verra.Row `json:"table_rows"`
	}{p, rows}
}

// fixtures says by which parser each file is read, and which named error it
// must give.
var fixtures = map[string]struct {
	parser string
	err    error
}{
	"environment_config.json":        {parser: "environment"},
	"standards_by_registry.json":     {parser: "standards"},
	"projects_page_first.json":       {parser: "projects"},
	"projects_page_last.json":        {parser: "projects"},
	"projects_modified_desc.json":    {parser: "projects"},
	"projects_by_id_934.json":        {parser: "projects"},
	"projects_nasty.json":            {parser: "projects"},
	"projects_shrunk.json":           {parser: "projects"},
	"empty_page_past_end.json":       {parser: "projects"},
	"issuances_page.json":            {parser: "issuances"},
	"issuances_nasty.json":           {parser: "issuances"},
	"retirements_page.json":          {parser: "retirements"},
	"cancellations_page.json":        {parser: "cancellations"},
	"issuances_aggregate.json":       {parser: "aggregate"},
	"holdings_aggregate.json":        {parser: "aggregate"},
	"retirements_aggregate.json":     {parser: "aggregate"},
	"retirements_aggregate_934.json": {parser: "aggregate"},
	"wrong_standardid_200.json":      {"projects", verra.ErrNoEntities},
	"empty_array.json":               {"projects", payload.ErrShape},
	"null_body.json":                 {"projects", payload.ErrNull},
	"empty_body.txt":                 {"projects", payload.ErrEmpty},
	"error_401.json":                 {"projects", payload.ErrShape},
	"error_429.http":                 {"projects", payload.ErrShape},
	"error_500_generic.json":         {"projects", payload.ErrShape},
	"truncated.json":                 {"projects", payload.ErrTruncated},
	"html_200_shell.html":            {"projects", payload.ErrHTML},
	"cloudflare_challenge_403.html":  {"projects", payload.ErrHTML},
	"maintenance_503.html":           {"projects", payload.ErrHTML},
}

func TestGolden(t *testing.T) {
	t.Parallel()
	for _, name := range golden.Fixtures(t) {
		f, ok := fixtures[name]
		if !ok {
			t.Errorf("%s: no test reads this fixture", name)
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body, _, _ := golden.Body(t, name)
			v, err := parsers[f.parser](body, jsonType)
			if !errors.Is(err, f.err) {
				t.Fatalf("error %v, want %v", err, f.err)
			}
			golden.Check(t, name, v, err)
		})
	}
}

// Every parser names its error for every body that is not the one it reads.
func TestForeignBodiesGiveNamedErrors(t *testing.T) {
	t.Parallel()
	bad := map[string]error{
		"html_200_shell.html": payload.ErrHTML, "maintenance_503.html": payload.ErrHTML,
		"cloudflare_challenge_403.html": payload.ErrHTML, "empty_body.txt": payload.ErrEmpty,
		"null_body.json": payload.ErrNull, "truncated.json": payload.ErrTruncated,
	}
	for file, want := range bad {
		for name, parse := range parsers {
			if _, err := parse(golden.Read(t, file), jsonType); !errors.Is(err, want) {
				t.Errorf("%s of %s: %v, want %v", name, file, err, want)
			}
		}
	}
	for name, parse := range parsers {
		for _, body := range []string{"Too Many Requests\r\n", `"text"`, "[[]]", "{}", "17", "true"} {
			v, err := parse([]byte(body), "text/plain")
			if !errors.Is(err, payload.ErrNotJSON) && !errors.Is(err, payload.ErrShape) {
				t.Errorf("%s of %q: %v, %v", name, body, v, err)
			}
		}
	}
}

func sweep(tb testing.TB) []verra.Project {
	tb.Helper()
	var all []verra.Project
	for _, name := range []string{"projects_page_first.json", "projects_page_last.json"} {
		page, err := verra.ParseProjects(golden.Read(tb, name), jsonType)
		if err != nil {
			tb.Fatal(err)
		}
		all = append(all, page.Rows...)
	}
	return all
}

func units(tb testing.TB, name string, parse func([]byte, string) (verra.Page[verra.Units], error)) []verra.Units {
	tb.Helper()
	page, err := parse(golden.Read(tb, name), jsonType)
	if err != nil {
		tb.Fatal(err)
	}
	return page.Rows
}

func TestSweepStatuses(t *testing.T) {
	t.Parallel()
	want := map[string][]int64{
		verra.Active:          {934, 397, 3352, 1175, 1340, 3005, 1857, 4020, 3777, 1396},
		verra.UnderValidation: {5962, 5957, 5955, 1899, 4411, 4999},
		verra.OnHold:          {2511},
		verra.Inactive:        {2240, 818},
		verra.Rejected:        {2121},
	}
	got := map[string][]int64{}
	for _, p := range sweep(t) {
		r := p.Row(verra.Facts{}, verra.RowOptions{})
		got[r.RegistryStatus] = append(got[r.RegistryStatus], p.Number)
		if r.Supply != nil || r.Vintage != nil {
			t.Errorf("%s: supply or vintage without units", r.ProjectID)
		}
	}
	if len(got) != len(want) {
		t.Fatalf("statuses %v", got)
	}
	for status, ids := range want {
		slices.Sort(ids)
		slices.Sort(got[status])
		if !slices.Equal(got[status], ids) {
			t.Errorf("%s: %v, want %v", status, got[status], ids)
		}
	}
}

func TestSweepIssuedSupply(t *testing.T) {
	t.Parallel()
	want := map[int64]float64{
		934: 2_636_576, 397: 80_113, 3352: 416_014, 1175: 43_072, 1340: 2_655_231, 3005: 100_897,
		1857: 91_253, 4020: 6_118, 3777: 120_044, 818: 991_233, 1396: 12_001,
	}
	l := verra.NewLedger()
	l.Add(verra.Issuances, units(t, "issuances_page.json", verra.ParseIssuances)...)
	l.SetComplete(verra.Issuances, true)
	var total float64
	for _, p := range sweep(t) {
		f := l.Facts(p.Number)
		if f.Issued == nil || *f.Issued != want[p.Number] {
			t.Errorf("%s: issued %v, want %v", p.ProjectID, f.Issued, want[p.Number])
			continue
		}
		total += *f.Issued
	}
	if sum, err := verra.ParseAggregate(golden.Read(t, "issuances_aggregate.json"), jsonType); err != nil || sum != total {
		t.Errorf("registry's sum %v, %v; ours %v", sum, err, total)
	}
}

// The whole fixture registry joined into table rows.
func TestSweepRows(t *testing.T) {
	t.Parallel()
	l := verra.NewLedger()
	l.Add(verra.Issuances, units(t, "issuances_page.json", verra.ParseIssuances)...)
	l.Add(verra.Retirements, units(t, "retirements_page.json", verra.ParseRetirements)...)
	l.Add(verra.Cancellations, units(t, "cancellations_page.json", verra.ParseCancellations)...)
	for _, r := range []verra.Resource{verra.Issuances, verra.Retirements, verra.Cancellations} {
		l.SetComplete(r, true)
	}
	type joined struct {
		verra.Row
		Facts verra.Facts `json:"facts"`
	}
	var rows []joined
	for _, p := range sweep(t) {
		f := l.Facts(p.Number)
		rows = append(rows, joined{p.Row(f, verra.RowOptions{}), f})
	}
	golden.Check(t, "sweep_rows", rows, nil)
}

// Retirement rows carry the mail address of whoever asked for the notice. No
// output of the package may hold one, whatever field it stands in.
func TestNoAddressIsEverDecoded(t *testing.T) {
	t.Parallel()
	in := golden.Read(t, "retirements_page.json")
	if !bytes.Contains(in, []byte("emailNotification")) {
		t.Fatal("fixture no longer proves anything")
	}
	for name, parse := range parsers {
		for _, b := range [][]byte{
			in,
			bytes.ReplaceAll(in, []byte(`"serialNo": "`), []byte(`"serialNo": "someone@example.org `)),
			[]byte(`{"totalEntities":1,"entities":[{"projectId":1,"entityId":1,"emailNotification":"someone@example.org","projectName":"someone@example.org","projectDescription":"ask someone@example.org","countryName":"someone@example.org","stateCode":"someone@example.org","status":"someone@example.org","vintage":"someone@example.org","modifiedDate":"someone@example.org"}]}`),
		} {
			v, err := parse(b, jsonType)
			out, jsonErr := json.Marshal(v)
			if jsonErr != nil {
				t.Fatal(jsonErr)
			}
			if err != nil {
				out = append(out, err.Error()...)
			}
			if lower := strings.ToLower(string(out)); strings.Contains(lower, "@") || strings.Contains(lower, "example.org") || strings.Contains(lower, "email") {
				t.Errorf("%s: %s", name, out)
			}
		}
	}
}
