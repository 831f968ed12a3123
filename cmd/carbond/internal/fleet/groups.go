package fleet

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"carbond/replicate/pgconf"
)

// Groups keeps the consumer groups of a fleet in a table that is not published. It is a
// change.SharedGroups.
type Groups struct {
	fleet string
	pool  atomic.Pointer[pgconf.Pool]
}

// NewGroups returns the groups of a fleet. Until Use they cannot be reached.
func NewGroups(fleet string) *Groups { return &Groups{fleet: fleet} }

// Use says where the table is.
func (g *Groups) Use(pool *pgconf.Pool) { g.pool.Store(pool) }

// groupsFor is how long Postgres may take to answer.
const groupsFor = 5 * time.Second

const groupsTable = `CREATE TABLE IF NOT EXISTS public.carbond_groups (fleet text, name text, state text NOT NULL, PRIMARY KEY (fleet, name))`

// groupsTries is how often something is tried when a connection of the pool turns out to have
// ended, as all do with a restart of Postgres.
const groupsTries = 3

// do runs f, with the table made where there is none. It may run f again.
func (g *Groups) do(ctx context.Context, f func(context.Context, *pgconf.Pool) error) (err error) {
	pool := g.pool.Load()
	if pool == nil {
		return errors.New("not connected yet")
	}
	ctx, cancel := context.WithTimeout(ctx, groupsFor)
	defer cancel()
	for range groupsTries {
		err = f(ctx, pool)
		pe, answered := errors.AsType[*pgconn.PgError](err)
		switch {
		case err == nil, ctx.Err() != nil:
			return err
		case answered && pe.Code == "42P01": // undefined_table
			if _, err := pool.Exec(ctx, groupsTable); err != nil {
				return fmt.Errorf("make the table that a fleet keeps its groups in: %w; run as the owner of the schema: %s; GRANT SELECT, INSERT, UPDATE, DELETE ON public.carbond_groups TO the role of carbond", err, groupsTable)
			}
		case answered && !strings.HasPrefix(pe.Code, "57P"): // it was shut down, or starts
			return err
		}
	}
	return err
}

// Get implements change.SharedGroups.
func (g *Groups) Get(name string) (state string, err error) {
	err = g.do(context.Background(), func(ctx context.Context, pool *pgconf.Pool) error {
		rows, err := pool.Query(ctx, "SELECT state FROM public.carbond_groups WHERE fleet = $1 AND name = $2", g.fleet, name)
		if err != nil {
			return err
		}
		all, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if len(all) > 0 {
			state = all[0]
		}
		return err
	})
	return state, err
}

// Swap implements change.SharedGroups. One that was made and whose answer was lost returns an
// error, or false: who tries again finds another text, and decides again.
func (g *Groups) Swap(name, old, text string) (done bool, err error) {
	sql, args := "UPDATE public.carbond_groups SET state = $3 WHERE fleet = $1 AND name = $2 AND state = $4", []any{g.fleet, name, text, old}
	switch {
	case old == "" && text == "":
		return true, nil
	case old == "":
		sql, args = "INSERT INTO public.carbond_groups (fleet, name, state) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING", args[:3]
	case text == "":
		sql, args = "DELETE FROM public.carbond_groups WHERE fleet = $1 AND name = $2 AND state = $3", []any{g.fleet, name, old}
	}
	err = g.do(context.Background(), func(ctx context.Context, pool *pgconf.Pool) error {
		tag, err := pool.Exec(ctx, sql, args...)
		done = tag.RowsAffected() == 1
		return err
	})
	return done, err
}

// All implements change.SharedGroups.
func (g *Groups) All(ctx context.Context) (all map[string]string, err error) {
	err = g.do(ctx, func(ctx context.Context, pool *pgconf.Pool) error {
		rows, err := pool.Query(ctx, "SELECT name, state FROM public.carbond_groups WHERE fleet = $1", g.fleet)
		if err != nil {
			return err
		}
		all = map[string]string{}
		var name, state string
		_, err = pgx.ForEachRow(rows, []any{&name, &state}, func() error {
			all[name] = state
			return nil
		})
		return err
	})
	return all, err
}
