package feeds

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// stand returns a client that may talk to srv alone, and srv's URL.
func stand(t *testing.T, h http.HandlerFunc) (*client, *url.URL) {
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
	c.local = map[string]bool{u.Hostname(): true}
	return c, u
}

func bare(tr http.RoundTripper) *client {
	clock := machineClock{}
	return &client{
		userAgent: "carbond/test", transport: tr, groups: newGroups(clock), clock: clock,
		log: slog.New(slog.DiscardHandler), timeout: 5 * time.Second, feed: "test", requests: func() {},
	}
}

func get(c *client, u *url.URL, change ...func(*request)) (*response, error) {
	r := &request{Method: http.MethodGet, URL: u, MaxBody: 1 << 20}
	for _, f := range change {
		f(r)
	}
	return c.do(context.Background(), r)
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
		if got := localName(s); got != want {
			t.Errorf("localName(%s) = %v", s, got)
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
		if err := checkURL(parseURL(t, tc.to), parseURL(t, tc.configured)); (err == nil) != tc.ok {
			t.Errorf("%s: %v", name, err)
		}
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
	_, err = get(c, base.JoinPath("same"), func(r *request) { r.Method, r.Body = http.MethodPost, []byte("{}") })
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
	_, err := get(c, parseURL(t, "https://user:pass@a.example/"), func(r *request) {
		r.Header = http.Header{"Authorization": {"Bearer k"}, "Cookie": {"a=b"}, "Appkey": {"k"}, "Accept": {"x/y"}}
	})
	if err != nil {
		t.Fatal(err)
	}
	if leaked.Get("Authorization")+leaked.Get("Cookie")+leaked.Get("Appkey") != "" || leaked.Get("Accept") != "x/y" || leaked.Get("User-Agent") != "carbond/test" {
		t.Errorf("%v", leaked)
	}
}

// zeros writes gzip of endless zeros until the reader goes away.
func zeros(w io.Writer, size int64) {
	z := gzip.NewWriter(w)
	buf := make([]byte, 1<<20)
	for n := int64(0); n < size; n += int64(len(buf)) {
		if _, err := z.Write(buf); err != nil {
			return
		}
	}
	_ = z.Close()
}

func TestGzipBomb(t *testing.T) {
	c, base := stand(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		zeros(w, 2<<30)
	})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := get(c, base, func(r *request) { r.MaxBody = maxAPIBody })
	runtime.ReadMemStats(&after)
	wantKind(t, err, KindTooLarge)
	if grew := after.TotalAlloc - before.TotalAlloc; grew > 200<<20 {
		t.Errorf("reading the bomb allocated %d MiB", grew>>20)
	}
}

func TestBodies(t *testing.T) {
	pack := func(s string) []byte {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = io.WriteString(z, s)
		_ = z.Close()
		return b.Bytes()
	}
	cut := func(w http.ResponseWriter, announce int, body []byte, header string) {
		conn, buf, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		_, _ = fmt.Fprintf(buf, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n", announce, header)
		_, _ = buf.Write(body)
		_ = buf.Flush()
		_ = conn.Close()
	}
	tests := map[string]struct {
		serve func(http.ResponseWriter)
		want  string
		kind  Kind
	}{
		"plain":         {serve: func(w http.ResponseWriter) { _, _ = io.WriteString(w, "hello") }, want: "hello"},
		"gzip":          {serve: func(w http.ResponseWriter) { w.Header().Set("Content-Encoding", "gzip"); _, _ = w.Write(pack("hello")) }, want: "hello"},
		"at the limit":  {serve: func(w http.ResponseWriter) { _, _ = w.Write(make([]byte, 1<<20)) }, want: string(make([]byte, 1<<20))},
		"over":          {serve: func(w http.ResponseWriter) { _, _ = w.Write(make([]byte, 1<<20+1)) }, kind: KindTooLarge},
		"announced big": {serve: func(w http.ResponseWriter) { w.Header().Set("Content-Length", "99999999999") }, kind: KindTooLarge},
		"cut off":       {serve: func(w http.ResponseWriter) { cut(w, 100, []byte("half"), "") }, kind: KindTruncated},
		"gzip cut off": {serve: func(w http.ResponseWriter) {
			b := pack(strings.Repeat("hello", 1000))
			cut(w, len(b)/2, b[:len(b)/2], "Content-Encoding: gzip\r\n")
		}, kind: KindTruncated},
		"gzip that is none": {serve: func(w http.ResponseWriter) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = io.WriteString(w, "hello, this is text")
		}, kind: KindInvalid},
		"unasked encoding": {serve: func(w http.ResponseWriter) { w.Header().Set("Content-Encoding", "br"); _, _ = io.WriteString(w, "x") }, kind: KindInvalid},
		"gzip twice": {serve: func(w http.ResponseWriter) {
			w.Header().Set("Content-Encoding", "gzip, gzip")
			_, _ = w.Write(pack(string(pack("x"))))
		}, kind: KindInvalid},
		"304 out of nothing": {serve: func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotModified) }, kind: KindInvalid},
		"204":                {serve: func(w http.ResponseWriter) { w.WriteHeader(http.StatusNoContent) }, kind: KindHTTPStatus},
		"endless empty members": {serve: func(w http.ResponseWriter) {
			w.Header().Set("Content-Encoding", "gzip")
			for b := pack(""); ; {
				if _, err := w.Write(b); err != nil {
					return
				}
			}
		}, kind: KindTooLarge},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			c, base := stand(t, func(w http.ResponseWriter, r *http.Request) { tc.serve(w) })
			res, err := get(c, base, func(r *request) { r.NoRetry = true })
			if wantKind(t, err, tc.kind); err == nil && string(res.Body) != tc.want {
				t.Errorf("%d bytes", len(res.Body))
			}
		})
	}
}

func TestStalledSocket(t *testing.T) {
	hold := make(chan struct{})
	defer close(hold)
	for name, h := range map[string]http.HandlerFunc{
		"before the header": func(http.ResponseWriter, *http.Request) { <-hold },
		"inside the body": func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "{")
			w.(http.Flusher).Flush()
			<-hold
		},
	} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		srv := &http.Server{Handler: h}
		done := make(chan struct{})
		go func() { _ = srv.Serve(ln); close(done) }()
		tr := newTransport(map[string]bool{"127.0.0.1": true})
		c := bare(tr)
		c.timeout = 100 * time.Millisecond
		_, err = get(c, parseURL(t, "http://"+ln.Addr().String()))
		if wantKind(t, err, KindTimeout); t.Failed() {
			t.Log(name)
		}
		tr.CloseIdleConnections()
		_ = srv.Close()
		<-done
	}
}

// The raw answers of the fixtures, as the client judges them.
func TestRawAnswers(t *testing.T) {
	files := map[string]struct {
		kind  Kind
		after time.Duration // of RetryAfter
	}{
		"news/testdata/news/http_403_cloudflare.http": {kind: KindAuth},
		"news/testdata/news/http_404.http":            {kind: KindNotFound},
		"news/testdata/news/http_410.http":            {kind: KindGone},
		"news/testdata/news/http_503.http":            {kind: KindHTTPStatus},
		"news/testdata/news/http_429_seconds.http":    {kind: KindRateLimited},
		"news/testdata/news/http_429_date.http":       {kind: KindRateLimited},
		"news/testdata/news/http_429_absurd.http":     {kind: KindRateLimited, after: retryAfterMax},
		"finance/testdata/yahoo/error_429.http":       {kind: KindRateLimited, after: pauseFirst},
		"finance/testdata/yahoo/error_999.http":       {kind: KindRateLimited, after: pauseFirst},
		"verra/testdata/error_429.http":               {kind: KindRateLimited, after: 37 * time.Second},
		"carbonmark/testdata/error_429.http":          {kind: KindRateLimited},
	}
	for name, want := range files {
		t.Run(name, func(t *testing.T) {
			raw, err := os.ReadFile(filepath.FromSlash(name))
			if err != nil {
				t.Fatal(err)
			}
			c := bare(trip(func(r *http.Request) (*http.Response, error) {
				return http.ReadResponse(bufio.NewReader(bytes.NewReader(raw)), r)
			}))
			_, err = get(c, parseURL(t, "https://a.example/"), func(r *request) { r.NoRetry = true })
			wantKind(t, err, want.kind)
			if got := askedWait(err); want.after > 0 && got != want.after || want.kind == KindRateLimited && got <= 0 {
				t.Errorf("waits %v, want %v", got, want.after)
			}
			if want.kind == KindRateLimited {
				_, err := get(c, parseURL(t, "https://a.example/again"))
				wantKind(t, err, KindPaused)
			}
		})
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	tests := map[string]struct {
		value, date string
		want        time.Duration
	}{
		"none":               {"", "", 0},
		"seconds":            {"120", "", 2 * time.Minute},
		"zero":               {"0", "", time.Second},
		"negative":           {"-5", "", 0},
		"absurd":             {"99999999", "", 24 * time.Hour},
		"beyond any integer": {"99999999999999999999999", "", 24 * time.Hour},
		"date":               {"Mon, 23 Nov 2026 10:05:00 GMT", "", 5 * time.Minute},
		"date, server ahead": {"Mon, 23 Nov 2026 11:05:00 GMT", "Mon, 23 Nov 2026 11:00:00 GMT", 5 * time.Minute},
		"date in the past":   {"Mon, 23 Nov 2026 09:00:00 GMT", "", time.Second},
		"date far off":       {"Mon, 23 Nov 2099 09:00:00 GMT", "", 24 * time.Hour},
		"nonsense":           {"soon", "", 0},
	}
	for name, tc := range tests {
		h := http.Header{"Retry-After": {tc.value}}
		if tc.date != "" {
			h.Set("Date", tc.date)
		}
		if got := retryAfter(h, now); got != tc.want {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
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

// Five failures open the breaker; after its rest one probe goes out, and one
// good answer closes it.
func TestBreaker(t *testing.T) {
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
		if calls != breakerAfter {
			t.Fatalf("%d calls before the breaker opened", calls)
		}
		_, err := get(c, u)
		wantKind(t, err, KindPaused)
		<-time.After(askedWait(err))
		for range 3 {
			_, _ = get(c, u)
		}
		if calls != breakerAfter+1 {
			t.Fatalf("%d calls, want one probe", calls-breakerAfter)
		}
		_, err = get(c, u)
		if w := askedWait(err); w < 100*time.Second {
			t.Errorf("second rest is %v", w)
		}
		<-time.After(askedWait(err))
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
		busy := map[string]int{}
		var ends []time.Duration
		c := bare(trip(func(r *http.Request) (*http.Response, error) {
			if busy[r.URL.Host]++; busy[r.URL.Host] > 1 {
				t.Error("two requests at once")
			}
			<-time.After(3 * time.Second)
			busy[r.URL.Host]--
			ends = append(ends, time.Since(begin))
			return reply(200, "x")
		}))
		done := make(chan error)
		for _, s := range []string{"https://a.example/1", "https://a.example/2", "https://a.example/3", "https://b.example/"} {
			go func() {
				_, err := get(c, parseURL(t, s), func(r *request) { r.Spacing = 7 * time.Second })
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
			_, err := get(c, parseURL(t, "https://"+host+"/"), func(r *request) { r.Group, r.FirstPause = yahooGroup, yahooFirstPause })
			return err
		}
		for i, want := range []time.Duration{5, 10, 20, 40, 60, 60} {
			err := ask("query1.finance.yahoo.com")
			if askedWait(err) != want*time.Minute {
				t.Errorf("pause %d is %v", i, askedWait(err))
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

func TestShownURL(t *testing.T) {
	tests := map[string]string{
		"https://u:p@a.example/x?crumb=abc&symbols=A%2CB#frag": "https://a.example/x?crumb=***&symbols=A%2CB",
		"https://a.example/?apikey=k&API_KEY=k&access_token=t": "https://a.example/?apikey=***&API_KEY=***&access_token=***",
		"https://a.example/?q=me%40example.org":                "https://a.example/?q=***",
		"https://a.example/feed":                               "https://a.example/feed",
	}
	for in, want := range tests {
		if got := shown(parseURL(t, in)); got != want {
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
		_, err := get(bare(f), u, func(r *request) { r.NoRetry = true })
		if s := err.Error(); strings.Contains(s, "SECRET") || strings.Contains(s, "hunter2") || strings.Contains(s, "@") {
			t.Errorf("%s: %s", name, s)
		}
	}
}

func TestPGFloat(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 10.5: "10.5", 1430149137: "1430149137", 0.1: "0.1", 1e15: "1e+15", 123456789012345: "123456789012345",
		0.0001: "0.0001", 0.00001: "1e-05", -2.5: "-2.5",
	} {
		if got := pgFloat(v); got != want {
			t.Errorf("pgFloat(%g) = %s, want %s", v, got, want)
		}
	}
}
