package fleet_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
	"google.golang.org/grpc"

	"carbond/cmd/carbond/internal/client"
	"carbond/cmd/carbond/internal/fleet"
	pb "carbond/proto/carbon"
	"carbond/replicate/pgtest"
	"carbond/store"
	"carbond/store/change"
	"carbond/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(pgtest.Wrap(m)) }

// node is a store behind a gRPC listener, as a member of a fleet.
type node struct {
	*fleet.Member
	s    *store.Store
	log  fleet.Log
	addr string
	reg  *prometheus.Registry
	info pb.GetNodeResponse
	stop func()
}

// shortLog is a log of which retention has taken what is before an offset.
type shortLog struct {
	*store.Store
	oldest change.Offset
}

func (l shortLog) Floor() change.Offset { return l.oldest }

func (l shortLog) Checksums(ctx context.Context, at []change.Offset) ([]change.Checksum, error) {
	if at[0] < l.oldest {
		return nil, &change.CompactedError{Wanted: at[0], Oldest: l.oldest}
	}
	return l.Store.Checksums(ctx, at)
}

// logs is how the log of a node differs from that of the others.
type logs struct {
	txns  int  // how many it has read
	alter int  // before the changes of this one it has another, 0 for none
	own   bool // a history of its own
	keep  bool // retention has dropped what is old
}

const first = 1000

// alien is a table that one node alone has heard of.
var alien = &change.Relation{Schema: "public", Name: "alien", Plain: true, Columns: []change.Column{{Name: "id", Type: 23, Key: true}}}

// start makes nodes of the same source; their peers are all of them.
func start(t *testing.T, all ...logs) []*node {
	t.Helper()
	src := storetest.NewSource(11)
	var txns []change.Txn
	for range 200 {
		txns = append(txns, src.Next())
	}
	base := store.Options{First: first, NoSync: true, SegmentBytes: 4 << 10}
	origin := t.TempDir()
	s, err := store.Open(origin, base)
	if err != nil {
		t.Fatal(err)
	}
	var archive strings.Builder
	if err := errors.Join(s.Backup(t.Context(), &archive, "test"), s.Close()); err != nil {
		t.Fatal(err)
	}
	out := make([]*node, len(all))
	addrs := make([]string, len(all))
	listeners := make([]net.Listener, len(all))
	for i := range all {
		if listeners[i], err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		addrs[i] = listeners[i].Addr().String()
	}
	for i, l := range all {
		n := &node{addr: addrs[i], reg: prometheus.NewRegistry()}
		dir, opt := t.TempDir(), base
		if !l.own {
			if _, _, err := store.Join(dir, strings.NewReader(archive.String()), opt); err != nil {
				t.Fatal(err)
			}
		}
		if n.s, err = store.Open(dir, opt); err != nil {
			t.Fatal(err)
		}
		for k, txn := range txns[:l.txns] {
			if k+1 == l.alter {
				txn.Changes = append([]change.Change{{
					Op: change.Create, Relation: alien, After: change.NewRow(change.T("1")),
				}}, txn.Changes...)
			}
			if err := n.s.Apply(t.Context(), []change.Txn{txn}); err != nil {
				t.Fatal(err)
			}
		}
		n.info = pb.GetNodeResponse{SystemId: "1", Database: "d", Lsn: n.s.Position().LSN.String(), Ready: true}
		n.log = n.s
		if l.keep {
			n.log = shortLog{n.s, n.s.Position().Offset - 20}
		}
		n.serve(t, listeners[i], "slot"+string(rune('0'+i)), addrs)
		out[i] = n
	}
	return out
}

// serve answers the peers until the test ends.
func (n *node) serve(t *testing.T, l net.Listener, slot string, addrs []string) {
	t.Helper()
	peers, err := fleet.Dial(addrs, client.Client{})
	if err != nil {
		t.Fatal(err)
	}
	n.Member = fleet.New(fleet.Options{
		Name: "desk", Slot: slot, Log: n.log, Peers: peers, Logger: slog.New(slog.DiscardHandler), Registerer: n.reg, Every: time.Hour,
		Node: func() *pb.GetNodeResponse {
			return &pb.GetNodeResponse{SystemId: n.info.SystemId, Database: n.info.Database, Lsn: n.info.Lsn, Ready: n.info.Ready}
		},
	})
	g := grpc.NewServer()
	pb.RegisterFleetServiceServer(g, n.Member)
	ended := make(chan error, 1)
	go func() { ended <- g.Serve(l) }()
	n.stop = sync.OnceFunc(func() {
		g.Stop()
		<-ended
	})
	t.Cleanup(func() {
		n.stop()
		if err := errors.Join(peers.Close(), n.s.Close()); err != nil {
			t.Error(err)
		}
	})
}

func TestMember(t *testing.T) {
	for name, c := range map[string]struct {
		nodes []logs
		want  []string // of each: what its difference says, "" for none
		alone []bool
	}{
		"equal": {
			nodes: []logs{{txns: 200}, {txns: 200}, {txns: 200}},
			want:  []string{"", "", ""}, alone: []bool{false, false, false},
		},
		"not equally far": {
			nodes: []logs{{txns: 200}, {txns: 120}, {txns: 31}},
			want:  []string{"", "", ""}, alone: []bool{false, false, false},
		},
		"one of three differs": {
			nodes: []logs{{txns: 200}, {txns: 200, alter: 150}, {txns: 180}},
			want:  []string{"slot1 ", "has other changes than this node from offset", "slot1 "}, alone: []bool{false, true, false},
		},
		"two that differ": {
			nodes: []logs{{txns: 90}, {txns: 200, alter: 40}},
			want:  []string{"slot1 ", "slot0 "}, alone: []bool{false, false},
		},
		"it differs where a slow node is not yet": {
			nodes: []logs{{txns: 200}, {txns: 200, alter: 150}, {txns: 31}},
			want:  []string{"", "", ""}, alone: []bool{false, false, false},
		},
		"another history": {
			nodes: []logs{{txns: 200}, {txns: 200}, {txns: 200, own: true}},
			want:  []string{"slot2 ", "slot2 ", "has history"}, alone: []bool{false, false, true},
		},
		"a short log": {
			nodes: []logs{{txns: 200, keep: true}, {txns: 200}, {txns: 200, alter: 199}},
			want:  []string{"slot2 ", "slot2 ", "has other changes"}, alone: []bool{false, false, true},
		},
		"a short log, and a difference before it": {
			nodes: []logs{{txns: 200, keep: true}, {txns: 200}, {txns: 200, alter: 3}},
			want:  []string{"where retention begins", "slot2 ", "has other changes"}, alone: []bool{false, false, true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			nodes := start(t, c.nodes...)
			for i, n := range nodes {
				f := n.Compare(t.Context())
				if !strings.Contains(f.Difference, c.want[i]) || (c.want[i] == "") != (f.Difference == "") {
					t.Errorf("node %d: %q, want %q", i, f.Difference, c.want[i])
				}
				if f.Alone != c.alone[i] {
					t.Errorf("node %d: alone %v", i, f.Alone)
				}
				if c.alone[i] {
					if err := n.Run(t.Context()); !errors.Is(err, fleet.ErrRejoin) {
						t.Errorf("node %d goes on: %v", i, err)
					}
				}
				if f.Peers != len(nodes)-1 || f.Reachable != f.Peers {
					t.Errorf("node %d: %d of %d peers", i, f.Reachable, f.Peers)
				}
			}
		})
	}
}

// TestFirstDifference: the offset that is named is the first that differs.
func TestFirstDifference(t *testing.T) {
	nodes := start(t, logs{txns: 200}, logs{txns: 200, alter: 77}, logs{txns: 76})
	f := nodes[0].Compare(t.Context())
	if f.Difference != "" {
		t.Fatalf("before the difference: %s", f.Difference)
	}
	want := nodes[2].s.Position().Offset + 1
	nodes[2].stop()
	f = nodes[0].Compare(t.Context())
	if _, at, _ := strings.Cut(f.Difference, "from offset "); at != fmt.Sprintf("%d on", want) {
		t.Errorf("%q, want offset %d", f.Difference, want)
	}
	if f.Peers != 2 || f.Reachable != 1 {
		t.Errorf("%d of %d peers", f.Reachable, f.Peers)
	}
	err := testutil.GatherAndCompare(nodes[0].reg, strings.NewReader(`
# HELP carbond_fleet_diverged 1 while a peer has another changelog than this node.
# TYPE carbond_fleet_diverged gauge
carbond_fleet_diverged 1
# HELP carbond_fleet_peers Other nodes of the fleet, by whether they answer: reachable or unreachable.
# TYPE carbond_fleet_peers gauge
carbond_fleet_peers{state="reachable"} 1
carbond_fleet_peers{state="unreachable"} 1
`), "carbond_fleet_diverged", "carbond_fleet_peers")
	if err != nil {
		t.Error(err)
	}
}

// TestStrangers are named, and have no say.
func TestStrangers(t *testing.T) {
	nodes := start(t, logs{txns: 100}, logs{txns: 100, alter: 5}, logs{txns: 100, alter: 5})
	nodes[1].info.Database = "other"
	nodes[2].info.SystemId = "2"
	f := nodes[0].Compare(t.Context())
	if f.Alone {
		t.Error("gave in to strangers")
	}
	for _, want := range []string{`database "other"`, "cluster 2"} {
		if !strings.Contains(f.Difference, want) {
			t.Errorf("%q does not name %s", f.Difference, want)
		}
	}
}
