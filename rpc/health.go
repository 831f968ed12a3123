package rpc

import (
	"context"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// watchedHealth is grpc-go's health service, but its Watch streams end when the
// server drains. Clients that check health hold such a stream for as long as
// they are connected, and every drain would wait for them until its deadline.
type watchedHealth struct {
	*health.Server
	draining <-chan struct{}
}

// Watch implements grpc.health.v1.Health.
func (h watchedHealth) Watch(q *healthpb.HealthCheckRequest, ss healthpb.Health_WatchServer) error {
	ctx, cancel := context.WithCancel(ss.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		select {
		case <-h.draining:
			cancel()
		case <-ctx.Done():
		}
	})
	w := &healthStream{Health_WatchServer: ss, ctx: ctx}
	err := h.Server.Watch(q, w)
	select {
	case <-h.draining:
	default:
		return err
	}
	if w.last != healthpb.HealthCheckResponse_NOT_SERVING {
		if err := ss.Send(&healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_NOT_SERVING}); err != nil {
			return err
		}
	}
	return status.Error(codes.Unavailable, "the server is shutting down")
}

// healthStream has another context, and remembers what was sent last. It is used
// by one goroutine.
type healthStream struct {
	healthpb.Health_WatchServer
	ctx  context.Context // that of this one stream
	last healthpb.HealthCheckResponse_ServingStatus
}

// Context implements grpc.ServerStream.
func (s *healthStream) Context() context.Context { return s.ctx }

// Send implements healthpb.Health_WatchServer.
func (s *healthStream) Send(r *healthpb.HealthCheckResponse) error {
	s.last = r.Status
	return s.Health_WatchServer.Send(r)
}
