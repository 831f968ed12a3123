package fetch

import (
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// readBody reads a body of at most limit bytes, decompressed. It reads no more
// than limit compressed bytes either, so neither a bomb nor an endless stream
// of empty gzip members costs more than limit.
func readBody(hr *http.Response, limit int64) ([]byte, error) {
	if hr.ContentLength > limit {
		return nil, errTooLarge
	}
	raw := &capped{r: hr.Body, left: limit}
	var body io.Reader = raw
	switch enc := strings.ToLower(strings.TrimSpace(hr.Header.Get("Content-Encoding"))); enc {
	case "", "identity":
	case "gzip", "x-gzip":
		z, err := gzip.NewReader(raw)
		if err != nil {
			return nil, gzipError(err)
		}
		body = &capped{r: z, left: limit}
	default:
		return nil, &Error{Kind: KindInvalid, Op: "read answer", Err: fmt.Errorf("content encoding %.20q was not asked for", enc)}
	}
	b, err := io.ReadAll(body)
	if err != nil {
		return nil, gzipError(err)
	}
	return b, nil
}

// gzipError gives the errors of a broken gzip stream their kind.
func gzipError(err error) error {
	if errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) {
		return &Error{Kind: KindInvalid, Op: "decompress answer", Err: err}
	}
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// capped passes at most left bytes and then fails with errTooLarge, where
// io.LimitReader would pretend that the stream ended.
type capped struct {
	r    io.Reader
	left int64
}

func (c *capped) Read(p []byte) (int, error) {
	if c.left < 0 {
		return 0, errTooLarge
	}
	if int64(len(p)) > c.left+1 {
		p = p[:c.left+1]
	}
	n, err := c.r.Read(p)
	c.left -= int64(n)
	if c.left < 0 {
		return n, errTooLarge
	}
	return n, err
}

// timeoutCause prefers the context's own verdict to the transport's wording.
func timeoutCause(ctx context.Context, err error) error {
	if cause := ctx.Err(); cause != nil {
		return cause
	}
	return err
}

// plainCause drops the layers that repeat a URL, which may carry a secret.
func plainCause(err error) error {
	var u *url.Error
	for errors.As(err, &u) {
		err = u.Err
	}
	var e *Error
	if errors.As(err, &e) && e.Err != nil {
		return e.Err
	}
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return fmt.Errorf("look up %s: %s", dns.Name, dns.Err)
	}
	return err
}

// retryAfter reads the header of that name, in seconds or as a date, and keeps
// it within sane bounds; 0 means absent or useless.
func retryAfter(h http.Header, now time.Time) time.Duration {
	s := strings.TrimSpace(h.Get("Retry-After"))
	if s == "" {
		return 0
	}
	var d time.Duration
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		if n < 0 {
			return 0
		}
		d = time.Duration(min(n, int64(MaxRetryAfter/time.Second))) * time.Second
	} else if strings.Trim(s, "0123456789") == "" {
		d = MaxRetryAfter // a number too large for any integer
	} else if t, err := http.ParseTime(s); err == nil {
		// The server's own clock is the one its date is meant by.
		if sent, err := http.ParseTime(h.Get("Date")); err == nil {
			d = t.Sub(sent)
		} else {
			d = t.Sub(now)
		}
		if d <= 0 {
			return retryAfterMin
		}
	} else {
		return 0
	}
	return min(max(d, retryAfterMin), MaxRetryAfter)
}

// MaxAge reads max-age of Cache-Control; 0 means absent.
func MaxAge(h http.Header) time.Duration {
	for part := range strings.SplitSeq(h.Get("Cache-Control"), ",") {
		k, v, _ := strings.Cut(strings.TrimSpace(part), "=")
		if !strings.EqualFold(k, "max-age") {
			continue
		}
		if n, err := strconv.ParseInt(strings.Trim(v, `"`), 10, 64); err == nil && n > 0 {
			return time.Duration(min(n, 86400)) * time.Second
		}
	}
	return 0
}

// Digest is a short fingerprint of bodies.
func Digest(bodies ...[]byte) string {
	h := sha256.New()
	for _, b := range bodies {
		_, _ = fmt.Fprintf(h, "%d:", len(b))
		_, _ = h.Write(b)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// LowerHost is the host name of u without port, in lower case.
func LowerHost(u *url.URL) string { return strings.ToLower(u.Hostname()) }
