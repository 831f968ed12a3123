package rpc

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// callMetrics are the grpc_server_* metrics under the names and labels of
// go-grpc-middleware's Prometheus provider, so that dashboards made for it work.
// That provider looks five series up by label text for every call, which here
// costs a tenth of a cached call; these are resolved once for each method.
type callMetrics struct {
	started, handled, received, sent *prometheus.CounterVec
	seconds                          *prometheus.HistogramVec

	methods map[string]*methodMetrics // by full method; read-only after init
	unknown *methodMetrics
}

type methodMetrics struct {
	started, received, sent prometheus.Counter
	seconds                 prometheus.Observer
	handled                 [codes.Unauthenticated + 1]prometheus.Counter
}

func newCallMetrics() *callMetrics {
	labels := []string{"grpc_type", "grpc_service", "grpc_method"}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "grpc_server_" + name, Help: help}, labels)
	}
	return &callMetrics{
		started:  counter("started_total", "Calls begun.", labels...),
		handled:  counter("handled_total", "Calls ended, by status code.", append(labels, "grpc_code")...),
		received: counter("msg_received_total", "Messages received.", labels...),
		sent:     counter("msg_sent_total", "Messages sent.", labels...),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "grpc_server_handling_seconds", Help: "Time from the arrival of a call to the end of its handler.",
			Buckets: []float64{.00003, .0001, .0003, .001, .003, .01, .03, .1, .3, 1, 3, 10},
		}, labels),
	}
}

// init resolves the series of every method of the server, which also makes them
// visible before the first call.
func (m *callMetrics) init(services map[string]grpc.ServiceInfo) {
	m.methods = make(map[string]*methodMetrics)
	for name, s := range services {
		for _, method := range s.Methods {
			m.methods["/"+name+"/"+method.Name] = m.resolve(callType(method.IsClientStream, method.IsServerStream), name, method.Name)
		}
	}
	m.unknown = m.resolve("unary", "unknown", "unknown")
}

func callType(client, server bool) string {
	switch {
	case client && server:
		return "bidi_stream"
	case client:
		return "client_stream"
	case server:
		return "server_stream"
	}
	return "unary"
}

func (m *callMetrics) resolve(labels ...string) *methodMetrics {
	mm := &methodMetrics{
		started:  m.started.WithLabelValues(labels...),
		received: m.received.WithLabelValues(labels...),
		sent:     m.sent.WithLabelValues(labels...),
		seconds:  m.seconds.WithLabelValues(labels...),
	}
	for c := range mm.handled {
		mm.handled[c] = m.handled.WithLabelValues(append(labels, codes.Code(c).String())...)
	}
	return mm
}

func (m *callMetrics) of(method string) *methodMetrics {
	if mm, ok := m.methods[method]; ok {
		return mm
	}
	return m.unknown
}

func (mm *methodMetrics) end(begin time.Time, err error) {
	c := codes.OK
	if err != nil {
		switch {
		case errors.Is(err, context.Canceled):
			c = codes.Canceled
		case errors.Is(err, context.DeadlineExceeded):
			c = codes.DeadlineExceeded
		default:
			c = status.Code(err)
		}
	}
	if int(c) >= len(mm.handled) {
		c = codes.Unknown
	}
	mm.handled[c].Inc()
	mm.seconds.Observe(time.Since(begin).Seconds())
}

// countedStream counts the messages of a stream.
type countedStream struct {
	grpc.ServerStream
	mm *methodMetrics
}

// SendMsg implements grpc.ServerStream.
func (s countedStream) SendMsg(m any) error {
	err := s.ServerStream.SendMsg(m)
	if err == nil {
		s.mm.sent.Inc()
	}
	return err
}

// RecvMsg implements grpc.ServerStream.
func (s countedStream) RecvMsg(m any) error {
	err := s.ServerStream.RecvMsg(m)
	if err == nil {
		s.mm.received.Inc()
	}
	return err
}
