package rpc

import (
	"crypto/tls"
	"io"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"carbond/rpc/internal/wire"
)

// Options configure a Server. The zero value serves plain text in embedded mode
// with the documented defaults.
type Options struct {
	Log        *slog.Logger          // nil = discard
	Registerer prometheus.Registerer // nil = metrics are kept but not published
	Now        func() time.Time      // default time.Now

	// Age reports how long ago the daemon last knew to be level with its source,
	// for the header carbond-age-ms. Called for every call. nil = always 0.
	Age func() time.Duration

	// Pool runs the SQL of the NonStreaming calls; nil means embedded mode: they
	// are answered from the snapshot and carbond-min-lsn is refused. Its size
	// bounds the number of queries at a time.
	Pool         Querier
	QueryTimeout time.Duration // default 5 s, waiting for a connection included

	CacheTTL      time.Duration // default 300 s, an upper bound only
	CacheMaxBytes int64         // default 64 MiB

	MaxPageSize  int           // larger page_size values are lowered to it; default 10,000
	MinLSNWait   time.Duration // longest wait for carbond-min-lsn; default 10 s
	MaxLoads     int           // uncached replies computed at a time; default 8
	MaxRecvBytes int           // of one request, after decompression; default 1 MiB
	MaxSendBytes int           // of one reply; default 256 MiB

	// Gzip is what RegisterGzip gave: it is told of replies that are sent many times.
	// nil compresses each time.
	Gzip *Gzip

	// History gives past versions for as_of_offset and as_of_time, and the
	// changes for the Watch calls; nil = all of these are UNIMPLEMENTED.
	History          History
	MaxHistoric      int           // readings of the changelog at a time for past versions, and as many for resumed watchers; default 2
	MaxWatchers      int           // Watch streams at a time; default 4,096
	MaxCatchUps      int           // of them, those that read history behind the ring; default 64
	WatchRingBytes   int64         // what a watcher may lag behind before it is cut; default 32 MiB
	WatchWakeups     int           // of all watchers together in a second; default 10,000
	WatchProgress    time.Duration // between progress marks of an idle stream; default 5 s
	WatchSendTimeout time.Duration // for a client to take one message; default 30 s

	// PeerShare is the part of the connections, watchers and consumers that one
	// peer address may hold; one connection may hold that part of its peer's.
	// Default 0.75, because a proxy is one peer; 1 = no bound.
	PeerShare             float64
	MaxConnections        int           // at a time; default 4,096
	MaxConcurrentStreams  uint32        // of one connection; default 256
	ConnectionTimeout     time.Duration // for the handshakes; default 20 s
	MaxConnectionIdle     time.Duration // without a call; default 15 min
	MaxConnectionAge      time.Duration // 0 = connections live on
	MaxConnectionAgeGrace time.Duration // for the calls of an aged connection; default 30 s
	DrainTimeout          time.Duration // for open calls when Serve's context ends; default 5 s

	TLS        *tls.Config // of the listener, which may follow reloads of its files; nil = plain text
	TokensFile string      // bearer tokens, see internal/admission; "" = calls need none
	// ReadMethods lists full methods ("/carbon.ChangelogService/ListTopics") or
	// whole services ("/carbon.ChangelogService/") of Register for which the
	// scope read is enough. Everything that is not named needs admin, save
	// carbon.CarbonService and reflection (read) and health (no token).
	ReadMethods []string

	RateLimit float64 // calls per second of one peer address; 0 = no limit
	RateBurst int     // default: one second's worth, at least 1

	DisableReflection bool

	// Changelog is what carbon.ChangelogService serves; nil leaves the service
	// out.
	Changelog    Changelog
	Version      string        // of carbond, for the source of change events
	MaxConsumers int           // Consume streams at a time; default 256
	BackupStall  time.Duration // how long a client may leave a piece of a backup unread; default 2 min

	// Register adds services before the server starts. Their calls pass the
	// same interceptors; long-lived streams end when Server.Draining is closed.
	Register []func(grpc.ServiceRegistrar)
}

// withDefaults returns a copy with every default filled in.
func (o Options) withDefaults() Options {
	def := func(p *time.Duration, d time.Duration) {
		if *p <= 0 {
			*p = d
		}
	}
	def(&o.QueryTimeout, 5*time.Second)
	def(&o.CacheTTL, 300*time.Second)
	def(&o.MinLSNWait, 10*time.Second)
	def(&o.ConnectionTimeout, 20*time.Second)
	def(&o.MaxConnectionIdle, 15*time.Minute)
	def(&o.MaxConnectionAgeGrace, 30*time.Second)
	def(&o.DrainTimeout, 5*time.Second)
	def(&o.WatchProgress, 5*time.Second)
	def(&o.WatchSendTimeout, 30*time.Second)
	def(&o.BackupStall, 2*time.Minute)
	num := func(p *int, d int) {
		if *p <= 0 {
			*p = d
		}
	}
	num(&o.MaxPageSize, 10_000)
	num(&o.MaxLoads, 8)
	num(&o.MaxHistoric, 2)
	num(&o.MaxWatchers, 4096)
	num(&o.MaxCatchUps, 64)
	num(&o.WatchWakeups, 10_000)
	num(&o.MaxRecvBytes, 1<<20)
	num(&o.MaxSendBytes, 256<<20)
	num(&o.MaxConnections, 4096)
	num(&o.MaxConsumers, 256)
	num(&o.RateBurst, max(1, int(o.RateLimit)))
	if o.CacheMaxBytes <= 0 {
		o.CacheMaxBytes = 64 << 20
	}
	if o.WatchRingBytes <= 0 {
		o.WatchRingBytes = 32 << 20
	}
	if o.PeerShare <= 0 {
		o.PeerShare = 0.75
	}
	if o.MaxConcurrentStreams == 0 {
		o.MaxConcurrentStreams = 256
	}
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if o.Registerer == nil {
		o.Registerer = prometheus.NewRegistry()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Age == nil {
		o.Age = func() time.Duration { return 0 }
	}
	// A nil *pgxpool.Pool in the interface would look like a Postgres.
	if p, ok := o.Pool.(*pgxpool.Pool); ok && p == nil {
		o.Pool = nil
	}
	return o
}

// Gzip compresses messages, and replies that many calls share once.
type Gzip = wire.Gzip

// RegisterGzip has gRPC use a Gzip for the encoding gzip, in the whole process. Call it
// at the start, before anything else of gRPC, and give it to New.
func RegisterGzip() *Gzip { return wire.RegisterGzip() }
