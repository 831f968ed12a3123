package rpc

import (
	"context"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"carbond/store/change"
)

// Names of the request and reply headers.
const (
	HeaderMinLSN = "carbond-min-lsn"
	// HeaderAtLSN asks the three view calls for the view as it was at a position
	// of the WAL: every transaction whose commit ends at or before it, and no
	// other. The call waits for it like HeaderMinLSN.
	HeaderAtLSN        = "carbond-at-lsn"
	HeaderCacheControl = "cache-control"
	HeaderOffset       = "carbond-offset"
	HeaderLSN          = "carbond-lsn"
	HeaderAge          = "carbond-age-ms"
	HeaderCache        = "carbond-cache"
)

// maxFilter bounds a filter or a project_id, in bytes.
const maxFilter = 1 << 10

// checkText checks a text field of a query.
func checkText(field, s string, limit int) error {
	switch {
	case len(s) > limit:
		return badField(field, "is longer than "+strconv.Itoa(limit)+" bytes")
	case !utf8.ValidString(s):
		return badField(field, "is not valid UTF-8")
	case strings.IndexByte(s, 0) >= 0:
		return badField(field, "holds a zero byte, which no text of Postgres does")
	}
	return nil
}

// checkQuery checks a list query and resolves its page.
func (c *core) checkQuery(l list, filter string, size int32, token string, at asOf) (page, error) {
	if err := checkText(l.field, filter, maxFilter); err != nil {
		return page{}, err
	}
	if size < 0 {
		return page{}, badField("page_size", "is negative; 0 means everything")
	}
	pg := page{size: min(int(size), c.opt.MaxPageSize)}
	if at.set() {
		pg.scope = at.scope()
	}
	if token == "" {
		return pg, nil
	}
	body, err := decodeToken(l.key+pg.scope, filter, token)
	if err == nil && at.set() {
		pg.version, body, err = cutVersion(body)
	}
	if err == nil && l.view == change.ViewNews {
		pg.mark, err = decodeMark(body)
	}
	if err != nil {
		return page{}, badField("page_token", err.Error())
	}
	pg.resume = true
	if l.view != change.ViewNews {
		pg.after = string(body)
	}
	return pg, nil
}

// conditions fulfils the request headers: it waits for carbond-min-lsn, and
// reports whether the caller wants no cached answer.
func (c *core) conditions(ctx context.Context) (noCache bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, ctxError(err)
	}
	for _, v := range metadata.ValueFromIncomingContext(ctx, HeaderCacheControl) {
		for d := range strings.SplitSeq(v, ",") {
			if d = strings.TrimSpace(d); strings.EqualFold(d, "no-cache") || strings.EqualFold(d, "no-store") {
				noCache = true
			}
		}
	}
	want, err := wantedLSN(ctx, HeaderMinLSN)
	if err != nil || want == 0 {
		return noCache, err
	}
	return noCache, c.waitLSN(ctx, want)
}

// wantedLSN returns the highest position that a request header names, 0 for
// none. The lowest one, "0/0", is reached at once: it is what carbond-lsn says
// of an answer that reflects nothing of the WAL. No answer is as of then.
func wantedLSN(ctx context.Context, header string) (want change.LSN, err error) {
	for _, t := range metadata.ValueFromIncomingContext(ctx, header) {
		lsn, err := change.ParseLSN(strings.TrimSpace(t))
		if err != nil || lsn == 0 && header == HeaderAtLSN {
			return 0, badField(header, "is not a position like 16/B374D848")
		}
		want = max(want, lsn)
	}
	return want, nil
}

func (c *core) waitLSN(ctx context.Context, want change.LSN) error {
	if c.opt.Pool == nil {
		return statusError(codes.FailedPrecondition,
			"a position of the WAL needs a Postgres behind carbond; in embedded mode an answer reflects every acknowledged write", info(ReasonEmbedded))
	}
	// Most callers ask for what is long there.
	if s := c.reader.Snapshot(); s != nil && s.LSN() >= want {
		return nil
	}
	limit := c.opt.MinLSNWait
	if d, ok := ctx.Deadline(); ok {
		// Some of the time is kept for telling the caller, who would else see
		// only his own deadline.
		left := time.Until(d)
		limit = min(limit, left-min(max(left/10, 5*time.Millisecond), 250*time.Millisecond))
	}
	wctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	begin := c.opt.Now()
	err := c.reader.WaitLSN(wctx, want)
	c.metrics.lsnWait.Observe(c.opt.Now().Sub(begin).Seconds())
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctxError(ctx.Err())
	}
	have := change.LSN(0)
	if s := c.reader.Snapshot(); s != nil {
		have = s.LSN()
	}
	return statusError(codes.Unavailable, "the views have reached "+have.String()+", not yet "+want.String(),
		info(ReasonMinLSN, "have", have.String(), "want", want.String()), retryAfter(200*time.Millisecond))
}

// headerTexts remembers the texts of the last position sent: many calls are
// answered between two positions.
type headerTexts struct{ last atomic.Pointer[headerText] }

type headerText struct {
	offset     change.Offset
	lsn        change.LSN
	offsetText []string
	lsnText    []string
}

func (h *headerTexts) of(s Snapshot) *headerText {
	off, lsn := s.Offset(), s.LSN()
	if t := h.last.Load(); t != nil && t.offset == off && t.lsn == lsn {
		return t
	}
	t := &headerText{off, lsn, []string{strconv.FormatUint(uint64(off), 10)}, []string{lsn.String()}}
	h.last.Store(t)
	return t
}

// Header values that never change are shared; gRPC copies what it keeps.
var cacheTexts = map[how][]string{hit: {"hit"}, miss: {"miss"}, shared: {"miss"}, bypass: {"bypass"}}

// header sets the reply headers. A snapshot's position is at least that of the
// data sent, and a cached reply equals what the snapshot would give.
func (c *core) header(ctx context.Context, s Snapshot, h how) {
	t := c.headers.of(s)
	age := max(0, c.opt.Age().Milliseconds())
	// The error says that the headers are out already, which cannot be here.
	_ = grpc.SetHeader(ctx, metadata.MD{
		HeaderOffset: t.offsetText,
		HeaderLSN:    t.lsnText,
		HeaderAge:    {strconv.FormatInt(age, 10)},
		HeaderCache:  cacheTexts[h],
	})
}
