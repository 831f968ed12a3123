package poll

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/textproto"
	"net/url"
	"time"

	"carbond/feeds/internal/fetch"
	"carbond/feeds/internal/payload"
	"carbond/store/change"
)

// Figures that all pollers share.
const (
	LocalFull = 10 // polls of the user's own machine from one full reading to the next, at most
	GoneAfter = 3  // complete readings without a row before it is deleted
)

// Source is one upstream: when it wants to be asked, and how.
//
// The Runner calls the methods of one source from one goroutine at a time.
// Poll changes the source's own memory only for what has been written, so that
// a failed write is made good by the next poll.
type Source interface {
	Name() string
	Table() string
	// Local reports whether the upstream is the user's own machine.
	Local() bool
	// Volatile reports whether a 404 or 410 may disable the source: feeds come
	// and go, the main upstreams do not.
	Volatile() bool
	// Fingerprint changes when the configured address does: what is remembered
	// of another address is worth nothing.
	Fingerprint() string
	// Interval is the time to the next poll, as things stand at now.
	Interval(now time.Time) time.Duration
	Poll(ctx context.Context, c *Cycle) (Result, error)
	// Save returns what must survive a restart, Restore takes it over. Restore
	// gets nothing but what Save returned, perhaps of an older version.
	Save() any
	Restore(data json.RawMessage) error
}

// Cycle is what one poll works with.
type Cycle struct {
	Client *fetch.Client
	Clock  fetch.Clock
	Log    *slog.Logger
	Writer Writer
	Dry    bool // preview only

	Written change.Written
	Edits   []change.Edit // of dry cycles, for display
}

// Result is what a poll found.
type Result struct {
	Items     int  // rows that upstream has, as far as this poll saw
	Unchanged bool // 304, or the same bodies as last time
	Partial   bool // Items counts a part; keep the last full count for display
	Notes     []string
	LeftOut   string // what of the answer gave no row, and why
}

// Now is the time of the clock.
func (c *Cycle) Now() time.Time { return c.Clock.Now() }

// Write stores edits in one transaction. A dry cycle collects them instead.
func (c *Cycle) Write(ctx context.Context, edits ...change.Edit) error {
	if c.Dry {
		c.Edits = append(c.Edits, edits...)
		return nil
	}
	n, err := c.Writer.Write(ctx, edits)
	if err != nil {
		return storeError(ctx, "store rows", err)
	}
	c.Written = c.Written.Add(n)
	return nil
}

// Stored returns the named columns of every stored row of a table.
func (c *Cycle) Stored(ctx context.Context, table string, columns ...string) ([]change.Row, error) {
	rows, err := c.Writer.Rows(ctx, table, columns)
	if err != nil {
		return nil, storeError(ctx, "read table "+table, err)
	}
	return rows, nil
}

// ErrNoTable says that a table that came later than the others is not there, or is somebody
// else's of the same name. Nothing is written to it.
var ErrNoTable = errors.New("it is not there, or not as carbond makes it")

// storeError tells a writer that failed from one that was stopped.
func storeError(ctx context.Context, op string, err error) error {
	kind := fetch.KindWrite
	if ctx.Err() != nil {
		kind = fetch.TransportKind(ctx.Err())
	}
	return &fetch.Error{Kind: kind, Op: op, Err: err}
}

// Get fetches r under the rules of conduct.
func (c *Cycle) Get(ctx context.Context, r *fetch.Request) (*fetch.Response, error) {
	return c.Client.Do(ctx, r)
}

// Limited pauses the host of r after an answer that means 429 without saying so
// in its status, and returns the error for it.
func (c *Cycle) Limited(r *fetch.Request, cause error) error { return c.Client.Limited(r, cause) }

// CallRules say how the calls of one API are to be made.
type CallRules struct {
	Configured *url.URL // the URL of the configuration that led to the calls
	Spacing    time.Duration
}

// Call sends a request that a parser built and returns its answer with the wire
// form for later reference.
func (c *Cycle) Call(ctx context.Context, p payload.Request, rules CallRules) (*fetch.Request, *fetch.Response, error) {
	u, err := url.Parse(p.URL)
	if err != nil {
		return nil, nil, fetch.Fail(fetch.KindInvalid, "build request", "address cannot be read")
	}
	h := make(http.Header, len(p.Header))
	for k, v := range p.Header {
		h[textproto.CanonicalMIMEHeaderKey(k)] = []string{v}
	}
	req := &fetch.Request{Method: p.Method, URL: u, Header: h, Body: p.Body, Spacing: rules.Spacing}
	if rules.Configured != nil && rules.Configured.Host != u.Host {
		// The discovered address was checked when it was taken over.
		req.Configured = u
	}
	res, err := c.Client.Do(ctx, req)
	return req, res, err
}

// Parsed gives an error of a parser the operation that it belongs to.
func Parsed(req *fetch.Request, err error) error {
	if err == nil {
		return nil
	}
	return &fetch.Error{Kind: fetch.KindOf(err), Op: req.Method + " " + fetch.Shown(req.URL), Err: err}
}
