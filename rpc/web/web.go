package web

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	pb "carbond/proto/carbon"
	"carbond/rpc"
	"carbond/rpc/internal/form"
	"carbond/rpc/rpcerr"
)

// Options configure the API.
type Options struct {
	Log  *slog.Logger // nil discards
	Door *Door
	// Origins are the origins of pages elsewhere that may read, as "https://desk.example.org",
	// or "*" for all; nil or none = none.
	Origins func() []string
}

// API is the handler of /v1/.
type API struct {
	api *rpc.Server
	opt Options
	mux *http.ServeMux
}

// New returns the API of a server.
func New(api *rpc.Server, opt Options) *API {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.Origins == nil {
		opt.Origins = func() []string { return nil }
	}
	a := &API{api: api, opt: opt, mux: http.NewServeMux()}
	for _, rt := range routes() {
		serve := func(w http.ResponseWriter, r *http.Request) { a.serve(w, r, &rt) }
		a.mux.HandleFunc("GET "+rt.path, serve)
		if strings.HasSuffix(rt.path, "}") { // a name with a slash is a name: one may be "watch"
			a.mux.HandleFunc("GET "+rt.path+"/{$}", serve)
		}
	}
	a.mux.HandleFunc("/v1/", func(w http.ResponseWriter, r *http.Request) {
		a.fail(w, r, rpcerr.New(codes.NotFound, "there is no such address; /v1/openapi.json lists those that there are"))
	})
	return a
}

// Names of headers.
const headerRequest = "X-Request-Id"

// requestID is what an id of a client may look like: it goes to the log.
var requestID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// ServeHTTP implements http.Handler.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	id := r.Header.Get(headerRequest)
	if !requestID.MatchString(id) {
		id = rand.Text()
	}
	h.Set(headerRequest, id)
	if a.crossOrigin(h, r) {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		notAllowed(w, "GET, HEAD, OPTIONS")
		return
	}
	a.mux.ServeHTTP(w, r)
}

// notAllowed refuses the method of a request.
func notAllowed(w http.ResponseWriter, allowed string) {
	w.Header().Set("Allow", allowed)
	p := problemOf(rpcerr.New(codes.Unimplemented, "this address answers "+allowed+" only"))
	p.Status, p.Title = http.StatusMethodNotAllowed, http.StatusText(http.StatusMethodNotAllowed)
	p.write(w)
}

// crossOrigin lets pages of configured origins read. It reports whether the request was
// a question of that, which is answered.
func (a *API) crossOrigin(h http.Header, r *http.Request) (answered bool) {
	h.Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	allowed := a.opt.Origins()
	if origin == "" || !slices.Contains(allowed, origin) && !slices.Contains(allowed, "*") {
		return r.Method == http.MethodOptions
	}
	// No credentials: a page elsewhere sends a bearer token, never the cookie.
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Expose-Headers", "ETag, Link, Retry-After, X-Request-Id, Carbond-Offset, Carbond-Lsn, Carbond-Age-Ms, Carbond-Cache, Carbond-Commit-Time, Carbond-Next-Page-Token")
	if r.Method != http.MethodOptions {
		return false
	}
	h.Set("Access-Control-Allow-Methods", "GET, HEAD")
	h.Set("Access-Control-Allow-Headers", "Authorization, Cache-Control, If-None-Match, Last-Event-ID, X-Request-Id")
	h.Set("Access-Control-Max-Age", "600")
	return true
}

func (a *API) fail(w http.ResponseWriter, r *http.Request, err error) {
	p := problemOf(err)
	if p.Status >= 500 && p.Status != http.StatusServiceUnavailable {
		a.opt.Log.Warn("HTTP request failed", "path", r.URL.Path, "status", p.Status, "request_id", w.Header().Get(headerRequest), "error", err)
	}
	p.write(w)
}

// call is one request with what its address asks for.
type call struct {
	*API
	w    http.ResponseWriter
	r    *http.Request
	ctx  context.Context // of the calls that it makes
	m    proto.Message   // of the call, filled from the address; nil for none
	form form.Form
	enc  form.Encoding
}

// serve reads a request and hands it to its route.
func (a *API) serve(w http.ResponseWriter, r *http.Request, rt *route) {
	if rt.stream() && r.Method == http.MethodHead { // it has no end, and so no head
		notAllowed(w, "GET, OPTIONS")
		return
	}
	c := &call{API: a, w: w, r: r, enc: encodingOf(strings.Join(r.Header.Values("Accept-Encoding"), ","))}
	if rt.request != nil {
		c.m = rt.request()
	}
	raw := r.URL.RawQuery
	if rt.own {
		raw = ""
	}
	q, err := parseQuery(raw, c.m, rt.extra...)
	if err == nil {
		c.form, err = q.formOf(strings.Join(r.Header.Values("Accept"), ","))
	}
	for _, name := range rt.inPath {
		if v := r.PathValue(name); err == nil && isField(c.m, name) {
			err = setField(c.m, name, v)
		}
	}
	if q.minLSN != "" {
		r.Header.Set(rpc.HeaderMinLSN, q.minLSN)
	}
	if err == nil {
		c.ctx, err = a.opt.Door.Caller(r)
	}
	if err == nil {
		err = rt.serve(c)
	}
	if err != nil {
		a.fail(w, r, err)
	}
}

// listing answers with the rows of a list call.
func (c *call) listing(l *rpc.Listing, err error) error {
	if err != nil {
		return err
	}
	h := c.w.Header()
	for from, to := range headerOf {
		if v := l.Headers.Get(from); v != "" {
			h.Set(to, v)
		}
	}
	h.Set("ETag", l.ETag)
	h.Set("Cache-Control", "no-cache") // keep it, and ask whether it is still right
	h.Add("Vary", "Accept, Accept-Encoding, Authorization, Cookie")
	if l.Unchanged {
		c.w.WriteHeader(http.StatusNotModified)
		return nil
	}
	if l.Next != "" {
		next := c.r.URL.Query()
		next.Set("page_token", l.Next)
		h.Set("Link", "<"+(&url.URL{Path: c.r.URL.Path, RawQuery: next.Encode()}).String()+`>; rel="next"`)
		h.Set("Carbond-Next-Page-Token", l.Next)
	}
	h.Set("Content-Type", l.ContentType)
	if body, ok := l.Bytes(form.Identity); ok && len(body) < leastCompressed {
		c.enc = form.Identity
	}
	if c.enc != form.Identity {
		h.Set("Content-Encoding", string(c.enc))
	}
	if body, ok := l.Bytes(c.enc); ok {
		h.Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = c.w.Write(body) // who went away hears nothing
		return nil
	}
	if c.r.Method == http.MethodHead {
		return nil
	}
	return c.stream(l)
}

const (
	// leastCompressed is the size below which compressing saves nothing.
	leastCompressed = 1 << 10
	// stall is how long a client may leave a piece of a long answer unread.
	stall = 30 * time.Second
)

// stream writes an answer that is too large to be held. What goes wrong on the way can
// only cut it off.
func (c *call) stream(l *rpc.Listing) error {
	out := form.NewWriter(patient{c.w, http.NewResponseController(c.w)}, c.enc)
	if err := l.Stream(c.ctx, out); err != nil {
		c.opt.Log.Debug("HTTP answer was cut off", "path", c.r.URL.Path, "error", err)
		panic(http.ErrAbortHandler) // so that the client sees a broken answer, not a short one
	}
	_ = out.Close()
	return nil
}

// patient gives each write its own time, in place of one time for the whole answer.
type patient struct {
	w  io.Writer
	rc *http.ResponseController
}

// Write implements io.Writer.
func (p patient) Write(b []byte) (int, error) {
	if err := p.rc.SetWriteDeadline(time.Now().Add(stall)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, err
	}
	return p.w.Write(b)
}

// has reports whether the caller has the answer with an ETag.
func (c *call) has(etag string) bool {
	for v := range strings.SplitSeq(strings.Join(c.r.Header.Values("If-None-Match"), ","), ",") {
		if v = strings.TrimPrefix(strings.TrimSpace(v), "W/"); v == etag || v == "*" {
			return true
		}
	}
	return false
}

func (c *call) list() error { return c.listing(c.api.List(c.ctx, c.m, c.form, c.enc, c.has)) }

func (c *call) project() error {
	return c.listing(c.api.Detail(c.ctx, c.m.(*pb.ProjectDetailQuery), c.form, c.enc, c.has))
}
