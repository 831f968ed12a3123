package fetch

import (
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

// readBody reads a body of at most limit bytes, decompressed by whatever the
// server chose, announced or not. It reads no more than limit compressed bytes
// either, so neither a bomb nor an endless stream of empty gzip members costs
// more than limit.
func readBody(hr *http.Response, limit int64) ([]byte, error) {
	if hr.ContentLength > limit {
		return nil, errTooLarge
	}
	body := bufio.NewReader(&capped{r: hr.Body, left: limit})
	encodings := strings.Split(strings.ToLower(strings.Join(hr.Header.Values("Content-Encoding"), ",")), ",")
	if len(encodings) > maxEncodings {
		return nil, &Error{Kind: KindInvalid, Op: "read answer", Err: fmt.Errorf("%d content encodings", len(encodings))}
	}
	for n := len(encodings) - 1; n >= 0; n-- { // the last was applied last
		enc := strings.TrimSpace(encodings[n])
		if enc == "" || enc == "identity" {
			continue
		}
		next, err := decompress(body, enc, limit)
		if err != nil {
			return nil, err
		}
		body = next
	}
	for range 2 { // a file that is compressed by itself, or once more
		head, _ := body.Peek(4)
		enc := magic(head)
		if enc == "" {
			break
		}
		next, err := decompress(body, enc, limit)
		if err != nil {
			return nil, err
		}
		body = next
	}
	b, err := io.ReadAll(body)
	if err != nil {
		return nil, decompressError(err)
	}
	return b, nil
}

// maxEncodings is how many encodings an answer may have on top of each other.
const maxEncodings = 4

// magic names the compression that a body begins like, "" for none.
func magic(head []byte) string {
	switch {
	case bytes.HasPrefix(head, []byte("\x1f\x8b\x08")):
		return "gzip"
	case bytes.HasPrefix(head, []byte("\x28\xb5\x2f\xfd")):
		return "zstd"
	}
	return ""
}

// decompress undoes one encoding. A body that is not in it, as some servers send
// with the header of another, passes as it is where that can be told.
func decompress(r *bufio.Reader, enc string, limit int64) (*bufio.Reader, error) {
	head, _ := r.Peek(4)
	var out io.Reader
	var err error
	switch enc {
	case "gzip", "x-gzip":
		if len(head) > 0 && (head[0] == '<' || head[0] == '{') {
			return r, nil
		}
		out, err = gzip.NewReader(r)
	case "deflate":
		// The standard means zlib; some servers send the bare stream.
		if len(head) > 1 && head[0]&0x0f == 8 && (int(head[0])<<8|int(head[1]))%31 == 0 {
			out, err = zlib.NewReader(r)
		} else {
			out = flate.NewReader(r)
		}
	case "br":
		out = brotli.NewReader(r)
	case "zstd":
		// One goroutine, and a window that fits the limit: nothing is left behind.
		d, zerr := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if zerr != nil {
			return nil, decompressError(zerr)
		}
		defer d.Close()
		b, zerr := io.ReadAll(&capped{r: d, left: limit})
		if zerr != nil {
			return nil, decompressError(zerr)
		}
		return bufio.NewReader(bytes.NewReader(b)), nil
	default:
		return nil, &Error{Kind: KindInvalid, Op: "read answer", Err: fmt.Errorf("content encoding %.20q is not known", enc)}
	}
	if err != nil {
		return nil, decompressError(err)
	}
	return bufio.NewReader(&capped{r: out, left: limit}), nil
}

// maxWindow is the largest window that a zstd stream of the web may ask for.
const maxWindow = 8 << 20

// decompressError gives the errors of a broken stream their kind.
func decompressError(err error) error {
	var corrupt flate.CorruptInputError
	switch {
	case errors.Is(err, errTooLarge):
		return errTooLarge
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return io.ErrUnexpectedEOF
	case errors.Is(err, gzip.ErrHeader), errors.Is(err, gzip.ErrChecksum), errors.Is(err, zlib.ErrHeader), errors.Is(err, zlib.ErrChecksum),
		errors.As(err, &corrupt), strings.HasPrefix(err.Error(), "brotli: "), errors.Is(err, zstd.ErrMagicMismatch), errors.Is(err, zstd.ErrCRCMismatch),
		errors.Is(err, zstd.ErrWindowSizeExceeded):
		return &Error{Kind: KindInvalid, Op: "decompress answer", Err: err}
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
