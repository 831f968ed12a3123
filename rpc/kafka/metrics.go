package kafka

import (
	"github.com/prometheus/client_golang/prometheus"
)

// metrics are those of the listener.
type metrics struct {
	connections  prometheus.Gauge
	refused      prometheus.Counter
	unauthorized prometheus.Counter
	failed       prometheus.Counter
	requests     *prometheus.CounterVec
	batches      prometheus.Counter
	bytes        prometheus.Counter
}

func newMetrics() *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	return &metrics{
		connections:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "carbond_kafka_connections", Help: "Open connections of Kafka clients."}),
		refused:      counter("carbond_kafka_connections_refused_total", "Connections of Kafka clients that were closed at once: all are taken, or the peer's share is."),
		unauthorized: counter("carbond_kafka_authentication_failures_total", "Kafka clients that came with a token that is not known."),
		failed:       counter("carbond_kafka_connections_failed_total", "Connections of Kafka clients that ended with an error, such as a request that is not Kafka's."),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "carbond_kafka_requests_total", Help: "Requests of Kafka clients, by kind.",
		}, []string{"request"}),
		batches: counter("carbond_kafka_batches_encoded_total", "Record batches that were encoded; each is sent to any number of clients."),
		bytes:   counter("carbond_kafka_sent_bytes_total", "Bytes of record batches that were sent."),
	}
}

func (m *metrics) register(r prometheus.Registerer, s *Server) error {
	members := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "carbond_kafka_group_members", Help: "Members of Kafka's consumer groups."},
		func() float64 { return float64(s.groups.count()) })
	unsent := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "carbond_kafka_unsent_bytes", Help: "Bytes of record batches in answers that clients have not taken yet; beyond 16 MiB each client gets one batch at a time."},
		func() float64 { return float64(s.sending.Load()) })
	for _, c := range []prometheus.Collector{m.connections, m.refused, m.unauthorized, m.failed, m.requests, m.batches, m.bytes, members, unsent} {
		if err := r.Register(c); err != nil {
			return err
		}
	}
	return nil
}
