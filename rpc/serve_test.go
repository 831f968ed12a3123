package rpc_test

import (
	"context"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/test/bufconn"

	pb "carbond/proto/carbon"
	"carbond/rpc"
)

// newServer builds a server or ends the test.
func newServer(tb testing.TB, r rpc.Reader, opt rpc.Options) *rpc.Server {
	tb.Helper()
	opt.Gzip = zipped
	s, err := rpc.New(r, opt)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// run serves until the test ends.
func run(tb testing.TB, s *rpc.Server, lis net.Listener) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, lis) }()
	tb.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			tb.Errorf("serve: %v", err)
		}
	})
}

func serveTCP(tb testing.TB, r rpc.Reader, opt rpc.Options) net.Addr {
	tb.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	run(tb, newServer(tb, r, opt), lis)
	return lis.Addr()
}

func dialTCP(tb testing.TB, addr net.Addr, opts ...grpc.DialOption) *grpc.ClientConn {
	tb.Helper()
	opts = append([]grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}, opts...)
	c, err := grpc.NewClient("passthrough:///"+addr.String(), opts...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { c.Close() })
	return c
}

// serve runs a server in memory and returns a client of it.
func serve(tb testing.TB, r rpc.Reader, opt rpc.Options) (pb.CarbonServiceClient, *grpc.ClientConn) {
	tb.Helper()
	return serveServer(tb, newServer(tb, r, opt))
}

func serveServer(tb testing.TB, s *rpc.Server) (pb.CarbonServiceClient, *grpc.ClientConn) {
	tb.Helper()
	lis := bufconn.Listen(1 << 20)
	run(tb, s, lis)
	c, err := grpc.NewClient("passthrough:///bufconn", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { c.Close() })
	return pb.NewCarbonServiceClient(c), c
}

// rawClient is a client codec that hands out the reply as it came, into *[]byte.
type rawClient struct{}

func (rawClient) Marshal(v any) (mem.BufferSlice, error) {
	return encoding.GetCodecV2("proto").Marshal(v)
}

func (rawClient) Unmarshal(b mem.BufferSlice, v any) error {
	*v.(*[]byte) = b.Materialize()
	return nil
}

func (rawClient) Name() string { return "proto" }
