package rpc

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"carbond/rpc/internal/admission"
	"carbond/rpc/internal/cache"
)

// metrics of the package, all registered by New.
type metrics struct {
	calls     *callMetrics
	panics    prometheus.Counter
	sqlErrors prometheus.Counter
	lsnWait   prometheus.Histogram
	refused   *prometheus.CounterVec
	reloads   *prometheus.CounterVec

	// Resolved once: a lookup by label for every call costs more than the
	// cache itself. Read-only after newMetrics.
	byView map[string]viewMetrics
}

type viewMetrics struct {
	results map[source]prometheus.Counter
	load    prometheus.Observer
}

func newMetrics() *metrics {
	buckets := []float64{.00001, .00003, .0001, .0003, .001, .003, .01, .03, .1, .3, 1, 3, 10}
	m := &metrics{
		calls: newCallMetrics(),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "carbond_rpc_panics_total", Help: "Calls that ended in a defect of carbond; the log has the stack.",
		}),
		sqlErrors: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "carbond_rpc_sql_errors_total", Help: "NonStreaming queries that Postgres did not answer.",
		}),
		lsnWait: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "carbond_rpc_min_lsn_wait_seconds", Help: "Time that calls waited for carbond-min-lsn.", Buckets: buckets,
		}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "carbond_rpc_refused_total", Help: "Calls refused before they were handled, by reason.",
		}, []string{"reason"}),
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "carbond_rpc_reloads_total", Help: "Reloads of certificates and tokens, by result.",
		}, []string{"result"}),
		byView: make(map[string]viewMetrics),
	}
	for _, r := range []string{admission.RefusedRate, admission.RefusedToken, admission.RefusedScope} {
		m.refused.WithLabelValues(r)
	}
	for _, r := range []string{"ok", "error"} {
		m.reloads.WithLabelValues(r)
	}
	return m
}

// register publishes the metrics and those of the cache.
func (m *metrics) register(reg prometheus.Registerer, c *cache.Cache[cacheVersion, any]) error {
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "carbond_cache_requests_total", Help: "Calls by cache view and by where the reply came from: hit, miss, shared (computed by a call at the same time) or bypass.",
	}, []string{"view", "result"})
	load := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "carbond_cache_load_duration_seconds", Help: "Time to compute an uncached list reply.",
		Buckets: []float64{.0001, .0003, .001, .003, .01, .03, .1, .3, 1, 3},
	}, []string{"view"})
	for _, l := range []list{projects, news, finance, projectsSQL, newsSQL, financeSQL, {key: projectKey}} {
		v := viewMetrics{results: make(map[source]prometheus.Counter)}
		for _, h := range []source{hit, miss, shared, bypass} {
			v.results[h] = requests.WithLabelValues(l.key, string(h))
		}
		if l.view != "" {
			v.load = load.WithLabelValues(l.key)
		}
		m.byView[l.key] = v
	}
	gauge := func(name, help string, f func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, f)
	}
	all := []prometheus.Collector{
		m.panics, m.sqlErrors, m.lsnWait, m.refused, m.reloads, requests, load,
		gauge("carbond_cache_entries", "Encoded replies in the cache.", func() float64 { return float64(c.Stats().Entries) }),
		gauge("carbond_cache_bytes", "Bytes that the cache holds.", func() float64 { return float64(c.Stats().Bytes) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "carbond_cache_evictions_total", Help: "Replies that made room for others.",
		},
			func() float64 { return float64(c.Stats().Evictions) }),
	}
	all = append(all, m.calls.started, m.calls.handled, m.calls.received, m.calls.sent, m.calls.seconds)
	var errs []error
	for _, c := range all {
		errs = append(errs, reg.Register(c))
	}
	return errors.Join(errs...)
}

func (m *metrics) requests(view string, h source) { m.byView[view].results[h].Inc() }
