package legacy_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"carbond/feeds/internal/payload"
	"carbond/feeds/internal/payload/golden"
	"carbond/feeds/verra"
	"carbond/feeds/verra/legacy"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type withRows struct {
	legacy.Page[verra.Project]
	TableRows []verra.Row `json:"table_rows"`
}

func rows(p legacy.Page[verra.Project]) withRows {
	w := withRows{p, []verra.Row{}}
	for _, project := range p.Rows {
		w.TableRows = append(w.TableRows, project.Row(verra.Facts{}, verra.RowOptions{}))
	}
	return w
}

func resources(b []byte) (any, error) {
	p, err := legacy.ParseResources(b, "application/json")
	return rows(p), err
}

func assets(b []byte) (any, error) {
	v, err := legacy.ParseAssets(b, "application/json")
	return v, err
}

func projectsCSV(b []byte) (any, error) { p, err := legacy.ParseProjectsCSV(b); return rows(p), err }

func unitsCSV(b []byte) (any, error) { v, err := legacy.ParseUnitsCSV(b); return v, err }

var fixtures = map[string]func([]byte) (any, error){
	"resource_search.json":                resources,
	"resource_search_count_exceeded.json": resources,
	"resource_search_empty.json":          resources,
	"resource_search_nasty.json":          resources,
	"asset_search.json":                   assets,
	"projects.csv":                        projectsCSV,
	"vcus.csv":                            unitsCSV,
}

func TestGolden(t *testing.T) {
	t.Parallel()
	for _, name := range golden.Fixtures(t) {
		parse, ok := fixtures[name]
		if !ok {
			t.Errorf("%s: no test reads this fixture", name)
			continue
		}
		v, err := parse(golden.Read(t, name))
		if err != nil {
			t.Fatal(err)
		}
		golden.Check(t, name, v, nil)
	}
}

// The two forms of one export agree.
func TestFormsAgree(t *testing.T) {
	t.Parallel()
	fromJSON, err := legacy.ParseAssets(golden.Read(t, "asset_search.json"), "")
	if err != nil {
		t.Fatal(err)
	}
	fromCSV, err := legacy.ParseUnitsCSV(golden.Read(t, "vcus.csv"))
	if err != nil {
		t.Fatal(err)
	}
	a, _ := json.Marshal(fromJSON.Rows)
	b, _ := json.Marshal(fromCSV.Rows)
	if string(a) != string(b) {
		t.Errorf("JSON %s\nCSV  %s", a, b)
	}
}

func TestNobodyIsNamed(t *testing.T) {
	t.Parallel()
	for name, parse := range fixtures {
		v, err := parse(golden.Read(t, name))
		out, _ := json.Marshal(v)
		if err != nil || strings.Contains(string(out), "Beneficiary") {
			t.Errorf("%s: %v %s", name, err, out)
		}
	}
}

func TestBadFiles(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]error{
		"": payload.ErrEmpty, "\xef\xbb\xbf \n": payload.ErrEmpty, "<html></html>": payload.ErrHTML,
		"A,B\n1,2\n": payload.ErrShape, "ID,Status,Quantity Issued\n1,\"x\n": payload.ErrShape, "null": payload.ErrShape,
	} {
		for name, parse := range map[string]func([]byte) (any, error){"projects": projectsCSV, "units": unitsCSV} {
			if _, err := parse([]byte(body)); !errors.Is(err, want) {
				t.Errorf("%s of %q: %v, want %v", name, body, err, want)
			}
		}
	}
	for body, want := range map[string]error{
		"": payload.ErrEmpty, "null": payload.ErrNull, "<html>": payload.ErrHTML, "[]": payload.ErrShape,
		`{"value":null}`: payload.ErrShape, `{"value":{}}`: payload.ErrShape, `{"value":[`: payload.ErrTruncated, "x": payload.ErrNotJSON,
	} {
		for name, parse := range map[string]func([]byte) (any, error){"resources": resources, "assets": assets} {
			if _, err := parse([]byte(body)); !errors.Is(err, want) {
				t.Errorf("%s of %q: %v, want %v", name, body, err, want)
			}
		}
	}
}

func TestOddCSVLines(t *testing.T) {
	t.Parallel()
	p, err := legacy.ParseProjectsCSV([]byte("\xef\xbb\xbfStatus,ID,Estimated Annual Emission Reductions,Extra\r\nRegistered,934,\"1,234\",x\r\nshort,1\r\nOn Hold,none,5,x\r\nWithdrawn,2,-7,x\r\nInactive,2,,x\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	got := p.Tally
	if len(p.Rows) != 2 || got.Elements != 5 || got.Malformed != 1 || got.NoKey != 1 || got.Duplicates != 1 || got.Refused["estAnnualEmissionReductions"] != 1 {
		t.Errorf("%+v %+v", p.Rows, got)
	}
	if p.Rows[0].AnnualEstimate == nil || *p.Rows[0].AnnualEstimate != 1234 || p.Rows[1].Label != "Inactive" {
		t.Errorf("%+v", p.Rows)
	}
}

func FuzzJSON(f *testing.F) {
	golden.Seed(f, ".json")
	f.Fuzz(func(t *testing.T, body []byte) {
		if p, err := legacy.ParseResources(body, ""); err == nil && len(p.Rows)+p.Tally.Skipped()+p.Tally.Duplicates != p.Tally.Elements {
			t.Fatalf("%d rows of %+v", len(p.Rows), p.Tally)
		}
		if p, err := legacy.ParseAssets(body, ""); err == nil && len(p.Rows)+p.Tally.Skipped()+p.Tally.Duplicates != p.Tally.Elements {
			t.Fatalf("%d rows of %+v", len(p.Rows), p.Tally)
		}
	})
}

func FuzzCSV(f *testing.F) {
	golden.Seed(f, ".csv")
	f.Fuzz(func(t *testing.T, body []byte) {
		if p, err := legacy.ParseProjectsCSV(body); err == nil && len(p.Rows)+p.Tally.Skipped()+p.Tally.Duplicates != p.Tally.Elements {
			t.Fatalf("%d rows of %+v", len(p.Rows), p.Tally)
		}
		if p, err := legacy.ParseUnitsCSV(body); err == nil && len(p.Rows)+p.Tally.Skipped()+p.Tally.Duplicates != p.Tally.Elements {
			t.Fatalf("%d rows of %+v", len(p.Rows), p.Tally)
		}
	})
}
