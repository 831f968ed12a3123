package replicate_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"carbond/replicate"
	"carbond/replicate/pgtest"
	"carbond/replicate/schema"
	"carbond/store/change"
)

// nullSink takes everything and keeps only the position.
type nullSink struct {
	memSink
	rows chan int
}

func (n *nullSink) Apply(_ context.Context, txns []change.Txn) error {
	count := 0
	n.mu.Lock()
	for _, t := range txns {
		count += len(t.Changes)
		if t.Final {
			n.pos.LSN = t.EndLSN
			if t.Snapshot != nil {
				n.pos.Source, n.pos.Copied = t.Snapshot.Source, true
			}
		}
	}
	n.mu.Unlock()
	n.rows <- count
	return nil
}

// BenchmarkCatchUp compares, on the same WAL, a client that receives and
// discards with ours that decodes and hands over. Rows are about 200 bytes.
// CARBOND_BENCH_ROWS sets their number.
func BenchmarkCatchUp(b *testing.B) {
	rows := 200_000
	if s := os.Getenv("CARBOND_BENCH_ROWS"); s != "" {
		if _, err := fmt.Sscan(s, &rows); err != nil {
			b.Fatal(err)
		}
	}
	url := pgtest.Shared(b).Database(b)
	opt := options(url)
	if err := schema.Migrate(b.Context(), opt); err != nil {
		b.Fatal(err)
	}
	for range b.N {
		sink := &nullSink{memSink: *newSink(), rows: make(chan int, 1<<20)}
		opt.ProbeInterval = time.Hour // the probe costs the server more than us
		ready := replicate.New(sink, opt)
		ctx, cancel := context.WithCancel(b.Context())
		done := make(chan error, 1)
		go func() { done <- ready.Run(ctx) }()
		eventually(b, func() error {
			if !sink.Position().Copied {
				return fmt.Errorf("not copied")
			}
			return nil
		})
		cancel()
		<-done
		pgtest.Exec(b, url, "SELECT pg_create_logical_replication_slot('"+opt.Slot+"raw', 'pgoutput')")
		for i := 0; i < rows; i += 1000 {
			pgtest.Exec(b, url, fmt.Sprintf("INSERT INTO news (guid, title) SELECT 'b%d-' || i, repeat('x', 190) FROM generate_series(%d, %d) i", b.N, i+1, i+1000))
		}
		raw := discard(b, url, opt.Slot+"raw", rows)
		for len(sink.rows) > 0 {
			<-sink.rows
		}
		ctx, cancel = context.WithCancel(b.Context())
		begin := time.Now()
		go func() { done <- replicate.New(sink, opt).Run(ctx) }()
		for n := 0; n < rows; {
			n += <-sink.rows
		}
		ours := float64(rows) / time.Since(begin).Seconds()
		cancel()
		<-done
		b.ReportMetric(raw, "discard-rows/s")
		b.ReportMetric(ours, "decode-rows/s")
		b.ReportMetric(ours/raw, "ratio")
		b.ReportMetric(0, "ns/op")
		pgtest.Exec(b, url, "TRUNCATE news", "SELECT pg_drop_replication_slot('"+opt.Slot+"raw')", "SELECT pg_drop_replication_slot('"+opt.Slot+"')")
	}
}

// discard returns the rate at which a bare client receives rows.
func discard(b *testing.B, url, slot string, rows int) float64 {
	ctx := b.Context()
	conn, err := pgconn.Connect(ctx, url+"&replication=database")
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close(ctx)
	begin := time.Now()
	err = pglogrepl.StartReplication(ctx, conn, slot, 0, pglogrepl.StartReplicationOptions{PluginArgs: []string{"proto_version '1'", "publication_names 'carbond'"}})
	if err != nil {
		b.Fatal(err)
	}
	for n := 0; n < rows; {
		m, err := conn.ReceiveMessage(context.Background()) // a context costs as much as a message
		if err != nil {
			b.Fatal(err)
		}
		if d, ok := m.(*pgproto3.CopyData); ok && len(d.Data) > 25 && strings.IndexByte("I", d.Data[25]) == 0 {
			n++
		}
	}
	return float64(rows) / time.Since(begin).Seconds()
}
