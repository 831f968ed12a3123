package daemon

import (
	"fmt"
	"sync/atomic"
	"time"

	"carbond/cmd/carbond/internal/certs"
	"carbond/cmd/carbond/internal/config"
)

// settings are the configuration in force and what came of the last reading of it.
type settings struct {
	cfg    atomic.Pointer[config.Config]
	reload atomic.Pointer[reloadState]
}

func newSettings(cfg *config.Config, at time.Time) *settings {
	s := &settings{}
	s.cfg.Store(cfg)
	s.reload.Store(&reloadState{at: at, ok: true})
	return s
}

// reloadState is the outcome of the last reading of the configuration.
type reloadState struct {
	at     time.Time // of the last good one
	ok     bool
	reason string // why the last one was refused
}

// onReload follows SIGHUP: it reads the configuration again and applies what
// can change while running. An invalid one changes nothing.
func (d *Daemon) onReload() {
	if err := d.notify.Reloading(); err != nil {
		d.log.Warn("the service manager does not hear of the reload", "error", err)
	}
	now := time.Now()
	restart, err := d.applyConfig()
	if err != nil {
		d.met.reloaded(false, now)
		d.conf.reload.Store(&reloadState{at: d.conf.reload.Load().at, reason: err.Error()})
		d.log.Error("reload refused, the old configuration stays in force", "error", err)
	} else {
		d.met.reloaded(true, now)
		d.conf.reload.Store(&reloadState{at: now, ok: true})
		if len(restart) > 0 {
			d.log.Warn("changed keys take effect after a restart only", "keys", restart)
		}
		d.log.Info("configuration reloaded", "file", d.conf.cfg.Load().File())
	}
	if err := d.notify.Ready(d.health.line(d.health.judge())); err != nil {
		d.log.Warn("the service manager does not hear of the reload", "error", err)
	}
}

// applyConfig reads and applies the configuration and returns the changed keys
// that need a restart. The files of certificates and tokens are read again even though their
// paths stay: that is how they are renewed.
func (d *Daemon) applyConfig() (restart []string, err error) {
	cfg, warnings, err := config.Load(d.opt.Sources)
	if err != nil {
		return nil, err
	}
	for _, w := range warnings {
		d.log.Warn("configuration", "warning", w.String())
	}
	old := d.conf.cfg.Load()
	// Everything that can fail comes first, so that a refused reload has
	// changed nothing.
	useHTTP, err := prepareCerts(d.listen.httpCerts, old.HTTP.TLS)
	if err != nil {
		return nil, fmt.Errorf("http.tls_cert: %w", err)
	}
	useKafka, err := prepareCerts(d.listen.kafkaCerts, old.Kafka.TLS)
	if err != nil {
		return nil, fmt.Errorf("kafka.tls_cert: %w", err)
	}
	useGRPC, err := prepareCerts(d.listen.grpcCerts, old.GRPC.TLS)
	if err := d.api.Reload(err); err != nil {
		return nil, fmt.Errorf("grpc: %w", err)
	}
	useHTTP()
	useGRPC()
	useKafka()
	d.met.certificates(d.listen.grpcCerts, d.listen.httpCerts)
	_, restart = config.Changed(old, cfg)
	d.opt.Redaction.Add(cfg)
	d.opt.Level.Set(cfg.Log.Slog())
	d.store.SetRetention(retention(cfg))
	d.conf.cfg.Store(old.With(cfg))
	return restart, nil
}

// prepareCerts reads the files of a listener again; nil is one without TLS.
func prepareCerts(s *certs.Source, t config.TLS) (use func(), err error) {
	if s == nil {
		return func() {}, nil
	}
	return s.Prepare(tlsFiles(t))
}
