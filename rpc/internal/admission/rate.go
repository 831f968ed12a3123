package admission

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"carbond/rpc/rpcerr"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
)

// maxPeers bounds the addresses whose rate is remembered. A peer that is pushed
// out begins again with a full burst, which is all that an attacker with that
// many addresses gains.
const maxPeers = 8192

// RateLimit allows each peer address so many calls a second.
type RateLimit struct {
	rate  rate.Limit
	burst int
	now   func() time.Time

	mu    sync.Mutex // guards peers
	peers *simplelru.LRU[netip.Addr, *rate.Limiter]
}

// NewRateLimit allows perSecond calls with bursts of burst; nil, which allows all,
// for 0.
func NewRateLimit(perSecond float64, burst int, now func() time.Time) *RateLimit {
	if perSecond <= 0 {
		return nil
	}
	l := &RateLimit{rate: rate.Limit(perSecond), burst: burst, now: now}
	l.peers, _ = simplelru.NewLRU[netip.Addr, *rate.Limiter](maxPeers, nil) // errs only below 1
	return l
}

// Check refuses a call of a peer that calls too often. Health checks pass: a
// probe that fails because of its neighbours restarts a healthy daemon.
func (l *RateLimit) Check(ctx context.Context, method string) error {
	if l == nil || strings.HasPrefix(method, "/grpc.health.v1.Health/") {
		return nil
	}
	now := l.now()
	r := l.of(peerAddr(ctx)).ReserveN(now, 1)
	wait := r.DelayFrom(now)
	if wait == 0 {
		return nil
	}
	r.CancelAt(now) // a refused call costs nothing
	return rpcerr.New(codes.ResourceExhausted, "this address makes too many calls; slow down",
		rpcerr.Info(rpcerr.ReasonRateLimit), rpcerr.RetryAfter(wait))
}

func (l *RateLimit) of(a netip.Addr) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	lim, ok := l.peers.Get(a)
	if !ok {
		lim = rate.NewLimiter(l.rate, l.burst)
		l.peers.Add(a, lim)
	}
	return lim
}

// peerAddr returns the address that a call counts for: the IPv4 address, the
// /64 network of an IPv6 address (one host has that many), or the zero Addr for
// what has no address, as a unix socket.
func peerAddr(ctx context.Context) netip.Addr {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return netip.Addr{}
	}
	return addrOf(p.Addr)
}

func addrOf(n net.Addr) netip.Addr {
	tcp, ok := n.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	a, _ := netip.AddrFromSlice(tcp.IP)
	a = a.Unmap()
	if a.Is6() && !a.IsLoopback() {
		if n, err := a.Prefix(64); err == nil {
			return n.Addr()
		}
	}
	return a
}
