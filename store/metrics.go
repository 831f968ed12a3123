package store

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"carbond/store/change"
)

// metrics are the store's figures. A nil *metrics keeps none.
type metrics struct {
	commits     prometheus.Histogram
	bytes       prometheus.Counter
	errors      prometheus.Counter
	anomalies   *prometheus.CounterVec
	unlinked    prometheus.Counter
	strips      prometheus.Counter
	checkpoints prometheus.Histogram
	ckptErrors  prometheus.Counter
}

func histogram(name, help string) prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: name, Help: help, Buckets: prometheus.ExponentialBuckets(0.0001, 3, 12),
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160,
	})
}

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
}

func newMetrics(s *Store, reg prometheus.Registerer) *metrics {
	if reg == nil {
		return nil
	}
	m := &metrics{
		commits:     histogram("carbond_changelog_commit_duration_seconds", "Time of a changelog commit, fsync included."),
		bytes:       counter("carbond_changelog_appended_bytes_total", "Bytes of records appended to the changelog."),
		errors:      counter("carbond_changelog_errors_total", "Commits that failed; the source sends again what they held."),
		unlinked:    counter("carbond_changelog_segments_unlinked_total", "Segments dropped by retention."),
		strips:      counter("carbond_changelog_segments_stripped_total", "Segments out of which retention.tables_bytes took the records of tables without a view."),
		checkpoints: histogram("carbond_checkpoint_duration_seconds", "Time of a checkpoint."),
		ckptErrors:  counter("carbond_checkpoint_errors_total", "Checkpoints that failed; starts take longer until one works."),
		anomalies: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "carbond_store_anomalies_total", Help: "Changes that did not fit the stored rows and were repaired, by kind.",
		}, []string{"kind"}),
	}
	for _, k := range []string{"create_existing", "update_missing", "delete_missing"} {
		m.anomalies.WithLabelValues(k)
	}
	reg.MustRegister(m.commits, m.bytes, m.errors, m.unlinked, m.strips, m.checkpoints, m.ckptErrors, m.anomalies)
	s.registerGauges(reg)
	return m
}

func (s *Store) registerGauges(reg prometheus.Registerer) {
	gauge := func(name, help string, labels prometheus.Labels, f func() float64) {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}, f))
	}
	gauge("carbond_changelog_head_offset", "Last visible offset.", nil, func() float64 { return float64(s.Position().Offset) })
	gauge("carbond_changelog_tail_offset", "Oldest offset that is kept.", nil, func() float64 { return float64(s.changelog.Oldest()) })
	gauge("carbond_changelog_tables_tail_offset", "Oldest offset from which on the records of tables without a view are kept.", nil, func() float64 { return float64(s.Floor()) })
	gauge("carbond_changelog_segments", "Segment files.", nil, func() float64 { return float64(s.changelog.Stats().Segments) })
	gauge("carbond_changelog_size_bytes", "Size of the segment files.", nil, func() float64 { return float64(s.changelog.Stats().Bytes) })
	gauge("carbond_changelog_durable_lsn_bytes", "Commit-end LSN that is on disk.", nil, func() float64 { return float64(s.Position().LSN) })
	gauge("carbond_checkpoint_offset", "Offset at which the checkpoint stands.", nil, func() float64 { return float64(s.ckpt.at()) })
	gauge("carbond_checkpoint_lag_records", "Changes that a start would replay.", nil, func() float64 {
		at := s.ckpt.at() // first: it may move, and is never ahead
		return float64(s.Position().Offset - at)
	})
	gauge("carbond_checkpoint_last_success_timestamp_seconds", "When the checkpoint last caught up.", nil, func() float64 {
		s.ckpt.mu.Lock()
		defer s.ckpt.mu.Unlock()
		if s.ckpt.done.IsZero() {
			return 0
		}
		return float64(s.ckpt.done.UnixNano()) / 1e9
	})
	for i, name := range []string{"carbond_checkpoint_size_bytes", "carbond_checkpoint_free_bytes"} {
		gauge(name, []string{"Size of the checkpoint file.", "Bytes in the checkpoint file that are free."}[i], nil, func() float64 {
			size, free := s.ckpt.stats()
			return float64([]int64{size, free}[i])
		})
	}
	for _, t := range change.Tables() {
		gauge("carbond_table_rows", "Rows of a source table.", prometheus.Labels{"table": t}, func() float64 { return float64(s.Snapshot().Rows(t)) })
	}
	for _, v := range change.Views() {
		l := prometheus.Labels{"view": string(v)}
		gauge("carbond_view_offset", "Offset of the last change to a view.", l, func() float64 { return float64(s.Snapshot().Version(v, "")) })
		gauge("carbond_view_rows", "Rows of a view without a filter.", l, func() float64 { return float64(s.Snapshot().ViewRows(v)) })
	}
	gauge("carbond_view_watermark_timestamp_seconds", "Source commit time that the views reflect.", nil, func() float64 {
		t := s.Position().CommitTime
		if t.IsZero() {
			return 0
		}
		return float64(t.UnixNano()) / 1e9
	})
}

func (m *metrics) committed(d time.Duration, bytes int) {
	if m != nil {
		m.commits.Observe(d.Seconds())
		m.bytes.Add(float64(bytes))
	}
}

func (m *metrics) failed() {
	if m != nil {
		m.errors.Inc()
	}
}

func (m *metrics) anomaly(kind string) {
	if m != nil {
		m.anomalies.WithLabelValues(kind).Inc()
	}
}

func (m *metrics) dropped() {
	if m != nil {
		m.unlinked.Inc()
	}
}

func (m *metrics) stripped() {
	if m != nil {
		m.strips.Inc()
	}
}

func (m *metrics) checkpointed(d time.Duration) {
	if m != nil {
		m.checkpoints.Observe(d.Seconds())
	}
}

func (m *metrics) checkpointFailed() {
	if m != nil {
		m.ckptErrors.Inc()
	}
}
