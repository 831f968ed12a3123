package feeds

import (
	"context"
	"net/http"
	"net/textproto"
	"net/url"
	"time"

	"carbond/feeds/internal/payload"
)

// callRules say how the calls of one API are to be made.
type callRules struct {
	configured *url.URL // the URL of the configuration that led to the calls
	group      string
	spacing    time.Duration
	noRetry    bool
}

// call sends a request that a parser package built and returns its answer with
// the wire form for later reference.
func (c *cycle) call(ctx context.Context, p payload.Request, rules callRules) (*request, *response, error) {
	u, err := url.Parse(p.URL)
	if err != nil {
		return nil, nil, fail(KindInvalid, "build request", "address cannot be read")
	}
	h := make(http.Header, len(p.Header))
	for k, v := range p.Header {
		h[textproto.CanonicalMIMEHeaderKey(k)] = []string{v}
	}
	req := &request{
		Method: p.Method, URL: u, Header: h, Body: p.Body, Group: rules.group, Spacing: rules.spacing, NoRetry: rules.noRetry,
	}
	if rules.configured != nil && rules.configured.Host != u.Host {
		// The discovered address was checked when it was taken over.
		req.Configured = u
	}
	res, err := c.client.do(ctx, req)
	return req, res, err
}

// parsed gives an error of a parser the operation that it belongs to.
func parsed(req *request, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Kind: KindOf(err), Op: req.Method + " " + shown(req.URL), Err: err}
}
