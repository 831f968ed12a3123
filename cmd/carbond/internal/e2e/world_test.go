package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"carbond/cmd/carbond/internal/programtest"
	pb "carbond/proto/carbon"
	"carbond/replicate/pgtest"
	"carbond/store/change"
)

// world is Postgres, the network, the daemon and the writers of one oracle run.
type world struct {
	random
	t        *testing.T
	seed     uint64
	cluster  *pgtest.Cluster
	url      string // to Postgres itself
	net      *proxy
	dir      string   // of the daemon's data
	env      []string // of the daemon
	changing bool     // the tables themselves are changed: see upheavals
	gate     sync.RWMutex
	writers  []*writer
	history  *history
	kafka    *kafkaReader // nil for none

	mu     sync.Mutex // guards daemon, which the sampler reads
	daemon *daemon

	samples atomic.Int64
	comfort string         // what happened last, for messages
	views   int            // rows compared
	rounds  int            // comparisons
	events  map[string]int // what was done to it
}

// database is the name of the oracle's database. Its collation is not the byte
// order, so that a query which forgets to ask for that order is found out.
const database = "e2e_oracle"

// newWorld starts a Postgres with a database of carbond's. With tables, the SQL
// that makes some of them in another way, what happens may be a gap.
func newWorld(t *testing.T, seed uint64, tables string) *world {
	t.Helper()
	c := pgtest.Start(t, "wal_sender_timeout=3s", "deadlock_timeout=200ms", "logical_decoding_work_mem=256kB", "max_prepared_transactions=20", "log_min_error_statement=panic", "log_min_messages=warning")
	pgtest.Exec(t, c.URL("postgres"), "CREATE DATABASE "+database+" TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en'")
	w := &world{
		random: random{rand.New(rand.NewPCG(seed, 1<<32))}, t: t, seed: seed, cluster: c, url: c.URL(database),
		dir: filepath.Join(t.TempDir(), "data"), history: newHistory(), events: map[string]int{},
	}
	u, err := url.Parse(w.url)
	if err != nil {
		t.Fatal(err)
	}
	w.net = newProxy(t, u.Host)
	w.env = []string{
		"CARBOND_DATA_DIR=" + w.dir, "CARBOND_POSTGRES_URL=" + w.net.through(t, w.url), "CARBOND_POSTGRES_SLOT=" + daemonSlot,
		"CARBOND_STORE_SEGMENT_BYTES=1MiB", "CARBOND_CHECKPOINT_INTERVAL=200ms", "CARBOND_RETENTION_BYTES=0",
	}
	if tables != "" {
		w.changing = true
		w.env = append(w.env, "CARBOND_POSTGRES_ON_GAP=resnapshot")
		w.sql(tables)
	}
	program.Must(t, w.env, "migrate")
	conn := w.connect()
	installAudit(t.Context(), t, conn)
	return w
}

// use gives the daemon another data directory.
func (w *world) use(dir string) { w.dir, w.env[0] = dir, "CARBOND_DATA_DIR="+dir }

// connect opens a connection to Postgres itself that ends with the test.
func (w *world) connect() *pgx.Conn {
	w.t.Helper()
	conn, err := connectDirect(w.t.Context(), w.url, "e2e oracle")
	if err != nil {
		w.t.Fatalf("connect: %v", err)
	}
	w.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = conn.Close(ctx) // a restart may have broken it
	})
	return conn
}

// write starts writers that stop with the test. The returned function stops
// them before.
func (w *world) write(n int, every time.Duration) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for id := range n {
		wr := newWriter(w.seed, id, w.url, &w.gate, every)
		wr.deferrable = w.changing
		if id == 0 {
			if err := wr.fill(ctx); err != nil {
				w.t.Fatal(err)
			}
		}
		w.writers = append(w.writers, wr)
		wg.Go(func() { wr.run(ctx) })
	}
	stop = func() {
		cancel()
		wg.Wait()
	}
	w.t.Cleanup(stop)
	return stop
}

// current returns the daemon that runs now, or nil.
func (w *world) current() *daemon {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.daemon
}

func (w *world) set(d *daemon) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.daemon = d
}

// start starts the daemon.
func (w *world) start() { w.set(serve(w.t, w.env)) }

// stop ends the daemon as a service manager would.
func (w *world) stop() {
	w.t.Helper()
	d := w.current()
	w.set(nil)
	d.stop(w.t)
	w.behind()
}

// kill ends the daemon with SIGKILL.
func (w *world) kill() {
	w.t.Helper()
	d := w.current()
	w.set(nil)
	d.Kill()
	w.behind()
}

// behind compares the slot with the directory of a daemon that has ended.
func (w *world) behind() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 10*time.Second)
	defer cancel()
	conn, err := connectDirect(ctx, w.url, "e2e slot")
	if err != nil {
		return // Postgres is down too
	}
	defer conn.Close(ctx)
	confirmed, ok, err := confirmed(ctx, conn)
	if err != nil || !ok {
		return
	}
	dir := copyDir(w.t, w.dir)
	if note, err := os.ReadFile(filepath.Join(dir, "source.json")); err == nil && bytes.Contains(note, []byte(`"copying":`)) {
		return // killed inside a new copy, whose slot begins where it will stand
	}
	s := openStore(w.t, dir)
	defer s.Close()
	if p := s.Position(); p.Copied && confirmed > p.LSN {
		w.t.Fatalf("the slot stands at %s, but only %s is on disk (after %s)", confirmed, p.LSN, w.comfort)
	}
}

// confirmed returns the confirmed position of the daemon's slot.
func confirmed(ctx context.Context, conn *pgx.Conn) (change.LSN, bool, error) {
	var text *string
	err := conn.QueryRow(ctx, "SELECT max(confirmed_flush_lsn)::text FROM pg_replication_slots WHERE slot_name = $1", daemonSlot).Scan(&text)
	if err != nil || text == nil {
		return 0, false, err
	}
	lsn, err := change.ParseLSN(*text)
	return lsn, err == nil, err
}

// sample keeps comparing the slot with what the daemon says to have on disk:
// first the one, then the other, so that progress in between does no harm.
func (w *world) sample() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		var conn *pgx.Conn
		defer func() {
			if conn != nil {
				_ = conn.Close(context.WithoutCancel(ctx)) // broken or not
			}
		}()
		for pause(ctx, 20*time.Millisecond) {
			d := w.current()
			if conn == nil || conn.IsClosed() {
				conn, _ = connectDirect(ctx, w.url, "e2e sampler") // again at the next turn
			}
			if d == nil || conn == nil {
				continue
			}
			slot, ok, err := confirmed(ctx, conn)
			if err != nil || !ok {
				continue
			}
			durable, err := d.position(ctx)
			if err != nil || durable == 0 { // no copy yet: the slot begins where the copy will stand
				continue
			}
			w.samples.Add(1)
			if slot > durable {
				w.t.Errorf("the slot was confirmed up to %s, when only %s was durable", slot, durable)
				return
			}
		}
	})
	stop = func() {
		cancel()
		wg.Wait()
	}
	w.t.Cleanup(stop)
	return stop
}

// quiet stops the writers for as long as f runs and tells it where the last
// transaction ends.
func (w *world) quiet(f func(conn *pgx.Conn, lsn change.LSN)) {
	w.t.Helper()
	w.gate.Lock()
	defer w.gate.Unlock()
	ctx := w.t.Context()
	conn := w.connect()
	defer conn.Close(ctx)
	// What a broken connection left prepared or at work.
	programtest.Until(w.t, 60*time.Second, "end of all transactions", func() bool {
		var gid *string
		if err := conn.QueryRow(ctx, "SELECT min(gid) FROM pg_prepared_xacts").Scan(&gid); err != nil {
			w.t.Fatal(err)
		}
		if gid != nil {
			_, _ = conn.Exec(ctx, "ROLLBACK PREPARED '"+*gid+"'") // a writer's own end may come first
			return false
		}
		var n int
		if err := conn.QueryRow(ctx, "SELECT count(*) FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid()").Scan(&n); err != nil {
			w.t.Fatal(err)
		}
		return n == 0
	})
	var text string
	// A commit, so that everything before it is flushed.
	if _, err := conn.Exec(ctx, "INSERT INTO notes(body) VALUES ('mark')"); err != nil {
		w.t.Fatal(err)
	}
	if err := conn.QueryRow(ctx, "SELECT pg_current_wal_flush_lsn()::text").Scan(&text); err != nil {
		w.t.Fatal(err)
	}
	lsn, err := change.ParseLSN(text)
	if err != nil {
		w.t.Fatal(err)
	}
	f(conn, lsn)
}

// compare stops the writers, waits until the daemon is level and compares every
// view with SQL, and the changelog with the independent record when whole.
func (w *world) compare(whole bool) {
	w.t.Helper()
	w.quiet(func(conn *pgx.Conn, lsn change.LSN) {
		d := w.current()
		client := d.Dial(w.t)
		defer client.Close()
		w.views += compareViews(w.t.Context(), w.t, w.Rand, conn, pb.NewCarbonServiceClient(client), lsn, "")
		compareHTTP(w.t.Context(), w.t, conn, d, lsn)
		w.rounds++
		w.noAnomaly(d)
		if !whole {
			return
		}
		out := program.Must(w.t, w.env, "verify", "--addr", d.GRPC)
		w.t.Logf("verify: %s", out)
		w.stop()
		w.history.read(w.t.Context(), w.t, conn)
		s := openStore(w.t, copyDir(w.t, w.dir))
		defer s.Close()
		w.history.check(w.t, s)
		w.history.checkState(w.t, conn)
		if out := program.Must(w.t, w.env, "fsck"); out == "" {
			w.t.Error("fsck says nothing")
		}
		w.start()
		if w.kafka != nil {
			w.kafka.check(w, places(w.t, s))
		}
	})
}

// noAnomaly wants every counter at zero that counts what cannot be.
func (w *world) noAnomaly(d *daemon) {
	w.t.Helper()
	b, err := d.get(w.t.Context(), "/metrics")
	if err != nil {
		w.t.Fatal(err)
	}
	for _, name := range []string{"carbond_store_anomalies_total", "carbond_rpc_panics_total"} {
		sum, found := metricSum(string(b), name)
		if !found {
			w.t.Errorf("there is no metric %s", name)
		}
		if sum != 0 {
			w.t.Errorf("%s is %v after %s", name, sum, w.comfort)
		}
	}
}

func (w *world) summary() string {
	var committed, failed int64
	for _, wr := range w.writers {
		committed += wr.committed.Load()
		failed += wr.failed.Load()
	}
	return fmt.Sprintf("seed %d: %d transactions (%d failed), %d in the log with %d records, %d view rows compared at %d pauses, %d samples of the slot, events %v, rows by the triggers %v",
		w.seed, committed, failed, w.history.txns, w.history.records, w.views, w.rounds, w.samples.Load(), w.events, w.history.rows)
}

// freeAddr is an address of loopback that nobody else gets, also while the daemon
// that listens on it is down.
func freeAddr(t testing.TB) string {
	t.Helper()
	port, err := pgtest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}
