package replicate_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"carbond/replicate/pgerr"
	"carbond/replicate/pgtest"
	"carbond/replicate/schema"
	"carbond/store/change"
)

// write runs random transactions on one connection until ctx ends, and
// reconnects when the server goes away.
func write(ctx context.Context, t *testing.T, url string, worker int) {
	rnd := rand.New(rand.NewPCG(42, uint64(worker)))
	var conn *pgx.Conn
	defer func() {
		if conn != nil {
			conn.Close(context.Background())
		}
	}()
	for ctx.Err() == nil {
		if conn == nil || conn.IsClosed() {
			var err error
			if conn, err = pgx.Connect(ctx, url); err != nil {
				select {
				case <-time.After(20 * time.Millisecond):
				case <-ctx.Done():
				}
				continue
			}
		}
		id := func() string { return fmt.Sprintf("%d-%d", worker, rnd.IntN(40)) }
		var sql []string
		for range 1 + rnd.IntN(4) {
			sql = append(sql, []string{
				"INSERT INTO verra (project_id, supply, updated_at) VALUES ('" + id() + "', random(), now()) ON CONFLICT (project_id) DO UPDATE SET supply = excluded.supply",
				"INSERT INTO carbonmark (id, project_id) VALUES ('" + id() + "', '" + id() + "') ON CONFLICT DO NOTHING",
				"UPDATE verra SET vintage = " + fmt.Sprint(rnd.IntN(3000)) + " WHERE project_id = '" + id() + "'",
				"DELETE FROM verra WHERE project_id = '" + id() + "'",
				"DELETE FROM carbonmark WHERE id = '" + id() + "'",
				"UPDATE carbonmark SET id = id || 'x' WHERE id = '" + id() + "'",
				"SAVEPOINT a; DELETE FROM verra WHERE project_id LIKE '" + fmt.Sprint(worker) + "%'; ROLLBACK TO a",
			}[rnd.IntN(7)])
		}
		if rnd.IntN(200) == 0 {
			sql = append(sql, "TRUNCATE carbonmark")
		}
		// Errors (deadlocks, a key that is taken, a server that stops) end the
		// transaction and are part of the game. The end of ctx does not: the server
		// would go on, and commit after the writers have stopped.
		whole, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		_, _ = conn.Exec(whole, "BEGIN; "+strings.Join(sql, "; ")+"; COMMIT")
		if !conn.IsClosed() && conn.PgConn().TxStatus() != 'I' {
			_, _ = conn.Exec(whole, "ROLLBACK")
		}
		cancel()
	}
}

func writers(t *testing.T, url string) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for i := range 3 {
		wg.Go(func() { write(ctx, t, url, i) })
	}
	stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	t.Cleanup(stop)
	return stop
}

func TestCopyUnderWrites(t *testing.T) {
	url := pgtest.Shared(t).Database(t)
	opt := options(url)
	if err := schema.Migrate(t.Context(), opt); err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, url, "INSERT INTO news (guid, title) SELECT i::text, md5(i::text) FROM generate_series(1, 20000) i")
	stop := writers(t, url)
	for round := range 3 {
		sink := newSink()
		o := opt
		o.Slot += fmt.Sprint(round)
		r := run(t, sink, o)
		r.level()
		if round == 2 {
			stop()
			r.level()
			sink.sameAsSQL(t, url)
		}
		r.stop()
	}
}

// TestServerLife restarts and kills Postgres and cuts the connection under
// load. Nothing is lost, nothing comes twice, and nothing is confirmed early.
func TestServerLife(t *testing.T) {
	c := pgtest.Start(t, "fsync=on", "wal_sender_timeout=5s")
	url := c.Database(t)
	sink, opt := newSink(), options(url)
	r := run(t, sink, opt)
	r.level()
	stop := writers(t, url)
	ahead := func() {
		t.Helper()
		got := confirmed(t, url, opt.Slot)
		if got > sink.Position().LSN {
			t.Fatalf("confirmed %s is ahead of durable %s", got, sink.Position().LSN)
		}
	}
	for range 2 {
		r.level()
		ahead()
		pgtest.Exec(t, url, "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active_pid IS NOT NULL")
		r.level()
		ahead()
		c.Kill(t)
		c.Resume(t)
		r.level()
		ahead()
		r.stop()
		r = run(t, sink, opt)
	}
	r.level()
	stop()
	// The server waits for us, and gives us up by itself never: only our answer to
	// its last position lets it end.
	pgtest.Exec(t, url, "ALTER SYSTEM SET wal_sender_timeout = 0", "SELECT pg_reload_conf()")
	c.Stop(t, pgtest.Fast)
	r.trouble(pgerr.KindConnect)
	c.Resume(t)
	r.level()
	sink.sameAsSQL(t, url)
	r.stop()
	ahead()
	if !strings.Contains(r.log.String(), "replication recovered") {
		t.Error("the log does not say that it recovered")
	}
}

// TestStalledSink lets the sink block for longer than wal_sender_timeout.
func TestStalledSink(t *testing.T) {
	c := pgtest.Start(t, "wal_sender_timeout=5s")
	url := c.Database(t)
	sink, opt := newSink(), options(url)
	opt.QueueBytes, opt.PartBytes = 200_000, 50_000 // so that the receiver stops reading
	r := run(t, sink, opt)
	r.level()
	durable := sink.Position().LSN
	release, entered := make(chan struct{}), make(chan struct{}, 100)
	sink.setHook(func(txns []change.Txn) error {
		if txns != nil {
			entered <- struct{}{}
			<-release
		}
		return nil
	})
	for i := range 20 {
		pgtest.Exec(t, url, fmt.Sprintf("INSERT INTO news (guid, title) SELECT %d || '-' || i, repeat('x', 100) FROM generate_series(1, 2000) i", i))
	}
	<-entered
	pid := pgtest.Text(t, url, "SELECT active_pid FROM pg_replication_slots")[0][0]
	held := time.Now()
	eventually(t, func() error {
		if time.Since(held) < 8*time.Second {
			return errors.New("waiting")
		}
		return nil
	})
	if got := pgtest.Text(t, url, "SELECT active_pid FROM pg_replication_slots")[0][0]; got != pid {
		t.Fatalf("the server dropped us while the sink was stuck: walsender %s became %s", pid, got)
	}
	if got := confirmed(t, url, opt.Slot); got > sink.Position().LSN || sink.Position().LSN < durable {
		t.Fatalf("confirmed %s while %s is durable", got, sink.Position().LSN)
	}
	if s := r.Status(); s.LagSeconds < 3 || s.LagBytes == 0 {
		t.Errorf("the lag does not show: %+v", s)
	}
	sink.setHook(nil)
	close(release)
	r.level()
	sink.sameAsSQL(t, url)
	eventually(t, func() error {
		if s := r.Status(); s.LagSeconds > 1 {
			return fmt.Errorf("lag after catching up: %+v", s)
		}
		return nil
	})
}

func TestIdleRestartsWriteNothing(t *testing.T) {
	r, url := started(t)
	pgtest.Exec(t, url, "INSERT INTO news (guid) VALUES ('1')")
	r.level()
	sink := r.sink
	r.stop()
	for range 10 {
		r = run(t, sink, options(url))
		r.level()
		r.stop()
	}
	if n := len(sink.transactions()); n != 2 || sink.redelivered != 0 {
		t.Fatalf("%d transactions, %d redelivered", n, sink.redelivered)
	}
}

// TestSinkError lets the sink fail now and then; it never sees a gap.
func TestSinkError(t *testing.T) {
	r, url := started(t)
	n := 0
	r.sink.setHook(func(txns []change.Txn) error {
		if n++; n%3 == 0 {
			return errors.New("no space left on device")
		}
		return nil
	})
	for i := range 20 {
		pgtest.Exec(t, url, fmt.Sprintf("INSERT INTO news (guid) VALUES ('%d')", i))
	}
	eventually(t, func() error {
		if got := len(r.sink.lines("news", []string{"guid"})); got != 20 {
			return fmt.Errorf("%d rows", got)
		}
		return nil
	})
	r.sink.setHook(nil)
	r.level()
	r.sink.sameAsSQL(t, url)
	if !strings.Contains(r.log.String(), "kind=sink") || !strings.Contains(r.log.String(), "no space left") {
		t.Error("the log does not name the trouble")
	}
}

// TestIdleReleasesWAL writes to a table that is not published: the slot moves.
func TestIdleReleasesWAL(t *testing.T) {
	r, url := started(t)
	before := confirmed(t, url, options(url).Slot)
	pgtest.Exec(t, url, "CREATE TABLE busy (a text)", "INSERT INTO busy SELECT repeat('x', 1000) FROM generate_series(1, 3000)")
	end, err := change.ParseLSN(pgtest.Text(t, url, "SELECT pg_current_wal_flush_lsn()")[0][0])
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if got := confirmed(t, url, options(url).Slot); got < end || got <= before {
			return fmt.Errorf("the slot stands at %s, WAL at %s", got, end)
		}
		return nil
	})
	if got := confirmed(t, url, options(url).Slot); got > r.sink.Position().LSN {
		t.Fatalf("confirmed %s, durable %s", got, r.sink.Position().LSN)
	}
}
