package viewfile

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	offset                            prometheus.Gauge
	bytes, errors, rotations, refills prometheus.Counter
}

// newMetrics makes the metrics and publishes them if there is a registerer.
func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "carbond_viewfile_" + name, Help: help})
	}
	m := &metrics{
		offset:    prometheus.NewGauge(prometheus.GaugeOpts{Name: "carbond_viewfile_offset", Help: "Changelog offset up to which the view files are on disk."}),
		bytes:     counter("written_bytes_total", "Bytes of lines written to the view files."),
		errors:    counter("errors_total", "Failures of writing the view files; each is tried again from the last sync."),
		rotations: counter("rotations_total", "View files that were full and renamed."),
		refills:   counter("refills_total", "Times that the view files started anew with every row, because history was gone or the files did not fit."),
	}
	if reg != nil {
		reg.MustRegister(m.offset, m.bytes, m.errors, m.rotations, m.refills)
	}
	return m
}
