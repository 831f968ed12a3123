package admin

import (
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
)

// TestKnownHosts: a name that a stranger's DNS server could give reads nothing; an
// address, loopback, this machine and what is listed do.
func TestKnownHosts(t *testing.T) {
	own, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	h := Handler(Options{
		Status: func() Status { return Status{} }, Ready: func() Readiness { return Readiness{Ready: true} },
		Routes: []func(*http.ServeMux){func(m *http.ServeMux) { m.HandleFunc("GET /", func(http.ResponseWriter, *http.Request) {}) }},
		Hosts:  func() []string { return []string{"status.example.org", ".inside.example.org"} },
	})
	for host, ok := range map[string]bool{
		"127.0.0.1:50080": true, "10.1.2.3": true, "[::1]:50080": true, "[fe80::1%25eth0]": true, "localhost:50080": true, "a.localhost": true, own: true,
		"STATUS.example.org.:443": true, "a.inside.example.org": true, "": true,
		"evil.example": false, "status.example.org.evil.example": false, "inside.example.org": false, "127.0.0.1.evil.example": false, "localhost.evil.example": false,
	} {
		for path, guarded := range map[string]bool{"/": true, "/projects": true, "/status.json": true, "/healthz": false, "/readyz": false} {
			r := httptest.NewRequest(http.MethodGet, path, nil)
			r.Host = host
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if want := ok || !guarded; (w.Code == http.StatusOK) != want {
				t.Errorf("%s of host %q: %d", path, host, w.Code)
			}
		}
	}
	for host, names := range map[string][]string{"any.example": {"*"}, "b.example": {"a.example", "B.Example"}, "x.c.example": {".c.example"}} {
		if !known(host, names) {
			t.Errorf("%s is not one of %v", host, names)
		}
	}
}
