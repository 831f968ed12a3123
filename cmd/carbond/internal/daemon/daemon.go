package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"time"

	"carbond/cmd/carbond/internal/admin"
	"carbond/cmd/carbond/internal/config"
	"carbond/cmd/carbond/internal/console"
	"carbond/cmd/carbond/internal/fleet"
	"carbond/cmd/carbond/internal/systemd"
	"carbond/cmd/carbond/internal/trend"
	"carbond/cmd/carbond/internal/viewfile"
	"carbond/feeds"
	"carbond/feeds/postgres"
	"carbond/replicate"
	"carbond/replicate/lease"
	"carbond/replicate/pgconf"
	"carbond/rpc"
	"carbond/rpc/kafka"
	"carbond/rpc/web"
	"carbond/rpc/webhook"
	"carbond/store"
	"carbond/store/change"
)

// The modes, as metrics and the page name them.
const (
	modePostgres = "postgres"
	modeEmbedded = "embedded"
	modeDemo     = "demo"
)

// Daemon is the running program: every stage, in flow order.
type Daemon struct {
	opt     Options
	conf    *settings
	mode    string
	started time.Time
	log     *slog.Logger
	notify  *systemd.Notifier
	met     *metrics

	store       *store.Store
	storeClosed bool                  // used by stop alone
	pool        *pgconf.Pool          // nil without Postgres
	source      *replicate.Replicator // nil without Postgres
	feeds       *feeds.Runner         // nil when no feed is on
	views       *viewfile.Writer      // nil without views.jsonl_dir
	api         *rpc.Server
	kafka       *kafka.Server   // nil without kafka.listen
	webhooks    *webhook.Sender // nil without webhooks.urls
	fleet       *fleet.Member   // nil without fleet.name
	peers       fleet.Peers
	groups      *fleet.Groups
	alone       *lease.Lease // of one node of the fleet, nil without one
	admin       *admin.Server

	listen  listeners
	self    closer // the watchdog's connection to the own API
	health  *health
	report  *report
	trend   *trend.Log
	door    *web.Door
	console *console.Console
}

// build makes every stage and binds the listeners, in flow order, and starts
// nothing. On an error it releases what it has made.
func build(ctx context.Context, cfg *config.Config, opt Options) (_ *Daemon, err error) {
	d := &Daemon{opt: opt, mode: modePostgres, started: time.Now(), log: opt.Log, notify: systemd.New(opt.Getenv, opt.PID)}
	switch {
	case opt.Sample:
		d.mode = modeDemo
	case cfg.Embedded():
		d.mode = modeEmbedded
	}
	d.conf = newSettings(cfg, d.started)
	d.met = newMetrics(d.mode, opt.Version, d.started)
	defer func() {
		if err != nil {
			err = errors.Join(err, d.release())
		}
	}()
	for _, step := range []func(context.Context, *config.Config) error{
		d.buildListeners, // 1. addresses: a taken port ends the start before it has made anything
		d.buildStore,     // 2. what is known so far, and the lock on it
		d.buildSource,    // 3. Postgres -> store
		d.buildFeeds,     // 4. upstreams -> Postgres or store
		d.buildViews,     // 5. store -> files
		d.buildFleet,     // 6. store -> other nodes
		d.buildHealth,    // 7. what the stages so far say of themselves
		d.buildAPI,       // 8. store -> clients
		d.buildKafka,     // 9. the same for Kafka's clients
		d.buildWebhooks,  // 10. the same, posted to receivers
		d.buildConsole,   // 11. everything -> people
		d.buildAdmin,     // 12. everything -> operators
	} {
		if err := step(ctx, cfg); err != nil {
			return nil, err
		}
	}
	d.met.reloaded(true, d.started)
	return d, nil
}

// release closes what build made and no part owns.
func (d *Daemon) release() error {
	errs := []error{d.listen.close()}
	if d.store != nil && !d.storeClosed {
		errs = append(errs, d.store.Close())
	}
	if d.pool != nil {
		d.pool.Close()
	}
	if d.self != nil {
		errs = append(errs, d.self.Close())
	}
	errs = append(errs, d.peers.Close())
	return errors.Join(errs...)
}

func (d *Daemon) buildStore(_ context.Context, cfg *config.Config) error {
	opt := StoreOptions(cfg)
	opt.Logger, opt.Registerer = d.log.With("stage", "store"), d.met.reg
	opt.Progress = d.opening()
	if cfg.Fleet.Name != "" {
		d.groups = fleet.NewGroups(cfg.Fleet.Name)
		opt.Groups = d.groups
	}
	s, err := openStore(cfg.DataDir, opt, d.opt.Signals, d.log)
	if err != nil {
		return err
	}
	d.store = s
	d.met.watchDir(cfg.DataDir)
	d.met.reg.MustRegister(newMarketCollector(s.Snapshot))
	pos := s.Position()
	if cfg.Embedded() && !pos.Source.Embedded() {
		return config.Problems{{Where: cfg.Origin("data_dir"), Text: fmt.Sprintf(
			"%s holds the changelog of database %s (cluster %s), but postgres.url is empty: set it, or give embedded mode a data_dir of its own",
			cfg.DataDir, pos.Source.Database, pos.Source.SystemID)}}
	}
	d.log.Info("store opened", "dir", cfg.DataDir, "offset", uint64(pos.Offset), "lsn", pos.LSN.String(), "took", time.Since(d.started).Round(time.Millisecond))
	return nil
}

// opening asks the service manager for time while a long replay makes progress.
func (d *Daemon) opening() func(string, float64) {
	var last time.Time
	return func(what string, done float64) {
		if time.Since(last) < time.Second {
			return
		}
		if !last.IsZero() {
			d.log.Info("opening the data directory", "doing", what, "percent", int(100*done))
		}
		last = time.Now()
		_ = d.notify.Extend(30*time.Second, fmt.Sprintf("opening the data directory: %s, %.0f%%", what, 100*done))
	}
}

func (d *Daemon) buildListeners(ctx context.Context, cfg *config.Config) error {
	if err := d.listen.bind(ctx, cfg, d.opt.KafkaPort); err != nil {
		return err
	}
	d.met.certificates(d.listen.grpcCerts, d.listen.httpCerts)
	return nil
}

// buildSource makes the Postgres side. It does not connect: an unreachable
// server must not keep the last good data from being served.
func (d *Daemon) buildSource(ctx context.Context, cfg *config.Config) error {
	if cfg.Embedded() {
		return nil
	}
	opt := ReplicateOptions(cfg)
	for _, table := range change.Tables() { // a feed goes by the name of its table
		// Carbonmark's brings projects of other registries too.
		fed := table == change.Verra && slices.Contains(cfg.Feeds.Enabled, change.Carbonmark)
		if !fed && !slices.Contains(cfg.Feeds.Enabled, table) {
			opt.Unfed = append(opt.Unfed, table)
		}
	}
	var err error
	if d.pool, err = OpenPool(ctx, cfg); err != nil {
		return err
	}
	if d.groups != nil {
		d.groups.Use(d.pool)
	}
	opt.Logger, opt.Registerer = d.log.With("stage", "replicate"), d.met.reg
	d.source = replicate.New(d.store, opt)
	if pos := d.store.Position(); pos.Offset > 0 && pos.Source.Embedded() {
		d.log.Warn("embedded data will be replaced by the first copy of the database", "dir", cfg.DataDir, "offset", uint64(pos.Offset))
	}
	return nil
}

func (d *Daemon) buildFeeds(_ context.Context, cfg *config.Config) error {
	if len(cfg.Feeds.Enabled) == 0 {
		return nil
	}
	opt := FeedOptions(cfg, d.opt.Version.Version)
	opt.Log, opt.Metrics = d.log.With("stage", "feeds"), d.met.reg
	var w feeds.Writer = d.store
	if d.pool != nil {
		w = postgres.New(d.pool)
	}
	r, err := feeds.New(opt, w)
	if errors.Is(err, feeds.ErrOptions) {
		return checkFeeds(cfg, opt)
	}
	if err != nil {
		return fmt.Errorf("make the feeds: %w", err)
	}
	d.feeds = r
	return nil
}

// buildViews makes the writer of view files. It touches no file: a directory
// that cannot be written must not keep the daemon from serving.
func (d *Daemon) buildViews(_ context.Context, cfg *config.Config) error {
	v := cfg.Views
	if v.JSONLDir == "" {
		return nil
	}
	d.views = viewfile.New(v.JSONLDir, d.store, viewfile.Options{
		Logger: d.log.With("stage", "viewfile"), Registerer: d.met.reg,
		RotateBytes: v.RotateBytes, Keep: v.Keep, Sync: v.Sync,
	})
	return nil
}

func (d *Daemon) buildAdmin(context.Context, *config.Config) error {
	d.admin = admin.New(admin.Options{
		Logger:   d.log.With("stage", "http"),
		Gatherer: d.met.reg,
		Ready:    d.health.readiness,
		Status:   d.report.status,
		Routes:   []func(*http.ServeMux){d.console.Routes},
		Closing:  d.console.Close,
		Hosts:    d.hosts,
		API: web.New(d.api, web.Options{
			Log: d.log.With("stage", "http"), Door: d.door,
			Origins: func() []string { return d.conf.cfg.Load().HTTP.CORS },
		}),
		Pprof: func() bool { return d.conf.cfg.Load().HTTP.Pprof },
	})
	return nil
}

// hosts are the names under which the HTTP listener answers browsers, beside those
// of this machine.
func (d *Daemon) hosts() []string {
	h := d.conf.cfg.Load().HTTP
	listener, _, _ := net.SplitHostPort(h.Listen) // checked when it was read
	return append([]string{listener}, h.Hosts...)
}
