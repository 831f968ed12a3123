package daemon

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"carbond/cmd/carbond/internal/client"
	"carbond/cmd/carbond/internal/config"
	pb "carbond/proto/carbon"
	"carbond/rpc"
	"carbond/rpc/kafka"
	"carbond/store"
	"carbond/store/change"
)

// reader lends the store to rpc, whose Snapshot is an interface of its own.
type reader struct {
	*store.Store
	postgres bool // a Postgres is the source
}

// Snapshot returns nil before the first copy of a Postgres: an answer without
// rows would be a wrong one.
func (r reader) Snapshot() change.ViewSnapshot {
	s := r.Store.Snapshot()
	if r.postgres && s.Offset() == 0 && !s.Copied() {
		return nil
	}
	return s
}

func apiOptions(cfg *config.Config) rpc.Options {
	o := rpc.Options{
		QueryTimeout:      cfg.Postgres.QueryTimeout,
		CacheTTL:          cfg.Cache.TTL,
		CacheMaxBytes:     cfg.Cache.MaxBytes,
		TokensFile:        cfg.GRPC.TokensFile,
		RateLimit:         cfg.GRPC.RateLimit,
		PeerShare:         cfg.Limits.PeerShare,
		DisableReflection: !cfg.GRPC.Reflection,
		DrainTimeout:      drainTime,
	}
	return o
}

// drainTime is how long open calls may take when the daemon stops.
const drainTime = 2500 * time.Millisecond

// buildAPI makes the gRPC server and the connection that the watchdog uses: it
// is opened once, so that a flood of connections cannot starve the probe.
func (d *Daemon) buildAPI(_ context.Context, cfg *config.Config) (err error) {
	opt := apiOptions(cfg)
	opt.Log, opt.Registerer = d.log.With("stage", "rpc"), d.met.reg
	opt.Age = func() time.Duration { return time.Duration(d.health.age.Load()) }
	opt.Changelog, opt.Version = d.store, d.opt.Version.Version
	opt.History, opt.Gzip = d.store.Past(), d.opt.Gzip
	if d.pool != nil {
		opt.Pool = d.pool
	}
	if d.listen.grpcCerts != nil {
		opt.TLS = d.listen.grpcCerts.Config()
	}
	opt.Register = append(opt.Register, func(r grpc.ServiceRegistrar) { pb.RegisterAdminServiceServer(r, operator{d: d}) }, d.registerFleet)
	opt.ReadMethods = []string{"/carbon.FleetService/"}
	if d.api, err = rpc.New(reader{d.store, d.source != nil}, opt); err != nil {
		return fmt.Errorf("make the gRPC server: %w", err)
	}
	d.health.api = d.api
	self := client.Client{Addr: d.listen.grpc.Addr().String(), TLS: cfg.GRPC.TLS.Enabled(), Own: true, Version: d.opt.Version.Version}
	d.self, err = self.Dial()
	return err
}

// buildKafka makes the listener for Kafka's clients. Their tokens are those of the
// gRPC API, read again with them.
func (d *Daemon) buildKafka(_ context.Context, cfg *config.Config) (err error) {
	if d.listen.kafka == nil {
		return nil
	}
	opt := kafka.Options{
		Log: d.log.With("stage", "kafka"), Registerer: d.met.reg, Version: d.opt.Version.Version,
		Format: cfg.Kafka.Format, Compress: cfg.Kafka.Compress, Advertise: cfg.Kafka.Advertise, PeerShare: cfg.Limits.PeerShare,
	}
	if d.listen.kafkaCerts != nil {
		opt.TLS = d.listen.kafkaCerts.Config()
	}
	if cfg.GRPC.TokensFile != "" {
		opt.Allows = d.api.Allows
	}
	if d.kafka, err = kafka.New(d.store, opt); err != nil {
		return fmt.Errorf("make the Kafka listener: %w", err)
	}
	return nil
}

// checkAPI tries the files of the gRPC listener the way serve will.
func checkAPI(cfg *config.Config) error {
	opt := apiOptions(cfg)
	opt.Registerer = prometheus.NewRegistry()
	_, err := rpc.New(reader{}, opt)
	return err
}

// closer is the part of *grpc.ClientConn that release needs.
type closer interface {
	grpc.ClientConnInterface
	Close() error
}
