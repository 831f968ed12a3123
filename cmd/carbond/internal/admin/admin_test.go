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
		Routes: []func(*http.ServeMux){func(m *http.ServeMux) {
			m.HandleFunc("GET /projects", func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "page of "+r.URL.Path) })
		}},
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
		"alive":             {bad, "GET", "/healthz", 200, "ok\n"},
		"ready":             {good, "GET", "/readyz", 200, "ready\n"},
		"not ready":         {bad, "GET", "/readyz", 503, "not ready\n"},
		"reasons":           {bad, "GET", "/readyz?verbose", 503, `"reason": "why \u003cnot\u003e"`},
		"age":               {bad, "GET", "/readyz?verbose", 503, `"age_seconds": 1.5`},
		"status":            {good, "GET", "/status.json", 200, `"rows": 42`},
		"page":              {good, "GET", "/projects", 200, "page of /projects"},
		"head":              {good, "HEAD", "/healthz", 200, ""},
		"no writing":        {good, "POST", "/readyz", 405, ""},
		"no profiles":       {good, "GET", "/debug/pprof/", 404, ""},
		"classic histogram": {good, "GET", "/metrics", 200, `x_seconds_bucket{le="2"} 1`},
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
