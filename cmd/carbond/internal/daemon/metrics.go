package daemon

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sys/unix"

	"carbond/cmd/carbond/internal/admin"
	"carbond/cmd/carbond/internal/certs"
)

// metrics are the daemon's own; each stage registers its own beside them.
type metrics struct {
	reg                              *prometheus.Registry
	reloadOK                         prometheus.Gauge
	reloadAt                         prometheus.Gauge
	watchdogOK                       prometheus.Gauge
	ready                            *prometheus.GaugeVec
	serving                          prometheus.Gauge
	grpcCertExpires, httpCertExpires prometheus.Gauge
}

// newMetrics makes the only registry of the process.
func newMetrics(mode string, version admin.Version, started time.Time) *metrics {
	reg := prometheus.NewRegistry()
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	m := &metrics{
		reg:        reg,
		reloadOK:   gauge("carbond_config_last_reload_successful", "Whether the last read of the configuration was good (1) or refused (0)."),
		reloadAt:   gauge("carbond_config_last_reload_success_timestamp_seconds", "When the configuration in force was read."),
		watchdogOK: gauge("carbond_watchdog_healthy", "Whether replication, store and gRPC made progress at the last look of the watchdog."),
		serving:    gauge("carbond_serving", "Whether the API calls itself SERVING."),
		ready: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "carbond_ready", Help: "Whether a check of /readyz is ok, by check.",
		}, []string{"check"}),
		grpcCertExpires: gauge("carbond_rpc_certificate_expiry_timestamp_seconds", "End of validity of the gRPC server certificate, in unix seconds."),
		httpCertExpires: gauge("carbond_http_certificate_expiry_timestamp_seconds", "When the certificate of the HTTP listener expires."),
	}
	info := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "carbond_build_info", Help: "Build of the running binary; always 1.",
		ConstLabels: prometheus.Labels{"version": version.Version, "revision": version.Revision, "goversion": version.Go, "mode": mode},
	}, func() float64 { return 1 })
	start := gauge("carbond_start_timestamp_seconds", "When the daemon started.")
	start.Set(seconds(started))
	reg.MustRegister(info, start, m.reloadOK, m.reloadAt, m.watchdogOK, m.serving, m.ready,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// watchDir adds the free space of the data directory.
func (m *metrics) watchDir(dir string) {
	m.reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "carbond_data_dir_free_bytes", Help: "Bytes free for carbond on the file system of the data directory.",
	}, func() float64 { free, _ := freeBytes(dir); return float64(free) }))
}

// watchAge adds the age of what the views hold.
func (m *metrics) watchAge(age *atomic.Int64) {
	m.reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "carbond_view_staleness_seconds", Help: "How long ago the views were level with their source, as the header carbond-age-ms tells it.",
	}, func() float64 { return time.Duration(age.Load()).Seconds() }))
}

// reloaded notes the outcome of reading the configuration.
func (m *metrics) reloaded(ok bool, at time.Time) {
	m.reloadOK.Set(flag(ok))
	if ok {
		m.reloadAt.Set(seconds(at))
	}
}

// certificates notes when those of the listeners expire. There is no such metric
// for a listener without TLS (nil).
func (m *metrics) certificates(grpc, http *certs.Source) {
	for g, s := range map[prometheus.Gauge]*certs.Source{m.grpcCertExpires: grpc, m.httpCertExpires: http} {
		if s != nil {
			g.Set(seconds(s.NotAfter()))
			_ = m.reg.Register(g) // again at a reload
		}
	}
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

func flag(ok bool) float64 {
	if ok {
		return 1
	}
	return 0
}

// freeBytes returns the space that is left for this user, if it is known.
func freeBytes(dir string) (free uint64, known bool) {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return 0, false
	}
	return st.Bavail * uint64(st.Bsize), true
}
