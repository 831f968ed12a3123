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

	pb "carbond/proto/carbon"
	"carbond/rpc/internal/admission"
	"carbond/rpc/internal/cache"
	"carbond/rpc/internal/changelog"
	"carbond/rpc/internal/watch"
	"carbond/rpc/internal/wire"
)

// Service is the health service name of carbon.CarbonService. The name "" is
// the process as a whole.
const Service = "carbon.CarbonService"

// ChangelogName is the health service name of carbon.ChangelogService.
const ChangelogName = "carbon.ChangelogService"

// streamWorkers is the number of goroutines that wait for calls.
const streamWorkers = 32

// Server is the gRPC server. Its methods may be called from any goroutine.
type Server struct {
	opt    Options
	core   *core
	health *health.Server
	auth   *admission.Tokens
	events *changelog.Service // nil without Options.Changelog
	conns  *admission.ConnLimit
	guard  *guard

	registry registry       // the services, for local calls
	locals   sync.WaitGroup // local calls

	draining chan struct{} // closed when Shutdown begins

	mu      sync.Mutex   // guards what follows
	grpc    *grpc.Server // built by the first Serve: it starts its workers when built
	stopped bool
}

// New builds a server; it reads the tokens file, and starts
// nothing. Every service is NOT_SERVING until SetServing.
func New(r Reader, opt Options) (*Server, error) {
	if r == nil {
		return nil, errors.New("build gRPC server: the Reader is missing")
	}
	opt = opt.withDefaults()
	s := &Server{opt: opt, health: health.NewServer(), draining: make(chan struct{})}
	var err error
	if s.auth, err = admission.ReadTokens(opt.TokensFile, opt.ReadMethods); err != nil {
		return nil, err
	}
	s.core = &core{
		reader: r, opt: opt, metrics: newMetrics(), loads: make(chan struct{}, opt.MaxLoads),
		cache: cache.New[cacheVersion, any](cache.Options{MaxBytes: opt.CacheMaxBytes, TTL: opt.CacheTTL, Now: opt.Now}),
	}
	s.core.past = newPastVersions(&s.core.opt)
	s.core.watches = watch.New(s.watchOptions())
	if err := s.core.metrics.register(opt.Registerer, s.core.cache); err != nil {
		return nil, fmt.Errorf("register gRPC metrics: %w", err)
	}
	if err := s.core.watches.Register(opt.Registerer); err != nil {
		return nil, fmt.Errorf("register watch metrics: %w", err)
	}
	s.conns = admission.NewConnLimit(opt.MaxConnections, opt.PeerShare, opt.Log, opt.Now)
	for _, c := range []prometheus.Collector{s.conns.Open, s.conns.Refused} {
		if err := opt.Registerer.Register(c); err != nil {
			return nil, fmt.Errorf("register connection metrics: %w", err)
		}
	}
	if opt.Changelog != nil {
		s.events, err = changelog.New(opt.Changelog, changelog.Options{
			Draining: s.draining, Failed: s.core.callError, Registerer: opt.Registerer, Now: opt.Now, MayUse: s.auth.CheckGroup,
			Version: opt.Version, MaxConsumers: opt.MaxConsumers, MaxSendBytes: opt.MaxSendBytes, PeerShare: opt.PeerShare, BackupStall: opt.BackupStall,
		})
		if err != nil {
			return nil, err
		}
	}
	s.guard = &guard{s.core, s.auth, admission.NewRateLimit(opt.RateLimit, opt.RateBurst, opt.Now)}
	s.registry = registry{map[string]unaryMethod{}, map[string]streamMethod{}}
	s.register(s.registry)
	s.SetServing("", false)
	s.SetServing(Service, false)
	if s.events != nil {
		s.SetServing(ChangelogName, false)
	}
	return s, nil
}

func (s *Server) watchOptions() watch.Options {
	o := watch.Options{
		Snapshot: s.core.reader.Snapshot, CatchUp: s.core.past.follow,
		Draining: s.draining, Panicked: s.core.panicked, Log: s.opt.Log, Now: s.opt.Now,
		MaxWatchers: s.opt.MaxWatchers, PeerShare: s.opt.PeerShare, MaxCatchUps: s.opt.MaxCatchUps,
		RingBytes: s.opt.WatchRingBytes, Wakeups: s.opt.WatchWakeups,
		Progress: s.opt.WatchProgress, SendTimeout: s.opt.WatchSendTimeout,
	}
	if s.opt.History != nil {
		o.History = s.opt.History
	}
	return o
}

func (s *Server) options() []grpc.ServerOption {
	opts := []grpc.ServerOption{
		grpc.ForceServerCodecV2(wire.NewCodec()),
		grpc.UnaryInterceptor(s.guard.unary),
		grpc.StreamInterceptor(s.guard.stream),
		grpc.MaxRecvMsgSize(s.opt.MaxRecvBytes),
		grpc.MaxSendMsgSize(s.opt.MaxSendBytes),
		grpc.MaxConcurrentStreams(s.opt.MaxConcurrentStreams),
		// Beyond it the library ends the whole connection, with everybody's calls.
		grpc.MaxHeaderListSize(1 << 20),
		grpc.InTapHandle(watch.Tap),
		grpc.ConnectionTimeout(s.opt.ConnectionTimeout),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 30 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			Time: time.Minute, Timeout: 20 * time.Second, // finds peers that vanished without a word
			MaxConnectionIdle: s.opt.MaxConnectionIdle,
			MaxConnectionAge:  s.opt.MaxConnectionAge, MaxConnectionAgeGrace: s.opt.MaxConnectionAgeGrace,
		}),
		grpc.WaitForHandlers(true), // Shutdown returns when no call runs any more
	}
	// A new goroutine for each call grows its stack again each time; workers keep
	// theirs. With all of them busy, calls get goroutines as usual.
	opts = append(opts, grpc.NumStreamWorkers(streamWorkers))
	if s.opt.TLS != nil {
		opts = append(opts,
			grpc.Creds(admission.Credentials{TransportCredentials: credentials.NewTLS(s.opt.TLS), Failed: s.conns.HandshakeFailed()}),
			grpc.ReadBufferSize(4<<10)) // TLS has a buffer of its own
	}
	return opts
}

// server returns the gRPC server, built at first use; nil after Shutdown.
func (s *Server) server() *grpc.Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped || s.grpc != nil {
		return s.grpc
	}
	g := grpc.NewServer(s.options()...)
	s.register(g)
	if !s.opt.DisableReflection {
		reflection.Register(g) // v1 and v1alpha
	}
	s.core.metrics.calls.init(g.GetServiceInfo())
	s.grpc = g
	return g
}

// register adds every service but reflection.
func (s *Server) register(r grpc.ServiceRegistrar) {
	pb.RegisterCarbonServiceServer(r, service{core: s.core})
	healthpb.RegisterHealthServer(r, watchedHealth{s.health, s.draining})
	if s.events != nil {
		s.events.Register(r)
	}
	for _, f := range s.opt.Register {
		f(r)
	}
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
	err := g.Serve(s.conns.Listen(lis))
	close(done)
	wg.Wait()
	select {
	case <-s.draining:
		return nil
	default:
	}
	return fmt.Errorf("serve gRPC on %s: %w", lis.Addr(), err)
}

// CacheEntry is one reply in the cache.
type CacheEntry struct {
	Key   string // such as projects:ALL
	Age   time.Duration
	TTL   time.Duration // until it is made again even if nothing changes
	Bytes int64         // of memory
	Hits  uint64
}

// Cache lists what the cache of replies holds, the last used first.
func (s *Server) Cache() []CacheEntry {
	var out []CacheEntry
	for _, e := range s.core.cache.Entries() {
		out = append(out, CacheEntry{Key: e.Key.String(), Age: e.Age, TTL: e.TTL, Bytes: e.Size, Hits: e.Hits})
	}
	return out
}

// FlushCache forgets every reply and returns how many they were, and their bytes.
func (s *Server) FlushCache() (entries int, bytes int64) { return s.core.cache.Purge() }

// ResetGroup is ChangelogService.ResetGroup for the program itself.
func (s *Server) ResetGroup(ctx context.Context, q *pb.ResetGroupRequest) (*pb.ResetGroupResponse, error) {
	return s.events.ResetGroup(ctx, q)
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
		s.locals.Wait()
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
	s.core.watches.Close()
	s.core.cache.Wait()
	return err
}

// Allows reports what the owner of a token may do, and whether that is to consume
// and commit for a group. Without a tokens file everybody may do everything.
func (s *Server) Allows(token, group string) (read, admin, consume bool) {
	return s.auth.Allows(token, group)
}

// Reload reads the tokens file again; new calls get the new tokens. Nothing changes
// when it is bad; the error then names it. certificates is what reading the files
// of Options.TLS again has come to: with an error the tokens stay too.
func (s *Server) Reload(certificates error) error {
	err, result := certificates, "ok"
	if err == nil {
		err = s.auth.Reload()
	}
	if err != nil {
		result = "error"
	}
	s.core.metrics.reloads.WithLabelValues(result).Inc()
	return err
}
