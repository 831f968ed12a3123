package rpc_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	pb "carbond/proto/carbon"
	"carbond/rpc"
)

// extra registers a service with two echo calls, a stream that ends when told
// and a call that panics.
func extra(r grpc.ServiceRegistrar) {
	echo := func(name string) grpc.MethodDesc {
		return grpc.MethodDesc{MethodName: name, Handler: func(_ any, ctx context.Context, dec func(any) error, i grpc.UnaryServerInterceptor) (any, error) {
			in := new(pb.ProjectQuery)
			if err := dec(in); err != nil {
				return nil, err
			}
			return i(ctx, in, &grpc.UnaryServerInfo{FullMethod: "/test.Extra/" + name}, func(_ context.Context, in any) (any, error) {
				if name == "Panic" {
					panic("broken")
				}
				return in, nil
			})
		}}
	}
	r.RegisterService(&grpc.ServiceDesc{
		ServiceName: "test.Extra", HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{echo("Open"), echo("Closed"), echo("Panic")},
		Streams: []grpc.StreamDesc{{StreamName: "Hold", ServerStreams: true, ClientStreams: true, Handler: func(_ any, ss grpc.ServerStream) error {
			in := new(pb.ProjectQuery)
			if err := ss.RecvMsg(in); err != nil {
				return err
			}
			if in.Country == "panic" {
				panic("broken stream")
			}
			if err := ss.SendMsg(in); err != nil {
				return err
			}
			<-ss.Context().Done()
			return ss.Context().Err()
		}}},
	}, struct{}{})
}

func TestHealth(t *testing.T) {
	s := newServer(t, newReader(sample()), rpc.Options{})
	_, conn := serveServer(t, s)
	h := healthpb.NewHealthClient(conn)
	want := func(service string, st healthpb.HealthCheckResponse_ServingStatus) {
		t.Helper()
		r, err := h.Check(t.Context(), &healthpb.HealthCheckRequest{Service: service})
		if err != nil || r.Status != st {
			t.Fatalf("health of %q: %v %v, want %v", service, r, err, st)
		}
	}
	const no, yes = healthpb.HealthCheckResponse_NOT_SERVING, healthpb.HealthCheckResponse_SERVING
	want("", no)
	want(rpc.Service, no)
	s.SetServing("", true)
	s.SetServing(rpc.Service, true)
	want("", yes)
	want(rpc.Service, yes)
	s.SetServing(rpc.Service, false)
	want("", yes)
	want(rpc.Service, no)
	if _, err := h.Check(t.Context(), &healthpb.HealthCheckRequest{Service: "other"}); status.Code(err) != codes.NotFound {
		t.Fatal(err)
	}
}

func TestPanics(t *testing.T) {
	var log bytes.Buffer
	reg := prometheus.NewPedanticRegistry()
	d := sample()
	d.onPanic = true
	r := newReader(d)
	c, conn := serve(t, r, rpc.Options{Log: slog.New(slog.NewTextHandler(&log, nil)), Registerer: reg, Register: []func(grpc.ServiceRegistrar){extra}})
	_, err := c.GetProjects(t.Context(), new(pb.ProjectQuery)) // in the load, on another goroutine
	if status.Code(err) != codes.Internal || strings.Contains(err.Error(), "rows are broken") {
		t.Fatal(err)
	}
	if err := conn.Invoke(t.Context(), "/test.Extra/Panic", new(pb.ProjectQuery), new(pb.ProjectQuery)); status.Code(err) != codes.Internal {
		t.Fatal(err)
	}
	hold, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/test.Extra/Hold")
	if err != nil {
		t.Fatal(err)
	}
	if err := hold.SendMsg(&pb.ProjectQuery{Country: "panic"}); err != nil {
		t.Fatal(err)
	}
	if err := hold.RecvMsg(new(pb.ProjectQuery)); status.Code(err) != codes.Internal {
		t.Fatal(err)
	}
	if err := testutil.GatherAndCompare(reg, strings.NewReader(`# HELP carbond_rpc_panics_total Calls that ended in a defect of carbond; the log has the stack.
# TYPE carbond_rpc_panics_total counter
carbond_rpc_panics_total 3
`), "carbond_rpc_panics_total"); err != nil {
		t.Error(err)
	}
	d = sample()
	d.base = 41
	r.set(d)
	m, err := c.GetProjects(t.Context(), new(pb.ProjectQuery))
	if err != nil {
		t.Fatalf("after a panic: %v", err)
	}
	same(t, m, wantProjects(d, ""))
	if n := strings.Count(log.String(), "call panicked"); n != 3 || !strings.Contains(log.String(), "rows are broken") || !strings.Contains(log.String(), "fake_test.go") {
		t.Errorf("log of %d panics:\n%s", n, log.String())
	}
}

func TestDrain(t *testing.T) {
	entered, finish := make(chan struct{}), make(chan struct{})
	d := sample()
	d.onRows = func() { close(entered); <-finish }
	s := newServer(t, newReader(d), rpc.Options{})
	c, conn := serveServer(t, s)
	s.SetServing("", true)
	called := make(chan error, 1)
	go func() {
		_, err := c.GetProjects(context.Background(), new(pb.ProjectQuery))
		called <- err
	}()
	<-entered
	watch, err := healthpb.NewHealthClient(conn).Watch(t.Context(), new(healthpb.HealthCheckRequest))
	if err != nil {
		t.Fatal(err)
	}
	if r, err := watch.Recv(); err != nil || r.Status != healthpb.HealthCheckResponse_SERVING {
		t.Fatal(r, err)
	}
	drained := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	go func() { drained <- s.Shutdown(ctx) }()
	<-s.Draining()
	if r, err := watch.Recv(); err != nil || r.Status != healthpb.HealthCheckResponse_NOT_SERVING {
		t.Fatalf("the watcher is told: %v %v", r, err)
	}
	close(finish)
	if err := <-called; err != nil {
		t.Fatalf("an open call is finished: %v", err)
	}
	if _, err := watch.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("the health stream ends with %v", err)
	}
	if err := <-drained; err != nil {
		t.Fatal(err)
	}
	s.SetServing("", true) // too late to have an effect, and harmless
	if err := s.Shutdown(ctx); err != nil {
		t.Fatalf("a second shutdown: %v", err)
	}
}

func TestDrainDeadline(t *testing.T) {
	s := newServer(t, newReader(sample()), rpc.Options{Register: []func(grpc.ServiceRegistrar){extra}})
	_, conn := serveServer(t, s)
	hold, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/test.Extra/Hold")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(hold.SendMsg(new(pb.ProjectQuery)), hold.RecvMsg(new(pb.ProjectQuery))); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	if err := hold.RecvMsg(new(pb.ProjectQuery)); err == nil || err == io.EOF {
		t.Fatalf("the stream that was cut ends with %v", err)
	}
}

func TestShutdownBeforeServe(t *testing.T) {
	s := newServer(t, newReader(sample()), rpc.Options{})
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	lis := must(net.Listen("tcp", "127.0.0.1:0"))
	if err := s.Serve(t.Context(), lis); err != nil {
		t.Fatal(err)
	}
	if _, err := lis.Accept(); err == nil {
		t.Fatal("the listener is open")
	}
}

func TestListenerError(t *testing.T) {
	s := newServer(t, newReader(sample()), rpc.Options{})
	lis := must(net.Listen("tcp", "127.0.0.1:0"))
	lis.Close()
	if err := s.Serve(t.Context(), lis); err == nil || !strings.Contains(err.Error(), lis.Addr().String()) {
		t.Fatal(err)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	c, _ := serve(t, newReader(sample()), rpc.Options{Registerer: reg})
	for range 3 {
		if _, err := c.GetProjects(t.Context(), &pb.ProjectQuery{Country: "Brazil"}); err != nil {
			t.Fatal(err)
		}
	}
	_, _ = c.GetNews(t.Context(), &pb.NewsQuery{PageSize: -1})
	problems, err := testutil.GatherAndLint(reg)
	if err != nil || len(problems) > 0 {
		t.Fatal(err, problems)
	}
	want := map[string]float64{
		`carbond_cache_requests_total{result="hit",view="projects"}`:  2,
		`carbond_cache_requests_total{result="miss",view="projects"}`: 1,
		`carbond_cache_requests_total{result="bypass",view="news"}`:   0,
		`carbond_cache_entries{}`:                                     1,

		`grpc_server_handled_total{grpc_code="OK",grpc_method="GetProjects",grpc_service="carbon.CarbonService",grpc_type="unary"}`:          3,
		`grpc_server_handled_total{grpc_code="InvalidArgument",grpc_method="GetNews",grpc_service="carbon.CarbonService",grpc_type="unary"}`: 1,
		`grpc_server_started_total{grpc_method="GetFinanceData",grpc_service="carbon.CarbonService",grpc_type="unary"}`:                      0,
		`grpc_server_started_total{grpc_method="Watch",grpc_service="grpc.health.v1.Health",grpc_type="server_stream"}`:                      0,
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.Metric {
			var labels []string
			for _, l := range m.Label {
				labels = append(labels, l.GetName()+`="`+l.GetValue()+`"`)
			}
			name := f.GetName() + "{" + strings.Join(labels, ",") + "}"
			if v, ok := want[name]; ok {
				if got := m.GetCounter().GetValue() + m.GetGauge().GetValue(); got != v {
					t.Errorf("%s is %v, want %v", name, got, v)
				}
				delete(want, name)
			}
		}
	}
	for name := range want {
		t.Errorf("%s is missing", name)
	}
	// The same registry twice is a mistake of the wiring, not a panic.
	if _, err := rpc.New(newReader(sample()), rpc.Options{Registerer: reg}); err == nil {
		t.Error("registered twice")
	}
}
