package admin_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"carbond/cmd/carbond/internal/admin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// options shows two checks, of which the second is as told.
func options(ok bool) admin.Options {
	reg := prometheus.NewRegistry()
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "x_seconds", Help: "X.", NativeHistogramBucketFactor: 1.1, Buckets: []float64{1, 2}})
	h.Observe(1.5)
	reg.MustRegister(h)
	status := func() admin.Status {
		at := time.Now().Add(-time.Minute)
		return admin.Status{
			Mode: "postgres", Sample: true,
			Readiness:   admin.Readiness{Ready: ok, Checks: []admin.Check{{Name: "b", OK: ok, Reason: "<script>alert(1)</script>; remedy: do <b>this</b>"}}},
			Views:       []admin.View{{Name: "projects", Rows: 42}},
			Feeds:       []admin.Feed{{Name: "verra", State: "failing", Failures: 3, LastSuccess: &at, LastError: `"><img src=x>`}},
			Replication: &admin.Replication{State: "streaming", LagBytes: 7},
			Data:        admin.Data{Dir: "/d", Bytes: 3 << 20},
			Listen:      admin.Listen{GRPC: "127.0.0.1:50051"},
		}
	}
	return admin.Options{
		Gatherer: reg,
		Ready: func() admin.Readiness {
			return admin.Readiness{Ready: ok, Fresh: admin.Fresh{AgeSec: 1.5}, Checks: []admin.Check{{Name: "a"}, {Name: "b", OK: ok, Reason: "why <not>"}}}
		},
		Status: status,
		Console: func() admin.Console {
			return admin.Console{
				Status: status(), Made: time.Now(), Every: time.Second,
				History: []admin.Sample{{Offset: 1, Lag: 2}, {Offset: 5, Lag: 1}, {Offset: 6}},
				Changes: []admin.Change{{Offset: 6, Topic: "carbon.public.news", Op: "new", Key: "guid1"}},
				News:    []admin.Headline{{Title: "<script>alert(2)</script>", Link: "javascript:alert(3)", Source: "Reuters"}},
				Quotes:  []admin.Quote{{Ticker: "KRBN", Price: 30.5, Currency: "GBp"}},
			}
		},
	}
}

func get(t *testing.T, h http.Handler, method, path string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestRoutes(t *testing.T) {
	good, bad := admin.Handler(options(true)), admin.Handler(options(false))
	for name, tc := range map[string]struct {
		h            http.Handler
		method, path string
		code         int
		want         string
	}{
		"alive":              {bad, "GET", "/healthz", 200, "ok\n"},
		"ready":              {good, "GET", "/readyz", 200, "ready\n"},
		"not ready":          {bad, "GET", "/readyz", 503, "not ready\n"},
		"reasons":            {bad, "GET", "/readyz?verbose", 503, `"reason": "why \u003cnot\u003e"`},
		"age":                {bad, "GET", "/readyz?verbose", 503, `"age_seconds": 1.5`},
		"status":             {good, "GET", "/status.json", 200, `"rows": 42`},
		"page":               {good, "GET", "/", 200, "SAMPLE DATA"},
		"page size":          {good, "GET", "/", 200, "3.0 MiB"},
		"page price":         {good, "GET", "/", 200, "GBp"},
		"head":               {good, "HEAD", "/healthz", 200, ""},
		"unknown path":       {good, "GET", "/nothing", 404, ""},
		"no writing":         {good, "POST", "/readyz", 405, ""},
		"no writing to page": {good, "DELETE", "/", 405, ""},
		"no profiles":        {good, "GET", "/debug/pprof/", 404, ""},
		"no change yet":      {good, "GET", "/", 200, "<strong>Not connected to Postgres</strong>, 0 s behind it. No change has been committed yet."},
		"empty table":        {good, "GET", "/", 200, "<td colspan=\"5\">none yet</td>"},
		"what to do":         {bad, "GET", "/", 200, "<strong>What to do:</strong> do &lt;b&gt;this&lt;/b&gt;"},
		"failing feed":       {good, "GET", "/", 200, "carbond feeds fetch verra"},
		"verdict":            {bad, "GET", "/", 200, "<title>SAMPLE DATA - carbond: Not ready</title>"},
		"warnings":           {good, "GET", "/", 200, "Ready, with warnings"},
		"charts":             {good, "GET", "/", 200, "Changes a second: 1.0 now, 4.0 at most"},
		"lag chart":          {good, "GET", "/", 200, "Seconds behind Postgres: 0 now, 2.0 at most"},
		"newest change":      {good, "GET", "/", 200, "guid1"},
		"line to copy":       {good, "GET", "/", 200, "<code>grpcurl -plaintext 127.0.0.1:50051 carbon.CarbonService/GetProjects</code>"},
		"script":             {good, "GET", "/live.js", 200, "use strict"},
		"icon":               {good, "GET", "/icon.svg", 200, "<svg"},
		"style":              {good, "GET", "/style.css", 200, "--ink"},
		"classic histogram":  {good, "GET", "/metrics", 200, `x_seconds_bucket{le="2"} 1`},
	} {
		t.Run(name, func(t *testing.T) {
			w := get(t, tc.h, tc.method, tc.path)
			if w.Code != tc.code || !strings.Contains(w.Body.String(), tc.want) {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			if csp := w.Header().Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
				t.Errorf("policy %q", csp)
			}
			if w.Header().Get("X-Content-Type-Options") != "nosniff" {
				t.Error("sniffing is allowed")
			}
		})
	}
}

func TestOpenMetrics(t *testing.T) {
	w := get(t, admin.Handler(options(true)), "GET", "/metrics", "Accept", "application/openmetrics-text; version=1.0.0")
	if ct := w.Header().Get("Content-Type"); !strings.HasPrefix(ct, "application/openmetrics-text") || !strings.HasSuffix(w.Body.String(), "# EOF\n") {
		t.Errorf("%s\n%s", ct, w.Body)
	}
}

func TestForeignTextIsEscaped(t *testing.T) {
	body := get(t, admin.Handler(options(true)), "GET", "/").Body.String()
	if strings.Contains(body, "<script>") || strings.Contains(body, "<img") || strings.Contains(body, "javascript:") {
		t.Error(body)
	}
}

// The page names no foreign origin, and its only script is a file of its own.
func TestPageStandsAlone(t *testing.T) {
	body := get(t, admin.Handler(options(true)), "GET", "/").Body.String()
	for _, bad := range []string{"http://", "https://", "<script>", "style=", "onclick", "http-equiv=\"refresh\""} {
		if strings.Contains(body, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	if n := strings.Count(body, "<script"); n != 1 || !strings.Contains(body, `<script src="live.js" defer></script>`) {
		t.Errorf("%d scripts", n)
	}
	for _, want := range []string{`lang="en"`, `role="status"`, "<main", "<caption>", `scope="col"`, `scope="row"`, "<title>"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}

func TestProfilesFollowTheSwitch(t *testing.T) {
	on := false
	opt := options(true)
	opt.Pprof = func() bool { return on }
	h := admin.Handler(opt)
	if w := get(t, h, "GET", "/debug/pprof/goroutine?debug=1"); w.Code != 404 {
		t.Error(w.Code)
	}
	on = true
	if w := get(t, h, "GET", "/debug/pprof/goroutine?debug=1"); w.Code != 200 {
		t.Error(w.Code)
	}
}

func TestRunServesAndStops(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- admin.New(options(true)).Run(ctx, l, nil) }()
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	resp, err := client.Get("http://" + l.Addr().String() + "/status.json")
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	var s admin.Status
	if err != nil || json.Unmarshal(b, &s) != nil || s.Views[0].Rows != 42 {
		t.Errorf("%v %s", err, b)
	}
	// A client that sends endless headers is cut off.
	req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+l.Addr().String()+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X", strings.Repeat("a", 64<<10))
	if resp, err := client.Do(req); err == nil {
		if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("large headers: %s", resp.Status)
		}
		resp.Body.Close()
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
