package admission

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"carbond/rpc/internal/throttle"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/mem"
)

// loopbackRoom is how many connections more this machine itself gets when all are
// taken: probes, the command line and an operator.
const loopbackRoom = 64

// ConnLimit bounds the connections of a server, in all and by peer address. A
// connection is given back when it is closed; what is refused was never counted. A
// stats handler would tell of that end too, but grpc-go builds half a dozen reports of
// each call for it.
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
			return count(c, sync.OnceFunc(func() { l.limit.release(a) })), nil
		}
		_ = c.Close() // the client sees a connection that ended; the log has why
	}
}

// counted is a counted connection.
type counted struct {
	net.Conn
	release func()
}

func count(c net.Conn, release func()) net.Conn {
	if tcp, ok := c.(*net.TCPConn); ok {
		if raw, err := tcp.SyscallConn(); err == nil {
			t := &countedTCP{counted: counted{c, release}, raw: raw}
			t.try = t.tryRead
			return t
		}
	}
	return &counted{c, release}
}

// Close implements net.Conn.
func (c *counted) Close() error {
	c.release()
	return c.Conn.Close()
}

// countedTCP is a counted TCP connection that grpc-go reads as it reads a bare one: it
// takes a buffer when there is something to read. Of any other type of connection it
// holds a buffer of 32 KiB for each one that is idle.
type countedTCP struct {
	counted
	raw syscall.RawConn
	try func(fd uintptr) bool // tryRead, made once

	// Of the read under way; there is one at a time.
	size int
	pool mem.BufferPool
	buf  *[]byte
	n    int
	err  error
}

// ReadOnReady reads up to size bytes into a buffer of the pool, which it takes once
// there are some. grpc-go looks for this method.
func (c *countedTCP) ReadOnReady(size int, pool mem.BufferPool) (*[]byte, int, error) {
	c.size, c.pool = size, pool
	err := c.raw.Read(c.try)
	buf, n := c.buf, c.n
	if err == nil {
		err = c.err
	}
	if err == nil && n == 0 {
		err = io.EOF
	}
	c.pool, c.buf, c.err = nil, nil, nil
	if err != nil && buf != nil {
		pool.Put(buf)
		buf, n = nil, 0
	}
	return buf, n, err
}

// tryRead reports whether the read is over; it is tried again when there is more.
func (c *countedTCP) tryRead(fd uintptr) bool {
	c.buf = c.pool.Get(c.size)
	for c.err = syscall.EINTR; c.err == syscall.EINTR; {
		c.n, c.err = syscall.Read(int(fd), *c.buf)
	}
	if c.err != nil {
		c.pool.Put(c.buf)
		c.buf, c.n = nil, 0
	}
	return c.err != syscall.EAGAIN
}

// Credentials tell of handshakes that fail.
type Credentials struct {
	credentials.TransportCredentials
	// Failed is told of handshakes that failed for what the client presents or speaks.
	Failed func(net.Addr, error)
}

// ServerHandshake implements credentials.TransportCredentials.
func (b Credentials) ServerHandshake(c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := b.TransportCredentials.ServerHandshake(c)
	// Who connects and leaves, or says nothing, is a probe.
	if _, network := errors.AsType[net.Error](err); err != nil && (!network || isAlert(err)) && !errors.Is(err, io.EOF) {
		b.Failed(c.RemoteAddr(), err)
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

// Clone implements credentials.TransportCredentials.
func (b Credentials) Clone() credentials.TransportCredentials {
	b.TransportCredentials = b.TransportCredentials.Clone()
	return b
}
