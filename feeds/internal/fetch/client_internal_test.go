package fetch

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// stand returns a client that may talk to srv alone, and srv's URL.
func stand(t *testing.T, h http.HandlerFunc) (*Client, *url.URL) {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	u, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	tr := newTransport(map[string]bool{u.Hostname(): true})
	t.Cleanup(tr.CloseIdleConnections)
	c := bare(tr)
	c.timeout = 2 * time.Minute // real sockets, and the real time of a busy machine
	c.local = map[string]bool{u.Hostname(): true}
	return c, u
}

func bare(tr http.RoundTripper) *Client {
	clock := MachineClock{}
	return &Client{
		userAgent: "carbond/test", transport: tr, groups: newGroups(clock), clock: clock,
		log: slog.New(slog.DiscardHandler), timeout: 5 * time.Second, feed: "test", requests: func() {},
	}
}

func get(c *Client, u *url.URL, change ...func(*Request)) (*Response, error) {
	r := &Request{Method: http.MethodGet, URL: u, MaxBody: 1 << 20}
	for _, f := range change {
		f(r)
	}
	return c.Do(context.Background(), r)
}

func parseURL(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func wantKind(t *testing.T, err error, kind Kind) {
	t.Helper()
	if KindOf(err) != kind {
		t.Errorf("kind %q, want %q: %v", KindOf(err), kind, err)
	}
}

func TestRedirects(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect to another private origin was followed") }))
	defer other.Close()
	c, base := stand(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/same":
			http.Redirect(w, r, "/end?x=1", http.StatusMovedPermanently)
		case "/end":
			_, _ = io.WriteString(w, "done")
		case "/other":
			http.Redirect(w, r, other.URL, http.StatusFound)
		case "/metadata":
			http.Redirect(w, r, "http://169.254.169.254/latest/meta-data/", http.StatusFound)
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusFound)
		case "/nowhere":
			w.WriteHeader(http.StatusFound)
		}
	})
	res, err := get(c, base.JoinPath("same"))
	if err != nil || string(res.Body) != "done" || res.Moved == nil || res.Moved.Path != "/end" {
		t.Errorf("%+v, %v", res, err)
	}
	for path, kind := range map[string]Kind{"other": KindBlocked, "metadata": KindBlocked, "loop": KindRedirect, "nowhere": KindRedirect} {
		_, err := get(c, base.JoinPath(path))
		wantKind(t, err, kind)
	}
	_, err = get(c, base.JoinPath("same"), func(r *Request) { r.Method, r.Body = http.MethodPost, []byte("{}") })
	wantKind(t, err, KindRedirect)
}

// trip is a round tripper made of a function.
type trip func(*http.Request) (*http.Response, error)

func (f trip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func reply(status int, body string, header ...string) (*http.Response, error) {
	h := http.Header{}
	for i := 0; i+1 < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body))}, nil
}

// Keys must not follow a redirect to another host.
func TestHeadersStayAtTheirOrigin(t *testing.T) {
	var leaked http.Header
	c := bare(trip(func(r *http.Request) (*http.Response, error) {
		if r.URL.Host == "a.example" {
			return reply(302, "", "Location", "https://b.example/")
		}
		leaked = r.Header
		return reply(200, "ok")
	}))
	_, err := get(c, parseURL(t, "https://user:pass@a.example/"), func(r *Request) {
		r.Header = http.Header{"Authorization": {"Bearer k"}, "Cookie": {"a=b"}, "Appkey": {"k"}, "Accept": {"x/y"}}
	})
	if err != nil {
		t.Fatal(err)
	}
	if leaked.Get("Authorization")+leaked.Get("Cookie")+leaked.Get("Appkey") != "" || leaked.Get("Accept") != "x/y" || leaked.Get("User-Agent") != "carbond/test" {
		t.Errorf("%v", leaked)
	}
}

func TestOneRetry(t *testing.T) {
	tests := map[string]struct {
		first func() (*http.Response, error)
		calls int
	}{
		"broken connection":    {func() (*http.Response, error) { return nil, io.ErrUnexpectedEOF }, 2},
		"503":                  {func() (*http.Response, error) { return reply(503, "") }, 2},
		"503 with Retry-After": {func() (*http.Response, error) { return reply(503, "", "Retry-After", "60") }, 1},
		"500":                  {func() (*http.Response, error) { return reply(500, "") }, 1},
		"429":                  {func() (*http.Response, error) { return reply(429, "") }, 1},
		"404":                  {func() (*http.Response, error) { return reply(404, "") }, 1},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				calls := 0
				c := bare(trip(func(*http.Request) (*http.Response, error) { calls++; return tc.first() }))
				if _, err := get(c, parseURL(t, "https://a.example/")); err == nil {
					t.Error("no error")
				}
				if calls != tc.calls {
					t.Errorf("%d calls, want %d", calls, tc.calls)
				}
			})
		})
	}
}

// Five failures open the circuit; after its wait one probe goes out, and one
// good answer closes it.
func TestCircuit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls, ok := 0, false
		c := bare(trip(func(*http.Request) (*http.Response, error) {
			calls++
			if ok {
				return reply(200, "fine")
			}
			return reply(500, "")
		}))
		u := parseURL(t, "https://a.example/")
		for range 8 {
			_, _ = get(c, u)
		}
		if calls != circuitAfter {
			t.Fatalf("%d calls before the circuit opened", calls)
		}
		_, err := get(c, u)
		wantKind(t, err, KindPaused)
		<-time.After(AskedWait(err))
		for range 3 {
			_, _ = get(c, u)
		}
		if calls != circuitAfter+1 {
			t.Fatalf("%d calls, want one probe", calls-circuitAfter)
		}
		_, err = get(c, u)
		if w := AskedWait(err); w < 100*time.Second {
			t.Errorf("second rest is %v", w)
		}
		<-time.After(AskedWait(err))
		ok = true
		for range 3 {
			if _, err := get(c, u); err != nil {
				t.Error(err)
			}
		}
	})
}

// Requests to one host go one by one with the spacing between them, requests to
// another host do not wait for them.
func TestOneAtATimePerHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var mu sync.Mutex // the two hosts answer at the same time
		busy := map[string]int{}
		var ends []time.Duration
		c := bare(trip(func(r *http.Request) (*http.Response, error) {
			mu.Lock()
			if busy[r.URL.Host]++; busy[r.URL.Host] > 1 {
				t.Error("two requests at once")
			}
			mu.Unlock()
			<-time.After(3 * time.Second)
			mu.Lock()
			defer mu.Unlock()
			busy[r.URL.Host]--
			ends = append(ends, time.Since(begin))
			return reply(200, "x")
		}))
		done := make(chan error)
		for _, s := range []string{"https://a.example/1", "https://a.example/2", "https://a.example/3", "https://b.example/"} {
			go func() {
				_, err := get(c, parseURL(t, s), func(r *Request) { r.Spacing = 7 * time.Second })
				done <- err
			}()
		}
		for range 4 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if got := fmt.Sprint(ends); got != "[3s 3s 13s 23s]" {
			t.Errorf("answers after %s", got)
		}
	})
}

func TestYahooGroupPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		c := bare(trip(func(*http.Request) (*http.Response, error) { calls++; return reply(429, "Too Many Requests\r\n") }))
		ask := func(host string) error {
			_, err := get(c, parseURL(t, "https://"+host+"/"), func(r *Request) { r.Group, r.FirstPause = "yahoo", 5*time.Minute })
			return err
		}
		for i, want := range []time.Duration{5, 10, 20, 40, 60, 60} {
			err := ask("query1.finance.yahoo.com")
			if AskedWait(err) != want*time.Minute {
				t.Errorf("pause %d is %v", i, AskedWait(err))
			}
			wantKind(t, ask("query2.finance.yahoo.com"), KindPaused)
			wantKind(t, ask("fc.yahoo.com"), KindPaused)
			<-time.After(want * time.Minute)
		}
		if calls != 6 {
			t.Errorf("%d calls", calls)
		}
	})
}

// What an upstream says itself is shown, and what to do about it.
func TestMessagesAndAdvice(t *testing.T) {
	for says, answer := range map[string]struct {
		status int
		body   string
		advice string
	}{
		`it says "Version 19 has ended"`:     {404, `{"message":"Version 19 has ended","statusCode":404}`, "check the address in the configuration"},
		`it says "key of [address removed]"`: {403, `{"error":"key of jane@a.example","code":[1]}`, "check the key"},
		"answer is JSON":                     {500, `[1]`, "the fault is the upstream's"},
		"answer is a web page":               {503, "<html>", "down for the moment"},
		"answer is text":                     {502, "bad gateway", "down for the moment"},
		"answer without a body":              {410, "", "check the address"},
		"rate_limited":                       {429, "", "fewer requests"},
	} {
		c := bare(trip(func(*http.Request) (*http.Response, error) { return reply(answer.status, answer.body) }))
		_, err := get(c, parseURL(t, "https://a.example/"), func(r *Request) { r.NoRetry = true })
		if err == nil || !strings.HasSuffix(err.Error(), says) || !strings.Contains(Advice(err), answer.advice) {
			t.Errorf("%v, want %s; advice %q", err, says, Advice(err))
		}
	}
	refused := &net.OpError{Op: "dial", Err: &os.SyscallError{Syscall: "connect", Err: syscall.ECONNREFUSED}}
	for want, err := range map[string]error{
		"DNS of this machine":     &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "a.example"}},
		"authority's certificate": &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}},
		"another host":            &tls.CertificateVerificationError{Err: x509.HostnameError{Certificate: new(x509.Certificate), Host: "a.example"}},
		"this machine's clock":    &tls.CertificateVerificationError{Err: x509.CertificateInvalidError{Cert: new(x509.Certificate), Reason: x509.Expired}},
		"want http://":            tls.RecordHeaderError{Msg: "no TLS"},
		"nothing listens":         refused,
		"firewall":                io.ErrClosedPipe,
	} {
		c := bare(trip(func(*http.Request) (*http.Response, error) { return nil, err }))
		_, got := get(c, parseURL(t, "https://a.example/"), func(r *Request) { r.NoRetry = true })
		if got == nil || !strings.Contains(Advice(got), want) {
			t.Errorf("%v: advice %q, want %q", got, Advice(got), want)
		}
	}
	if got := Advice(fmt.Errorf("poll: %w", Fail(KindHTML, "read", "a page"))); !strings.Contains(got, "web page") {
		t.Errorf("advice %q", got)
	}
}
