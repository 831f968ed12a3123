package fleet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "carbond/proto/carbon"
	"carbond/store/change"
)

// ErrRejoin ends a node that has to join again.
var ErrRejoin = errors.New("this node joins its fleet again")

// Log is the changelog of this node.
type Log interface {
	Checksum() change.Checksum
	Checksums(ctx context.Context, at []change.Offset) ([]change.Checksum, error)
	History() change.History
	Floor() change.Offset
}

// Options are what a Member needs.
type Options struct {
	Name string // of the fleet
	Slot string // of this node
	Log  Log
	// Node says where this node is.
	Node func() *pb.GetNodeResponse
	// Peers are the others; none for a node that is only joined with.
	Peers      Peers
	Every      time.Duration // between two comparisons; default 5 s
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Member compares a node with its peers, and answers theirs. Make it with New.
type Member struct {
	pb.UnimplementedFleetServiceServer
	opt     Options
	finding atomic.Pointer[Finding]
	met     metrics
}

// Finding is what a comparison came to.
type Finding struct {
	Peers, Reachable int
	// Difference names the first offset from which a peer has another changelog, "" for
	// none.
	Difference string
	Alone      bool // more nodes agree with each other than with this one
}

type metrics struct {
	peers    *prometheus.GaugeVec
	diverged prometheus.Gauge
}

// New returns the Member of a node.
func New(opt Options) *Member {
	if opt.Every == 0 {
		opt.Every = 5 * time.Second
	}
	m := &Member{opt: opt, met: metrics{
		peers: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "carbond_fleet_peers", Help: "Other nodes of the fleet, by whether they answer: reachable or unreachable.",
		}, []string{"state"}),
		diverged: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "carbond_fleet_diverged", Help: "1 while a peer has another changelog than this node.",
		}),
	}}
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "carbond_fleet_node_info", Help: "Always 1; its labels name the fleet, the slot of this node, and the history of its offsets.",
	}, []string{"fleet", "slot", "history"})
	opt.Registerer.MustRegister(m.met.peers, m.met.diverged, info)
	info.WithLabelValues(opt.Name, opt.Slot, opt.Log.History().ID).Set(1)
	m.finding.Store(&Finding{Peers: len(opt.Peers)})
	return m
}

// Finding returns what the last comparison came to.
func (m *Member) Finding() Finding { return *m.finding.Load() }

// Run compares until ctx ends. It returns ErrRejoin when the node stands alone with its
// changelog.
func (m *Member) Run(ctx context.Context) error {
	t := time.NewTicker(m.opt.Every)
	defer t.Stop()
	for {
		f := m.Compare(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if f.Alone {
			return fmt.Errorf("%w: %s", ErrRejoin, f.Difference)
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (m *Member) show(f Finding) {
	old := m.finding.Swap(&f)
	m.met.peers.WithLabelValues("reachable").Set(float64(f.Reachable))
	m.met.peers.WithLabelValues("unreachable").Set(float64(f.Peers - f.Reachable))
	m.met.diverged.Set(0)
	if f.Difference != "" {
		m.met.diverged.Set(1)
	}
	switch {
	case f.Difference == old.Difference:
	case f.Difference == "":
		m.opt.Logger.Info("all nodes of the fleet that answer have the same changelog again")
	default:
		m.opt.Logger.Error("nodes of the fleet have different changelogs", "difference", f.Difference, "alone", f.Alone)
	}
}

// vote is what a node has at an offset.
type vote struct {
	node    Node // of a peer; nothing for this node
	history string
	sum     change.Checksum
}

// Compare compares once, and shows what it found. Compared are the peers that answer, belong
// to this fleet and tail the same database, at the last offset that all have.
func (m *Member) Compare(ctx context.Context) Finding {
	self := m.opt.Node()
	var others []Node
	f := Finding{}
	var strangers []string
	for _, n := range m.opt.Peers.Ask(ctx) {
		if n.Err == nil && n.GetSlot() == m.opt.Slot {
			continue // this node, in the list that all have
		}
		f.Peers++
		switch {
		case n.Err != nil:
		case n.GetFleet() != m.opt.Name:
			strangers = append(strangers, fmt.Sprintf("%s belongs to the fleet %q: correct fleet.join or fleet.name", n.Peer.Addr, n.GetFleet()))
		case n.GetSystemId() == "" || self.GetSystemId() == "":
			f.Reachable++ // one has no copy yet
		case n.GetSystemId() != self.GetSystemId() || n.GetDatabase() != self.GetDatabase():
			strangers = append(strangers, fmt.Sprintf("%s tails database %q of cluster %s: one fleet tails one database", n.Peer.Addr, n.GetDatabase(), n.GetSystemId()))
		default:
			f.Reachable++
			others = append(others, n)
		}
	}
	mine, votes := m.poll(ctx, others)
	f.Difference, f.Alone = m.judge(ctx, mine, votes)
	if f.Difference == "" {
		f.Difference = strings.Join(strangers, "; ")
	}
	if ctx.Err() == nil {
		m.show(f)
	}
	return f
}

// poll asks the nodes of this history for their checksum at the last offset that all of
// them have. Who cannot say, as retention has passed that, has no vote.
func (m *Member) poll(ctx context.Context, others []Node) (mine vote, votes []vote) {
	mine = vote{history: m.opt.Log.History().ID, sum: m.opt.Log.Checksum()}
	at := mine.sum.At
	for _, n := range others {
		if n.GetHistory() == mine.history {
			at = min(at, change.Offset(n.GetOffset()))
		}
	}
	if at != mine.sum.At {
		sums, err := m.opt.Log.Checksums(ctx, []change.Offset{at})
		if err != nil {
			return mine, nil
		}
		mine.sum = sums[0]
	}
	for _, n := range others {
		v := vote{node: n, history: n.GetHistory()}
		if v.history != mine.history {
			votes = append(votes, v)
			continue
		}
		sums, err := n.Peer.checksums(ctx, v.history, []change.Offset{at})
		if err != nil || sums[0].Since != mine.sum.Since {
			continue
		}
		v.sum = sums[0]
		votes = append(votes, v)
	}
	return mine, votes
}

// judge says how the votes differ from this node's, and whether more nodes agree with
// each other than with it.
func (m *Member) judge(ctx context.Context, mine vote, votes []vote) (difference string, alone bool) {
	same := func(a, b vote) bool { return a.history == b.history && a.sum == b.sum }
	count := func(v vote) (n int) {
		for _, o := range votes {
			if same(v, o) {
				n++
			}
		}
		return n
	}
	i := slices.IndexFunc(votes, func(v vote) bool { return !same(v, mine) })
	if i < 0 {
		return "", false
	}
	with := 1 + count(mine)
	other := votes[i]
	for _, v := range votes {
		if !same(v, mine) && count(v) > with {
			other, alone = v, true
		}
	}
	who := fmt.Sprintf("%s (%s)", other.node.GetSlot(), other.node.Peer.Addr)
	if other.history != mine.history {
		return fmt.Sprintf("%s has history %s, this node %s", who, other.history, mine.history), alone
	}
	theirs := func(ctx context.Context, at []change.Offset) ([]change.Checksum, error) {
		return other.node.Peer.checksums(ctx, other.history, at)
	}
	// Both can say it from where the younger of both logs begins.
	from := max(mine.sum.Since, m.opt.Log.Floor(), change.Offset(other.node.GetOldest()))
	first, err := firstDifference(ctx, from, mine.sum.At, m.opt.Log.Checksums, theirs)
	switch {
	case err != nil:
		return fmt.Sprintf("%s has other changes than this node up to offset %d; where they begin cannot be said: %v", who, mine.sum.At, err), alone
	case first == from && from > mine.sum.Since:
		return fmt.Sprintf("%s has other changes than this node from before offset %d on, where retention begins", who, first), alone
	}
	return fmt.Sprintf("%s has other changes than this node from offset %d on", who, first), alone
}

// checksums asks a peer.
func (p *Peer) checksums(ctx context.Context, history string, at []change.Offset) ([]change.Checksum, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute) // a segment may have to be read
	defer cancel()
	req := &pb.GetChecksumsRequest{History: history}
	for _, o := range at {
		req.Offsets = append(req.Offsets, uint64(o))
	}
	r, err := pb.NewFleetServiceClient(p.conn).GetChecksums(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("%s: %s", p.Addr, said(err))
	}
	if len(r.GetChecksums()) != len(at) {
		return nil, fmt.Errorf("%s: %d checksums for %d offsets", p.Addr, len(r.GetChecksums()), len(at))
	}
	out := make([]change.Checksum, len(at))
	for i, s := range r.GetChecksums() {
		out[i] = change.Checksum{At: at[i], Since: change.Offset(r.GetSince()), Sum: s}
	}
	return out, nil
}

// parts is into how many parts a range is cut to find a difference.
const parts = 64

// firstDifference returns the first offset behind from up to which two logs differ, when
// they do at to; from itself when they differ there already.
func firstDifference(ctx context.Context, from, to change.Offset, a, b func(context.Context, []change.Offset) ([]change.Checksum, error)) (change.Offset, error) {
	for to-from > 1 {
		at := []change.Offset{from}
		for i := range change.Offset(parts) {
			if o := from + (to-from)*(i+1)/parts; o > at[len(at)-1] && o < to {
				at = append(at, o)
			}
		}
		x, err := a(ctx, at)
		if err != nil {
			return 0, err
		}
		y, err := b(ctx, at)
		if err != nil {
			return 0, err
		}
		if x[0].Sum != y[0].Sum {
			return from, nil
		}
		for i, o := range at {
			if x[i].Sum != y[i].Sum {
				to = o
				break
			}
			from = o
		}
	}
	return to, nil
}

// GetNode implements pb.FleetServiceServer.
func (m *Member) GetNode(context.Context, *pb.GetNodeRequest) (*pb.GetNodeResponse, error) {
	n := m.opt.Node()
	sum := m.opt.Log.Checksum()
	n.Fleet, n.Slot, n.History, n.Difference = m.opt.Name, m.opt.Slot, m.opt.Log.History().ID, m.Finding().Difference
	n.Offset, n.Checksum, n.ChecksumSince, n.Oldest = uint64(sum.At), sum.Sum, uint64(sum.Since), uint64(m.opt.Log.Floor())
	return n, nil
}

// ListNodes implements pb.FleetServiceServer.
func (m *Member) ListNodes(ctx context.Context, _ *pb.ListNodesRequest) (*pb.ListNodesResponse, error) {
	difference := m.Compare(ctx).Difference
	self, err := m.GetNode(ctx, nil)
	if err != nil {
		return nil, err
	}
	out := &pb.ListNodesResponse{Nodes: []*pb.FleetNode{{Node: self}}, Difference: difference}
	for _, n := range m.opt.Peers.Ask(ctx) {
		switch {
		case n.Err != nil:
			out.Nodes = append(out.Nodes, &pb.FleetNode{Address: n.Peer.Addr, Error: n.Err.Error()})
		case n.GetSlot() != m.opt.Slot:
			out.Nodes = append(out.Nodes, &pb.FleetNode{Address: n.Peer.Addr, Node: n.GetNodeResponse})
		}
	}
	return out, nil
}

// maxOffsets is how many offsets may be asked for at a time.
const maxOffsets = 1000

// GetChecksums implements pb.FleetServiceServer.
func (m *Member) GetChecksums(ctx context.Context, req *pb.GetChecksumsRequest) (*pb.GetChecksumsResponse, error) {
	if id := m.opt.Log.History().ID; req.GetHistory() != id {
		return nil, status.Errorf(codes.FailedPrecondition, "this node has history %s, not %q", id, req.GetHistory())
	}
	if n := len(req.GetOffsets()); n == 0 || n > maxOffsets {
		return nil, status.Errorf(codes.InvalidArgument, "offsets has %d: ask for 1 to %d", n, maxOffsets)
	}
	if !slices.IsSorted(req.GetOffsets()) {
		return nil, status.Error(codes.InvalidArgument, "offsets are not in order")
	}
	at := make([]change.Offset, len(req.GetOffsets()))
	for i, o := range req.GetOffsets() {
		at[i] = change.Offset(o)
	}
	sums, err := m.opt.Log.Checksums(ctx, at)
	if err != nil {
		_, gone := errors.AsType[*change.CompactedError](err)
		switch {
		case gone, errors.Is(err, change.ErrFuture):
			return nil, status.Error(codes.OutOfRange, err.Error())
		case ctx.Err() != nil:
			return nil, status.FromContextError(ctx.Err()).Err()
		}
		return nil, status.Error(codes.Internal, err.Error())
	}
	out := &pb.GetChecksumsResponse{Since: uint64(sums[0].Since)}
	for _, s := range sums {
		out.Checksums = append(out.Checksums, s.Sum)
	}
	return out, nil
}
