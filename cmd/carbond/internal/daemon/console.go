package daemon

import (
	"context"
	"path/filepath"
	"time"

	"carbond/cmd/carbond/internal/config"
	"carbond/cmd/carbond/internal/console"
	"carbond/cmd/carbond/internal/trend"
	"carbond/rpc/web"
)

// buildConsole makes the pages.
func (d *Daemon) buildConsole(_ context.Context, cfg *config.Config) (err error) {
	if d.trend, err = trend.Open(filepath.Join(cfg.DataDir, "trend.jsonl"), time.Now()); err != nil {
		d.log.Warn("the history of health begins again", "error", err)
	}
	d.report = &report{
		version: d.opt.Version, mode: d.mode, started: d.started, conf: d.conf, redact: d.opt.Redaction.Text,
		listen: &d.listen, store: d.store, source: d.source, feeds: d.feeds, health: d.health,
	}
	tokens := cfg.GRPC.TokensFile != ""
	d.door = web.NewDoor(d.api, web.DoorOptions{
		Tokens: tokens, Certificates: cfg.GRPC.TLS.ClientCA != "" && !tokens,
		Open: func() bool {
			open := d.conf.cfg.Load().HTTP.Open
			return open == "true" || open == "no-tokens" && !tokens
		},
	})
	d.console = console.New(console.Options{
		Logger: d.log.With("stage", "http"),
		Status: d.report.recent, Trend: d.trend.Samples,
		Door: d.door, API: d.api.Local(), Stream: d.api.Stream, Gzip: web.AcceptsGzip,
	})
	return nil
}

// sampleTrend notes how the daemon is now.
func (d *Daemon) sampleTrend() {
	s := trend.Sample{Unix: time.Now().Unix(), Offset: uint64(d.store.Position().Offset)}
	if v := d.health.last.Load(); v != nil {
		s.Ready = v.ok
	}
	if d.source != nil {
		s.Lag = d.source.Status().LagSeconds
	}
	for _, f := range d.report.feedStatus() {
		if f.Failing() {
			s.Failing = append(s.Failing, f.Name)
		}
	}
	if err := d.trend.Add(s); err != nil {
		d.log.Debug("note the health", "error", err) // a full disk is told elsewhere
	}
}
