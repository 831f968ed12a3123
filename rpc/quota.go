package rpc

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/stats"
)

// quota bounds how many of something are held at a time, and how many of them by
// one peer: nobody can take all that others need. A peer address gets PeerShare of
// all, and one connection PeerShare of what its peer gets, so that one client of a
// host, or behind a proxy, does not shut out the next. Its methods may be called
// from any goroutine.
type quota struct {
	all, peer, conn int

	mu    sync.Mutex // guards what follows
	held  int
	peers map[netip.Addr]int
	conns map[string]int // by address and port
}

func newQuota(all int, share float64) *quota {
	peer := partOf(all, share)
	return &quota{all: all, peer: peer, conn: partOf(peer, share), peers: map[netip.Addr]int{}, conns: map[string]int{}}
}

// partOf returns what a share of n allows, at least one.
func partOf(n int, share float64) int { return max(1, int(math.Ceil(float64(n)*share))) }

// take holds one for a call of ctx, until release is called. When there is none
// left, refusal says for whom.
func (q *quota) take(ctx context.Context) (release func(), refusal error) {
	a, conn := peerAddr(ctx), ""
	if p, ok := peer.FromContext(ctx); ok && p.Addr != nil {
		conn = p.Addr.String()
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.held >= q.all:
		return nil, fmt.Errorf("all %d are taken", q.all)
	case q.peers[a] >= q.peer:
		return nil, fmt.Errorf("%d of %d are taken by this address, which is its share (limits.peer_share)", q.peer, q.all)
	case q.conns[conn] >= q.conn:
		return nil, fmt.Errorf("%d of %d are taken by this connection, which is its share (limits.peer_share)", q.conn, q.all)
	}
	q.held++
	q.peers[a]++
	q.conns[conn]++
	return func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.held--
		drop(q.peers, a)
		drop(q.conns, conn)
	}, nil
}

// count returns how many are held.
func (q *quota) count() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.held
}

// drop counts one less, and forgets a key that has none.
func drop[K comparable](m map[K]int, k K) {
	if m[k]--; m[k] <= 0 {
		delete(m, k)
	}
}

// loopbackRoom is how many connections more this machine itself gets when all are
// taken: probes, the command line and an operator.
const loopbackRoom = 64

// connLimit bounds the connections of a server, in all and by peer address. The
// transport gets the connection itself: behind a type of ours grpc-go would not
// see the TCP connection, and hold a read buffer for each one that is idle. So a
// connection is given back by three ends: a handshake that fails closes it, a
// served one ends with ConnEnd, and what is refused was never counted.
type connLimit struct {
	all, peer int
	log       *slog.Logger
	now       func() time.Time
	open      prometheus.Gauge
	refused   *prometheus.CounterVec

	mu    sync.Mutex // guards what follows
	held  int
	peers map[netip.Addr]int
	quiet throttle
}

// Reasons in carbond_grpc_connections_refused_total.
const (
	refusedAll  = "limit"
	refusedPeer = "peer_share"
)

func newConnLimit(opt *Options) *connLimit {
	l := &connLimit{
		all: opt.MaxConnections, peer: partOf(opt.MaxConnections, opt.PeerShare), log: opt.Log, now: opt.Now, peers: map[netip.Addr]int{},
		open: prometheus.NewGauge(prometheus.GaugeOpts{Name: "carbond_grpc_connections", Help: "Open connections of gRPC clients."}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "carbond_grpc_connections_refused_total", Help: "Connections of gRPC clients that were closed at once, by reason: all are taken, or the peer's share is.",
		}, []string{"reason"}),
	}
	for _, r := range []string{refusedAll, refusedPeer} {
		l.refused.WithLabelValues(r)
	}
	return l
}

// admit counts a connection, or says why not.
func (l *connLimit) admit(a netip.Addr) (reason string) {
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
		l.open.Set(float64(l.held))
		return ""
	}
	l.refused.WithLabelValues(reason).Inc()
	if n, ok := l.quiet.allow(l.now()); ok {
		l.log.Warn("gRPC connection refused: too many connections", "peer", a.String(), "reason", reason, "of_peer", l.peers[a],
			"peer_limit", l.peer, "connections", l.held, "limit", l.all, "suppressed", n)
	}
	return reason
}

func (l *connLimit) release(a netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held--
	drop(l.peers, a)
	l.open.Set(float64(l.held))
}

// listen returns lis with the limit applied.
func (l *connLimit) listen(lis net.Listener) net.Listener { return limitedListener{lis, l} }

type limitedListener struct {
	net.Listener
	limit *connLimit
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
			return &admitted{c, sync.OnceFunc(func() { l.limit.release(a) })}, nil
		}
		_ = c.Close() // the client sees a connection that ended; the log has why
	}
}

// admitted is a counted connection before and during its handshake.
type admitted struct {
	net.Conn
	release func()
}

// Close implements net.Conn: the handshake has failed.
func (a *admitted) Close() error {
	a.release()
	return a.Conn.Close()
}

// bareCreds hands the transport the connection itself. In the handshake it leaves
// the release behind for the end of the connection.
type bareCreds struct {
	credentials.TransportCredentials // nil = plain text
}

// ServerHandshake implements credentials.TransportCredentials.
func (b bareCreds) ServerHandshake(c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	a, ok := c.(*admitted)
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
	return conn, info, err
}

// Info implements credentials.TransportCredentials.
func (b bareCreds) Info() credentials.ProtocolInfo {
	if b.TransportCredentials == nil {
		return credentials.ProtocolInfo{SecurityProtocol: "insecure"}
	}
	return b.TransportCredentials.Info()
}

// Clone implements credentials.TransportCredentials.
func (b bareCreds) Clone() credentials.TransportCredentials {
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

// connEnds gives connections back at their end.
type connEnds struct{}

// TagRPC implements stats.Handler.
func (connEnds) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

// HandleRPC implements stats.Handler.
func (connEnds) HandleRPC(context.Context, stats.RPCStats) {}

// TagConn implements stats.Handler.
func (connEnds) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn implements stats.Handler.
func (connEnds) HandleConn(ctx context.Context, s stats.ConnStats) {
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
