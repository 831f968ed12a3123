package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc/metadata"

	pb "carbond/proto/carbon"
	"carbond/replicate"
	"carbond/replicate/schema"
	"carbond/replicate/yardstick"
	"carbond/store/change"
)

func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// yardSlot is the slot of the bare client.
const yardSlot = "carbond_yardstick"

// source is a Postgres with the tables, a daemon's data directory that has
// copied them, and a second slot for the bare client.
type source struct {
	o    Options
	conn *pgx.Conn
	dir  string
}

func newSource(ctx context.Context, o Options, name string) (*source, error) {
	s := &source{o: o, dir: filepath.Join(o.Dir, name)}
	opt := replicate.Options{URL: o.PostgresURL, Slot: "carbond", Publication: "carbond"}
	if err := schema.Migrate(ctx, opt); err != nil {
		return nil, err
	}
	conn, err := pgx.Connect(ctx, o.PostgresURL)
	if err != nil {
		return nil, errors.New("connect to Postgres")
	}
	s.conn = conn
	for _, sql := range []string{
		"TRUNCATE verra, carbonmark, finance, news",
		"SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name IN ('carbond', '" + yardSlot + "')",
		"SELECT pg_create_logical_replication_slot('" + yardSlot + "', 'pgoutput')",
	} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return nil, fmt.Errorf("prepare Postgres: %w", err)
		}
	}
	return s, nil
}

func (s *source) close(ctx context.Context) {
	_, _ = s.conn.Exec(ctx, "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name IN ('carbond', '"+yardSlot+"') AND NOT active")
	_ = s.conn.Close(ctx)
	_ = os.RemoveAll(s.dir)
}

func (s *source) lsn(ctx context.Context) (change.LSN, error) {
	var text string
	if err := s.conn.QueryRow(ctx, "SELECT pg_current_wal_insert_lsn()::text").Scan(&text); err != nil {
		return 0, err
	}
	return change.ParseLSN(text)
}

// insertProjects inserts the projects from $1 to $2, of about 200 bytes each.
const insertProjects = `INSERT INTO verra (project_id, project_name, project_link, project_summary, registry_status, country, vintage, supply, updated_at)
	SELECT 'VCS-' || lpad(i::text, 7, '0'), 'Rimba Lestari Forest Conservation ' || i, 'https://registry.example.org/VCS/' || i,
	repeat('s', 40), 'ACTIVE', 'Country ' || i % 80, 2021, 12345.5, now() FROM generate_series($1::int, $2::int) i`

// catchUp lets a bare client and the daemon catch up with the same WAL.
func catchUp(ctx context.Context, o Options) ([]Figure, error) {
	s, err := newSource(ctx, o, "catchup")
	if err != nil {
		return nil, err
	}
	defer s.close(context.WithoutCancel(ctx))
	d, err := startDaemon(ctx, o, s.dir, o.PostgresURL) // takes its first, empty copy
	if err != nil {
		return nil, err
	}
	d.stop()
	const perTxn = 1000
	for i := 0; i < o.Rows; i += perTxn {
		_, err := s.conn.Exec(ctx, insertProjects, i, min(i+perTxn, o.Rows)-1)
		if err != nil {
			return nil, err
		}
	}
	end, err := s.lsn(ctx)
	if err != nil {
		return nil, err
	}
	// One more commit, so that the bare client sees an end at or behind it.
	if _, err := s.conn.Exec(ctx, "INSERT INTO finance (ticker, timestamp) VALUES ('END', 1)"); err != nil {
		return nil, err
	}
	bare := yardstick.Client{URL: o.PostgresURL, Slot: yardSlot, Publication: "carbond", Until: end}
	st, err := bare.Run(ctx)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	d, err = startDaemon(ctx, o, s.dir, o.PostgresURL)
	if err != nil {
		return nil, err
	}
	defer d.stop()
	if err := waitLSN(ctx, d.addr, end, 10*time.Minute); err != nil {
		return nil, err
	}
	took := time.Since(began)
	bareRate, ours := float64(st.Rows)/st.Took.Seconds(), float64(o.Rows)/took.Seconds()
	return []Figure{
		{
			Name: fmt.Sprintf("catch-up with %d rows, WAL to views", o.Rows), Value: ours, Unit: "rows/s",
			Note: fmt.Sprintf("start of the process included; a client that receives and discards: %.0f rows/s", bareRate),
		},
		atLeast("catch-up, ratio to the bare client", ours/bareRate, "x", 0.5),
	}, nil
}

// waitLSN asks for an answer that reflects lsn until one comes.
func waitLSN(ctx context.Context, addr string, lsn change.LSN, limit time.Duration) error {
	conn, err := dial(addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, "carbond-min-lsn", lsn.String())
	c := pb.NewCarbonServiceClient(conn)
	for {
		if _, err = c.GetFinanceData(ctx, &pb.FinanceQuery{Ticker: "NONE"}); err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
	}
}

// latency commits 1,000 single-row changes a second from eight connections.
// After each commit returns, the writer reads its own write back: it asks
// Postgres for the position of the WAL and GetProjects for an answer that
// reflects it. The time of both is what a user sees. Beside it a bare client
// receives and fsyncs the same stream.
func latency(ctx context.Context, o Options) ([]Figure, error) {
	s, err := newSource(ctx, o, "latency")
	if err != nil {
		return nil, err
	}
	defer s.close(context.WithoutCancel(ctx))
	d, err := startDaemon(ctx, o, s.dir, o.PostgresURL)
	if err != nil {
		return nil, err
	}
	defer d.stop()
	file, err := os.CreateTemp(o.Dir, "yardstick-")
	if err != nil {
		return nil, err
	}
	defer os.Remove(file.Name())
	defer file.Close()
	var mu sync.Mutex
	synced := map[uint32]time.Time{}
	bareCtx, stopBare := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		c := yardstick.Client{URL: o.PostgresURL, Slot: yardSlot, Publication: "carbond", Sync: file, Committed: func(xid uint32, at time.Time) {
			mu.Lock()
			synced[xid] = at
			mu.Unlock()
		}}
		_, _ = c.Run(bareCtx)
	})
	seen, err := writeAndRead(ctx, o, d.addr)
	if err == nil {
		select { // the last commits on their way to the bare client
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
	stopBare()
	wg.Wait()
	if err != nil {
		return nil, err
	}
	var ours, bare []time.Duration
	for _, c := range seen {
		ours = append(ours, c.visible)
	}
	mu.Lock()
	for _, c := range seen {
		if at, ok := synced[c.xid]; ok {
			bare = append(bare, max(0, at.Sub(c.returned)))
		}
	}
	mu.Unlock()
	if len(bare) < len(seen)/2 {
		return nil, fmt.Errorf("the bare client saw %d of %d commits", len(bare), len(seen))
	}
	slices.Sort(ours)
	slices.Sort(bare)
	p50, p99, bare50 := ours[len(ours)/2], ours[len(ours)*99/100], bare[len(bare)/2]
	note := fmt.Sprintf("%d commits; a client that receives and fsyncs: p50 %.3g ms, p99 %.3g ms", len(ours), ms(bare50), ms(bare[len(bare)*99/100]))
	a := atMost("commit returned to visible in GetProjects, p50", ms(p50), "ms", 2)
	a.Note = note
	out := []Figure{a, atMost("commit returned to visible in GetProjects, p99", ms(p99), "ms", 10)}
	if bare50 > 0 {
		out = append(out, atMost("commit to visible, p50, ratio to the bare client", float64(p50)/float64(bare50), "x", 3))
	}
	return out, nil
}

// commit is one change of a writer.
type commit struct {
	xid      uint32
	returned time.Time     // when COMMIT returned
	visible  time.Duration // from then until GetProjects answered with it
}

func writeAndRead(ctx context.Context, o Options, addr string) ([]commit, error) {
	const writers, perSecond = 8, 1000
	total := int(5 * o.Seconds * perSecond)
	var mu sync.Mutex
	var all []commit
	var errs []error
	var wg sync.WaitGroup
	begin := time.Now()
	for w := range writers {
		wg.Go(func() {
			commits, err := writer(ctx, o, addr, w, total/writers, begin, time.Second*writers/perSecond)
			mu.Lock()
			all, errs = append(all, commits...), append(errs, err)
			mu.Unlock()
		})
	}
	wg.Wait()
	return all, errors.Join(errs...)
}

func writer(ctx context.Context, o Options, addr string, w, n int, begin time.Time, every time.Duration) ([]commit, error) {
	pg, err := pgx.Connect(ctx, o.PostgresURL)
	if err != nil {
		return nil, errors.New("connect to Postgres")
	}
	defer pg.Close(context.WithoutCancel(ctx))
	conn, err := dial(addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	api := pb.NewCarbonServiceClient(conn)
	country := fmt.Sprintf("Writer %d", w)
	out := make([]commit, 0, n)
	for i := range n {
		select {
		case <-time.After(time.Until(begin.Add(time.Duration(i) * every))):
		case <-ctx.Done():
			return out, ctx.Err()
		}
		c := commit{}
		id := fmt.Sprintf("W%d-%d", w, i%10)
		var xid string
		err := pg.QueryRow(ctx, `INSERT INTO verra (project_id, project_name, country, supply, updated_at) VALUES ($1, 'p', $2, $3, now())
			ON CONFLICT (project_id) DO UPDATE SET supply = excluded.supply, updated_at = excluded.updated_at
			RETURNING (pg_current_xact_id()::text::numeric % 4294967296)::text`,
			id, country, float64(i+1)).Scan(&xid)
		if err != nil {
			return out, err
		}
		c.returned = time.Now()
		n, err := strconv.ParseUint(xid, 10, 32)
		if err != nil {
			return out, err
		}
		c.xid = uint32(n)
		if err := readOwn(ctx, pg, api, country, id, float64(i+1)); err != nil {
			return out, err
		}
		c.visible = time.Since(c.returned)
		out = append(out, c)
	}
	return out, nil
}

// readOwn calls GetProjects once, for an answer that reflects what was committed
// on pg, and makes sure that it does.
func readOwn(ctx context.Context, pg *pgx.Conn, api pb.CarbonServiceClient, country, id string, supply float64) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var lsn string
	if err := pg.QueryRow(ctx, "SELECT pg_current_wal_lsn()::text").Scan(&lsn); err != nil {
		return err
	}
	r, err := api.GetProjects(metadata.AppendToOutgoingContext(ctx, "carbond-min-lsn", lsn), &pb.ProjectQuery{Country: country})
	if err != nil {
		return fmt.Errorf("read own write: %w", err)
	}
	for _, p := range r.GetItems() {
		if p.GetProjectId() == id && p.GetSupply() == supply {
			return nil
		}
	}
	return fmt.Errorf("the answer at %s or later lacks supply %v of project %s, which was committed before", lsn, supply, id)
}
