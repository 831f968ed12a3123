package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "carbond/proto/carbon"
	"carbond/replicate/pgtest"
	"carbond/store/change"
)

// fleetNode is one node of the fleet under test; its listener keeps its port.
type fleetNode struct {
	name, dir, addr string
	env             []string
	net             *proxy  // between it and Postgres
	d               *daemon // nil while it is down
}

// fleetWorld is a Postgres, three nodes and the writers.
type fleetWorld struct {
	random
	t       *testing.T
	cluster *pgtest.Cluster
	conn    *pgx.Conn
	url     string
	gate    sync.RWMutex
	nodes   []*fleetNode
	events  map[string]int

	consumed []uint64 // offsets that the group has committed, in order
	turn     int      // how often it has moved
}

func newFleetWorld(t *testing.T, seed uint64) *fleetWorld {
	t.Helper()
	c := pgtest.Start(t, "wal_sender_timeout=3s", "max_wal_senders=10", "max_replication_slots=10")
	pgtest.Exec(t, c.URL("postgres"), "CREATE DATABASE "+database)
	w := &fleetWorld{random: random{rand.New(rand.NewPCG(seed, 9))}, t: t, cluster: c, url: c.URL(database), events: map[string]int{}}
	var join []string
	for i := range 3 {
		port, err := pgtest.FreePort()
		if err != nil {
			t.Fatal(err)
		}
		n := &fleetNode{name: fmt.Sprintf("node%d", i), dir: filepath.Join(t.TempDir(), "data"), addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port))}
		join = append(join, n.addr)
		w.nodes = append(w.nodes, n)
	}
	server, err := url.Parse(w.url)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range w.nodes {
		n.net = newProxy(t, server.Host)
		n.env = []string{
			"CARBOND_DATA_DIR=" + n.dir, "CARBOND_POSTGRES_URL=" + n.net.through(t, w.url), "CARBOND_POSTGRES_SLOT=" + n.name,
			"CARBOND_GRPC_LISTEN=" + n.addr, "CARBOND_FLEET_NAME=desk", "CARBOND_FLEET_JOIN=" + strings.Join(join, ","),
			"CARBOND_STORE_SEGMENT_BYTES=1MiB", "CARBOND_CHECKPOINT_INTERVAL=200ms", "CARBOND_RETENTION_BYTES=0",
		}
	}
	program.Must(t, w.nodes[0].env, "migrate")
	w.connect()
	return w
}

func (w *fleetWorld) connect() {
	w.t.Helper()
	conn, err := connectDirect(w.t.Context(), w.url, "e2e fleet")
	if err != nil {
		w.t.Fatal(err)
	}
	w.conn = conn
	w.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = conn.Close(ctx)
	})
}

// write starts writers that stop with the test.
func (w *fleetWorld) write(seed uint64, n int) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for id := range n {
		wr := newWriter(seed, id, w.url, &w.gate, 8*time.Millisecond)
		if id == 0 {
			if err := wr.fill(ctx); err != nil {
				w.t.Fatal(err)
			}
		}
		wg.Go(func() { wr.run(ctx) })
	}
	w.t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
}

func (w *fleetWorld) start(n *fleetNode) {
	n.d = launch(w.t, n.env)
	n.d.GRPC = n.addr
}

func (w *fleetWorld) kill(n *fleetNode) {
	n.d.Kill()
	n.d = nil
}

// node asks a node where it is; nil while it does not answer.
func (w *fleetWorld) node(n *fleetNode) *pb.GetNodeResponse {
	if n.d == nil || n.d.Ended() {
		return nil
	}
	ctx, cancel := context.WithTimeout(w.t.Context(), 3*time.Second)
	defer cancel()
	conn := n.d.Dial(w.t)
	defer conn.Close()
	r, err := pb.NewFleetServiceClient(conn).GetNode(ctx, &pb.GetNodeRequest{})
	if err != nil {
		return nil
	}
	return r
}

// equal stops the writers and waits until all nodes are level with Postgres, ready, and hold the
// same; and until the views of each are those of SQL.
func (w *fleetWorld) equal() {
	w.t.Helper()
	w.gate.Lock()
	defer w.gate.Unlock()
	var text string
	if err := w.conn.QueryRow(w.t.Context(), "SELECT pg_current_wal_insert_lsn()::text").Scan(&text); err != nil {
		w.t.Fatal(err)
	}
	lsn, err := change.ParseLSN(text)
	if err != nil {
		w.t.Fatal(err)
	}
	var said []string
	for deadline := time.Now().Add(2 * time.Minute); ; {
		said = said[:0]
		ok := true
		var first *pb.GetNodeResponse
		for _, n := range w.nodes {
			r := w.node(n)
			said = append(said, fmt.Sprintf("%s: %v", n.name, r))
			if r == nil {
				ok = false
				continue
			}
			if at, err := change.ParseLSN(r.GetLsn()); err != nil || at < lsn || !r.GetReady() || r.GetDifference() != "" {
				ok = false
				continue
			}
			if first == nil {
				first = r
			}
			if r.GetHistory() != first.GetHistory() || r.GetOffset() != first.GetOffset() || r.GetChecksum() != first.GetChecksum() {
				ok = false
			}
		}
		if ok {
			break
		}
		if time.Now().After(deadline) {
			for _, n := range w.nodes {
				if n.d != nil {
					w.t.Logf("%s:\n%s", n.name, n.d.Log.String())
				}
			}
			w.t.Fatalf("the nodes are not equal at %s:\n%s", lsn, strings.Join(said, "\n"))
		}
		pause(w.t.Context(), 100*time.Millisecond)
	}
	for _, n := range w.nodes {
		conn := n.d.Dial(w.t)
		if d := sameViews(w.t.Context(), w.t, w.conn, pb.NewCarbonServiceClient(conn)); d != "" {
			w.t.Fatalf("%s: %s", n.name, d)
		}
		_ = conn.Close()
	}
}

// consume goes on with a group at the next node: what it reads is behind what it has
// committed anywhere.
func (w *fleetWorld) consume() {
	w.t.Helper()
	n := w.nodes[w.turn%len(w.nodes)]
	w.turn++
	conn := n.d.Dial(w.t)
	defer conn.Close()
	api := pb.NewChangelogServiceClient(conn)
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	topic := change.TopicName(change.Verra)
	ss, err := api.Consume(ctx, &pb.ConsumeRequest{Topics: []string{topic}, Group: "desk", MemberId: n.name})
	if err != nil {
		w.t.Fatal(err)
	}
	for generation := uint64(0); ; {
		m, err := ss.Recv()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			w.t.Fatalf("consume at %s: %v", n.name, err)
		}
		generation = max(generation, m.GetGeneration()) // the first message has it
		for _, r := range m.GetRecords() {
			w.consumed = append(w.consumed, r.GetOffset())
		}
		if k := len(m.GetRecords()); k > 0 {
			// UNAVAILABLE is for a client to try again.
			req := &pb.CommitOffsetRequest{Group: "desk", Topic: topic, Offset: m.Records[k-1].GetOffset(), Generation: generation, MemberId: n.name}
			_, err := api.CommitOffset(ctx, req)
			for ; status.Code(err) == codes.Unavailable && pause(ctx, 100*time.Millisecond); _, err = api.CommitOffset(ctx, req) {
				w.events["commit tried again"]++
			}
			if err != nil {
				w.t.Fatalf("commit at %s: %v", n.name, err)
			}
		}
	}
}

// consumedAll compares what the group has read at all nodes with what is there.
func (w *fleetWorld) consumedAll() {
	w.t.Helper()
	conn := w.nodes[0].d.Dial(w.t)
	defer conn.Close()
	ss, err := pb.NewChangelogServiceClient(conn).Consume(w.t.Context(), &pb.ConsumeRequest{Topics: []string{change.TopicName(change.Verra)}, Start: &pb.ConsumeRequest_Earliest{Earliest: true}})
	if err != nil {
		w.t.Fatal(err)
	}
	var want []uint64
	for {
		m, err := ss.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			w.t.Fatal(err)
		}
		for _, r := range m.GetRecords() {
			want = append(want, r.GetOffset())
		}
	}
	if n := len(w.consumed); n < 100 || n > len(want) || !slices.Equal(w.consumed, want[:n]) {
		w.t.Errorf("the group has read %d records in %d turns, and they are not the first ones of %d", n, w.turn, len(want))
	}
}

// happen does one thing to a node or to Postgres.
func (w *fleetWorld) happen(what string) {
	w.t.Helper()
	n := w.nodes[w.IntN(len(w.nodes))]
	w.events[what]++
	w.t.Logf("%s %s", what, n.name)
	rest := func() { pause(w.t.Context(), time.Duration(100+w.IntN(1500))*time.Millisecond) }
	switch what {
	case "kill":
		w.kill(n)
		rest()
		w.start(n)
	case "freeze":
		_ = n.d.Cmd.Process.Signal(syscall.SIGSTOP)
		rest()
		_ = n.d.Cmd.Process.Signal(syscall.SIGCONT)
	case "join": // its disk is lost
		w.kill(n)
		if err := os.RemoveAll(n.dir); err != nil {
			w.t.Fatal(err)
		}
		rest()
		w.start(n)
	case "slot": // it was away for longer than Postgres keeps its WAL
		w.kill(n)
		w.dropSlot(n.name)
		rest()
		w.start(n)
	case "cut": // the network between it and Postgres
		n.net.cut()
	case "vanish":
		release := n.net.vanish()
		rest()
		release()
	case "alter":
		table := []string{"verra", "carbonmark", "news", "finance"}[w.IntN(4)]
		w.gate.Lock()
		if _, err := w.conn.Exec(w.t.Context(), fmt.Sprintf("ALTER TABLE %s ADD COLUMN more%d text DEFAULT 'x'", table, w.events[what])); err != nil {
			w.t.Fatal(err)
		}
		w.gate.Unlock()
	case "postgres":
		w.gate.Lock()
		w.cluster.Restart(w.t)
		w.connect()
		w.gate.Unlock()
	}
	rest()
}

// dropSlot drops a slot as soon as its walsender has ended.
func (w *fleetWorld) dropSlot(name string) {
	w.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; {
		_, err := w.conn.Exec(w.t.Context(), "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1", name)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatal(err)
		}
		pause(w.t.Context(), 50*time.Millisecond)
	}
}

// TestFleet: three nodes of one Postgres hold the same changelog whatever happens to
// them, without copying the tables more than once; and one that was given a record which
// Postgres does not know is found and joins again.
func TestFleet(t *testing.T) {
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64N(1 << 32)
	}
	t.Logf("seed %d: repeat with -args -seed %d", seed, seed)
	w := newFleetWorld(t, seed)
	w.write(seed, 3)
	for _, n := range w.nodes { // all at once: one of them copies
		w.start(n)
	}
	w.equal()
	history := w.node(w.nodes[0]).GetHistory()

	events := []string{"kill", "cut", "join", "alter", "slot", "freeze", "postgres", "vanish"}
	w.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
	rounds := *fleetFlag
	for i := range rounds {
		if *eventFlag != "" {
			w.happen(*eventFlag)
		} else {
			w.happen(events[i%len(events)])
		}
		w.equal()
		w.consume()
	}

	n := w.nodes[w.IntN(len(w.nodes))]
	w.kill(n)
	s := openStore(t, n.dir)
	alien := change.Txn{
		First: true, Final: true, Copy: &change.Copy{},
		Changes: []change.Change{{Op: change.Read, Relation: change.Standard(change.News), After: change.NewRow(
			change.T("alien"), change.T("A story that Postgres does not know"), change.T("https://example.org"), change.T("2026-01-01 00:00:00+00"), change.T("Nobody"))}},
	}
	before := s.Position().Offset
	if err := s.Apply(t.Context(), []change.Txn{alien}); err != nil {
		t.Fatal(err)
	}
	if s.Position().Offset != before+1 {
		t.Fatalf("the record has offset %d behind %d", s.Position().Offset, before)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	w.start(n)
	w.equal()
	if got := n.d.Log.String(); !strings.Contains(got, "joins its fleet again") {
		t.Errorf("the node has not joined again:\n%s", got)
	}
	if got := w.node(w.nodes[0]).GetHistory(); got != history {
		t.Errorf("the history was %s and is %s", history, got)
	}
	w.consume()
	w.consumedAll()
	t.Logf("%d rounds: %v, %d records read by a group at %d nodes in turn", rounds, w.events, len(w.consumed), w.turn)

	ask := func(args ...string) (int, string) {
		return program.Command(t, nil, append(args, "--addr", w.nodes[0].addr)...)
	}
	if code, out := ask("fleet", "verify"); code != 0 || !strings.Contains(out, "all 3 nodes have the same changelog") {
		t.Errorf("fleet verify: %d, %s", code, out)
	}
	if code, out := ask("fleet", "--format", "csv"); code != 0 || strings.Count(out, history) != 3 {
		t.Errorf("fleet: %d, %s", code, out)
	}
	n = w.nodes[2]
	n.d.stop(t)
	if out := program.Must(t, n.env, "fleet", "leave", "--yes"); !strings.Contains(out, `slot "node2" is gone`) {
		t.Errorf("fleet leave: %s", out)
	}
	if code, out := ask("fleet", "verify"); code != 1 || !strings.Contains(out, "no answer: "+n.addr) || !strings.Contains(out, "2 of 3 nodes") {
		t.Errorf("fleet verify without a node: %d, %s", code, out)
	}
}
