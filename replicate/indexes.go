package replicate

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"carbond/store/change"
)

// indexes makes those of our indexes that are missing, beside readers and writers.
// It is no work of every start: once they were made, they are the owner's.
func (m *migration) indexes(ctx context.Context) error {
	state, err := readSchemaState(ctx, m.conn, m.opt)
	if err != nil || !state.known || state.version >= latestVersion || !state.exists && !m.create {
		return err
	}
	unlock, err := m.turn(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	left, err := m.missingIndexes(ctx, change.Tables()...)
	if err != nil {
		return err
	}
	for _, ix := range left {
		if ix.partitioned {
			err = m.spread(ctx, ident(m.opt.Schema, ix.table), ident(m.opt.Schema, ix.name), ix.columns, ix.name)
		} else {
			err = m.build(ctx, ident(m.opt.Schema, ix.table), m.opt.Schema, ix.name, ix.columns, ix.exists)
		}
		if err != nil {
			return fmt.Errorf("create index %s: %w", ix.name, err)
		}
	}
	return m.mark(ctx, latestVersion)
}

// build makes one index of a plain table, and anew where one is left that did not
// become valid.
func (m *migration) build(ctx context.Context, table, schema, name, columns string, leftover bool) error {
	drop := func() error {
		return m.patiently(ctx, table, "DROP INDEX CONCURRENTLY IF EXISTS "+ident(schema, name), buildPatience, nil)
	}
	if leftover {
		if err := drop(); err != nil {
			return err
		}
	}
	return m.patiently(ctx, table, "CREATE INDEX CONCURRENTLY "+ident(name)+" ON "+table+" "+columns, buildPatience, drop)
}

// spread makes an index of a partitioned table: first of the table alone, which
// holds no rows, then of each partition, and joins them. With the last one the
// index becomes valid. What an earlier try has made is used.
func (m *migration) spread(ctx context.Context, table, parent, columns, prefix string) error {
	_, bare, err := m.nameOf(ctx, parent)
	if err != nil {
		return err
	}
	if bare == "" {
		if err := m.exec(ctx, table, "CREATE INDEX "+ident(prefix)+" ON ONLY "+table+" "+columns); err != nil {
			return err
		}
	}
	rows, err := m.conn.Query(ctx, `
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
		full := ident(l.Schema, name)
		valid, there, err := m.nameOf(ctx, full)
		switch {
		case err != nil:
			return err
		case l.Partitioned:
			err = m.spread(ctx, l.Name, full, columns, name)
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
func (m *migration) nameOf(ctx context.Context, quoted string) (valid bool, name string, err error) {
	err = m.conn.QueryRow(ctx, "SELECT i.indisvalid, i.indexrelid::regclass::text FROM pg_index i WHERE i.indexrelid = to_regclass($1)", quoted).Scan(&valid, &name)
	if errors.Is(err, pgx.ErrNoRows) {
		err = nil
	}
	return valid, name, err
}

// buildIndexes makes what the start of this process has left to do beside the
// stream: an index may have to wait for transactions that last for hours.
func (s *session) buildIndexes(ctx context.Context) {
	conn, err := s.opt.connect(ctx)
	if err == nil {
		defer conn.Close(context.WithoutCancel(ctx))
		m := &migration{conn: conn, opt: &s.opt, alter: true, wait: func(who string) { s.st.remark("indexes", who) }}
		err = m.indexes(ctx)
	}
	refused, ok := errors.AsType[*pgconn.PgError](err)
	switch {
	case err != nil && (!ok || strings.HasPrefix(refused.Code, "57") || ctx.Err() != nil):
		return // no connection, or the end: the next session goes on
	case err != nil:
		s.log.Warn("an index of the views' queries cannot be made; the NonStreaming calls are slow without it", "error", err)
		s.st.remark("indexes", "an index cannot be made: "+err.Error())
	}
	s.indexed = true
}
