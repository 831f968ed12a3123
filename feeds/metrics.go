package feeds

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"carbond/store/change"
)

// metrics are the figures of this stage. Labels are configured feed names,
// kinds of failure and table names: no unbounded values.
type metrics struct {
	polls       *prometheus.CounterVec
	duration    *prometheus.HistogramVec
	items       *prometheus.GaugeVec
	notModified *prometheus.CounterVec
	lastSuccess *prometheus.GaugeVec
	backoff     *prometheus.GaugeVec
	disabled    *prometheus.GaugeVec
	failures    *prometheus.GaugeVec
	requests    *prometheus.CounterVec
	rows        *prometheus.CounterVec
	pruned      *prometheus.CounterVec
}

// newMetrics registers the figures with reg, which may be nil.
func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	const ns, sub = "carbond", "feed"
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: name, Help: help}, labels)
	}
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: ns, Subsystem: sub, Name: name, Help: help}, []string{"feed"})
	}
	m := &metrics{
		polls: counter("polls_total", "Polls by result: ok, or the kind of failure.", "feed", "result"),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: ns, Subsystem: sub, Name: "poll_duration_seconds", Help: "Duration of a poll, requests and writing included.",
			Buckets:                     []float64{0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300},
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160,
		}, []string{"feed"}),
		items:       gauge("items", "Items that the last good poll found upstream."),
		notModified: counter("not_modified_total", "Polls that upstream answered without anything new.", "feed"),
		lastSuccess: gauge("last_success_timestamp_seconds", "Time of the last good poll."),
		backoff:     gauge("backoff_seconds", "Wait that the last failure caused, 0 when the feed is well."),
		disabled:    gauge("disabled", "1 when the feed was switched off because its address is gone."),
		failures:    gauge("consecutive_failures", "Failed polls since the last good one."),
		requests:    counter("requests_total", "HTTP requests sent, redirects and retries included.", "feed"),
		rows:        counter("rows_written_total", "Rows written by feeds, by table and operation (insert, update, delete).", "table", "op"),
		pruned:      counter("rows_pruned_total", "Rows of history deleted for their age.", "table"),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{
		m.polls, m.duration, m.items, m.notModified, m.lastSuccess, m.backoff, m.disabled, m.failures, m.requests, m.rows, m.pruned,
	} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// start makes the series of one feed exist before its first poll.
func (m *metrics) start(name string, st feedState) {
	m.polls.WithLabelValues(name, "ok")
	m.requests.WithLabelValues(name)
	m.notModified.WithLabelValues(name)
	m.backoff.WithLabelValues(name)
	m.items.WithLabelValues(name).Set(float64(st.Items))
	m.show(name, st, 0)
}

// show sets the gauges of one feed.
func (m *metrics) show(name string, st feedState, backoff time.Duration) {
	if !st.LastSuccess.IsZero() {
		m.lastSuccess.WithLabelValues(name).Set(float64(st.LastSuccess.UnixMilli()) / 1000)
	}
	m.items.WithLabelValues(name).Set(float64(st.Items))
	m.backoff.WithLabelValues(name).Set(backoff.Seconds())
	m.failures.WithLabelValues(name).Set(float64(st.Failures))
	off := 0.0
	if st.Disabled != "" {
		off = 1
	}
	m.disabled.WithLabelValues(name).Set(off)
}

// wrote counts rows of one table.
func (m *metrics) wrote(table string, n change.Written) {
	m.rows.WithLabelValues(table, "insert").Add(float64(n.Inserted))
	m.rows.WithLabelValues(table, "update").Add(float64(n.Updated))
	m.rows.WithLabelValues(table, "delete").Add(float64(n.Deleted))
}
