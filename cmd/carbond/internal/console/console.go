package console

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"embed"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	g "maragu.dev/gomponents"
	h "maragu.dev/gomponents/html"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"carbond/cmd/carbond/internal/admin"
	"carbond/cmd/carbond/internal/trend"
	pb "carbond/proto/carbon"
)

// Options are what the pages show, and whom they ask. All of it but Logger is set.
type Options struct {
	Logger *slog.Logger // nil discards
	Status func() admin.Status
	Trend  func() []trend.Sample
	Door   Door
	API    grpc.ClientConnInterface // within the process, for the caller that the door says
	Stream func(ctx context.Context, method string, req proto.Message, send func(m any) error) error
	Gzip   func(r *http.Request) bool // whether a client takes it
}

// Door decides who comes in. Its errors are statuses of gRPC.
type Door interface {
	// Caller returns the context of calls to the API for a request.
	Caller(r *http.Request) (context.Context, error)
	// Enter keeps a token in the browser, Leave forgets it.
	Enter(w http.ResponseWriter, r *http.Request, token string) error
	Leave(w http.ResponseWriter, r *http.Request)
	// CSRF returns what a form carries in its field csrf, which CheckPost asks for.
	CSRF(r *http.Request) string
	CheckPost(r *http.Request) error
}

// Console is the pages. Close ends its live ones.
type Console struct {
	opt     Options
	carbon  pb.CarbonServiceClient
	log     pb.ChangelogServiceClient
	admin   pb.AdminServiceClient
	streams chan struct{} // one for each live page
	closed  chan struct{}
	once    sync.Once
	recent  recent
	past    past
}

const (
	maxStreams = 200
	pageTime   = 10 * time.Second // for the calls that a page makes
)

//go:embed static
var static embed.FS

// New returns the pages.
func New(opt Options) *Console {
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Console{
		opt: opt, carbon: pb.NewCarbonServiceClient(opt.API), log: pb.NewChangelogServiceClient(opt.API), admin: pb.NewAdminServiceClient(opt.API),
		streams: make(chan struct{}, maxStreams), closed: make(chan struct{}),
	}
	return c
}

// Routes adds the pages to a server. A client that accepts text/event-stream gets the
// live parts of one.
func (c *Console) Routes(mux *http.ServeMux) {
	for _, p := range slices.Concat(navigation, below) {
		mux.HandleFunc("GET "+p.pattern, c.serve(p))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead { // of a page too
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "there is nothing to send here", http.StatusMethodNotAllowed)
			return
		}
		c.serve(nowhere)(w, r)
	})
	mux.HandleFunc("POST /token", c.enter)
	mux.HandleFunc("POST /token/forget", c.leave)
	mux.HandleFunc("POST /pipeline/poll", c.poll)
	mux.Handle("GET /static/", http.FileServerFS(static))
	mux.HandleFunc("GET /static/uplot/uplot.js", c.uplot)
}

// uplot serves uPlot, which is embedded packed: it is 29 kB less of the program.
func (c *Console) uplot(w http.ResponseWriter, r *http.Request) {
	f, err := static.Open("static/uplot/uplot.js.gz")
	if err != nil {
		http.NotFound(w, r) // it is embedded
		return
	}
	defer f.Close()
	w.Header().Set("Content-Type", "text/javascript; charset=utf-8")
	w.Header().Add("Vary", "Accept-Encoding")
	var from io.Reader = f
	if c.opt.Gzip(r) {
		w.Header().Set("Content-Encoding", "gzip")
	} else if from, err = gzip.NewReader(f); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_, _ = io.Copy(w, from) // a reader that has left
}

// Close ends the live pages; their browsers come again.
func (c *Console) Close() { c.once.Do(func() { close(c.closed) }) }

// request is what a page is made for.
type request struct {
	ctx      context.Context
	path     string
	query    url.Values
	id       string // of the thing that the path names
	host     string // that the reader asked for
	theme    string // "light", "dark" or "" for that of the system
	now      time.Time
	live     string // name of this rendering
	csrf     string
	chart    bool   // the page has one to zoom into
	title    string // of the page, "" for that of its place
	streamed bool   // for a live page, which is made each second
	still    bool   // the page does not go on by itself
	status   admin.Status
}

// place is a page: where it is, what it is called, and what makes its content.
type place struct {
	pattern, path, name string
	body                func(*Console, *request) (g.Node, error)
}

// navigation is the pages in the order of their links; below are those that these
// lead to.
var (
	navigation = []place{
		{"/{$}", "/", "Overview", (*Console).overview},
		{"/projects", "/projects", "Projects", (*Console).projects},
		{"/prices", "/prices", "Prices", (*Console).prices},
		{"/news", "/news", "News", (*Console).news},
		{"/changelog", "/changelog", "Changelog", (*Console).changelog},
		{"/pipeline", "/pipeline", "Pipeline", (*Console).pipeline},
	}
	below = []place{
		{"/projects/{id}", "/projects", "Project", (*Console).project},
		{"/prices/{id}", "/prices", "Price", (*Console).ticker},
	}
	nowhere = place{"/", "/", "Not here", func(_ *Console, q *request) (g.Node, error) {
		q.still = true
		return nil, status.Error(codes.NotFound, "there is no such page")
	}}
)

// render makes a page, or an error that says what the reader can do.
func (c *Console) render(r *http.Request, p place) (*sheet, int, error) {
	ctx, cancel := context.WithTimeout(r.Context(), pageTime)
	defer cancel()
	q := &request{path: r.URL.Path, query: r.URL.Query(), live: rand.Text(), id: r.PathValue("id"), host: r.Host, now: time.Now(), status: c.opt.Status(), csrf: c.opt.Door.CSRF(r), streamed: streams(r)}
	q.query.Del("live")
	q.query.Del("next")
	if ck, err := r.Cookie("theme"); err == nil && (ck.Value == "dark" || ck.Value == "light") {
		q.theme = ck.Value
	}
	code, body := http.StatusOK, g.Node(nil)
	var err error
	if q.ctx, err = c.opt.Door.Caller(r.WithContext(ctx)); err == nil {
		body, err = p.body(c, q)
	}
	if r.Context().Err() != nil {
		return nil, 0, r.Context().Err()
	}
	if err != nil {
		code, body = c.trouble(q, p, err)
	}
	s, err := draw(c.frame(q, p, body))
	if err == nil {
		s.name = q.live
	}
	return s, code, err
}

// trouble says to the reader why a page has no content, and what helps.
func (c *Console) trouble(q *request, p place, err error) (int, g.Node) {
	st := status.Convert(err)
	code, body := http.StatusInternalServerError, failure(st.Message())
	switch st.Code() {
	case codes.NotFound:
		code = http.StatusNotFound
	case codes.InvalidArgument:
		code = http.StatusBadRequest
	case codes.OutOfRange:
		code = http.StatusGone
	case codes.Unauthenticated, codes.PermissionDenied:
		code = http.StatusForbidden
		if st.Code() == codes.Unauthenticated {
			code = http.StatusUnauthorized
		}
		q.still = true
		body = g.Group{body, tokenForm(q)}
	case codes.ResourceExhausted:
		code = http.StatusTooManyRequests
	case codes.Unavailable, codes.DeadlineExceeded:
		code = http.StatusServiceUnavailable
	default:
		c.opt.Logger.Error("make a page", "page", p.path, "error", err)
	}
	if code < http.StatusInternalServerError && len(q.query) > 0 { // a filter may be wrong
		body = g.Group{body, h.P(h.A(h.Href(q.path), g.Text("This page as it is by itself")))}
	}
	return code, body
}

// streams reports whether a request is for the live parts of a page.
func streams(r *http.Request) bool {
	return strings.Contains(r.Header.Get("Accept"), "text/event-stream")
}

func (c *Console) serve(p place) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if streams(r) {
			c.stream(w, r, p)
			return
		}
		s, code, err := c.render(r, p)
		switch {
		case errors.Is(err, context.Canceled):
			return
		case err != nil:
			c.opt.Logger.Error("make a page", "page", p.path, "error", err)
			http.Error(w, "a defect of carbond; its log has the details", http.StatusInternalServerError)
			return
		}
		c.recent.add(s.name, s)
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Vary", "Accept, Cookie")
		w.WriteHeader(code)
		_, _ = bytes.NewReader(s.Bytes()).WriteTo(w)
	}
}
