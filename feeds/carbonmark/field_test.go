package carbonmark_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"carbond/feeds/carbonmark"
	"carbond/feeds/internal/payload/golden"
)

func num(v *float64) string {
	if v == nil {
		return "?"
	}
	return fmt.Sprint(*v)
}

func TestOnChainAmounts(t *testing.T) {
	t.Parallel()
	cases := map[string]struct{ json, text, value string }{
		"one tonne":          {`"1000000000000000000"`, "1", "1"},
		"one unit":           {`"1"`, "0.000000000000000001", "1e-18"},
		"all digits":         {`"9876543210987654321098765"`, "9876543.210987654321098765", "9.876543210987654e+06"},
		"no float between":   {`"9007199254740993000000000000000"`, "?", "?"},
		"large but possible": {`"900719925474000000000000000001"`, "900719925474.000000000000000001", "9.00719925474e+11"},
		"zero":               {`"0"`, "0", "0"},
		"leading zeros":      {`"0001000000000000000000"`, "1", "1"},
		"number literal":     {`1100000000000000000000`, "1100", "1100"},
		"upper limit":        {`"1000000000000000000000000000000"`, "1000000000000", "1e+12"},
		"above the limit":    {`"1000000000000000000000000000001"`, "?", "?"},
		"2^256-1":            {`"115792089237316195423570985008687907853269984665640564039457584007913129639935"`, "?", "?"},
		"negative":           {`"-1000000000000000000"`, "?", "?"},
		"plus":               {`"+1"`, "?", "?"},
		"commas":             {`"1,000,000"`, "?", "?"},
		"point":              {`"25922.899"`, "?", "?"},
		"exponent":           {`1e18`, "?", "?"},
		"null":               {`null`, "?", "?"},
		"empty":              {`""`, "?", "?"},
		"object":             {`{}`, "?", "?"},
		"hexadecimal":        {`"0x10"`, "?", "?"},
		"endless":            {`"` + strings.Repeat("9", 10_000) + `"`, "?", "?"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			page, err := carbonmark.ParseGraphProjects([]byte(`{"data":{"carbonProjects":[{"id":"VCS-1","carbonCredits":[{"id":"0x1","currentSupply":`+c.json+`}]}]}}`), "")
			if err != nil || len(page.Rows) != 1 {
				t.Fatal(err, page)
			}
			text, value := "?", "?"
			if s := page.Rows[0].Credits[0].Supply; s != nil {
				text, value = s.Text, fmt.Sprint(s.Value)
			}
			if text != c.text || value != c.value || num(page.Rows[0].Row().Amount) != c.value {
				t.Errorf("%s = %s", text, value)
			}
			absent := c.json == "null" || c.json == `""`
			if refused := page.Tally.Refused["carbonCredits.currentSupply"] == 1; refused != (c.text == "?" && !absent) {
				t.Errorf("refused: %v", page.Tally.Refused)
			}
		})
	}
}

// The project sums of the subgraph are exact: half units of many credits must
// not be lost as float64 would lose them.
func TestProjectSumsAreExact(t *testing.T) {
	t.Parallel()
	var list []string
	for i := range 10 {
		list = append(list, fmt.Sprintf(`{"id":"0x%d","vintage":20%d,"currentSupply":"100000000000000000000000000001"}`, i, 10+i))
	}
	body := `{"data":{"carbonProjects":[{"id":"VCS-1","carbonCredits":[` + strings.Join(list, ",") + `]}]}}`
	page, err := carbonmark.ParseGraphProjects([]byte(body), "")
	if err != nil {
		t.Fatal(err)
	}
	if got := page.Rows[0].Supply; got == nil || got.Text != "1000000000000.00000000000000001" {
		t.Errorf("sum %+v", got)
	}
	if v := page.Rows[0].Row().Vintage; v == nil || *v != 2019 {
		t.Errorf("vintage %v", v)
	}
}

// The subgraph and the service describe the same projects with the same ids, so
// either may write the table.
func TestFallbackWritesTheSameIDs(t *testing.T) {
	t.Parallel()
	ids := func(parser string, names ...string) (out []string) {
		for _, name := range names {
			v, err := parsers[parser](golden.Read(t, name), "")
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range v.(withRows).Rows.([]carbonmark.Row) {
				out = append(out, r.ID)
			}
		}
		slices.Sort(out)
		return out
	}
	rest := ids("projects", "v20_carbonProjects_page1.json", "v20_carbonProjects_page2.json")
	graph := ids("graph projects", "subgraph/carbonProjects_page1.json", "subgraph/carbonProjects_page2.json")
	if !slices.Equal(rest, graph) || len(rest) != 24 {
		t.Errorf("service  %v\nsubgraph %v", rest, graph)
	}
}

func TestAmountsOfBothSourcesAgree(t *testing.T) {
	t.Parallel()
	amounts := func(parser string, names ...string) map[string]string {
		out := map[string]string{}
		for _, name := range names {
			v, err := parsers[parser](golden.Read(t, name), "")
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range v.(withRows).Rows.([]carbonmark.Row) {
				if r.Amount != nil {
					out[r.ID] = fmt.Sprintf("%.6f", *r.Amount)
				}
			}
		}
		return out
	}
	rest := amounts("projects", "v20_carbonProjects_page1.json", "v20_carbonProjects_page2.json")
	graph := amounts("graph projects", "subgraph/carbonProjects_page1.json", "subgraph/carbonProjects_page2.json")
	for id, want := range rest {
		if graph[id] != want {
			t.Errorf("%s: service %s, subgraph %s", id, want, graph[id])
		}
	}
}

func TestPrices(t *testing.T) {
	t.Parallel()
	body := `[null,7,{"sourceId":""},
		{"sourceId":"a","purchasePrice":"1,234.5","supply":-1,"listing":{"creditId":{"vintage":"2020","projectId":" VCS-1 "}}},
		{"sourceId":"b","supply":1.5,"listing":null,"klimaprotocol":{"creditId":{"vintage":2020,"projectId":"VCS-1"}}},
		{"sourceId":"c","supply":2,"listing":{"creditId":{"vintage":1970,"projectId":"VCS-2"}}},
		{"sourceId":"d","supply":2,"listing":{"creditId":"VCS-2-2020"}},
		{"sourceId":"e","supply":2,"listing":[]},
		{"sourceId":"f","supply":"2","listing":{"creditId":{"vintage":2021,"projectId":"VCS-1"}}},
		{"sourceId":"f","supply":"3","listing":{"creditId":{"vintage":2021,"projectId":"VCS-1"}}}]`
	page, err := carbonmark.ParsePrices([]byte(body), "")
	if err != nil {
		t.Fatal(err)
	}
	tally := page.Tally
	if len(page.Rows) != 6 || tally.Nulls != 1 || tally.Malformed != 1 || tally.NoKey != 1 || tally.Duplicates != 1 ||
		tally.Refused["supply"] != 1 || tally.Refused["creditId"] != 2 || num(page.Rows[0].Purchase) != "1234.5" {
		t.Errorf("%+v %+v", page.Rows, tally)
	}
	offers := carbonmark.OffersOf(page.Rows)
	if o := offers["VCS-1"]; num(o.Price) != "1234.5" || o.Listed != nil || num(offers["VCS-2"].Listed) != "2" {
		t.Errorf("%+v", offers)
	}
}

func TestVersionNotice(t *testing.T) {
	t.Parallel()
	day := func(s string) time.Time {
		d, err := time.Parse(time.DateOnly, s)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	for name, c := range map[string]struct{ base, on, want string }{
		"current":          {carbonmark.DefaultBase, "2026-11-01", ""},
		"old by now":       {carbonmark.DefaultBase, "2026-11-23", "look for a newer one"},
		"retired":          {"https://v19.api.carbonmark.com", "2026-11-23", "was retired on 2026-11-17"},
		"not yet retired":  {"https://v19.api.carbonmark.com", "2026-11-01", ""},
		"long gone":        {"https://v3.api.carbonmark.com/", "2026-11-01", "retired long ago"},
		"newer than known": {"https://v21.api.carbonmark.com", "2027-06-01", ""},
		"no version":       {"https://api.carbonmark.com", "2026-11-01", "without a version"},
		"somebody else's":  {"http://127.0.0.1:8080", "2026-11-01", ""},
		"no address":       {"://", "2026-11-01", ""},
	} {
		got := carbonmark.VersionNotice(c.base, day(c.on))
		if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q", name, got)
		}
	}
}
