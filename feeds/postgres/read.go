package postgres

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"carbond/feeds/internal/poll"
	"carbond/store/change"
)

// Rows implements feeds.Writer.
func (w *Writer) Rows(ctx context.Context, table string, columns []string) ([]change.Row, error) {
	if change.KeyColumns(table) == nil {
		return nil, fmt.Errorf("read table %q: carbond keeps no such table", table)
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	if fits, err := fits(ctx, w.pool, table); err != nil || !fits {
		return nil, cmp.Or(err, fmt.Errorf("read table public.%s: %w: carbond doctor says more", table, poll.ErrNoTable))
	}
	casts := make([]string, len(columns))
	for i, c := range columns {
		casts[i] = quote(c) + "::text"
	}
	sql := fmt.Sprintf("SELECT %s FROM %s", strings.Join(casts, ", "), pgx.Identifier{"public", table}.Sanitize())
	rows, err := w.pool.Query(ctx, sql)
	if err != nil {
		return nil, fmt.Errorf("read table %s: %w", table, plainPG(err))
	}
	values, dest := make([]*string, len(columns)), make([]any, len(columns))
	for i := range values {
		dest[i] = &values[i]
	}
	var out []change.Row
	var b change.RowBuilder
	_, err = pgx.ForEachRow(rows, dest, func() error {
		b.Reset(len(columns))
		for _, v := range values {
			if v == nil {
				b.Null()
			} else {
				b.Text(*v)
			}
		}
		out = append(out, b.Row())
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read table %s: %w", table, plainPG(err))
	}
	return out, nil
}

// Prune implements feeds.Writer. It deletes in batches, each its own transaction, so
// that years of history do not become one transaction for the log.
func (w *Writer) Prune(ctx context.Context, table string, before time.Time) (int, error) {
	var where string
	var bound any
	switch table {
	case change.Finance:
		where = `t.timestamp < $1 AND EXISTS (SELECT FROM public.finance n WHERE n.ticker = t.ticker AND n.timestamp > t.timestamp)`
		bound = before.Unix()
	case change.News:
		where = `t.published_at < $1`
		bound = before
	default:
		return 0, fmt.Errorf("prune table %q: only %s and %s hold history", table, change.Finance, change.News)
	}
	name := pgx.Identifier{"public", table}.Sanitize()
	keys := list("", change.KeyColumns(table))
	sql := fmt.Sprintf("DELETE FROM %s WHERE (%s) IN (SELECT %s FROM %s AS t WHERE %s LIMIT %d)",
		name, keys, list("t.", change.KeyColumns(table)), name, where, pruneBatch)
	total := 0
	for {
		n, err := w.pruneOnce(ctx, sql, bound)
		total += n
		if err != nil {
			return total, fmt.Errorf("prune table %s: %w", table, plainPG(err))
		}
		if n < pruneBatch {
			return total, nil
		}
	}
}

func (w *Writer) pruneOnce(ctx context.Context, sql string, bound any) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	tag, err := w.pool.Exec(ctx, sql, bound)
	return int(tag.RowsAffected()), err
}
