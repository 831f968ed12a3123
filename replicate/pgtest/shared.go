package pgtest

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// shared is the one cluster of this test binary.
var shared struct {
	once sync.Once
	c    *Cluster
	skip error // Postgres is not installed
	err  error // it is, but did not start
}

// Shared returns the cluster that all tests of this binary share, starting it
// at the first call. Give each test its own Database. The binary's TestMain
// must use Wrap (or call Close at its end).
func Shared(tb testing.TB) *Cluster {
	tb.Helper()
	shared.once.Do(func() {
		if dsn := os.Getenv("CARBOND_TEST_DSN"); dsn != "" {
			shared.c, shared.err = external(dsn)
			return
		}
		bin, err := findPrograms()
		if err != nil {
			shared.skip = err
			return
		}
		shared.c, shared.err = start(bin, nil)
	})
	switch {
	case shared.skip != nil:
		missing(tb, shared.skip)
	case shared.err != nil:
		tb.Fatalf("start the shared Postgres: %v", shared.err)
	}
	return shared.c
}

// external describes a running server by its URL.
func external(dsn string) (*Cluster, error) {
	u, err := url.Parse(dsn)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return nil, fmt.Errorf("CARBOND_TEST_DSN must be a URL such as postgres://user:password@host:5432/postgres")
	}
	return &Cluster{base: *u}, nil
}

// Close stops and removes the shared cluster, if there is one.
func Close() error {
	shared.once.Do(func() {}) // none is started from now on
	if shared.c == nil {
		return nil
	}
	return shared.c.Remove()
}

// M is a testing.M that stops the shared cluster after its tests.
type M struct{ m *testing.M }

// Wrap makes an M, to be given to goleak.VerifyTestMain or run by TestMain.
func Wrap(m *testing.M) M { return M{m} }

// Run runs the tests, stops the shared cluster and returns the exit code.
func (m M) Run() int {
	code := m.m.Run()
	if err := Close(); err != nil {
		fmt.Fprintln(os.Stderr, "stop the shared Postgres:", err)
		if code == 0 {
			code = 1
		}
	}
	return code
}

// Exec runs SQL statements one after the other, each in a transaction of its
// own, and fails the test at the first error.
func Exec(tb testing.TB, url string, sql ...string) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		tb.Fatalf("connect: %v", err)
	}
	defer conn.Close(ctx)
	for _, s := range sql {
		if _, err := conn.Exec(ctx, s); err != nil {
			tb.Fatalf("%s: %v", s, err)
		}
	}
}

// Text runs a query and returns its rows in text form; NULL is "NULL".
func Text(tb testing.TB, url, sql string, args ...any) [][]string {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		tb.Fatalf("connect: %v", err)
	}
	defer conn.Close(ctx)
	// The simple protocol makes the server send every type as text.
	rows, err := conn.Query(ctx, sql, append([]any{pgx.QueryExecModeSimpleProtocol}, args...)...)
	if err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
	defer rows.Close()
	var out [][]string
	for rows.Next() {
		var line []string
		for _, v := range rows.RawValues() {
			if v == nil {
				line = append(line, "NULL")
			} else {
				line = append(line, string(v))
			}
		}
		out = append(out, line)
	}
	if err := rows.Err(); err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
	return out
}
