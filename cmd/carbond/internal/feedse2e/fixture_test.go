package feedse2e_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"carbond/cmd/carbond/internal/programtest"
	"carbond/feeds/news"
)

// planted is an address that stands where upstreams are known to have them.
const planted = "planted.person@example.net"

// fixture reads a file of the feeds' test data.
func fixture(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(programtest.Module, "feeds", filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// golden decodes a golden file.
func golden(t testing.TB, name string, v any) {
	t.Helper()
	if err := json.Unmarshal(fixture(t, name), v); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// stand plays all four upstreams from the fixture files.
type stand struct {
	verra, carbonmark, finance, news *upstream
}

// outlets are the news feeds of a stand: outlet name to fixture. Each stands for
// a kind of document.
var outlets = map[string]string{
	"The Guardian":      "guardian_environment.xml",
	"BBC":               "bbc_science_environment.xml.gz",
	"Carbon Herald":     "wordpress_carbonherald.xml",
	"Climate Home News": "atom.xml",
	"Deutsche Welle":    "rdf_rss10.xml",
	"Windows":           "windows1252_declared.xml",
	"Financial Times":   "ft_climate_capital.xml",
	"Aggregator":        "googlenews_ap.xml", // carries an address of its webmaster
	"Reuters":           "gdelt_reuters.json",
}

// feedNames are the names of all feeds of a stand.
func feedNames() []string {
	names := []string{"verra", "carbonmark", "finance"}
	for o := range outlets {
		names = append(names, "news/"+strings.ToLower(strings.ReplaceAll(o, " ", "-")))
	}
	slices.Sort(names)
	return names
}

func newStand(t testing.TB) *stand {
	return &stand{
		verra:      newUpstream(t, registry(t)),
		carbonmark: newUpstream(t, market(t)),
		finance:    newUpstream(t, quotes(t)),
		news:       newUpstream(t, press(t)),
	}
}

func (s *stand) all() []*upstream { return []*upstream{s.verra, s.carbonmark, s.finance, s.news} }

// config is a configuration that reads the stand, a poll each second.
func (s *stand) config(extra string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "feeds:\n  interval: 1s\n  verra_url: %s\n  carbonmark_url: %s\n  finance_url: %s\n  finance_cookie_url: %s/cookie\n  news_urls:\n",
		s.verra.URL, s.carbonmark.URL, s.finance.URL, s.finance.URL)
	for name, file := range outlets {
		if file == "gdelt_reuters.json" {
			fmt.Fprintf(&b, "    %s: %q\n", name, news.GDELTURL(s.news.URL, `"carbon credits"`))
			continue
		}
		fmt.Fprintf(&b, "    %s: %s/%s\n", name, s.news.URL, file)
	}
	return b.String() + extra
}

func sendJSON(w http.ResponseWriter, b []byte) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(b)
}

// units is a ledger of the registry by project.
type units map[int64]float64

func ledger(t testing.TB, name string) units {
	t.Helper()
	var page struct {
		Entities []struct {
			ProjectID       int64
			HoldingQuantity float64
		}
	}
	golden(t, "verra/testdata/"+name, &page)
	out := units{}
	for _, e := range page.Entities {
		out[e.ProjectID] += e.HoldingQuantity
		out[0] += e.HoldingQuantity
	}
	return out
}

// registry replays Verra: two pages of projects, the newest ones, issuances, and
// sums over the ledgers that the fixtures hold.
func registry(t testing.TB) http.Handler {
	env := fixture(t, "verra/testdata/environment_config.json")
	pages := map[string][]byte{}
	for key, file := range map[string]string{
		"project ASC 0": "projects_page_first", "project ASC 12": "projects_page_last", "project DESC 0": "projects_modified_desc",
		"issuances ASC 0": "issuances_page", "issuances DESC 0": "issuances_page",
	} {
		pages[key] = bytes.ReplaceAll(fixture(t, "verra/testdata/"+file+".json"),
			[]byte("Invented description for test project 934."), []byte("Invented description for test project 934. Write to "+planted+"."))
	}
	sums := map[string]units{
		"issuances": ledger(t, "issuances_page.json"), "retirements": ledger(t, "retirements_page.json"), "cancellations": ledger(t, "cancellations_page.json"),
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/config/environment.config.json") {
			sendJSON(w, env)
			return
		}
		if h := r.Header; h.Get("registry") != "VERRA" || h.Get("standardid") != "150000000000001" || h.Get("appkey") != "EXAMPLE-PUBLIC-CLIENT-ID" {
			http.Error(w, "{}", http.StatusInternalServerError)
			return
		}
		q := readSearch(r)
		resource, call := path.Base(path.Dir(r.URL.Path)), path.Base(r.URL.Path)
		if call == "aggregateResultBySearchFilter" {
			sendJSON(w, fmt.Appendf(nil, `{"average":0,"sum":%g,"total":0,"additionalTotals":null}`, sums[resource][q.project]))
			return
		}
		if page := pages[fmt.Sprintf("%s %s %d", resource, q.dir, q.start)]; page != nil {
			sendJSON(w, page)
			return
		}
		sendJSON(w, fixture(t, "verra/testdata/empty_page_past_end.json"))
	})
}

// asked is what a search of the registry wants.
type asked struct {
	start   int
	dir     string // of the sort
	project int64  // filter, 0 for none
}

func readSearch(r *http.Request) (a asked) {
	var in struct {
		Filter struct {
			Pagination struct {
				Start int
				Sort  []struct{ Dir string } `json:"sortOptions"`
			}
			Model map[string]struct {
				Filters []struct {
					Filter json.Number
				} `json:"columnFilters"`
			} `json:"filterModel"`
		} `json:"searchFilter"`
	}
	if json.NewDecoder(r.Body).Decode(&in) != nil {
		return a
	}
	a.start = in.Filter.Pagination.Start
	if s := in.Filter.Pagination.Sort; len(s) > 0 {
		a.dir = s[0].Dir
	}
	if f := in.Filter.Model["projectId"].Filters; len(f) > 0 {
		a.project, _ = f[0].Filter.Int64()
	}
	return a
}

// market replays Carbonmark: two pages and what comes after them.
func market(t testing.TB) http.Handler {
	pages := map[string][]byte{
		"0": fixture(t, "carbonmark/testdata/v20_carbonProjects_page1.json"), "12": fixture(t, "carbonmark/testdata/v20_carbonProjects_page2.json"),
	}
	past := fixture(t, "carbonmark/testdata/v20_carbonProjects_page_past_end.json")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		offset := r.URL.Query().Get("offset")
		if offset == "" {
			offset = "0"
		}
		if p := pages[offset]; p != nil && r.URL.Path == "/carbonProjects" {
			sendJSON(w, p)
			return
		}
		sendJSON(w, past)
	})
}

// quotes replays Yahoo: three batches of prices, a cookie, a crumb and the quotes
// that want both.
func quotes(t testing.TB) http.Handler {
	batches := map[string][]byte{} // by the first symbol that is asked for
	for i, first := range []string{"KRBN", "RUN", "OXY"} {
		batches[first] = fixture(t, fmt.Sprintf("finance/testdata/yahoo/spark_batch%d.json", i+1))
	}
	crumb, caps := fixture(t, "finance/testdata/yahoo/crumb.txt"), fixture(t, "finance/testdata/yahoo/quote_47.json")
	denied := fixture(t, "finance/testdata/yahoo/quote_401_invalid_crumb.json")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cookie, err := r.Cookie("A3")
		in := err == nil && cookie.Value == "fixture"
		first, _, _ := strings.Cut(r.URL.Query().Get("symbols"), ",")
		switch p := r.URL.Path; {
		case p == "/cookie":
			http.SetCookie(w, &http.Cookie{Name: "A3", Value: "fixture"})
			http.NotFound(w, r)
		case p == "/v1/test/getcrumb" && in:
			_, _ = w.Write(crumb)
		case p == "/v7/finance/spark" && batches[first] != nil:
			sendJSON(w, batches[first])
		case p == "/v7/finance/quote" && in && r.URL.Query().Get("crumb") == strings.TrimSpace(string(crumb)):
			sendJSON(w, caps)
		default:
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = w.Write(denied)
		}
	})
}

// press replays the news feeds, with validators.
func press(t testing.TB) http.Handler {
	types := map[string]string{".xml": "application/xml", ".gz": "application/rss+xml", ".json": "application/json"}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := path.Base(r.URL.Path)
		if strings.HasSuffix(r.URL.Path, news.GDELTPath) {
			name = "gdelt_reuters.json"
		}
		b, err := os.ReadFile(filepath.Join(programtest.Module, "feeds/news/testdata/news", name))
		if err != nil {
			http.NotFound(w, r)
			return
		}
		sum := sha256.Sum256(b)
		tag := `"` + hex.EncodeToString(sum[:6]) + `"`
		w.Header().Set("ETag", tag)
		if r.Header.Get("If-None-Match") == tag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		w.Header().Set("Content-Type", types[path.Ext(name)])
		if strings.HasSuffix(name, ".gz") {
			w.Header().Set("Content-Encoding", "gzip")
		}
		_, _ = w.Write(b)
	})
}
