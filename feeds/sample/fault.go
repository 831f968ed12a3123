package sample

import (
	"bytes"
	"compress/gzip"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
)

// Fault is how an upstream misbehaves. The zero Fault is none.
type Fault struct {
	Kind       FaultKind
	Status     int    // of FaultStatus
	RetryAfter string // header of FaultStatus, as sent
	Location   string // of FaultRedirect
	Bytes      int64  // size of FaultBomb after decompression; 0 = 2 GiB
}

// FaultKind names a Fault.
type FaultKind uint8

// The faults.
const (
	FaultNone      FaultKind = iota
	FaultStatus              // another status with a short text
	FaultHTML                // status 200 with a web page
	FaultTruncated           // the right answer, cut in the middle, declared as whole
	FaultReset               // the connection breaks in the middle of the answer
	FaultStall               // headers and one byte, then nothing
	FaultBomb                // gzip that unpacks to Bytes
	FaultEmpty               // status 200 without a body
	FaultRedirect            // 302 to Location
)

// Misbehave gives every path that begins with prefix a fault, in place of any
// that the prefix had; FaultNone heals it. The longest matching prefix counts.
func (w *World) Misbehave(prefix string, f Fault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if f.Kind == FaultNone {
		delete(w.faults, prefix)
		return
	}
	w.faults[prefix] = f
}

// fault counts a request and returns how to answer it.
func (w *World) fault(path string) Fault {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.requests[path]++
	longest, f := -1, Fault{}
	for prefix, g := range w.faults {
		if strings.HasPrefix(path, prefix) && len(prefix) > longest {
			longest, f = len(prefix), g
		}
	}
	return f
}

// faulty answers with the fault of the path, if it has one.
func (w *World) faulty(next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		f := w.fault(r.URL.Path)
		switch f.Kind {
		case FaultNone:
			next.ServeHTTP(rw, r)
		case FaultStatus:
			if f.RetryAfter != "" {
				rw.Header().Set("Retry-After", f.RetryAfter)
			}
			http.Error(rw, http.StatusText(f.Status), f.Status)
		case FaultHTML:
			rw.Header().Set("Content-Type", "text/html; charset=utf-8")
			_, _ = io.WriteString(rw, "<!DOCTYPE html><html><head><title>"+Mark+"</title></head><body>Are you human?</body></html>")
		case FaultTruncated, FaultReset:
			cut(rw, r, next, f.Kind == FaultReset)
		case FaultStall:
			rw.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(rw, "{")
			_ = http.NewResponseController(rw).Flush()
			<-r.Context().Done()
		case FaultBomb:
			bomb(rw, r, f.Bytes)
		case FaultEmpty:
			rw.Header().Set("Content-Type", "application/json")
		case FaultRedirect:
			http.Redirect(rw, r, f.Location, http.StatusFound)
		}
	})
}

// cut sends the first half of the right answer: as if it were all, or with the
// length of all and then nothing more.
func cut(rw http.ResponseWriter, r *http.Request, next http.Handler, broken bool) {
	rec := &recorder{header: http.Header{}, status: http.StatusOK}
	next.ServeHTTP(rec, r)
	body := rec.body.Bytes()
	maps.Copy(rw.Header(), rec.header)
	if broken {
		rw.Header().Set("Content-Length", strconv.Itoa(len(body)))
	} else {
		rw.Header().Del("Content-Length")
	}
	rw.WriteHeader(rec.status)
	_, _ = rw.Write(body[:len(body)/2])
	if broken {
		_ = http.NewResponseController(rw).Flush()
		panic(http.ErrAbortHandler)
	}
}

// recorder keeps an answer in memory.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(b []byte) (int, error) { return r.body.Write(b) }

// bomb sends white space that unpacks to n bytes, until the client has enough.
func bomb(rw http.ResponseWriter, r *http.Request, n int64) {
	if n <= 0 {
		n = 2 << 30
	}
	rw.Header().Set("Content-Type", "application/json")
	rw.Header().Set("Content-Encoding", "gzip")
	z := gzip.NewWriter(rw)
	defer func() { _ = z.Close() }()
	chunk := bytes.Repeat([]byte(" "), 1<<20)
	for ; n > 0 && r.Context().Err() == nil; n -= int64(len(chunk)) {
		if _, err := z.Write(chunk[:min(n, int64(len(chunk)))]); err != nil {
			return
		}
	}
}
