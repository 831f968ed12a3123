package rpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
	"google.golang.org/protobuf/proto"

	pb "carbond/proto/carbon"
	"carbond/rpc/internal/cache"
)

// Service is the health service name of carbon.CarbonService. The name "" is
// the process as a whole.
const Service = "carbon.CarbonService"

// streamWorkers is the number of goroutines that wait for calls.
const streamWorkers = 32

// Server is the gRPC server. Its methods may be called from any goroutine.
type Server struct {
	opt    Options
	core   *core
	health *health.Server
	tls    *tlsFiles // nil = plain text
	auth   *auth
	events *changelog // nil without Options.Changelog
	conns  *connLimit

	draining chan struct{} // closed when Shutdown begins

	mu      sync.Mutex   // guards what follows
	grpc    *grpc.Server // built by the first Serve: it starts its workers when built
	stopped bool
}

// New builds a server; it reads the certificate and token files, and starts
// nothing. Every service is NOT_SERVING until SetServing.
func New(r Reader, opt Options) (*Server, error) {
	if r == nil {
		return nil, errors.New("build gRPC server: the Reader is missing")
	}
	opt = opt.withDefaults()
	s := &Server{opt: opt, health: health.NewServer(), draining: make(chan struct{})}
	var err error
	if s.auth, err = newAuth(&s.opt); err != nil {
		return nil, err
	}
	if opt.TLS != nil {
		if s.tls, err = newTLSFiles(*opt.TLS); err != nil {
			return nil, err
		}
	}
	s.core = &core{
		reader: r, opt: opt, metrics: newMetrics(), loads: make(chan struct{}, opt.MaxLoads),
		cache: cache.New[stamp, proto.Message](cache.Options{MaxBytes: opt.CacheMaxBytes, TTL: opt.CacheTTL, Now: opt.Now}),
	}
	s.core.history = newPast(&s.core.opt)
	s.core.watches = newWatches(s.core, s.draining)
	var expiry func() (time.Time, bool)
	if s.tls != nil {
		expiry = s.CertificateExpiry
	}
	if err := s.core.metrics.register(opt.Registerer, s.core.cache, expiry); err != nil {
		return nil, fmt.Errorf("register gRPC metrics: %w", err)
	}
	if err := s.core.watches.register(opt.Registerer); err != nil {
		return nil, fmt.Errorf("register watch metrics: %w", err)
	}
	s.conns = newConnLimit(&s.opt)
	for _, c := range []prometheus.Collector{s.conns.open, s.conns.refused} {
		if err := opt.Registerer.Register(c); err != nil {
			return nil, fmt.Errorf("register connection metrics: %w", err)
		}
	}
	if s.events, err = newChangelog(s.core, s.draining); err != nil {
		return nil, err
	}
	s.SetServing("", false)
	s.SetServing(Service, false)
	if s.events != nil {
		s.SetServing(ChangelogName, false)
	}
	return s, nil
}

func (s *Server) options() []grpc.ServerOption {
	g := &guard{s.core, s.auth, newLimiter(s.opt.RateLimit, s.opt.RateBurst, s.opt.Now)}
	opts := []grpc.ServerOption{
		grpc.ForceServerCodecV2(newCodec()),
		grpc.UnaryInterceptor(g.unary),
		grpc.StreamInterceptor(g.stream),
		grpc.MaxRecvMsgSize(s.opt.MaxRecvBytes),
		grpc.MaxSendMsgSize(s.opt.MaxSendBytes),
		grpc.MaxConcurrentStreams(s.opt.MaxConcurrentStreams),
		// Beyond it the library ends the whole connection, with everybody's calls.
		grpc.MaxHeaderListSize(1 << 20),
		grpc.StatsHandler(connEnds{}),
		grpc.ConnectionTimeout(s.opt.ConnectionTimeout),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 30 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			Time: time.Minute, Timeout: 20 * time.Second, // finds peers that vanished without a word
			MaxConnectionIdle: s.opt.MaxConnectionIdle,
			MaxConnectionAge:  s.opt.MaxConnectionAge, MaxConnectionAgeGrace: s.opt.MaxConnectionAgeGrace,
		}),
		grpc.WaitForHandlers(true), // Shutdown returns when no call runs any more
	}
	// A new goroutine for each call grows its stack anew each time; workers keep
	// theirs. With all of them busy, calls get goroutines as usual.
	opts = append(opts, grpc.NumStreamWorkers(streamWorkers))
	creds := bareCreds{}
	if s.tls != nil {
		creds.TransportCredentials = credentials.NewTLS(s.tls.serverConfig())
		opts = append(opts, grpc.ReadBufferSize(4<<10)) // TLS has a buffer of its own
	}
	return append(opts, grpc.Creds(creds))
}

// server returns the gRPC server, built at first use; nil after Shutdown.
func (s *Server) server() *grpc.Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped || s.grpc != nil {
		return s.grpc
	}
	g := grpc.NewServer(s.options()...)
	pb.RegisterCarbonServiceServer(g, service{core: s.core})
	healthpb.RegisterHealthServer(g, watchedHealth{s.health, s.draining})
	s.events.register(g)
	for _, f := range s.opt.Register {
		f(g)
	}
	if !s.opt.DisableReflection {
		reflection.Register(g) // v1 and v1alpha
	}
	s.core.metrics.calls.init(g.GetServiceInfo())
	s.grpc = g
	return g
}

// Serve answers calls on lis, which it closes, until ctx ends or Shutdown is
// called; open calls then have Options.DrainTimeout to finish. It returns nil
// after such an end, and the error of the listener else. It may be called for
// several listeners.
func (s *Server) Serve(ctx context.Context, lis net.Listener) error {
	g := s.server()
	if g == nil {
		return lis.Close()
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case <-done:
		case <-ctx.Done():
			dctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.opt.DrainTimeout)
			defer cancel()
			// An end by force is what the timeout is for.
			_ = s.Shutdown(dctx)
		}
	})
	err := g.Serve(s.conns.listen(lis))
	close(done)
	wg.Wait()
	select {
	case <-s.draining:
		return nil
	default:
	}
	return fmt.Errorf("serve gRPC on %s: %w", lis.Addr(), err)
}

// SetServing sets the health of a service; "" is the process. After Shutdown it
// has no effect.
func (s *Server) SetServing(service string, ok bool) {
	st := healthpb.HealthCheckResponse_NOT_SERVING
	if ok {
		st = healthpb.HealthCheckResponse_SERVING
	}
	s.health.SetServingStatus(service, st)
}

// Draining is closed when Shutdown begins. Long-lived streams of Register end
// then, with UNAVAILABLE, so that their clients turn elsewhere.
func (s *Server) Draining() <-chan struct{} { return s.draining }

// Shutdown ends the server in steps: every service becomes NOT_SERVING for
// good, no connection and no call is accepted any more, open calls finish; when
// ctx ends first they are cut and ctx's error is returned. When it returns,
// nothing of the server runs any more.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	g := s.grpc
	if !s.stopped {
		s.stopped = true
		s.health.Shutdown()
		close(s.draining)
	}
	s.mu.Unlock()
	if g == nil {
		return nil
	}
	done := make(chan struct{})
	go func() {
		g.GracefulStop()
		close(done)
	}()
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		err = fmt.Errorf("drain gRPC calls: %w", context.Cause(ctx))
		g.Stop()
		<-done
	}
	s.core.watches.close()
	s.core.cache.Wait()
	return err
}

// Reload reads the certificate and token files again. New connections get the
// new certificate, new calls the new tokens. Nothing changes when any file is
// bad; the error then names it.
func (s *Server) Reload() (err error) {
	defer func() {
		result := "ok"
		if err != nil {
			result = "error"
		}
		s.core.metrics.reloads.WithLabelValues(result).Inc()
	}()
	var st *tlsState
	var tokens []bearer
	var errs []error
	if s.tls != nil {
		st, err = s.tls.read()
		errs = append(errs, err)
	}
	if s.auth.path != "" {
		tokens, err = readTokens(s.auth.path)
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if st != nil {
		s.tls.current.Store(st)
	}
	if tokens != nil {
		s.auth.current.Store(&tokens)
	}
	return nil
}

// CertificateExpiry returns the end of validity of the server certificate; ok
// is false without TLS.
func (s *Server) CertificateExpiry() (t time.Time, ok bool) {
	if s.tls == nil {
		return time.Time{}, false
	}
	return s.tls.expiry(), true
}
