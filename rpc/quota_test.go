package rpc_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "carbond/proto/carbon"
	"carbond/rpc"
)

// patience is how long a test waits for what has to come.
const patience = 20 * time.Second

// listenTCP serves s on a port of its own and returns the address.
func listenTCP(t *testing.T, s *rpc.Server) string {
	t.Helper()
	lis := must(net.Listen("tcp", "127.0.0.1:0"))
	run(t, s, lis)
	return lis.Addr().String()
}

// dialFrom returns a client whose connections come from the address.
func dialFrom(t *testing.T, from, to string) *grpc.ClientConn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c := must(grpc.NewClient("passthrough:///"+to, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) { return d.DialContext(ctx, "tcp", addr) })))
	t.Cleanup(func() { c.Close() })
	return c
}

// occupy opens connections from the address until one is refused, or n are open,
// and returns those that the server keeps.
func occupy(t *testing.T, from, to string, n int) (kept []net.Conn) {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	for range n {
		c := must(d.DialContext(t.Context(), "tcp", to))
		t.Cleanup(func() { c.Close() })
		// The preface of HTTP/2 and empty settings; a served connection answers.
		if _, err := io.WriteString(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"); err == nil {
			_ = c.SetReadDeadline(time.Now().Add(patience))
			if _, err := io.ReadFull(c, make([]byte, 9)); err == nil {
				kept = append(kept, c)
				continue
			}
		}
		return kept
	}
	return kept
}

// TestConnectionShares: one address cannot take every connection, this machine has
// room when all are taken, and what ends is free again. Log and metric tell.
func TestConnectionShares(t *testing.T) {
	for name, tc := range map[string]struct {
		share float64
		peer  int
	}{"three quarters": {0, 12}, "half": {0.5, 8}, "no bound": {1, 16}} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			reg := prometheus.NewPedanticRegistry()
			s := newServer(t, newReader(sample()), rpc.Options{MaxConnections: 16, PeerShare: tc.share, Registerer: reg, Log: slog.New(slog.NewTextHandler(&log, nil))})
			addr := listenTCP(t, s)
			held := occupy(t, "127.0.0.2", addr, 20)
			if len(held) != tc.peer {
				t.Fatalf("one address holds %d connections, want %d", len(held), tc.peer)
			}
			occupy(t, "127.0.0.3", addr, 8)
			other := pb.NewCarbonServiceClient(dialFrom(t, "127.0.0.1", addr))
			if _, err := other.GetProjects(t.Context(), new(pb.ProjectQuery)); err != nil {
				t.Errorf("this machine is shut out: %v", err)
			}
			for _, c := range held {
				c.Close()
			}
			again := pb.NewCarbonServiceClient(dialFrom(t, "127.0.0.2", addr))
			if _, err := again.GetProjects(t.Context(), new(pb.ProjectQuery), grpc.WaitForReady(true)); err != nil {
				t.Errorf("what was closed is not free again: %v", err)
			}
			if n, err := testutil.GatherAndCount(reg, "carbond_grpc_connections_refused_total"); err != nil || n != 2 {
				t.Errorf("%d series, %v", n, err)
			}
			if !strings.Contains(log.String(), "too many connections") || !strings.Contains(log.String(), "peer=127.0.0.2") {
				t.Errorf("the log does not tell:\n%s", log.String())
			}
		})
	}
}

// TestIdleConnectionsHoldNoBuffer: what reads a connection takes a buffer, 32 KiB in
// grpc-go, when there is something to read.
func TestIdleConnectionsHoldNoBuffer(t *testing.T) {
	const n = 200
	addr := listenTCP(t, newServer(t, newReader(sample()), rpc.Options{}))
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC() // pools are emptied by the second one
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	for range n {
		c := must(net.Dial("tcp", addr))
		defer c.Close()
		must(io.WriteString(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")) // preface, SETTINGS
		_ = c.SetReadDeadline(time.Now().Add(patience))
		for head := make([]byte, 9); head[3] != 4 || head[4] != 1; { // SETTINGS with ACK: the preface was read
			must(io.ReadFull(c, head))
			must(io.CopyN(io.Discard, c, int64(head[0])<<16|int64(head[1])<<8|int64(head[2])))
		}
	}
	// The connection that was read last may be on its way to being idle.
	if each := (heap() - before) / n; each > 24<<10 {
		t.Errorf("an idle connection holds %d bytes", each)
	} else {
		t.Logf("%d bytes", each)
	}
}

// TestFailedHandshakesAreFree: a connection that never speaks HTTP/2 holds its
// place for the time of the handshake alone.
func TestFailedHandshakesAreFree(t *testing.T) {
	s := newServer(t, newReader(sample()), rpc.Options{MaxConnections: 4})
	addr := listenTCP(t, s)
	for range 20 {
		c := must(net.Dial("tcp", addr))
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: here\r\n\r\n")
		_ = c.SetReadDeadline(time.Now().Add(patience))
		_, _ = io.Copy(io.Discard, c) // until the server has ended it
		c.Close()
	}
	c := pb.NewCarbonServiceClient(dialFrom(t, "127.0.0.1", addr))
	if _, err := c.GetProjects(t.Context(), new(pb.ProjectQuery), grpc.WaitForReady(true)); err != nil {
		t.Error(err)
	}
}

// TestStreamShares: a client that holds all it can get leaves room for another
// one of its own address, and for other addresses.
func TestStreamShares(t *testing.T) {
	s := newServer(t, newReader(&data{}), rpc.Options{MaxConsumers: 16, Changelog: newFakeLog(10)})
	addr := listenTCP(t, s)
	hold := func(from string) (held int) {
		c := pb.NewChangelogServiceClient(dialFrom(t, from, addr))
		for {
			q := earliest()
			q.Follow = true
			ctx, cancel := context.WithCancel(t.Context())
			t.Cleanup(cancel)
			ss := must(c.Consume(ctx, q))
			if _, err := ss.Recv(); err != nil {
				if errorOf(err) != "ResourceExhausted TOO_MANY_CONSUMERS" || !strings.Contains(err.Error(), "limits.peer_share") && !strings.Contains(err.Error(), "all 16") {
					t.Fatal(err)
				}
				return held
			}
			held++
		}
	}
	// 16 in all, 12 for an address, 9 for a connection.
	for i, want := range []struct {
		from string
		n    int
	}{{"127.0.0.2", 9}, {"127.0.0.2", 3}, {"127.0.0.3", 4}, {"127.0.0.4", 0}} {
		if n := hold(want.from); n != want.n {
			t.Errorf("client %d got %d streams, want %d", i, n, want.n)
		}
	}
}

// TestLargeMetadata: a call whose metadata is beyond reason fails alone.
func TestLargeMetadata(t *testing.T) {
	s := newServer(t, newReader(sample()), rpc.Options{Register: []func(grpc.ServiceRegistrar){extra}})
	conn := dialFrom(t, "127.0.0.1", listenTCP(t, s))
	hold := must(conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/test.Extra/Hold"))
	if err := hold.SendMsg(new(pb.ProjectQuery)); err != nil {
		t.Fatal(err)
	}
	if err := hold.RecvMsg(new(pb.ProjectQuery)); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- hold.RecvMsg(new(pb.ProjectQuery)) }()
	for _, n := range []int{60_000, 66_000, 140_000, 300_000, 900_000} {
		ctx := metadata.AppendToOutgoingContext(t.Context(), "x-big", strings.Repeat("a", n))
		_, err := pb.NewCarbonServiceClient(conn).GetProjects(ctx, new(pb.ProjectQuery))
		if c := status.Code(err); c != codes.OK && c != codes.ResourceExhausted {
			t.Errorf("%d bytes: %v", n, err)
		}
		select {
		case err := <-ended:
			t.Fatal(fmt.Errorf("a call with %d bytes of metadata ended its neighbour: %w", n, err))
		default:
		}
	}
}
