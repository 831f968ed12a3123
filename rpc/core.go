package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"carbond/rpc/internal/cache"
	"carbond/rpc/internal/throttle"
	"carbond/rpc/internal/watch"
	"carbond/rpc/rpcerr"
	"carbond/store/change"
)

// core is what the calls share.
type core struct {
	reader  Reader
	opt     Options
	cache   *cache.Cache[cacheVersion, proto.Message]
	metrics *metrics
	loads   chan struct{} // one slot for each uncached reply being computed
	past    *pastVersions
	watches *watch.Service

	sqlLog  throttle.Throttle
	headers headerTexts
}

// cacheVersion is what an answer was computed from: equal versions, equal answers. Lists
// use version, details the encoded row.
type cacheVersion struct {
	version change.Offset
	row     string
}

// source says where a reply came from, for the header carbond-cache and the
// metric.
type source string

const (
	hit    source = "hit"
	miss   source = "miss"
	shared source = "shared" // computed by another call at the same time; "miss" in the header
	bypass source = "bypass"
)

// get returns a reply from the cache, or computes it.
func (c *core) get(ctx context.Context, key cache.Key, version cacheVersion, load cache.Load[proto.Message], skip bool) (proto.Message, source, error) {
	if skip {
		c.metrics.requests(key.View, bypass)
		it, err := c.guarded(load)(ctx)
		if err != nil {
			return nil, bypass, c.callError(ctx, err)
		}
		return it.Value, bypass, nil
	}
	m, result, err := c.cache.Get(ctx, key, version, c.guarded(load))
	h := hit
	switch result {
	case cache.Miss:
		h = miss
	case cache.Shared:
		h = shared
	}
	c.metrics.requests(key.View, h)
	if err != nil {
		return nil, h, c.callError(ctx, err)
	}
	return m, h, nil
}

// guarded adds to a load what every load has: a panic becomes an error that is
// logged once, whoever waits for the load.
func (c *core) guarded(load cache.Load[proto.Message]) cache.Load[proto.Message] {
	return func(ctx context.Context) (it cache.Item[proto.Message], err error) {
		defer func() {
			if p := recover(); p != nil {
				err = c.panicked("load", p)
			}
		}()
		return load(ctx)
	}
}

// panicked logs and counts a panic and returns what the caller is told.
func (c *core) panicked(where string, p any) error {
	c.metrics.panics.Inc()
	c.opt.Log.Error("call panicked", "where", where, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	return rpcerr.New(codes.Internal, "a defect of carbond ended the call; its log has the details")
}

// callError turns the error of a load into a status.
func (c *core) callError(ctx context.Context, err error) error {
	switch {
	case rpcerr.Is(err):
		return err
	case ctx.Err() != nil:
		return rpcerr.FromContext(ctx.Err())
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return rpcerr.FromContext(err)
	}
	c.opt.Log.Error("answer a call", "error", err)
	return rpcerr.New(codes.Internal, "a defect of carbond ended the call; its log has the details")
}

// load computes a list reply from the snapshot, or by SQL.
func (c *core) load(ctx context.Context, l list, snap change.ViewSnapshot, filter string, pg page, direct bool) (cache.Item[proto.Message], error) {
	var none cache.Item[proto.Message]
	begin := c.opt.Now()
	buf := scratch.Get().(*[]byte)
	e := &encoder{ctx: ctx, list: l, filter: filter, page: pg, max: c.opt.MaxSendBytes, b: (*buf)[:0]}
	defer func() {
		if cap(e.b) <= maxScratch {
			*buf = e.b
			scratch.Put(buf)
		}
	}()
	if direct {
		if err := c.runSQL(ctx, e); err != nil {
			return none, err
		}
	} else {
		select {
		case c.loads <- struct{}{}:
			defer func() { <-c.loads }()
		case <-ctx.Done():
			return none, ctx.Err()
		}
		e.snapshot(snap)
	}
	raw, err := e.finish()
	if err != nil {
		return none, err
	}
	raw = bytes.Clone(raw) // exactly as long as it is, and e.b is used again
	c.metrics.loaded(l.key, c.opt.Now().Sub(begin))
	// An answer without rows is as cheap as a cache hit, and its filters are
	// without number: a client could drive out what others use.
	keep := e.n > 0 || filter == ""
	if keep {
		c.opt.Gzip.Share(raw)
	}
	return cache.Item[proto.Message]{Value: newReply(l.view, raw), Size: len(raw), Keep: keep}, nil
}
