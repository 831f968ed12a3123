package schema

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"carbond/replicate/internal/server"
)

// Indexes makes those of our indexes that are missing, beside readers and writers.
// It is no work of every start: once they were made, they are the owner's.
func (m *Migration) Indexes(ctx context.Context) error {
	state, err := readSchemaState(ctx, m.Conn, m.Opt)
	if err != nil || !state.known || state.version >= latestVersion || !state.exists && !m.Create {
		return err
	}
	unlock, err := m.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	left, err := m.missingIndexes(ctx, m.Opt.Viewed()...)
	if err != nil {
		return err
	}
	for _, ix := range left {
		if ix.partitioned {
			err = m.buildPartitioned(ctx, server.Ident(m.Opt.Schema, ix.table), server.Ident(m.Opt.Schema, ix.name), ix.columns, ix.name)
		} else {
			err = m.build(ctx, server.Ident(m.Opt.Schema, ix.table), m.Opt.Schema, ix.name, ix.columns, ix.exists)
		}
		if err != nil {
			return fmt.Errorf("create index %s: %w", ix.name, err)
		}
	}
	return m.recordVersion(ctx, latestVersion)
}

// build makes one index of a plain table, and again where one is left that did not
// become valid.
func (m *Migration) build(ctx context.Context, table, schema, name, columns string, leftover bool) error {
	drop := func() error {
		return m.withRetry(ctx, table, "DROP INDEX CONCURRENTLY IF EXISTS "+server.Ident(schema, name), buildTimeout, nil)
	}
	if leftover {
		if err := drop(); err != nil {
			return err
		}
	}
	return m.withRetry(ctx, table, "CREATE INDEX CONCURRENTLY "+server.Ident(name)+" ON "+table+" "+columns, buildTimeout, drop)
}

// buildPartitioned makes an index of a partitioned table: first of the table alone, which
// holds no rows, then of each partition, and joins them. With the last one the
// index becomes valid. What an earlier try has made is used.
func (m *Migration) buildPartitioned(ctx context.Context, table, parent, columns, prefix string) error {
	_, bare, err := m.nameOf(ctx, parent)
	if err != nil {
		return err
	}
	if bare == "" {
		if err := m.exec(ctx, table, "CREATE INDEX "+server.Ident(prefix)+" ON ONLY "+table+" "+columns); err != nil {
			return err
		}
	}
	rows, err := m.Conn.Query(ctx, `
SELECT c.oid, c.oid::regclass::text, n.nspname::text, c.relkind = 'p'
FROM pg_inherits h JOIN pg_class c ON c.oid = h.inhrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE h.inhparent = to_regclass($1) AND NOT EXISTS (
  SELECT FROM pg_inherits x JOIN pg_index i ON i.indexrelid = x.inhrelid WHERE x.inhparent = to_regclass($2) AND i.indrelid = c.oid)
ORDER BY c.oid`, table, parent)
	if err != nil {
		return err
	}
	type leaf struct {
		OID          uint32
		Name, Schema string
		Partitioned  bool
	}
	leaves, err := pgx.CollectRows(rows, pgx.RowToStructByPos[leaf])
	if err != nil {
		return err
	}
	for _, l := range leaves {
		name := fmt.Sprintf("%s_%d", prefix, l.OID)
		full := server.Ident(l.Schema, name)
		valid, there, err := m.nameOf(ctx, full)
		switch {
		case err != nil:
			return err
		case l.Partitioned:
			err = m.buildPartitioned(ctx, l.Name, full, columns, name)
		case !valid:
			err = m.build(ctx, l.Name, l.Schema, name, columns, there != "")
		}
		if err == nil {
			err = m.exec(ctx, l.Name, "ALTER INDEX "+parent+" ATTACH PARTITION "+full)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// nameOf returns whether an index is valid, and its name, "" when there is none.
func (m *Migration) nameOf(ctx context.Context, quoted string) (valid bool, name string, err error) {
	err = m.Conn.QueryRow(ctx, "SELECT i.indisvalid, i.indexrelid::regclass::text FROM pg_index i WHERE i.indexrelid = to_regclass($1)", quoted).Scan(&valid, &name)
	if errors.Is(err, pgx.ErrNoRows) {
		err = nil
	}
	return valid, name, err
}
