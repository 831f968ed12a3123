package rpc

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"carbond/rpc/internal/admission"
	"carbond/rpc/internal/wire"
	"carbond/rpc/rpcerr"
)

// guard is the only interceptor. One in place of a chain saves a closure for
// each link and call. In order: count, admit by rate and token, run the handler
// with its panics caught; so what is refused and what panics is counted too.
type guard struct {
	core  *core
	auth  *admission.Tokens
	limit *admission.RateLimit
}

func (g *guard) unary(ctx context.Context, req any, i *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	begin := time.Now()
	mm := g.core.metrics.calls.of(i.FullMethod)
	mm.started.Inc()
	mm.received.Inc()
	resp, err := g.handle(ctx, req, i, next)
	if err == nil {
		mm.sent.Inc()
	}
	mm.end(begin, err)
	return resp, err
}

func (g *guard) handle(ctx context.Context, req any, i *grpc.UnaryServerInfo, next grpc.UnaryHandler) (resp any, err error) {
	defer func() {
		if p := recover(); p != nil {
			resp, err = nil, g.core.panicked(i.FullMethod, p)
		}
	}()
	if err := g.admit(ctx, i.FullMethod); err != nil {
		return nil, err
	}
	if err := wire.Malformed(req); err != nil {
		return nil, malformed(err)
	}
	return next(ctx, req)
}

func (g *guard) stream(srv any, ss grpc.ServerStream, i *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	begin := time.Now()
	mm := g.core.metrics.calls.of(i.FullMethod)
	mm.started.Inc()
	err := g.handleStream(srv, countedStream{ss, mm}, i, next)
	mm.end(begin, err)
	return err
}

func (g *guard) handleStream(srv any, ss grpc.ServerStream, i *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = g.core.panicked(i.FullMethod, p)
		}
	}()
	if err := g.admit(ss.Context(), i.FullMethod); err != nil {
		return err
	}
	ctx, end := g.auth.Hold(ss.Context(), i.FullMethod)
	defer end()
	err = next(srv, heldStream{ss, ctx})
	if ctx.Err() != nil && ss.Context().Err() == nil { // the token was withdrawn
		return context.Cause(ctx)
	}
	return err
}

// heldStream is a stream that may end before its client's context does.
type heldStream struct {
	grpc.ServerStream
	ctx context.Context // is that of one call, as in grpc.ServerStream
}

// RecvMsg implements grpc.ServerStream.
func (s heldStream) RecvMsg(m any) error {
	if err := s.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	if err := wire.Malformed(m); err != nil {
		return malformed(err)
	}
	return nil
}

func malformed(err error) error {
	return rpcerr.New(codes.InvalidArgument, "the request is not a message of this call: "+err.Error(), rpcerr.Info(rpcerr.ReasonMalformed))
}

// Context implements grpc.ServerStream.
func (s heldStream) Context() context.Context { return s.ctx }

func (g *guard) admit(ctx context.Context, method string) error {
	if err := g.limit.Check(ctx, method); err != nil {
		g.core.metrics.refused.WithLabelValues(admission.RefusedRate).Inc()
		return err
	}
	if reason, err := g.auth.Check(ctx, method); err != nil {
		g.core.metrics.refused.WithLabelValues(reason).Inc()
		return err
	}
	return nil
}
