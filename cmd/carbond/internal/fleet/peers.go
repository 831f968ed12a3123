package fleet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"carbond/cmd/carbond/internal/client"
	pb "carbond/proto/carbon"
	"carbond/store/change"
)

// Peer is another node, as the configuration names it.
type Peer struct {
	Addr string
	conn *grpc.ClientConn
}

// Peers are the other nodes. Its connections are made at the first call and again
// when they break.
type Peers []*Peer

// Dial prepares the connections to the nodes at addrs, reached as by says.
func Dial(addrs []string, by client.Client) (Peers, error) {
	var out Peers
	for _, addr := range addrs {
		by.Addr = addr
		conn, err := by.Dial()
		if err != nil {
			return nil, errors.Join(fmt.Errorf("reach the node at %s: %w", addr, err), out.Close())
		}
		out = append(out, &Peer{addr, conn})
	}
	return out, nil
}

// Close ends the connections.
func (p Peers) Close() error {
	var errs []error
	for _, peer := range p {
		errs = append(errs, peer.conn.Close())
	}
	return errors.Join(errs...)
}

// Node is what a peer says of itself, or why it says nothing.
type Node struct {
	Peer *Peer
	*pb.GetNodeResponse
	Err error
}

// askFor is how long a peer may take to say where it is.
const askFor = 3 * time.Second

// Ask asks all nodes at once where they are. One that is called by two names is listed
// once.
func (p Peers) Ask(ctx context.Context) []Node {
	out := make([]Node, len(p))
	var wg sync.WaitGroup
	for i, peer := range p {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, askFor)
			defer cancel()
			n, err := pb.NewFleetServiceClient(peer.conn).GetNode(ctx, &pb.GetNodeRequest{})
			if err != nil {
				err = fmt.Errorf("%s: %s", peer.Addr, said(err))
			}
			out[i] = Node{Peer: peer, GetNodeResponse: n, Err: err}
		})
	}
	wg.Wait()
	slices.SortStableFunc(out, func(a, b Node) int { return cmp.Compare(a.GetSlot(), b.GetSlot()) })
	return slices.CompactFunc(out, func(a, b Node) bool { return a.Err == nil && b.Err == nil && a.GetSlot() == b.GetSlot() })
}

// CanJoin reports whether there is a peer that the node of a slot can join with.
func (p Peers) CanJoin(ctx context.Context, fleet, slot string) bool {
	_, ok := p.best(ctx, fleet, slot)
	return ok
}

// best returns the peer to join with: of those that have a copy and are ready, the one that
// is furthest.
func (p Peers) best(ctx context.Context, fleet, slot string) (best Node, ok bool) {
	var far change.LSN
	for _, n := range p.Ask(ctx) {
		if n.Err != nil || n.GetSlot() == slot || n.GetFleet() != fleet || n.GetSystemId() == "" || !n.GetReady() || n.GetDifference() != "" {
			continue
		}
		if lsn, err := change.ParseLSN(n.GetLsn()); err == nil && (!ok || lsn > far) {
			best, far, ok = n, lsn, true
		}
	}
	return best, ok
}

// said is what a peer says of an error, without the words of gRPC.
func said(err error) string { return status.Convert(err).Message() }
