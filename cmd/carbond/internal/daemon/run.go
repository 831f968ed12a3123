package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"syscall"
	"time"

	"carbond/cmd/carbond/internal/admin"
	"carbond/cmd/carbond/internal/config"
	"carbond/cmd/carbond/internal/fleet"
	"carbond/cmd/carbond/internal/life"
	"carbond/replicate"
	"carbond/rpc"
)

// Options are the surroundings of a daemon.
type Options struct {
	Sample    bool              // demo: what the feeds read is invented, and everything says so
	KafkaPort int               // first port of loopback to try for Kafka's clients without kafka.listen; 0 = none
	Sources   config.Options    // what a reload reads
	Redaction *config.Redaction // learns the secrets of reloaded configurations
	Version   admin.Version
	Log       *slog.Logger
	Level     *slog.LevelVar // of Log, follows a reload
	Getenv    func(string) string
	PID       int
	Signals   <-chan os.Signal
	Gzip      *rpc.Gzip                      // nil = gRPC's own
	Up        func(context.Context, *Daemon) // called once every part runs; nil for nothing
}

// Run builds the daemon and runs it until a signal, a failing part or the end
// of ctx. A configuration that cannot be run is a config.Problems.
func Run(ctx context.Context, cfg *config.Config, opt Options) error {
	if err := Check(cfg); err != nil {
		return err
	}
	limitMemory(opt.Getenv)
	for again := false; ; again = true {
		err := serve(ctx, cfg, opt, again)
		if errors.Is(err, errStopped) {
			return nil
		}
		if !errors.Is(err, fleet.ErrRejoin) {
			return err
		}
		opt.Log.Warn("this node joins its fleet again", "reason", err)
	}
}

// serve is one life of the daemon; a node of a fleet may have several.
func serve(ctx context.Context, cfg *config.Config, opt Options, again bool) error {
	alone, end := holdLease(ctx, cfg, opt.Log)
	defer end()
	if err := joinFleet(ctx, cfg, opt, alone, again); err != nil {
		return err
	}
	pace := paceCollector(opt.Getenv)
	defer pace.stop()
	d, err := build(ctx, cfg, opt)
	if err != nil {
		return err
	}
	d.alone = alone
	pace.opened()
	defer pace.tidy()()
	parts := life.New(d.log)
	running := d.start(ctx, parts)
	if err := d.notify.Ready(d.health.line(d.health.judge())); err != nil {
		d.log.Warn("the service manager does not hear that carbond is ready", "error", err)
	}
	d.log.Info("carbond is up", "version", opt.Version.Version, "mode", d.mode, "grpc", d.listen.grpc.Addr().String(), "http", d.listen.http.Addr().String(), "kafka", d.listen.kafkaAddr(), "config", cfg.File())
	if opt.Up != nil {
		opt.Up(ctx, d)
	}
	why, err := d.wait(ctx, parts)
	return errors.Join(err, d.stop(ctx, why, running))
}

// running is the started parts.
type running struct {
	store, admin, api, kafka, webhooks, views, source, feeds, fleet, health, watchdog *life.Part
}

// start starts every part, receivers before senders.
func (d *Daemon) start(ctx context.Context, p *life.Parts) running {
	var r running
	r.store = p.Start(ctx, "store", d.store.Run) // 1. checkpoints and retention
	r.admin = p.Start(ctx, "http", d.runAdmin)   // 2. probes answer from here on
	// 3. Last good data is served, whatever comes.
	r.api = p.Start(ctx, "grpc", func(ctx context.Context) error { return d.api.Serve(ctx, d.listen.grpc) })
	if d.kafka != nil {
		r.kafka = p.Start(ctx, "kafka", func(ctx context.Context) error { return d.kafka.Serve(ctx, d.listen.kafka) })
	}
	if d.webhooks != nil {
		r.webhooks = p.Start(ctx, "webhooks", func(ctx context.Context) error { return d.byOne(ctx, d.webhooks.Run) })
	}
	if d.views != nil {
		r.views = p.Start(ctx, "view files", d.views.Run)
	}
	if d.source != nil {
		r.source = p.Start(ctx, "replication", d.source.Run) // 4. changes flow
	}
	if d.feeds != nil {
		r.feeds = p.Start(ctx, "feeds", d.runFeeds) // 5. new rows are written
	}
	if d.fleet != nil {
		r.fleet = p.Start(ctx, "fleet", d.runFleet)
	}
	d.health.update()                                                                                              // a client that hears that the daemon is up asks next
	r.health = p.Start(ctx, "health", func(ctx context.Context) error { return d.health.run(ctx, d.sampleTrend) }) // 6. SERVING when true
	guard := &watchdog{
		store: d.store, source: d.source, self: d.self, addr: d.listen.grpc.Addr(),
		notify: d.notify, healthy: d.met.watchdogOK, log: d.log,
	}
	r.watchdog = p.Start(ctx, "watchdog", guard.run) // 7. progress is reported
	return r
}

func (d *Daemon) runAdmin(ctx context.Context) error {
	if d.listen.httpCerts == nil {
		return d.admin.Run(ctx, d.listen.http, nil)
	}
	return d.admin.Run(ctx, d.listen.http, d.listen.httpCerts.Config())
}

// runFeeds polls. With Postgres it waits for the first stream: before that the
// tables may not exist.
func (d *Daemon) runFeeds(ctx context.Context) error {
	t := time.NewTicker(200 * time.Millisecond)
	defer t.Stop()
	for d.source != nil && d.source.Status().Phase != replicate.PhaseStreaming {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
	return d.byOne(ctx, d.feeds.Run)
}

// byOne runs what one node of a fleet does for all: while this one holds the lease.
func (d *Daemon) byOne(ctx context.Context, f func(context.Context) error) error {
	if d.alone != nil {
		return d.alone.While(ctx, f)
	}
	return f(ctx)
}

// joinsAgain is why a node stops that begins again with the data of a peer.
const joinsAgain = "joining the fleet again"

// wait handles signals until it is time to stop, and says why.
func (d *Daemon) wait(ctx context.Context, p *life.Parts) (why string, err error) {
	for {
		select {
		case s := <-d.opt.Signals:
			if s == syscall.SIGHUP {
				d.onReload()
				continue
			}
			return "signal: " + s.String(), nil
		case <-p.Down():
			if err := p.Cause(); errors.Is(err, fleet.ErrRejoin) {
				return joinsAgain, err
			}
			return "error", p.Cause()
		case <-ctx.Done():
			return "cancelled", nil
		}
	}
}

// stop ends the parts in numbered steps, within 10 s altogether.
func (d *Daemon) stop(ctx context.Context, why string, r running) error {
	began := time.Now()
	d.log.Info("stopping", "reason", why)
	if why == joinsAgain { // the process lives on
		_ = d.notify.Status(why)
	} else {
		_ = d.notify.Stopping("stopping: " + why)
	}
	hurry := make(chan struct{})
	over := make(chan struct{})
	defer close(over)
	go second(d.opt.Signals, hurry, over)

	part := func(p *life.Part) func(context.Context) error { return p.Stop }
	err := life.Shutdown(ctx, d.log, hurry, []life.Step{
		{Do: "1 stop health and watchdog", Why: "nothing may call itself SERVING any more", Within: time.Second, Run: func(ctx context.Context) error {
			err := errors.Join(r.health.Stop(ctx), r.watchdog.Stop(ctx), r.fleet.Stop(ctx))
			d.health.setServing(false, false)
			return err
		}},
		{Do: "2 stop feeds", Why: "no new rows; the poll at hand is abandoned", Within: 2 * time.Second, Run: part(r.feeds)},
		{Do: "3 stop replication", Why: "the last group becomes durable and is acknowledged", Within: 2 * time.Second, Run: part(r.source)},
		{Do: "4 drain gRPC", Why: "calls at hand get their answers", Within: 3 * time.Second, Run: func(ctx context.Context) error {
			return errors.Join(r.webhooks.Stop(ctx), r.kafka.Stop(ctx), r.api.Stop(ctx))
		}},
		{Do: "5 sync the view files and close the store", Why: "a last checkpoint makes the next start short; without it the log is replayed", Within: 2 * time.Second, Run: func(ctx context.Context) error {
			return errors.Join(r.views.Stop(ctx), r.store.Stop(ctx), d.closeStore(ctx))
		}},
		{Do: "6 stop HTTP", Why: "last, so that probes could watch", Within: 500 * time.Millisecond, Run: part(r.admin)},
		{Do: "7 release", Why: "connections and listeners", Within: 500 * time.Millisecond, Run: func(context.Context) error { return d.release() }},
	})
	d.log.Info("stopped", "took", time.Since(began).Round(time.Millisecond))
	if err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	return nil
}

// closeStore closes the store, but waits for its last checkpoint only as long as
// ctx allows: what is not in it is in the log.
func (d *Daemon) closeStore(ctx context.Context) error {
	done := make(chan error, 1)
	d.storeClosed = true // release must not wait for it again
	go func() { done <- d.store.Close() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return errors.New("the last checkpoint was cut short; the next start replays the log instead")
	}
}

// echo is how long after the first signal another one is the same request:
// timeout(1), shells and process managers signal the program and then its group.
const echo = 300 * time.Millisecond

// second closes hurry at the next signal that asks to stop.
func second(signals <-chan os.Signal, hurry, over chan struct{}) {
	began := time.Now()
	for {
		select {
		case s := <-signals:
			if s != syscall.SIGHUP && time.Since(began) >= echo {
				close(hurry)
				return
			}
		case <-over:
			return
		}
	}
}
