package rpc

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"google.golang.org/grpc/codes"

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
	cache   *cache.Cache[cacheVersion, any]
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

// get returns a reply from the cache, or computes it. metric is the view that the
// call is counted for.
func (c *core) get(ctx context.Context, key cache.Key, metric string, version cacheVersion, load cache.Load[any], skip bool) (any, source, error) {
	if skip {
		c.metrics.requests(metric, bypass)
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
	c.metrics.requests(metric, h)
	if err != nil {
		return nil, h, c.callError(ctx, err)
	}
	return m, h, nil
}

// guarded adds to a load what every load has: a panic becomes an error that is
// logged once, whoever waits for the load.
func (c *core) guarded(load cache.Load[any]) cache.Load[any] {
	return func(ctx context.Context) (it cache.Item[any], err error) {
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
