package schema

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"carbond/replicate/internal/server"
	"carbond/replicate/pgerr"
	"carbond/store/change"
)

const (
	// versionTable holds the number of the schema's version, in our schema.
	versionTable = "carbond_schema_version"
	// tablesMade is the version when the tables are complete, latestVersion when
	// the indexes are too.
	tablesMade, latestVersion = 1, 2
)

// index is one for the queries of the views. They order text by bytes, as the
// queries do, whatever the collation of the database is.
type index struct {
	name, table, columns string
}

func indexes() []index {
	return []index{
		{"carbond_verra_country", change.Verra, `(country)`},
		{"carbond_carbonmark_project", change.Carbonmark, `(project_id)`},
		{"carbond_finance_latest", change.Finance, `(ticker COLLATE "C", timestamp DESC)`},
		{"carbond_news_latest", change.News, `(published_at DESC NULLS LAST, guid COLLATE "C")`},
		{"carbond_news_source", change.News, `(source, published_at DESC NULLS LAST, guid COLLATE "C")`},
	}
}

// createSQL returns the statement that makes one table.
func createSQL(opt *server.Options, table string) string {
	var cols []string
	for _, c := range change.TableOf(table).Columns {
		if c.Added && slices.Contains(opt.Unfed, table) {
			continue
		}
		cols = append(cols, server.Ident(c.Name)+" "+c.SQLType())
	}
	return "CREATE TABLE " + server.Ident(opt.Schema, table) + " (" + strings.Join(cols, ", ") + ", PRIMARY KEY (" + strings.Join(change.KeyColumns(table), ", ") + "))"
}

// addColumnsSQL returns the statement that adds columns of ours. It is one, so that it
// has its lock once, and the stream sees one new schema version. None of them has a
// default, so no row is written.
func addColumnsSQL(schema, table string, columns ...string) string {
	add := make([]string, len(columns))
	for i, c := range columns {
		add[i] = "ADD COLUMN " + server.Ident(c) + " " + change.TableOf(table).Column(c).SQLType()
	}
	return "ALTER TABLE " + server.Ident(schema, table) + " " + strings.Join(add, ", ")
}

// missing lists the columns of the views that a table lacks.
func (t *tableInfo) missing() []string {
	rel := &change.Relation{Name: t.name}
	for _, c := range t.columns {
		rel.Columns = append(rel.Columns, change.Column{Name: c})
	}
	return MissingColumns(rel)
}

// schemaState is what the version table says.
type schemaState struct {
	version int  // 0 for none
	exists  bool // the version table does
	known   bool // the role may read it: it is the owner's business
	keyless bool // made by an early carbond; a publication of all tables makes it read-only
}

func readSchemaState(ctx context.Context, conn *pgx.Conn, opt *server.Options) (s schemaState, err error) {
	table := server.Ident(opt.Schema, versionTable)
	err = conn.QueryRow(ctx, `
SELECT to_regclass($1) IS NOT NULL, COALESCE(has_table_privilege(to_regclass($1), 'SELECT'), true),
       COALESCE((SELECT pg_has_role(c.relowner, 'USAGE') AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)
                 FROM pg_class c WHERE c.oid = to_regclass($1)), false)`, table).Scan(&s.exists, &s.known, &s.keyless)
	if err != nil || !s.exists || !s.known {
		return s, err
	}
	return s, conn.QueryRow(ctx, "SELECT COALESCE(max(version), 0) FROM "+table).Scan(&s.version)
}

// tooNew refuses to change what a newer carbond has made.
func tooNew(o *server.Options, version int) *pgerr.Error {
	return pgerr.New(pgerr.KindMigrate, "run the newer carbond, or set postgres.migrate to off where this one only has to read", nil,
		"the tables in schema %q are of version %d, made by a newer carbond; this one knows %d", o.Schema, version, latestVersion)
}

// recordVersion notes the version. A version table is made only where tables are.
func (m *Migration) recordVersion(ctx context.Context, version int) error {
	s, err := readSchemaState(ctx, m.Conn, m.Opt)
	if err != nil || !s.exists && !m.Create || !s.known {
		return err
	}
	table := server.Ident(m.Opt.Schema, versionTable)
	var todo []string
	switch {
	case !s.exists:
		todo = append(todo, "CREATE TABLE "+table+" (version int PRIMARY KEY)")
	case s.keyless:
		todo = append(todo, "ALTER TABLE "+table+" ADD PRIMARY KEY (version)")
	}
	if s.version != version {
		todo = append(todo, "DELETE FROM "+table, "INSERT INTO "+table+" VALUES ("+strconv.Itoa(version)+")")
	}
	for _, sql := range todo {
		if err := m.exec(ctx, table, sql); err != nil {
			return fmt.Errorf("note the version of the schema: %w", err)
		}
	}
	return nil
}

// missingIndex is one of ours that is not there, or not whole.
type missingIndex struct {
	index
	partitioned bool // the table is
	exists      bool // but is not valid
}

// missingIndexes lists what m.indexes has to make, of the given tables.
func (m *Migration) missingIndexes(ctx context.Context, tables ...string) ([]missingIndex, error) {
	var out []missingIndex
	for _, ix := range indexes() {
		if !slices.Contains(tables, ix.table) {
			continue
		}
		var kind string
		var exists, valid bool
		err := m.Conn.QueryRow(ctx, `
SELECT c.relkind::text, i.indexrelid IS NOT NULL, COALESCE(i.indisvalid, false)
FROM pg_class c LEFT JOIN pg_index i ON i.indexrelid = to_regclass($2) WHERE c.oid = to_regclass($1)`,
			server.Ident(m.Opt.Schema, ix.table), server.Ident(m.Opt.Schema, ix.name)).Scan(&kind, &exists, &valid)
		if err != nil {
			return nil, fmt.Errorf("look for index %s: %w", ix.name, err)
		}
		if !valid {
			out = append(out, missingIndex{ix, kind == "p", exists})
		}
	}
	return out, nil
}
