package pgconf

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Pool holds connections for queries and for the writes of feeds.
//
// Behind a pooler such as pgbouncer, each transaction may run on another
// connection to Postgres, which other clients use as well: nothing that belongs to
// a session holds there. So each query runs in a transaction that begins with the
// settings, and no prepared statement has a name.
type Pool struct {
	*pgxpool.Pool
	local string // what follows BEGIN, "" where connections have the settings
}

// NewPool makes a pool of at most size connections. It does not connect. pooler
// says that a pooler may lie in between.
func NewPool(ctx context.Context, s Source, size int, pooler bool) (*Pool, error) {
	pc, err := pgxpool.ParseConfig(s.URL)
	if err != nil {
		return nil, err
	}
	p := &Pool{}
	if pooler {
		p.local = setLocal()
		pc.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec
		err = Dial(&pc.ConnConfig.Config, s.Timeout)
	} else {
		err = s.complete(&pc.ConnConfig.Config)
	}
	if err != nil {
		return nil, err
	}
	pc.BeforeConnect = func(_ context.Context, cc *pgx.ConnConfig) error { return s.login(&cc.Config) }
	pc.MaxConns = int32(size)
	pc.MaxConnIdleTime = 5 * time.Minute
	p.Pool, err = pgxpool.NewWithConfig(ctx, pc)
	return p, err
}

// BeginTx implements what pgx.BeginTxFunc wants. Isolation levels other than the
// default are not known behind a pooler.
func (p *Pool) BeginTx(ctx context.Context, o pgx.TxOptions) (pgx.Tx, error) {
	if p.local != "" {
		mode := pgx.ReadWrite
		if o.AccessMode != "" {
			mode = o.AccessMode
		}
		o.BeginQuery = "BEGIN ISOLATION LEVEL READ COMMITTED " + string(mode) + p.local
	}
	return p.Pool.BeginTx(ctx, o)
}

// Query runs a query that only reads.
func (p *Pool) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if p.local == "" {
		return p.Pool.Query(ctx, sql, args...)
	}
	tx, err := p.BeginTx(ctx, pgx.TxOptions{AccessMode: pgx.ReadOnly})
	if err != nil {
		return nil, err
	}
	rows, err := tx.Query(ctx, sql, args...)
	if err != nil {
		_ = tx.Rollback(context.WithoutCancel(ctx)) // it has read nothing
		return nil, err
	}
	return &txRows{rows, func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }}, nil
}

// Exec runs one statement in a transaction of its own.
func (p *Pool) Exec(ctx context.Context, sql string, args ...any) (tag pgconn.CommandTag, err error) {
	if p.local == "" {
		return p.Pool.Exec(ctx, sql, args...)
	}
	err = pgx.BeginTxFunc(ctx, p, pgx.TxOptions{}, func(tx pgx.Tx) error {
		tag, err = tx.Exec(ctx, sql, args...)
		return err
	})
	return tag, err
}

// txRows ends the transaction of its rows when it is closed.
type txRows struct {
	pgx.Rows
	end func()
}

// Close implements pgx.Rows.
func (r *txRows) Close() {
	r.Rows.Close()
	if r.end != nil {
		r.end()
		r.end = nil
	}
}
