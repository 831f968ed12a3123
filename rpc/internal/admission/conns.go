package admission

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"carbond/rpc/internal/throttle"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/stats"
)

// loopbackRoom is how many connections more this machine itself gets when all are
// taken: probes, the command line and an operator.
const loopbackRoom = 64

// ConnLimit bounds the connections of a server, in all and by peer address. The
// transport gets the connection itself: behind a type of ours grpc-go would not
// see the TCP connection, and hold a read buffer for each one that is idle. So a
// connection is given back by three ends: a handshake that fails closes it, a
// served one ends with ConnEnd, and what is refused was never counted.
type ConnLimit struct {
	all, peer int
	log       *slog.Logger
	now       func() time.Time
	Open      prometheus.Gauge
	Refused   *prometheus.CounterVec

	mu    sync.Mutex // guards what follows
	held  int
	peers map[netip.Addr]int
	quiet throttle.Throttle
}

// Reasons in carbond_grpc_connections_refused_total.
const (
	refusedAll  = "limit"
	refusedPeer = "peer_share"
)

// NewConnLimit allows all connections together, and share of them to one peer.
func NewConnLimit(all int, share float64, log *slog.Logger, now func() time.Time) *ConnLimit {
	l := &ConnLimit{
		all: all, peer: partOf(all, share), log: log, now: now, peers: map[netip.Addr]int{},
		Open: prometheus.NewGauge(prometheus.GaugeOpts{Name: "carbond_grpc_connections", Help: "Open connections of gRPC clients."}),
		Refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "carbond_grpc_connections_refused_total", Help: "Connections of gRPC clients that were closed at once, by reason: all are taken, or the peer's share is.",
		}, []string{"reason"}),
	}
	for _, r := range []string{refusedAll, refusedPeer} {
		l.Refused.WithLabelValues(r)
	}
	return l
}

// admit counts a connection, or says why not.
func (l *ConnLimit) admit(a netip.Addr) (reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	limit := l.all
	if a.IsLoopback() {
		limit += loopbackRoom
	}
	switch {
	case l.peers[a] >= l.peer:
		reason = refusedPeer
	case l.held >= limit:
		reason = refusedAll
	default:
		l.held++
		l.peers[a]++
		l.Open.Set(float64(l.held))
		return ""
	}
	l.Refused.WithLabelValues(reason).Inc()
	if n, ok := l.quiet.Allow(l.now()); ok {
		l.log.Warn("gRPC connection refused: too many connections", "peer", a.String(), "reason", reason, "of_peer", l.peers[a],
			"peer_limit", l.peer, "connections", l.held, "limit", l.all, "suppressed", n)
	}
	return reason
}

func (l *ConnLimit) release(a netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held--
	drop(l.peers, a)
	l.Open.Set(float64(l.held))
}

// Listen returns lis with the limit applied.
func (l *ConnLimit) Listen(lis net.Listener) net.Listener { return limitedListener{lis, l} }

type limitedListener struct {
	net.Listener
	limit *ConnLimit
}

// Accept implements net.Listener.
func (l limitedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		a := addrOf(c.RemoteAddr())
		if l.limit.admit(a) == "" {
			return &counted{c, sync.OnceFunc(func() { l.limit.release(a) })}, nil
		}
		_ = c.Close() // the client sees a connection that ended; the log has why
	}
}

// counted is a counted connection before and during its handshake.
type counted struct {
	net.Conn
	release func()
}

// Close implements net.Conn: the handshake has failed.
func (a *counted) Close() error {
	a.release()
	return a.Conn.Close()
}

// Credentials hands the transport the connection itself. In the handshake it leaves
// the release behind for the end of the connection.
type Credentials struct {
	credentials.TransportCredentials // nil = plain text
	// Failed is told of handshakes that failed for what the client presents or speaks.
	Failed func(net.Addr, error)
}

// ServerHandshake implements credentials.TransportCredentials.
func (b Credentials) ServerHandshake(c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	a, ok := c.(*counted)
	if !ok {
		return nil, nil, fmt.Errorf("gRPC connection from %s was not counted", c.RemoteAddr())
	}
	if b.TransportCredentials == nil {
		return a.Conn, plain{release: a.release}, nil
	}
	conn, info, err := b.TransportCredentials.ServerHandshake(a.Conn)
	if t, ok := info.(credentials.TLSInfo); ok && err == nil {
		info = secured{t, a.release}
	}
	// Who connects and leaves, or says nothing, is a probe.
	if _, network := errors.AsType[net.Error](err); err != nil && (!network || isAlert(err)) && !errors.Is(err, io.EOF) {
		b.Failed(a.RemoteAddr(), err)
	}
	return conn, info, err
}

// isAlert reports whether the other side has ended a handshake and says why.
func isAlert(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "remote error"
}

// HandshakeFailed returns a Credentials.Failed that logs, a line in a while.
func (l *ConnLimit) HandshakeFailed() func(net.Addr, error) {
	var quiet throttle.Throttle
	return func(a net.Addr, err error) {
		if n, ok := quiet.Allow(l.now()); ok {
			l.log.Warn("gRPC handshake failed", "peer", a.String(), "error", err, "suppressed", n)
		}
	}
}

// Info implements credentials.TransportCredentials.
func (b Credentials) Info() credentials.ProtocolInfo {
	if b.TransportCredentials == nil {
		return credentials.ProtocolInfo{SecurityProtocol: "insecure"}
	}
	return b.TransportCredentials.Info()
}

// Clone implements credentials.TransportCredentials.
func (b Credentials) Clone() credentials.TransportCredentials {
	if b.TransportCredentials != nil {
		b.TransportCredentials = b.TransportCredentials.Clone()
	}
	return b
}

// plain and secured are the AuthInfo of a counted connection.
type plain struct {
	credentials.CommonAuthInfo
	release func()
}

// AuthType implements credentials.AuthInfo.
func (plain) AuthType() string { return "insecure" }

type secured struct {
	credentials.TLSInfo
	release func()
}

// ConnEnds gives connections back at their end.
type ConnEnds struct{}

// TagRPC implements stats.Handler.
func (ConnEnds) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

// HandleRPC implements stats.Handler.
func (ConnEnds) HandleRPC(context.Context, stats.RPCStats) {}

// TagConn implements stats.Handler.
func (ConnEnds) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn implements stats.Handler.
func (ConnEnds) HandleConn(ctx context.Context, s stats.ConnStats) {
	if _, ok := s.(*stats.ConnEnd); !ok {
		return
	}
	if p, ok := peer.FromContext(ctx); ok {
		switch i := p.AuthInfo.(type) {
		case plain:
			i.release()
		case secured:
			i.release()
		}
	}
}
