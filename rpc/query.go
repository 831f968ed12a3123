package rpc

import (
	"context"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"carbond/rpc/internal/wire"
	"carbond/rpc/rpcerr"
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

// checkPage checks the page that a list query asks for.
func (c *core) checkPage(l list, sel *selection, size int32, token string, at asOf) (page, error) {
	if size < 0 {
		return page{}, rpcerr.BadField("page_size", "is negative; 0 means everything")
	}
	pg := page{size: min(int(size), c.opt.MaxPageSize)}
	if sel.order != nil && size == 0 {
		pg.size = c.opt.MaxPageSize // sorting holds what it answers
	}
	if sel.archive != nil && size == 0 {
		pg.size = change.NewsLimit
	}
	if at.set() {
		pg.scope = at.scope()
	}
	if token == "" {
		return pg, nil
	}
	body, err := wire.DecodeToken(l.key+pg.scope, sel.key(), token)
	if err == nil && at.set() {
		pg.version, body, err = cutVersion(body)
	}
	marked := l.view == change.ViewNews && sel.archive == nil
	if err == nil && marked {
		pg.mark, err = decodeMark(body)
	}
	if err != nil {
		return page{}, rpcerr.BadField("page_token", err.Error())
	}
	pg.resume = true
	if !marked {
		pg.after = string(body)
	}
	return pg, nil
}

// conditions fulfils the request headers: it waits for carbond-min-lsn, and
// reports whether the caller wants no cached answer.
func (c *core) conditions(ctx context.Context) (noCache bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, rpcerr.FromContext(err)
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
			return 0, rpcerr.BadField(header, "is not a position like 16/B374D848")
		}
		want = max(want, lsn)
	}
	return want, nil
}

func (c *core) waitLSN(ctx context.Context, want change.LSN) error {
	if c.opt.Pool == nil {
		return rpcerr.New(codes.FailedPrecondition,
			"a position of the WAL needs a Postgres behind carbond; in embedded mode an answer reflects every acknowledged write", rpcerr.Info(rpcerr.ReasonEmbedded))
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
		return rpcerr.FromContext(ctx.Err())
	}
	have := change.LSN(0)
	if s := c.reader.Snapshot(); s != nil {
		have = s.LSN()
	}
	return rpcerr.New(codes.Unavailable, "the views have reached "+have.String()+", not yet "+want.String(),
		rpcerr.Info(rpcerr.ReasonMinLSN, "have", have.String(), "want", want.String()), rpcerr.RetryAfter(200*time.Millisecond))
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

func (h *headerTexts) of(s change.ViewSnapshot) *headerText {
	off, lsn := s.Offset(), s.LSN()
	if t := h.last.Load(); t != nil && t.offset == off && t.lsn == lsn {
		return t
	}
	t := &headerText{off, lsn, []string{strconv.FormatUint(uint64(off), 10)}, []string{lsn.String()}}
	h.last.Store(t)
	return t
}

// Header values that never change are shared; gRPC copies what it keeps.
var cacheTexts = map[source][]string{hit: {"hit"}, miss: {"miss"}, shared: {"miss"}, bypass: {"bypass"}}

// header sets the reply headers. A snapshot's position is at least that of the
// data sent, and a cached reply equals what the snapshot would give.
func (c *core) header(ctx context.Context, s change.ViewSnapshot, h source) {
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
