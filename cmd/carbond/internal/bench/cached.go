package bench

import (
	"context"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	pb "carbond/proto/carbon"
	"carbond/rpc"
	"carbond/store"
	"carbond/store/change"
)

// storeReader hands the store to rpc.
type storeReader struct{ s *store.Store }

func (r storeReader) Snapshot() change.ViewSnapshot { return r.s.Snapshot() }

func (r storeReader) WaitLSN(ctx context.Context, lsn change.LSN) error { return r.s.WaitLSN(ctx, lsn) }

// cached compares cached replies with a bare grpc-go server that returns the
// same bytes, in turns, with the clients in the same process on the same cores.
func cached(ctx context.Context, o Options) ([]Figure, error) {
	dir, err := os.MkdirTemp(o.Dir, "cached-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	s, err := store.Open(dir, store.Options{NoSync: true})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	if err := fill(ctx, s, 5000, 47); err != nil {
		return nil, err
	}
	ours, stop, err := serve(ctx, s, o.Gzip)
	if err != nil {
		return nil, err
	}
	defer stop()
	raw := map[string][]byte{}
	conn, err := dial(ours)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	for _, call := range calls {
		out := &reply{}
		if err := conn.Invoke(ctx, call.method, call.request, out, grpc.ForceCodecV2(blind{encoding.GetCodecV2("proto"), true})); err != nil {
			return nil, fmt.Errorf("%s: %w", call.method, err)
		}
		raw[call.method] = out.raw
	}
	bare, stopBare, err := bareServer(raw)
	if err != nil {
		return nil, err
	}
	defer stopBare()
	var out []Figure
	for _, call := range calls {
		a, b, err := inTurns(ctx, o, call, ours, bare)
		if err != nil {
			return out, err
		}
		ratio := atLeast("cached "+call.name+", ratio to the bare server", a.perSecond()/b.perSecond(), "x", 0.9)
		ratio.Note = fmt.Sprintf("processor time of a call, client included: %.4g and %.4g µs", a.cost(), b.cost())
		out = append(out, Figure{
			Name: "cached " + call.name, Value: a.perSecond(), Unit: "calls/s",
			Note: fmt.Sprintf("%d bytes; a bare grpc-go server: %.0f calls/s", len(raw[call.method]), b.perSecond()),
		}, ratio)
	}
	took, err := compressed(ctx, o, conn)
	return append(out, Figure{Name: "cached " + calls[0].name + " with gzip", Value: ms(took), Unit: "ms", Note: "one call, unpacked by the client"}), err
}

// compressed returns how long a cached reply takes for a client that asks for gzip,
// one call after the other.
func compressed(ctx context.Context, o Options, conn *grpc.ClientConn) (time.Duration, error) {
	n, began := 0, time.Now()
	for time.Since(began).Seconds() < o.Seconds {
		err := conn.Invoke(ctx, calls[0].method, calls[0].request, &reply{}, grpc.UseCompressor("gzip"), grpc.ForceCodecV2(blind{encoding.GetCodecV2("proto"), false}))
		if err != nil {
			return 0, err
		}
		n++
	}
	return time.Since(began) / time.Duration(n), nil
}

var calls = []struct {
	name, method string
	request      proto.Message
}{
	{"GetProjects (5,000 projects)", "/carbon.CarbonService/GetProjects", &pb.ProjectQuery{}},
	{"GetFinanceData (47 rows)", "/carbon.CarbonService/GetFinanceData", &pb.FinanceQuery{}},
}

// rate is what rounds of calls gave.
type rate struct {
	calls     int64
	took      time.Duration
	processor time.Duration // of this process, the clients and the server
}

func (r rate) perSecond() float64 { return float64(r.calls) / r.took.Seconds() }

// cost returns the microseconds of processor time of a call: other programs on the
// machine slow calls down, and hardly show in it.
func (r rate) cost() float64 { return r.processor.Seconds() / float64(r.calls) * 1e6 }

// inTurns calls both servers in five short rounds each.
func inTurns(ctx context.Context, o Options, call struct {
	name, method string
	request      proto.Message
}, ours, bare string,
) (a, b rate, err error) {
	const rounds = 5
	for r := range rounds + 1 {
		for i, addr := range []string{ours, bare} {
			got, err := hammer(ctx, addr, call.method, call.request, time.Duration(o.Seconds*float64(time.Second)))
			if err != nil {
				return a, b, err
			}
			if r == 0 { // warm-up
				continue
			}
			sum := []*rate{&a, &b}[i]
			sum.calls += got.calls
			sum.took += got.took
			sum.processor += got.processor
		}
	}
	return a, b, nil
}

// hammer makes calls by eight clients over two connections.
func hammer(ctx context.Context, addr, method string, req proto.Message, d time.Duration) (rate, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var n atomic.Int64
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	used, err := processorTime(os.Getpid())
	if err != nil {
		return rate{}, err
	}
	began := time.Now()
	for range 2 {
		conn, err := dial(addr)
		if err != nil {
			return rate{}, err
		}
		defer conn.Close()
		for range 4 {
			wg.Go(func() {
				codec := grpc.ForceCodecV2(blind{encoding.GetCodecV2("proto"), false})
				for time.Since(began) < d {
					if err := conn.Invoke(ctx, method, req, &reply{}, codec); err != nil {
						failed.CompareAndSwap(nil, &err)
						return
					}
					n.Add(1)
				}
			})
		}
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return rate{}, *err
	}
	took := time.Since(began)
	now, err := processorTime(os.Getpid())
	return rate{n.Load(), took, now - used}, err
}

// reply is a reply that the client does not parse.
type reply struct{ raw []byte }

// blind does not look into replies, so that the rates are those of the server
// and of HTTP/2.
type blind struct {
	encoding.CodecV2
	keep bool
}

func (c blind) Unmarshal(b mem.BufferSlice, v any) error {
	if r, ok := v.(*reply); ok {
		if c.keep {
			r.raw = b.Materialize()
		}
		return nil
	}
	return c.CodecV2.Unmarshal(b, v)
}

func (c blind) Marshal(v any) (mem.BufferSlice, error) {
	if r, ok := v.(*reply); ok {
		return mem.BufferSlice{mem.SliceBuffer(r.raw)}, nil
	}
	return c.CodecV2.Marshal(v)
}

// dial makes a connection with room for large replies.
func dial(addr string) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1<<30)))
}

func serve(ctx context.Context, s *store.Store, gzip *rpc.Gzip) (addr string, stop func(), err error) {
	srv, err := rpc.New(storeReader{s}, rpc.Options{Gzip: gzip})
	if err != nil {
		return "", nil, err
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.Serve(ctx, lis) })
	return lis.Addr().String(), func() { cancel(); wg.Wait() }, nil
}

// bareServer is a grpc-go server without options, interceptors or headers.
func bareServer(raw map[string][]byte) (addr string, stop func(), err error) {
	srv := grpc.NewServer(grpc.ForceServerCodecV2(blind{encoding.GetCodecV2("proto"), false}))
	desc := &grpc.ServiceDesc{ServiceName: "carbon.CarbonService", HandlerType: (*any)(nil)}
	for _, call := range calls {
		out := &reply{raw[call.method]}
		desc.Methods = append(desc.Methods, grpc.MethodDesc{
			MethodName: call.method[len("/carbon.CarbonService/"):],
			Handler: func(_ any, _ context.Context, dec func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
				if err := dec(proto.Clone(call.request)); err != nil {
					return nil, err
				}
				return out, nil
			},
		})
	}
	srv.RegisterService(desc, struct{}{})
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.Serve(lis) })
	return lis.Addr().String(), func() { srv.Stop(); wg.Wait() }, nil
}
