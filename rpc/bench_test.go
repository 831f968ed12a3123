package rpc_test

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	pb "carbond/proto/carbon"
	"carbond/rpc"
	"carbond/store/change"
)

// manyProjects makes n projects of about 80 encoded bytes.
func manyProjects(n int) []change.ProjectDetail {
	ps := make([]change.ProjectDetail, n)
	for i := range ps {
		ps[i] = change.ProjectDetail{
			Project: change.Project{
				ProjectID: fmt.Sprintf("VCS-%06d", i), ProjectName: fmt.Sprintf("Forest protection number %d", i),
				RegistryStatus: "ACTIVE", Country: []string{"Brazil", "Kenya", "India", "Peru"}[i%4],
				Vintage: int32(2000 + i%24), Supply: float64(i) * 1.5,
			},
			ProjectLink: "https://registry.example.org/" + fmt.Sprint(i), ProjectSummary: "Summary.", Source: "verra",
		}
	}
	return ps
}

func manyQuotes(n int) []change.Quote {
	qs := make([]change.Quote, n)
	for i := range qs {
		qs[i] = change.Quote{
			Ticker: fmt.Sprintf("TICK%03d", i), Price: 31.25 + float64(i), Volume: int64(1e6 + i),
			MarketCap: 1e9 + float64(i), ChangePercent: -0.5, Timestamp: 1_700_000_000,
		}
	}
	return qs
}

// rawCodec sends bytes as they are: the least that a grpc-go server can do.
type rawCodec struct{ encoding.CodecV2 }

func (c rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	if b, ok := v.(*rawReply); ok {
		return mem.BufferSlice{mem.SliceBuffer(b.raw)}, nil
	}
	return c.CodecV2.Marshal(v)
}

type rawReply struct{ raw []byte }

// bare is a grpc-go server without options, interceptors or headers that
// answers both calls with given bytes.
func bare(b *testing.B, raw map[string][]byte) net.Addr {
	b.Helper()
	method := func(name string, in func() proto.Message) grpc.MethodDesc {
		out := &rawReply{raw[name]}
		return grpc.MethodDesc{MethodName: name, Handler: func(_ any, _ context.Context, dec func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			if err := dec(in()); err != nil {
				return nil, err
			}
			return out, nil
		}}
	}
	s := grpc.NewServer(grpc.ForceServerCodecV2(rawCodec{encoding.GetCodecV2("proto")}))
	s.RegisterService(&grpc.ServiceDesc{ServiceName: rpc.Service, HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{
		method("GetProjects", func() proto.Message { return new(pb.ProjectQuery) }),
		method("GetFinanceData", func() proto.Message { return new(pb.FinanceQuery) }),
	}}, struct{}{})
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.Serve(lis) })
	b.Cleanup(func() { s.Stop(); wg.Wait() })
	return lis.Addr()
}

// blind is a client codec that does not look at the reply, so that the figures
// are those of the server and of HTTP/2.
type blind struct{ encoding.CodecV2 }

func (c blind) Unmarshal(b mem.BufferSlice, v any) error {
	if n, ok := v.(*int); ok {
		*n = b.Len()
		return nil
	}
	return c.CodecV2.Unmarshal(b, v)
}

// rate is what a round of calls gave.
type rate struct {
	calls float64
	wall  float64 // seconds
	cpu   float64 // seconds of both sides; tells the truth on a busy machine, too
}

func (r *rate) add(o rate) { r.calls += o.calls; r.wall += o.wall; r.cpu += o.cpu }

func cpuTime() float64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

// drive makes calls from several goroutines for a while.
func drive(b *testing.B, addr net.Addr, method string, q proto.Message, want int, d time.Duration) rate {
	b.Helper()
	conns := make([]*grpc.ClientConn, 2)
	for i := range conns {
		c, err := grpc.NewClient("passthrough:///"+addr.String(), grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithDefaultCallOptions(grpc.ForceCodecV2(blind{encoding.GetCodecV2("proto")}), grpc.MaxCallRecvMsgSize(64<<20)))
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		conns[i] = c
	}
	var calls atomic.Int64
	var wg sync.WaitGroup
	run := func(until time.Time) {
		for i := range 16 {
			wg.Go(func() {
				for time.Now().Before(until) {
					var n int
					if err := conns[i%2].Invoke(b.Context(), method, q, &n); err != nil || n != want {
						b.Errorf("call: %v, %d bytes, want %d", err, n, want)
						return
					}
					calls.Add(1)
				}
			})
		}
		wg.Wait()
	}
	run(time.Now().Add(d / 5)) // warm
	runtime.GC()
	calls.Store(0)
	begin, cpu := time.Now(), cpuTime()
	run(begin.Add(d))
	return rate{float64(calls.Load()), time.Since(begin).Seconds(), cpuTime() - cpu}
}

func benchmarkCached(b *testing.B, method string, q proto.Message, reply proto.Message) {
	d := &data{base: 7, offset: 7, projects: manyProjects(5000), quotes: manyQuotes(47)}
	addr := serveTCP(b, newReader(d), rpc.Options{})
	conn := dialTCP(b, addr)
	if err := conn.Invoke(b.Context(), method, q, reply); err != nil {
		b.Fatal(err)
	}
	raw, err := proto.Marshal(reply)
	if err != nil {
		b.Fatal(err)
	}
	conn.Close()
	plain := bare(b, map[string][]byte{"GetProjects": raw, "GetFinanceData": raw})
	// Turns, so that a slow moment of the machine hits both.
	var ours, theirs rate
	for b.Loop() {
		theirs.add(drive(b, plain, method, q, len(raw), 250*time.Millisecond))
		ours.add(drive(b, addr, method, q, len(raw), 250*time.Millisecond))
	}
	b.ReportMetric(float64(len(raw)), "reply-bytes")
	b.ReportMetric(ours.calls/ours.wall, "calls/s")
	b.ReportMetric(theirs.calls/theirs.wall, "bare-calls/s")
	b.ReportMetric(ours.calls/ours.wall/(theirs.calls/theirs.wall), "ratio")
	b.ReportMetric(ours.calls/ours.cpu/(theirs.calls/theirs.cpu), "cpu-ratio")
}

func BenchmarkCachedProjects(b *testing.B) {
	benchmarkCached(b, pb.CarbonService_GetProjects_FullMethodName, new(pb.ProjectQuery), new(pb.ProjectResponse))
}

func BenchmarkCachedFinance(b *testing.B) {
	benchmarkCached(b, pb.CarbonService_GetFinanceData_FullMethodName, new(pb.FinanceQuery), new(pb.FinanceResponse))
}
