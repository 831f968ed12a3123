package bench

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"
)

// furtherRows are the sizes of a table without a view. The first is what memory is
// compared with.
var furtherRows = []int{1_000_000, 5_000_000}

// further measures the first copy of a table without a view: beside COPY of the same
// rows, and the memory that is left behind.
func further(ctx context.Context, o Options) (out []Figure, err error) {
	var first float64
	for i, n := range furtherRows {
		f, rss, err := furtherCopy(ctx, o, n)
		if out = append(out, f...); err != nil {
			return out, err
		}
		if i == 0 {
			first = rss
			continue
		}
		out = append(out, atMost(fmt.Sprintf("memory (RSS) after a table without a view of %d rows, beyond that after %d", n, furtherRows[0]), rss-first, "MB", 5))
	}
	return out, nil
}

func furtherCopy(ctx context.Context, o Options, n int) (out []Figure, rss float64, err error) {
	s, err := newSource(ctx, o, "further-"+strconv.Itoa(n))
	if err != nil {
		return nil, 0, err
	}
	defer s.close(context.WithoutCancel(ctx))
	const table = "public.carbond_bench"
	defer func() { _, _ = s.conn.Exec(context.WithoutCancel(ctx), "DROP TABLE IF EXISTS "+table) }()
	for _, sql := range []string{
		"DROP TABLE IF EXISTS " + table,
		"CREATE TABLE " + table + " (id bigint PRIMARY KEY, name text, v double precision, at timestamptz)",
		fmt.Sprintf("INSERT INTO %s SELECT i, repeat(md5(i::text), 4), i / 3.0, now() FROM generate_series(1, %d) i", table, n),
	} {
		if _, err := s.conn.Exec(ctx, sql); err != nil {
			return nil, 0, fmt.Errorf("prepare Postgres: %w", err)
		}
	}
	// The second reading is the yardstick: the first one marks rows as committed.
	var bare time.Duration
	for range 2 {
		began := time.Now()
		if _, err := s.conn.PgConn().CopyTo(ctx, io.Discard, "COPY "+table+" TO STDOUT"); err != nil {
			return nil, 0, err
		}
		bare = time.Since(began)
	}
	d, err := startDaemon(ctx, o, s.dir, o.PostgresURL, "CARBOND_POSTGRES_TABLES="+table)
	if err != nil {
		return nil, 0, err
	}
	defer d.stop()
	f := atLeast(fmt.Sprintf("first copy of a table without a view of %d rows, ratio to COPY TO STDOUT", n), bare.Seconds()/d.serving.Seconds(), "x", 0.4)
	f.Note = fmt.Sprintf("%.0f rows/s, start of the process included, and %.0f", float64(n)/d.serving.Seconds(), float64(n)/bare.Seconds())
	select { // what the copy has left behind goes
	case <-time.After(5 * time.Second):
	case <-ctx.Done():
		return nil, 0, ctx.Err()
	}
	rss, err = memory(d.cmd.Process.Pid, "VmRSS")
	return []Figure{f}, rss, err
}
