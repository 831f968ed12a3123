package admission

import (
	"context"
	"fmt"
	"math"
	"net/netip"
	"sync"

	"google.golang.org/grpc/peer"
)

// Quota bounds how many of something are held at a time, and how many of them by
// one peer: nobody can take all that others need. A peer address gets PeerShare of
// all, and one connection PeerShare of what its peer gets, so that one client of a
// host, or behind a proxy, does not shut out the next. Its methods may be called
// from any goroutine.
type Quota struct {
	all, peer, conn int

	mu    sync.Mutex // guards what follows
	held  int
	peers map[netip.Addr]int
	conns map[string]int // by address and port
}

// NewQuota allows all together, and share of them to one peer.
func NewQuota(all int, share float64) *Quota {
	peer := partOf(all, share)
	return &Quota{all: all, peer: peer, conn: partOf(peer, share), peers: map[netip.Addr]int{}, conns: map[string]int{}}
}

// partOf returns what a share of n allows, at least one.
func partOf(n int, share float64) int { return max(1, int(math.Ceil(float64(n)*share))) }

// Take holds one for a call of ctx, until release is called. When there is none
// left, refusal says for whom.
func (q *Quota) Take(ctx context.Context) (release func(), refusal error) {
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

// Count returns how many are held.
func (q *Quota) Count() int {
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
