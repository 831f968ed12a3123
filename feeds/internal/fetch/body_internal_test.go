package fetch

import (
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

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
	_, err := get(c, base, func(r *Request) { r.MaxBody = maxAPIBody })
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
		"unknown encoding": {serve: func(w http.ResponseWriter) {
			w.Header().Set("Content-Encoding", "compress")
			_, _ = io.WriteString(w, "x")
		}, kind: KindInvalid},
		"gzip twice": {serve: func(w http.ResponseWriter) {
			w.Header().Set("Content-Encoding", "gzip, gzip")
			_, _ = w.Write(pack(string(pack("x"))))
		}, want: "x"},
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
			res, err := get(c, base, func(r *Request) { r.NoRetry = true })
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
		"news/testdata/news/http_429_absurd.http":     {kind: KindRateLimited, after: MaxRetryAfter},
		"finance/testdata/yahoo/error_429.http":       {kind: KindRateLimited, after: pauseFirst},
		"finance/testdata/yahoo/error_999.http":       {kind: KindRateLimited, after: pauseFirst},
		"verra/testdata/error_429.http":               {kind: KindRateLimited, after: 37 * time.Second},
		"carbonmark/testdata/error_429.http":          {kind: KindRateLimited},
	}
	for name, want := range files {
		t.Run(name, func(t *testing.T) {
			raw, err := os.ReadFile(filepath.Join("..", "..", filepath.FromSlash(name)))
			if err != nil {
				t.Fatal(err)
			}
			c := bare(trip(func(r *http.Request) (*http.Response, error) {
				return http.ReadResponse(bufio.NewReader(bytes.NewReader(raw)), r)
			}))
			_, err = get(c, parseURL(t, "https://a.example/"), func(r *Request) { r.NoRetry = true })
			wantKind(t, err, want.kind)
			if got := AskedWait(err); want.after > 0 && got != want.after || want.kind == KindRateLimited && got <= 0 {
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

// A server may compress whatever was asked, and say so or not.
func TestEncodings(t *testing.T) {
	pack := func(s string, open func(io.Writer) io.WriteCloser) string {
		var b bytes.Buffer
		w := open(&b)
		_, _ = io.WriteString(w, s)
		_ = w.Close()
		return b.String()
	}
	gz := func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }
	zl := func(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) }
	br := func(w io.Writer) io.WriteCloser { return brotli.NewWriter(w) }
	raw := func(w io.Writer) io.WriteCloser {
		f, err := flate.NewWriter(w, 9)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	zs := func(w io.Writer) io.WriteCloser {
		z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
		if err != nil {
			t.Fatal(err)
		}
		return z
	}
	const hello = "<rss>hello</rss>"
	bomb := strings.Repeat("\x00", 3<<20)
	tests := map[string]struct {
		encoding, body, want string
		kind                 Kind
	}{
		"gzip":             {"GZIP", pack(hello, gz), hello, ""},
		"x-gzip":           {"x-gzip", pack(hello, gz), hello, ""},
		"zlib":             {"deflate", pack(hello, zl), hello, ""},
		"bare deflate":     {"deflate", pack(hello, raw), hello, ""},
		"brotli":           {"br", pack(hello, br), hello, ""},
		"zstd":             {"zstd", pack(hello, zs), hello, ""},
		"two":              {"gzip, br", pack(pack(hello, gz), br), hello, ""},
		"gzip unsaid":      {"", pack(hello, gz), hello, ""},
		"zstd unsaid":      {"identity", pack(hello, zs), hello, ""},
		"twice, said once": {"gzip", pack(pack(hello, gz), gz), hello, ""},
		"plain, said gzip": {"gzip", hello, hello, ""},
		"too many":         {"gzip,gzip,gzip,gzip,gzip", hello, "", KindInvalid},
		"broken brotli":    {"br", "\xff\xff\xff\xff", "", KindInvalid},
		"broken zstd":      {"zstd", "no such thing", "", KindInvalid},
		"cut zstd":         {"zstd", pack(strings.Repeat(hello, 99), zs)[:20], "", KindTruncated},
		"cut deflate":      {"deflate", pack(hello, zl)[:9], "", KindTruncated},
		"bomb, brotli":     {"br", pack(bomb, br), "", KindTooLarge},
		"bomb, zstd":       {"zstd", pack(bomb, zs), "", KindTooLarge},
		"bomb, unsaid":     {"", pack(bomb, gz), "", KindTooLarge},
		"bomb in a bomb":   {"br, gzip", pack(pack(bomb, br), gz), "", KindTooLarge},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			c, base := stand(t, func(w http.ResponseWriter, _ *http.Request) {
				if tc.encoding != "" {
					w.Header().Set("Content-Encoding", tc.encoding)
				}
				_, _ = io.WriteString(w, tc.body)
			})
			res, err := get(c, base, func(r *Request) { r.NoRetry = true })
			if wantKind(t, err, tc.kind); err == nil && string(res.Body) != tc.want {
				t.Errorf("%q", res.Body)
			}
		})
	}
}

// A cookie lives along one chain of redirects and no longer.
func TestCookiesInAChain(t *testing.T) {
	asked := 0
	c, base := stand(t, func(w http.ResponseWriter, r *http.Request) {
		asked++
		if ck, err := r.Cookie("ok"); err != nil || ck.Value != "1" {
			http.SetCookie(w, &http.Cookie{Name: "ok", Value: "1", Path: "/"})
			w.Header().Set("Location", r.URL.Path)
			w.WriteHeader(http.StatusFound)
			return
		}
		if own, err := r.Cookie("own"); err != nil || own.Value != "2" {
			t.Errorf("the caller's own cookie is %v", own)
		}
		_, _ = io.WriteString(w, "feed")
	})
	for n := 1; n <= 2; n++ {
		res, err := get(c, base, func(r *Request) { r.Header = http.Header{"Cookie": {"own=2"}} })
		if err != nil || string(res.Body) != "feed" || asked != 2*n {
			t.Errorf("%v after %d requests", err, asked)
		}
	}
}
