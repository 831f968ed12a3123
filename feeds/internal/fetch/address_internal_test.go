package fetch

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestPublicAddr(t *testing.T) {
	tests := map[string]bool{
		"8.8.8.8": true, "2606:4700::1111": true,
		"127.0.0.1": false, "10.1.2.3": false, "172.16.0.1": false, "192.168.1.1": false, "169.254.169.254": false,
		"100.64.0.1": false, "0.0.0.0": false, "224.0.0.1": false, "255.255.255.255": false, "198.18.0.1": false,
		"::1": false, "::": false, "fe80::1": false, "fd00::1": false, "ff02::1": false,
		"::ffff:127.0.0.1": false, "::ffff:10.0.0.1": false, "::127.0.0.1": false, "64:ff9b::7f00:1": false, "2002:7f00:1::": false,
		"2001:db8::1": false, "203.0.113.9": false,
	}
	for s, want := range tests {
		if got := publicAddr(netip.MustParseAddr(s)); got != want {
			t.Errorf("publicAddr(%s) = %v", s, got)
		}
	}
}

func TestLocalName(t *testing.T) {
	tests := map[string]bool{
		"localhost": true, "LOCALHOST.": true, "db": true, "x.localhost": true, "mock.internal": true, "127.0.0.1": true, "[::1]": true,
		"127.1": true, "2130706433": true, "0x7f.1": true, "10.0.0.0x1": true,
		"verra.org": false, "8.8.8.8": false, "localhost.example.org": false, "internal.example.org": false,
	}
	for s, want := range tests {
		if got := LocalName(s); got != want {
			t.Errorf("LocalName(%s) = %v", s, got)
		}
	}
}

// A public name whose DNS answer is a private address (rebinding) is refused
// when the connection is made: "localhost" plays that name here.
func TestPrivateAnswerOfPublicNameIsRefused(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("was reached") }))
	defer srv.Close()
	port := parseURL(t, srv.URL).Port()
	d := &dialer{timeout: time.Second}
	for _, host := range []string{"localhost", "127.0.0.1"} {
		conn, err := d.DialContext(context.Background(), "tcp", net.JoinHostPort(host, port))
		if !errors.Is(err, errBlocked) {
			t.Errorf("%s: %v", host, err)
		}
		if err == nil {
			_ = conn.Close()
		}
	}
}

func TestCheckURL(t *testing.T) {
	tests := map[string]struct {
		to, configured string
		ok             bool
	}{
		"public":                    {"https://a.example/x", "https://a.example/y", true},
		"other public":              {"https://b.example/x", "https://a.example/y", true},
		"plain http":                {"http://a.example/x", "https://a.example/y", false},
		"plain http as configured":  {"http://a.example/x", "http://a.example/y", true},
		"default port is the same":  {"http://a.example:80/x", "http://a.example/y", true},
		"private from public":       {"https://10.0.0.1/", "https://a.example/", false},
		"metadata from public":      {"http://169.254.169.254/latest", "https://a.example/", false},
		"localhost from public":     {"https://localhost/", "https://a.example/", false},
		"decimal address":           {"https://2130706433/", "https://a.example/", false},
		"short address":             {"https://127.1/", "https://a.example/", false},
		"mapped address":            {"https://[::ffff:127.0.0.1]/", "https://a.example/", false},
		"local as configured":       {"http://127.0.0.1:8080/x", "http://127.0.0.1:8080", true},
		"local, another port":       {"http://127.0.0.1:8081/x", "http://127.0.0.1:8080", false},
		"file":                      {"file:///etc/passwd", "https://a.example/", false},
		"no host":                   {"https:///x", "https://a.example/", false},
		"public https from a local": {"https://a.example/", "http://127.0.0.1:8080", true},
	}
	for name, tc := range tests {
		if err := CheckURL(parseURL(t, tc.to), parseURL(t, tc.configured)); (err == nil) != tc.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestShownURL(t *testing.T) {
	tests := map[string]string{
		"https://u:p@a.example/x?crumb=abc&symbols=A%2CB#frag": "https://a.example/x?crumb=***&symbols=A%2CB",
		"https://a.example/?apikey=k&API_KEY=k&access_token=t": "https://a.example/?apikey=***&API_KEY=***&access_token=***",
		"https://a.example/?q=me%40example.org":                "https://a.example/?q=***",
		"https://a.example/feed":                               "https://a.example/feed",
	}
	for in, want := range tests {
		if got := Shown(parseURL(t, in)); got != want {
			t.Errorf("%s is shown as %s", in, got)
		}
	}
}

func TestErrorsCarryNoSecrets(t *testing.T) {
	u := parseURL(t, "https://user:hunter2@a.example/x?crumb=SECRET")
	for name, f := range map[string]trip{
		"network": func(r *http.Request) (*http.Response, error) {
			return nil, &url.Error{Op: "Get", URL: r.URL.String(), Err: errors.New("refused")}
		},
		"status": func(*http.Request) (*http.Response, error) { return reply(401, `{"key":"SECRET"}`) },
		"body":   func(*http.Request) (*http.Response, error) { return reply(500, "SECRET jane@example.org") },
	} {
		_, err := get(bare(f), u, func(r *Request) { r.NoRetry = true })
		if s := err.Error(); strings.Contains(s, "SECRET") || strings.Contains(s, "hunter2") || strings.Contains(s, "@") {
			t.Errorf("%s: %s", name, s)
		}
	}
}
