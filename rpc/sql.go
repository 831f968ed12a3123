package rpc

import (
	"context"
	"errors"
	"io"
	"net"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"carbond/store/change"
)

// The defining queries of the three views, each with the filter as its only
// parameter ("" = all). They are what the NonStreaming calls run and what the
// views are compared with: NULL is "" or 0, text order is byte order, columns
// are cast so that tables with wider or narrower types answer alike.
const (
	// ProjectsSQL yields rows for ScanProject, $1 is the country.
	ProjectsSQL = `SELECT DISTINCT ON (v.project_id COLLATE "C")
  v.project_id::text AS project_id,
  COALESCE(c.project_name, v.project_name, '')::text AS project_name,
  COALESCE(v.registry_status, '')::text AS registry_status,
  COALESCE(v.country, '')::text AS country,
  COALESCE(v.vintage, 0)::int4 AS vintage,
  COALESCE(v.supply, 0)::float8 AS supply
FROM public.verra v LEFT JOIN public.carbonmark c ON c.project_id = v.project_id
WHERE ($1::text = '' OR v.country = $1::text)
ORDER BY v.project_id COLLATE "C", v.updated_at DESC, c.updated_at DESC NULLS LAST, c.id COLLATE "C" DESC`

	// NewsSQL yields rows for ScanNews, newest first, $1 is the source.
	NewsSQL = `SELECT guid::text,
  COALESCE(title, '')::text, COALESCE(link, '')::text, COALESCE(published, '')::text,
  COALESCE(source, '')::text, COALESCE(summary, '')::text
FROM public.news
WHERE ($1::text = '' OR source = $1::text)
ORDER BY published_at DESC NULLS LAST, guid COLLATE "C" LIMIT 100`

	// FinanceSQL yields rows for ScanQuote, $1 is the ticker.
	FinanceSQL = `SELECT DISTINCT ON (ticker COLLATE "C")
  ticker::text AS ticker,
  COALESCE(price, 0)::float8 AS price,
  COALESCE(volume, 0)::int8 AS volume,
  COALESCE(market_cap, 0)::float8 AS market_cap,
  COALESCE(change_percent, 0)::float8 AS change_percent,
  COALESCE("timestamp", 0)::int8 AS "timestamp"
FROM public.finance
WHERE ($1::text = '' OR ticker = $1::text)
ORDER BY ticker COLLATE "C", "timestamp" DESC`
)

// The paged forms: $2 says whether to begin after the key $3, $4 is the largest
// number of rows or NULL.
const (
	projectsPageSQL = `SELECT * FROM (` + ProjectsSQL + `) q
WHERE (NOT $2::bool OR q.project_id COLLATE "C" > $3::text) ORDER BY q.project_id COLLATE "C" LIMIT $4::int8`
	financePageSQL = `SELECT * FROM (` + FinanceSQL + `) q
WHERE (NOT $2::bool OR q.ticker COLLATE "C" > $3::text) ORDER BY q.ticker COLLATE "C" LIMIT $4::int8`
)

// Querier runs SQL; *pgxpool.Pool is one.
type Querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// ScanProject reads a row of ProjectsSQL, for pgx.CollectRows and the like.
func ScanProject(row pgx.CollectableRow) (p change.Project, err error) {
	err = row.Scan(&p.ProjectID, &p.ProjectName, &p.RegistryStatus, &p.Country, &p.Vintage, &p.Supply)
	return p, err
}

// ScanNews reads a row of NewsSQL.
func ScanNews(row pgx.CollectableRow) (n change.NewsItem, err error) {
	err = row.Scan(&n.GUID, &n.Title, &n.Link, &n.Published, &n.Source, &n.Summary)
	return n, err
}

// ScanQuote reads a row of FinanceSQL.
func ScanQuote(row pgx.CollectableRow) (q change.Quote, err error) {
	err = row.Scan(&q.Ticker, &q.Price, &q.Volume, &q.MarketCap, &q.ChangePercent, &q.Timestamp)
	return q, err
}

// each runs sql and hands every row to use, until use says that it is enough.
// Rows are not collected: a large answer is held once, encoded. A connection of
// the pool that broke while nobody used it, as all of them do when Postgres
// restarts, is no failure of the call: it runs once more, on a fresh one.
func each[T any](ctx context.Context, q Querier, scan pgx.RowToFunc[T], use func(*T) bool, sql string, args ...any) error {
	begun, err := rowsOf(ctx, q, scan, use, sql, args)
	if err == nil || begun || ctx.Err() != nil || !broken(err) {
		return err
	}
	if p, ok := q.(resetter); ok {
		p.Reset() // the others are as old as the broken one
	}
	_, err = rowsOf(ctx, q, scan, use, sql, args)
	return err
}

// resetter is a pool that can close all its idle connections.
type resetter interface{ Reset() }

// rowsOf is one try of each. It reports whether use was given a row.
func rowsOf[T any](ctx context.Context, q Querier, scan pgx.RowToFunc[T], use func(*T) bool, sql string, args []any) (begun bool, err error) {
	rows, err := q.Query(ctx, sql, args...)
	if err != nil {
		return false, err
	}
	defer rows.Close()
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return begun, err
		}
		begun = true
		if !use(&v) {
			return begun, nil
		}
	}
	return begun, rows.Err()
}

// broken reports whether err means that an open connection was lost. The queries
// only read, so it does not matter how much of one Postgres had seen.
func broken(err error) bool {
	var connect *pgconn.ConnectError
	var pg *pgconn.PgError
	var op *net.OpError
	switch {
	case errors.As(err, &connect):
		return false // a fresh one could not be made either
	case errors.As(err, &pg):
		return pg.Code == "57P01" || pg.Code == "57P02" // admin_shutdown, crash_shutdown
	}
	return pgconn.SafeToRetry(err) || errors.As(err, &op) || errors.Is(err, io.EOF) ||
		errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}
