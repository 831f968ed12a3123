package rpc_test

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	pb "carbond/proto/carbon"
	"carbond/rpc"
	"carbond/rpc/rpcerr"
)

// TestStaleConnections ends every connection of the pool on the server's side, as
// a restart of Postgres does: the next NonStreaming call does not see it.
func TestStaleConnections(t *testing.T) {
	_, pool := database(t, `INSERT INTO finance VALUES ('b', 1, 2, 3, 4, 10)`)
	c, _ := serve(t, newReader(&data{base: 1}), rpc.Options{Pool: pool})
	var conns []*pgxpool.Conn
	for range 4 {
		conn, err := pool.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	killer, err := pgx.ConnectConfig(t.Context(), pool.Config().ConnConfig)
	if err != nil {
		t.Fatal(err)
	}
	defer killer.Close(context.WithoutCancel(t.Context()))
	for _, conn := range conns {
		pid := conn.Conn().PgConn().PID()
		conn.Release()
		var ended bool
		if err := killer.QueryRow(t.Context(), "SELECT pg_terminate_backend($1, 10000)", pid).Scan(&ended); err != nil || !ended {
			t.Fatalf("end a connection: %v %v", ended, err)
		}
	}
	fresh := metadata.AppendToOutgoingContext(t.Context(), "cache-control", "no-cache")
	m, err := c.GetNonStreamingFinanceData(fresh, &pb.FinanceQuery{})
	if err != nil || m.Count != 1 {
		t.Fatalf("first call after the end of all connections: %v %v", m, err)
	}
}

// TestRetry says which failures of a query are worth a second try.
func TestRetry(t *testing.T) {
	for name, tt := range map[string]struct {
		err   error
		tries int
	}{
		"connection lost":       {io.ErrUnexpectedEOF, 2},
		"server shuts down":     {&pgconn.PgError{Code: "57P01"}, 2},
		"query refused":         {&pgconn.PgError{Code: "42501"}, 1},
		"no connection is made": {errors.Join(&pgconn.ConnectError{Config: &pgconn.Config{}}, io.EOF), 1},
		"anything else":         {errors.New("odd"), 1},
	} {
		t.Run(name, func(t *testing.T) {
			q := &failing{err: tt.err}
			c, _ := serve(t, newReader(&data{base: 1}), rpc.Options{Pool: q})
			_, err := c.GetNonStreamingNews(t.Context(), &pb.NewsQuery{})
			wantStatus(t, err, codes.Unavailable, rpcerr.ReasonSQL)
			if q.tries != tt.tries {
				t.Errorf("%d tries, want %d", q.tries, tt.tries)
			}
		})
	}
}

// failing counts the queries that it refuses.
type failing struct {
	err   error
	tries int // one call at a time
}

func (f *failing) Query(context.Context, string, ...any) (pgx.Rows, error) {
	f.tries++
	return nil, f.err
}

// TestSQLBeforeLoad calls while no copy of the tables is complete: SQL answers,
// uncached, and its position may be sent back as one to wait for.
func TestSQLBeforeLoad(t *testing.T) {
	_, pool := database(t)
	c, _ := serve(t, newReader(nil), rpc.Options{Pool: pool})
	for n := range 3 {
		var h metadata.MD
		ctx := metadata.AppendToOutgoingContext(t.Context(), rpc.HeaderMinLSN, "0/0")
		m, err := c.GetNonStreamingFinanceData(ctx, &pb.FinanceQuery{}, grpc.Header(&h))
		if err != nil || int(m.Count) != n {
			t.Fatalf("%d quotes, want %d: %v", m.GetCount(), n, err)
		}
		if got := h.Get(rpc.HeaderLSN)[0] + " " + h.Get(rpc.HeaderCache)[0]; got != "0/0 bypass" {
			t.Errorf("headers %q", got)
		}
		if _, err := pool.Exec(t.Context(), "INSERT INTO finance(ticker, timestamp) VALUES ('t' || $1::int, 1)", n); err != nil {
			t.Fatal(err)
		}
	}
}
