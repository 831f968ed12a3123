package verra_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"carbond/feeds/internal/payload/golden"
	"carbond/feeds/verra"
)

func client(tb testing.TB) verra.Client {
	tb.Helper()
	env, err := verra.ParseEnvironment(golden.Read(tb, "environment_config.json"), jsonType)
	if err != nil {
		tb.Fatal(err)
	}
	return verra.Client{Env: env, Standard: verra.VCS(), Extra: map[string]string{"Origin": "https://registry.verra.org"}}
}

func TestRequests(t *testing.T) {
	t.Parallel()
	c := client(t)
	const es = "https://prod-us.api.platts.com/ci-raas-prod/raas-report-api/es/public/"
	cases := map[string]struct {
		build           func() (verra.Request, error)
		url, body, verb string
	}{
		"sweep page": {
			func() (verra.Request, error) {
				return c.Search(verra.Search{Resource: verra.Projects, Start: 400, Sort: []verra.Sort{verra.SortSweep()}})
			},
			es + "project/publicReportPageSearch",
			`{"searchFilter":{"pagination":{"start":400,"limit":400,"sortOptions":[{"sort":"entityId","dir":"ASC"}]},"filterModel":{}}}`, "POST",
		},
		"changed, filtered": {
			func() (verra.Request, error) {
				return c.Search(verra.Search{
					Resource: verra.Issuances, Limit: 50, Sort: []verra.Sort{verra.SortChanged()},
					Filters: []verra.Filter{verra.ByVintage("2003 - 2004"), verra.ByProject(934)},
				})
			},
			es + "issuances/publicReportPageSearch",
			`{"searchFilter":{"pagination":{"start":0,"limit":50,"sortOptions":[{"sort":"modifiedDate","dir":"DESC"}]},"filterModel":{"projectId":{"columnFilters":[{"filterType":"Number","type":"equals","filter":"934"}]},"vintage":{"columnFilters":[{"filterType":"Text","type":"equals","filter":"2003 - 2004"}]}}}}`, "POST",
		},
		"aggregate": {
			func() (verra.Request, error) { return c.Aggregate(verra.Retirements) },
			es + "retirements/aggregateResultBySearchFilter",
			`{"searchFilter":{"pagination":{},"filterModel":{},"groupKeys":[],"statsSumByField":"holdingQuantity"}}`, "POST",
		},
		"standards": {
			func() (verra.Request, error) { return c.Standards(), nil },
			"https://prod-us.api.platts.com/ci-raas-prod/cms-resources/public/standardsByRegistry/VERRA", "", "GET",
		},
		"without a configuration document": {
			func() (verra.Request, error) { return verra.Client{Standard: verra.VCS()}.Standards(), nil },
			"https://prod-us.api.platts.com/ci-raas-prod/cms-resources/public/standardsByRegistry/VERRA", "", "GET",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := tc.build()
			if err != nil {
				t.Fatal(err)
			}
			if r.URL != tc.url || string(r.Body) != tc.body || r.Method != tc.verb {
				t.Errorf("%s %s\n%s", r.Method, r.URL, r.Body)
			}
			for _, h := range []string{"registry", "standardid", "standardacronym", "language", "Accept"} {
				if r.Header[h] == "" {
					t.Errorf("header %s is missing", h)
				}
			}
		})
	}
}

func TestSearchRefusesPagesBeyondTheService(t *testing.T) {
	t.Parallel()
	for _, s := range []verra.Search{{Limit: 500}, {Limit: -1}, {Start: -1}, {Start: 10_001}} {
		if _, err := client(t).Search(s); err == nil {
			t.Errorf("%+v: accepted", s)
		}
	}
}

func TestClientHeadersAreSentButNeverShown(t *testing.T) {
	t.Parallel()
	c := client(t)
	r, err := c.Search(verra.Search{Resource: verra.Projects})
	if err != nil {
		t.Fatal(err)
	}
	const secret = "EXAMPLE-PUBLIC-CLIENT-ID"
	if r.Header["appkey"] != secret || r.Header["Cookie"] != "XSRF-TOKEN=t20" || r.Header["Origin"] == "" {
		t.Errorf("headers %v", c.Env.HeaderNames())
	}
	var log strings.Builder
	logger := slog.New(slog.NewJSONHandler(&log, nil))
	logger.Info("x", "env", c.Env, "ptr", &c.Env, "request", r)
	text, _ := c.Env.MarshalText()
	shown := log.String() + string(text) + fmt.Sprintf("%v %+v %#v %s %v %+v %#v", c.Env, c.Env, c.Env, c.Env, r, r, r)
	if strings.Contains(shown, secret) || strings.Contains(shown, "t20") {
		t.Errorf("a header value is shown: %s", shown)
	}
}

func TestHostileConfigurationDocument(t *testing.T) {
	t.Parallel()
	doc := `{"uris":{"raasReportPublicManager":"https://a.example/x/","raasUri":"file:///etc/passwd","common":{"DEFAULT_HEADERS":{
		"appkey":"k","User-Agent":"Mozilla/5.0","Host":"b.example","X-Bad":"a\r\nEvil: 1","Bad Name":"x","Accept-Encoding":"br","n":7,"o":{}}}}}`
	env, err := verra.ParseEnvironment([]byte(doc), jsonType)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(env.HeaderNames(), " "); got != "appkey n" {
		t.Errorf("headers %q", got)
	}
	if env.Search != "https://a.example/x" || env.CMS != "" {
		t.Errorf("%s", env)
	}
	for _, bad := range []string{
		`{}`, `{"uris":{}}`, `{"uris":{"raasReportPublicManager":"ftp://a"}}`,
		`{"uris":{"raasReportPublicManager":"https://user:pw@a"}}`, `{"uris":[]}`, `{"uris":{"raasReportPublicManager":{}}}`,
	} {
		if _, err := verra.ParseEnvironment([]byte(bad), jsonType); err == nil {
			t.Errorf("%s: accepted", bad)
		}
	}
}
