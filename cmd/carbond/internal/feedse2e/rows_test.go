package feedse2e_test

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"carbond/proto/carbon"
)

// views is what a client reads.
type views struct {
	projects map[string]*carbon.ProjectItem
	finance  map[string]*carbon.FinanceItem
	news     map[string]*carbon.NewsItem
}

// read asks the API for everything, from the views and directly from the source,
// which must say the same.
func (d *daemon) read() views {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	v := views{map[string]*carbon.ProjectItem{}, map[string]*carbon.FinanceItem{}, map[string]*carbon.NewsItem{}}
	p, err := d.api.GetProjects(ctx, &carbon.ProjectQuery{})
	if err != nil {
		d.t.Fatal(err)
	}
	for _, i := range p.Items {
		v.projects[i.ProjectId] = i
	}
	f, err := d.api.GetFinanceData(ctx, &carbon.FinanceQuery{})
	if err != nil {
		d.t.Fatal(err)
	}
	for _, i := range f.Items {
		v.finance[i.Ticker] = i
	}
	n, err := d.api.GetNews(ctx, &carbon.NewsQuery{})
	if err != nil {
		d.t.Fatal(err)
	}
	for _, i := range n.Items {
		v.news[i.Guid] = i
	}
	if int(f.Count) != len(f.Items) || len(v.projects) != len(p.Items) || len(v.finance) != len(f.Items) || len(v.news) != len(n.Items) {
		d.t.Fatal("an item is there twice, or the count is wrong")
	}
	return v
}

// text is all that a client reads, for comparison.
func (v views) text() string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(v.projects)) {
		i := v.projects[k]
		fmt.Fprintf(&b, "%s %q %s %q %d %g\n", k, i.ProjectName, i.RegistryStatus, i.Country, i.Vintage, i.Supply)
	}
	for _, k := range slices.Sorted(maps.Keys(v.finance)) {
		i := v.finance[k]
		fmt.Fprintf(&b, "%s %g %d %g %g %d %s\n", k, i.Price, i.Volume, i.MarketCap, i.ChangePercent, i.Timestamp, i.GetCurrency())
	}
	for _, k := range slices.Sorted(maps.Keys(v.news)) {
		i := v.news[k]
		fmt.Fprintf(&b, "%s %q %q %q %t %q %q\n", k, i.Title, i.Link, i.Published, i.GetPublishedEstimated(), i.Source, i.Summary)
	}
	return b.String()
}

// goldenProject is a row as the parser's golden file has it.
type goldenProject struct {
	ProjectID      string  `json:"project_id"`
	ProjectName    string  `json:"project_name"`
	ProjectLink    string  `json:"project_link"`
	RegistryStatus string  `json:"registry_status"`
	Country        string  `json:"country"`
	Vintage        int32   `json:"vintage"`
	Supply         float64 `json:"supply"`
}

func goldenProjects(t testing.TB) (out []goldenProject) {
	t.Helper()
	var file struct{ Value []goldenProject }
	golden(t, "verra/testdata/golden/sweep_rows.json", &file)
	return file.Value
}

// marketNames are the names that Carbonmark has, by project.
func marketNames(t testing.TB) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, page := range []string{"1", "2"} {
		var file struct {
			Value struct {
				Parsed struct{ Rows []struct{ Key, Name string } }
			}
		}
		golden(t, "carbonmark/testdata/golden/v20_carbonProjects_page"+page+".json.json", &file)
		for _, r := range file.Value.Parsed.Rows {
			out[r.Key] = r.Name
		}
	}
	if len(out) != 24 {
		t.Fatalf("the golden files hold %d names", len(out))
	}
	return out
}

// checkProjects compares the view with the golden rows, names joined.
func checkProjects(t testing.TB, got map[string]*carbon.ProjectItem) {
	t.Helper()
	names, joined := marketNames(t), 0
	want := goldenProjects(t)
	// The marketplace makes projects of registries that have no feed.
	others := slices.Sorted(maps.Keys(got))
	others = slices.DeleteFunc(others, func(id string) bool { return strings.HasPrefix(id, "VCS-") })
	if len(got)-len(others) != len(want) || len(others) != 3 {
		t.Errorf("%d projects, want %d, and 3 of other registries: %q", len(got), len(want), others)
	}
	for _, w := range want {
		if n := names[w.ProjectID]; n != "" {
			if n != w.ProjectName {
				joined++
			}
			w.ProjectName = n
		}
		g := got[w.ProjectID]
		if g.GetProjectName() != w.ProjectName || g.GetRegistryStatus() != w.RegistryStatus || g.GetCountry() != w.Country ||
			g.GetVintage() != w.Vintage || math.Abs(g.GetSupply()-w.Supply) > 0.001 {
			t.Errorf("project %s: got %v, want %+v", w.ProjectID, g, w)
		}
	}
	if joined == 0 {
		t.Error("no name comes from the marketplace: the join is not proved")
	}
}

// checkFinance compares the view with the golden rows of the three batches.
func checkFinance(t testing.TB, got map[string]*carbon.FinanceItem) {
	t.Helper()
	if len(got) != 47 {
		t.Errorf("%d tickers", len(got))
	}
	for _, batch := range []string{"1", "2", "3"} {
		var file struct {
			Rows []struct {
				Ticker        string
				Price         float64
				Volume        int64
				ChangePercent float64 `json:"change_percent"`
				Timestamp     int64
				Currency      string
			}
		}
		golden(t, "finance/testdata/golden/spark_batch"+batch+".json.json", &file)
		for _, w := range file.Rows {
			g := got[w.Ticker]
			if g.GetPrice() != w.Price || g.GetVolume() != w.Volume || math.Abs(g.GetChangePercent()-w.ChangePercent) > 1e-9 || g.GetTimestamp() != w.Timestamp || g.GetCurrency() != w.Currency || w.Currency == "" {
				t.Errorf("ticker %s: got %v, want %+v", w.Ticker, g, w)
			}
		}
	}
	if got["TSLA"].GetMarketCap() <= 0 || got["KRBN"].GetMarketCap() != 0 {
		t.Errorf("market caps: a company has %g, a fund %g", got["TSLA"].GetMarketCap(), got["KRBN"].GetMarketCap())
	}
}

// checkNews compares the view with the golden stories of every outlet.
func checkNews(t testing.TB, got map[string]*carbon.NewsItem) {
	t.Helper()
	total := map[string]bool{}
	for outlet, file := range outlets {
		var doc struct {
			Items []struct {
				GUID, Title, Link, Published, Summary string
				DateEstimated                         bool `json:"date_estimated"`
			}
		}
		golden(t, "news/testdata/golden/"+file+".json", &doc)
		for _, w := range doc.Items {
			total[w.GUID] = true
			g := got[w.GUID]
			if g.GetTitle() != w.Title || g.GetLink() != w.Link || g.GetPublished() != w.Published || g.GetSummary() != w.Summary || g.GetSource() != outlet || g.GetPublishedEstimated() != w.DateEstimated {
				t.Errorf("%s: got %v, want %+v", outlet, g, w)
			}
		}
	}
	if len(got) != len(total) || len(total) < 50 {
		t.Errorf("%d stories, want %d", len(got), len(total))
	}
}
