package fetch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"time"

	"carbond/feeds/internal/payload"
	"carbond/feeds/internal/text"

	"golang.org/x/net/publicsuffix"
)

// Limits of one request.
const (
	connectTimeout = 5 * time.Second
	DefaultTimeout = 20 * time.Second
	maxHeader      = 256 << 10
	maxRedirects   = 5
	maxAPIBody     = 8 << 20
	MaxFeedBody    = 4 << 20
	retryPause     = 2 * time.Second // before the one retry inside a cycle, ± half
)

var (
	errTooLarge = errors.New("body is larger than the limit")
	errPaused   = errors.New("not asked: the host is paused after a rate limit or repeated failures")
)

// Validators are what a feed answered with, kept verbatim for the next request.
type Validators struct {
	ETag         string `json:"etag,omitempty"`
	LastModified string `json:"last_modified,omitempty"`
}

// Request is one exchange with an upstream, redirects and the retry included.
type Request struct {
	Method     string
	URL        *url.URL
	Configured *url.URL // the configured URL that led here; nil = URL
	Header     http.Header
	Body       []byte
	MaxBody    int64 // bytes after decompression
	Validators Validators
	Group      string        // group of hosts that are paused together, "" = the host alone
	FirstPause time.Duration // first pause after a 429 without Retry-After, 0 = default
	Spacing    time.Duration // least time to the next request of the group
	NoRetry    bool
	AnyAnswer  bool // 4xx answers (429 excepted) are answers too: their headers are wanted
}

// Response is an accepted answer: 200 with its body, or 304.
type Response struct {
	Status      int
	Header      http.Header
	Body        []byte
	NotModified bool
	Validators  Validators
	Moved       *url.URL // where permanent redirects led, nil without any
}

// ContentType is the header of that name.
func (r *Response) ContentType() string { return r.Header.Get("Content-Type") }

// Client talks to upstreams under the rules of conduct. It is safe for use by
// many goroutines.
type Client struct {
	userAgent string
	transport http.RoundTripper
	groups    *groups
	clock     Clock
	log       *slog.Logger
	local     map[string]bool
	timeout   time.Duration // of one request, body included
	feed      string        // that the client works for
	requests  func()        // called before each request that really goes out
}

// Options of a Client. Transport may be nil, then one with the rules of conduct
// is made.
type Options struct {
	UserAgent string
	Timeout   time.Duration // of one request, body included
	Transport http.RoundTripper
	Local     map[string]bool // configured hosts on private networks
	Clock     Clock
	Log       *slog.Logger
}

// New returns a Client.
func New(opt Options) *Client {
	c := &Client{
		userAgent: opt.UserAgent, timeout: opt.Timeout, transport: opt.Transport, local: opt.Local,
		clock: opt.Clock, log: opt.Log, groups: newGroups(opt.Clock), requests: func() {},
	}
	if c.transport == nil {
		c.transport = newTransport(opt.Local)
	}
	return c
}

// For returns a Client of the same hosts that works for one feed and calls count
// before each request that goes out.
func (c *Client) For(feed string, count func()) *Client {
	own := *c
	own.feed, own.requests = feed, count
	return &own
}

// Save returns what must be remembered of the hosts, Restore takes it over.
func (c *Client) Save() map[string]HostState { return c.groups.save() }

// Restore takes over what an earlier run saved.
func (c *Client) Restore(saved map[string]HostState) { c.groups.restore(saved) }

// CloseIdle closes the connections that no request uses.
func (c *Client) CloseIdle() {
	if t, ok := c.transport.(*http.Transport); ok {
		t.CloseIdleConnections()
	}
}

// Transport returns a transport for requests to configured addresses, of which those on
// a private network are reached and all others have to be public.
func Transport(configured ...string) *http.Transport {
	local := map[string]bool{}
	for _, raw := range configured {
		if u, err := url.Parse(raw); err == nil && LocalName(u.Hostname()) {
			local[LowerHost(u)] = true
		}
	}
	return newTransport(local)
}

// newTransport returns the transport that enforces timeouts and addresses.
func newTransport(local map[string]bool) *http.Transport {
	d := &dialer{local: local, timeout: connectTimeout}
	return &http.Transport{
		Proxy:                  d.proxy,
		DialContext:            d.DialContext,
		TLSHandshakeTimeout:    connectTimeout,
		ResponseHeaderTimeout:  DefaultTimeout,
		IdleConnTimeout:        90 * time.Second,
		MaxIdleConnsPerHost:    1,
		MaxConnsPerHost:        2,
		MaxResponseHeaderBytes: maxHeader,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true, // decompressed here, where bytes are counted
	}
}

// Do performs r: at most one retry, for broken connections and 502, 503, 504
// answers that name no time to wait.
func (c *Client) Do(ctx context.Context, r *Request) (*Response, error) {
	res, err := c.follow(ctx, r)
	if err == nil || r.NoRetry || !worthRetry(err) {
		return res, err
	}
	pause := retryPause/2 + rand.N(retryPause)
	if c.isLocal(r.URL) {
		pause /= 20
	}
	if c.clock.Sleep(ctx, pause) != nil {
		return nil, err
	}
	again, aerr := c.follow(ctx, r)
	if KindOf(aerr) == KindPaused {
		return nil, err // the failure paused the host, and is what matters
	}
	return again, aerr
}

// worthRetry reports whether the same request may succeed seconds later.
func worthRetry(err error) bool {
	var e *Error
	if !errors.As(err, &e) || e.RetryAfter > 0 {
		return false
	}
	switch e.Kind {
	case KindNetwork, KindTruncated:
		return true
	case KindHTTPStatus:
		return e.Status == 502 || e.Status == 503 || e.Status == 504
	}
	return false
}

// follow performs r and its redirects. Every hop takes its turn at its host.
func (c *Client) follow(ctx context.Context, r *Request) (*Response, error) {
	configured := r.Configured
	if configured == nil {
		configured = r.URL
	}
	target, permanent := r.URL, true
	jar, _ := cookiejar.New(&cookiejar.Options{PublicSuffixList: publicsuffix.List}) // of this chain alone
	var moved *url.URL
	for hop := 0; ; hop++ {
		op := r.Method + " " + Shown(target)
		if err := CheckURL(target, configured); err != nil {
			return nil, &Error{Kind: KindBlocked, Op: op, Err: err}
		}
		res, err := c.exchange(ctx, r, target, op, jar)
		if err != nil {
			return nil, err
		}
		next, err := redirect(r, res, target, op)
		if err != nil {
			return nil, err
		}
		if next == nil {
			res.Moved = moved
			return res, nil
		}
		if hop == maxRedirects {
			return nil, Fail(KindRedirect, op, "more than %d redirects", maxRedirects)
		}
		permanent = permanent && (res.Status == http.StatusMovedPermanently || res.Status == http.StatusPermanentRedirect)
		if permanent {
			moved = next
		}
		target = next
	}
}

// redirect returns where res leads, nil when it is an answer.
func redirect(r *Request, res *Response, from *url.URL, op string) (*url.URL, error) {
	switch res.Status {
	case 301, 302, 303:
		if r.Method != http.MethodGet {
			return nil, Fail(KindRedirect, op, "a %s is answered by a redirect", r.Method)
		}
	case 307, 308:
	default:
		return nil, nil
	}
	next, err := from.Parse(res.Header.Get("Location"))
	if err != nil || res.Header.Get("Location") == "" {
		return nil, Fail(KindRedirect, op, "redirect without a usable location")
	}
	next.Fragment = ""
	return next, nil
}

// exchange sends one request and reads its answer, in its turn.
func (c *Client) exchange(ctx context.Context, r *Request, target *url.URL, op string, jar http.CookieJar) (*Response, error) {
	g, spacing := c.group(r, target)
	if err := g.enter(ctx, c.clock, op); err != nil {
		return nil, err
	}
	defer func() { g.leave(c.clock, spacing) }()
	c.requests()
	res, err := c.roundTrip(ctx, r, target, jar)
	now := c.clock.Now()
	if err != nil {
		kind := TransportKind(err)
		if kind == KindNetwork || kind == KindTimeout || kind == KindTruncated {
			g.bad(now, kind == KindNetwork)
		}
		return nil, &Error{Kind: kind, Op: op, Err: plainCause(err)}
	}
	return res, c.judge(g, r, res, op, now)
}

// judge turns statuses that are no answer into errors and keeps the host's
// record.
func (c *Client) judge(g *group, r *Request, res *Response, op string, now time.Time) error {
	after := retryAfter(res.Header, now)
	e := &Error{Op: op, Status: res.Status, RetryAfter: after}
	switch s := res.Status; {
	case s == http.StatusOK, s == http.StatusNotModified, s >= 301 && s <= 308 && s != 304 && s != 305 && s != 306:
		g.good(now)
		return nil
	case s == http.StatusTooManyRequests, s == 999: // 999 is Yahoo's own way to say it
		e.Kind, e.RetryAfter = KindRateLimited, g.limited(now, after)
		return e
	case r.AnyAnswer && s >= 400 && s < 500:
		g.good(now)
		return nil
	case s == http.StatusUnauthorized, s == http.StatusForbidden:
		e.Kind = KindAuth
	case s == http.StatusNotFound:
		e.Kind = KindNotFound
	case s == http.StatusGone:
		e.Kind = KindGone
	default:
		e.Kind = KindHTTPStatus
	}
	if res.Status >= 500 {
		g.bad(now, false)
	} else {
		g.good(now)
	}
	e.Err = bodyHint(res)
	return e
}

// bodyHint is what an error's body says: the message of a JSON error, else the
// form of the body.
func bodyHint(res *Response) error {
	b := bytes.TrimSpace(res.Body)
	said := ""
	switch {
	case len(b) == 0:
		said = "answer without a body"
	case b[0] == '<':
		said = "answer is a web page"
	case b[0] == '{', b[0] == '[':
		if said = message(b); said == "" {
			said = "answer is JSON"
		}
	default:
		said = "answer is text" // which may hold anything
	}
	return errors.New(said)
}

// maxMessage is the longest part of an upstream's message that is shown.
const maxMessage = 160

// message is the text of a JSON error in the usual places, "" without one.
func message(b []byte) string {
	var all map[string]payload.Text
	if json.Unmarshal(b, &all) != nil {
		return ""
	}
	for _, name := range []string{"message", "error_description", "detail", "title", "error", "Message", "errorMessage"} {
		if said := text.Clean(all[name].String(), maxMessage); said != "" {
			return fmt.Sprintf("it says %q", said)
		}
	}
	return ""
}

// roundTrip is the request itself, at most c.timeout long, body included.
func (c *Client) roundTrip(ctx context.Context, r *Request, target *url.URL, jar http.CookieJar) (*Response, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	req, err := c.build(ctx, r, target)
	if err != nil {
		return nil, err
	}
	for _, cookie := range jar.Cookies(req.URL) {
		req.AddCookie(cookie)
	}
	hr, err := c.transport.RoundTrip(req)
	if err != nil {
		return nil, timeoutCause(ctx, err)
	}
	defer hr.Body.Close()
	jar.SetCookies(req.URL, hr.Cookies())
	res := &Response{Status: hr.StatusCode, Header: hr.Header}
	res.Validators = Validators{hr.Header.Get("ETag"), hr.Header.Get("Last-Modified")}
	if hr.StatusCode == http.StatusNotModified {
		if r.Validators == (Validators{}) {
			return nil, &Error{Kind: KindInvalid, Op: "read answer", Err: errors.New("304 to a request without validators")}
		}
		res.NotModified, res.Validators = true, r.Validators
		return res, nil
	}
	limit := r.MaxBody
	if limit <= 0 {
		limit = maxAPIBody
	}
	if hr.StatusCode != http.StatusOK {
		limit = 64 << 10
	}
	res.Body, err = readBody(hr, limit)
	if err != nil && hr.StatusCode == http.StatusOK {
		return nil, timeoutCause(ctx, err)
	}
	return res, nil
}

// group returns the group that target belongs to for r, and its spacing. The
// user's own machine needs no sparing; there each feed is a group of its own, so
// that several stand-ins behind one port do not wait for each other.
func (c *Client) group(r *Request, target *url.URL) (*group, time.Duration) {
	if c.isLocal(target) {
		return c.groups.of(target, c.feed+"@"+target.Host, localPause), 0
	}
	if target.Host != r.URL.Host {
		return c.groups.of(target, "", 0), 0
	}
	return c.groups.of(target, r.Group, r.FirstPause), r.Spacing
}

// build makes the request. Headers of the caller (keys, cookies) go only to the
// Origin that they were meant for.
func (c *Client) build(ctx context.Context, r *Request, target *url.URL) (*http.Request, error) {
	u := *target
	u.User = nil
	req, err := http.NewRequestWithContext(ctx, r.Method, u.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("build request for %s: %w", target.Host, errors.Unwrap(err))
	}
	if r.Body != nil {
		req.Body = io.NopCloser(bytes.NewReader(r.Body))
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(r.Body)), nil }
		req.ContentLength = int64(len(r.Body))
	}
	if Origin(target) == Origin(r.URL) {
		for k, v := range r.Header {
			req.Header[k] = slices.Clone(v)
		}
		if p, ok := r.URL.User.Password(); ok {
			req.SetBasicAuth(r.URL.User.Username(), p)
		}
	} else if a := r.Header.Get("Accept"); a != "" {
		req.Header.Set("Accept", a)
	}
	req.Header.Set("User-Agent", c.userAgent)
	req.Header.Set("Accept-Encoding", "gzip")
	if r.Validators.ETag != "" {
		req.Header.Set("If-None-Match", r.Validators.ETag)
	}
	if r.Validators.LastModified != "" {
		req.Header.Set("If-Modified-Since", r.Validators.LastModified)
	}
	return req, nil
}

// Limited pauses the host of r after an answer that means 429 without
// saying so in its status, and returns the error for it.
func (c *Client) Limited(r *Request, cause error) error {
	g, _ := c.group(r, r.URL)
	pause := g.limited(c.clock.Now(), 0)
	return &Error{Kind: KindRateLimited, Op: r.Method + " " + Shown(r.URL), Status: http.StatusOK, RetryAfter: pause, Err: cause}
}

// isLocal reports whether u names a machine of the user's own, as configured.
func (c *Client) isLocal(u *url.URL) bool { return c.local[LowerHost(u)] }
