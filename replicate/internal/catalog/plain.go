package catalog

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"carbond/store/change"
)

// Plain is what the catalog says of a table that no view reads.
type Plain struct {
	OID      uint32   `json:"oid"`
	Schema   string   `json:"schema"`
	Name     string   `json:"name"`
	Kind     string   `json:"kind"`     // r, or p when it is partitioned
	Persist  string   `json:"persist"`  // p when its changes are in the WAL
	Identity string   `json:"identity"` // d, f, i or n, as in pg_class
	Place    string   `json:"place"`    // in the publication; "none" when it is not in it
	ViaRoot  bool     `json:"viaroot"`  // the publication shows partitions as their table
	Filter   string   `json:"filter"`   // rows that the publication shows, "" for all
	Primary  []string `json:"primary"`  // columns of the primary key
	Index    []string `json:"index"`    // columns of the index that REPLICA IDENTITY names
	Columns  []string `json:"columns"`  // that the stream brings, in order
	Types    []uint32 `json:"types"`    // of Columns
	Hidden   []string `json:"hidden"`   // columns that the stream does not bring: generated, or not listed
	Unread   []string `json:"unread"`   // of Columns, those that the role may not select
	RowSec   bool     `json:"rowsec"`   // row security hides rows from the role
	Leaves   []string `json:"leaves"`   // partitions that are not logged
	Rows     int64    `json:"rows"`     // as the server last counted, -1 unknown
	Size     int64    `json:"size"`     // bytes of its rows, as the server last counted
	Owned    bool     `json:"owned"`    // the role may publish it
}

// Topic returns the name of the table's topic.
func (p *Plain) Topic() string { return change.PlainTopic(p.Schema, p.Name) }

// Key returns the columns that tell rows apart in the stream: the primary key, or
// the index of the replica identity where rows carry only that. Without either
// it is empty.
func (p *Plain) Key() []string {
	if p.Identity == "i" {
		return p.Index
	}
	return p.Primary
}

// Identified reports whether Postgres accepts UPDATE and DELETE of the table while
// it is published.
func (p *Plain) Identified() bool {
	return p.Identity == "f" || p.Identity == "i" && len(p.Index) > 0 || p.Identity == "d" && len(p.Primary) > 0
}

// Relation describes rows as the publication shows them.
func (p *Plain) Relation() *change.Relation {
	r := &change.Relation{Schema: p.Schema, Name: p.Name, Plain: true}
	for i, name := range p.Columns {
		r.Columns = append(r.Columns, change.Column{Name: name, Type: p.Types[i], Key: slices.Contains(p.Key(), name)})
	}
	return r
}

// PlainQuery says which tables to look for.
type PlainQuery struct {
	Query
	Schemas, Names []string // of the wanted tables, side by side; name * is all of a schema
	OID            uint32   // one table alone in place of those
}

// Look reads what the catalog says of the tables, by schema and name. Partitions
// are part of their table, and the tables of the views are none of these.
func (q PlainQuery) Look(ctx context.Context, conn *pgx.Conn) ([]*Plain, error) {
	rows, err := conn.Query(ctx, plainSQL(q.Version), q.Publication, q.Schema, q.Tables, q.Schemas, q.Names, q.OID)
	if err != nil {
		return nil, fmt.Errorf("read the catalog of further tables: %w", err)
	}
	var out []*Plain
	var text []byte
	_, err = pgx.ForEachRow(rows, []any{&text}, func() error {
		p := new(Plain)
		out = append(out, p)
		return json.Unmarshal(text, p)
	})
	if err != nil {
		return nil, fmt.Errorf("read the catalog of further tables: %w", err)
	}
	return out, nil
}

// plainSQL gives a row for each table. $1 publication, $2 schema of the tables of
// the views, $3 their names, $4 and $5 patterns, $6 a number.
func plainSQL(version int) string {
	schema, filter, plain, listed := "NULL", "''", "a.attgenerated = ''", "true"
	if version >= 150000 {
		schema = `(SELECT pg_catalog.concat_ws('.', 'schema', x.oid::pg_catalog.text) FROM pg_catalog.pg_publication_namespace x WHERE x.pnpubid = p.oid AND x.pnnspid = c.relnamespace)`
		filter = "COALESCE(pg_catalog.pg_get_expr(r.prqual, r.prrelid), '')"
		listed = "r.prattrs IS NULL OR a.attnum = ANY (r.prattrs)"
	}
	shown := "(" + listed + ") AND " + plain
	if version >= 180000 {
		shown = "CASE WHEN r.prattrs IS NULL THEN " + plain + " OR a.attgenerated = p.pubgencols ELSE a.attnum = ANY (r.prattrs) END"
	}
	index := func(which string) string {
		return `COALESCE((SELECT pg_catalog.jsonb_agg(ka.attname ORDER BY k.n) FROM pg_catalog.pg_index i
    CROSS JOIN LATERAL pg_catalog.unnest(i.indkey::pg_catalog.int2[]) WITH ORDINALITY AS k (attnum, n)
    JOIN pg_catalog.pg_attribute ka ON ka.attrelid = c.oid AND ka.attnum = k.attnum
    WHERE i.indrelid = c.oid AND k.n <= i.indnkeyatts AND i.indisvalid AND i.indimmediate AND i.` + which + `), '[]'::pg_catalog.jsonb)`
	}
	return `
SELECT pg_catalog.jsonb_build_object('oid', c.oid::pg_catalog.int8, 'schema', n.nspname, 'name', c.relname, 'kind', c.relkind::pg_catalog.text,
  'persist', c.relpersistence::pg_catalog.text, 'identity', c.relreplident::pg_catalog.text, 'rowsec', pg_catalog.row_security_active(c.oid),
  'place', COALESCE(CASE WHEN p.puballtables THEN 'all' END, r.oid::pg_catalog.text, ` + schema + `, 'none'),
  'viaroot', COALESCE(p.pubviaroot, false), 'filter', ` + filter + `, 'rows', c.reltuples::pg_catalog.int8, 'owned', pg_catalog.pg_has_role(c.relowner, 'USAGE') AND pg_catalog.pg_has_role(p.pubowner, 'USAGE'),
  'primary', ` + index("indisprimary") + `, 'index', ` + index("indisreplident") + `,
  'columns', COALESCE((SELECT pg_catalog.jsonb_agg(a.attname ORDER BY a.attnum) FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND (` + shown + `)), '[]'::pg_catalog.jsonb),
  'types', COALESCE((SELECT pg_catalog.jsonb_agg(a.atttypid::pg_catalog.int8 ORDER BY a.attnum) FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND (` + shown + `)), '[]'::pg_catalog.jsonb),
  'hidden', COALESCE((SELECT pg_catalog.jsonb_agg(a.attname ORDER BY a.attnum) FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND NOT (` + shown + `)), '[]'::pg_catalog.jsonb),
  'unread', COALESCE((SELECT pg_catalog.jsonb_agg(a.attname ORDER BY a.attnum) FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND (` + shown + `)
    AND NOT (pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT'))), '[]'::pg_catalog.jsonb),
  'size', (SELECT COALESCE(pg_catalog.sum((s.relpages::pg_catalog.int8 + COALESCE(o.relpages, 0)) * pg_catalog.current_setting('block_size')::pg_catalog.int8), 0)
    FROM (SELECT c.oid UNION SELECT t.relid FROM pg_catalog.pg_partition_tree(CASE WHEN c.relkind = 'p' THEN c.oid::pg_catalog.regclass END) t WHERE t.isleaf) AS x (oid)
    JOIN pg_catalog.pg_class s ON s.oid = x.oid AND s.relkind = 'r' LEFT JOIN pg_catalog.pg_class o ON o.oid = s.reltoastrelid),
  'leaves', COALESCE((SELECT pg_catalog.jsonb_agg(l.oid::pg_catalog.regclass::pg_catalog.text) FROM pg_catalog.pg_partition_tree(CASE WHEN c.relkind = 'p' THEN c.oid::pg_catalog.regclass END) t
    JOIN pg_catalog.pg_class l ON l.oid = t.relid WHERE t.isleaf AND (l.relkind <> 'r' OR l.relpersistence <> 'p')), '[]'::pg_catalog.jsonb))
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_publication p ON p.pubname = $1
LEFT JOIN pg_catalog.pg_publication_rel r ON r.prpubid = p.oid AND r.prrelid = c.oid
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
  AND NOT (n.nspname = $2 AND c.relname = ANY ($3::pg_catalog.text[]))
  AND ($6::pg_catalog.oid <> 0 AND c.oid = $6 OR $6::pg_catalog.oid = 0 AND EXISTS (SELECT FROM ROWS FROM (pg_catalog.unnest($4::pg_catalog.text[]), pg_catalog.unnest($5::pg_catalog.text[])) AS x (schema, name)
    WHERE n.nspname = x.schema AND (x.name = '*' OR c.relname = x.name)))
ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C"`
}
