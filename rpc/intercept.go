package rpc

import (
	"context"

	"google.golang.org/grpc"
)

// guard is the innermost interceptor: rate, token, and the handler with its
// panics caught. The metrics interceptor stands outside, so that it counts what
// is refused and what panicked.
type guard struct {
	core  *core
	auth  *auth
	limit *limiter
}

func (g *guard) admit(ctx context.Context, method string) error {
	if err := g.limit.check(ctx, method); err != nil {
		g.core.metrics.refused.WithLabelValues(refusedRate).Inc()
		return err
	}
	if reason, err := g.auth.check(ctx, method); err != nil {
		g.core.metrics.refused.WithLabelValues(reason).Inc()
		return err
	}
	return nil
}

func (g *guard) unary(ctx context.Context, req any, i *grpc.UnaryServerInfo, next grpc.UnaryHandler) (resp any, err error) {
	if err := g.admit(ctx, i.FullMethod); err != nil {
		return nil, err
	}
	defer func() {
		if p := recover(); p != nil {
			resp, err = nil, g.core.panicked(i.FullMethod, p)
		}
	}()
	return next(ctx, req)
}

func (g *guard) stream(srv any, ss grpc.ServerStream, i *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
	if err := g.admit(ss.Context(), i.FullMethod); err != nil {
		return err
	}
	defer func() {
		if p := recover(); p != nil {
			err = g.core.panicked(i.FullMethod, p)
		}
	}()
	return next(srv, ss)
}
