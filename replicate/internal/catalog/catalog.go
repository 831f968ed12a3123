// Package catalog reads what the server's catalog says of our tables and of
// their way into the stream, and compares two looks at it.
//
// The stream does not tell when a table leaves the publication and comes back,
// when another table takes its name, when ALTER TABLE rewrites its rows, or when
// a partition goes: what happened meanwhile is just not there. But the catalog
// gives no number twice, and each of these leaves other numbers behind.
//
// Invariants
//
//  1. A table is its number (OID), never its name: it keeps the number under
//     another name, and another table of the name has another one.
//  2. Marks hold what the catalog said at or before LSN, never anything later.
//  3. Comparing is pure.
package catalog

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"carbond/store/change"
)

// Marks are one look at the catalog.
type Marks struct {
	Copy        string            `json:"copy,omitempty"` // the copy for whose rows they hold, when kept
	LSN         change.LSN        `json:"lsn"`            // end of the WAL at the look, or a little later
	Publication Publication       `json:"publication"`
	Tables      map[string]*Table `json:"tables"` // by the name that we give them; without those that are gone
}

// Publication is what a look says of the publication.
type Publication struct {
	OID     uint32 `json:"oid"`
	Content string `json:"content"` // checksum of all that is said of it but who owns it
	// XMin is the transaction that last wrote the publication's row.
	XMin string `json:"xmin"`
	// Updates counts how often rows of publications were written since the
	// server's statistics began.
	Updates int64 `json:"updates"`
	// Earlier is the same at the look before, whose row was the same: the count of
	// a write can be seen before the write is.
	Earlier int64 `json:"earlier"`
}

// Table is what a look says of one of our tables.
type Table struct {
	OID     uint32            `json:"oid"`
	Called  string            `json:"called"`           // its present name, with schema
	Holder  uint32            `json:"holder,omitempty"` // the table that bears our name for it, 0 for none
	Place   string            `json:"place"`            // its place in the publication
	Columns []Column          `json:"columns"`          // all, also those that were dropped
	Parts   []Part            `json:"parts"`            // the table itself and, when it is partitioned, all below it
	Labels  map[string]string `json:"labels,omitempty"` // of the enumerations that its columns use, by number
	sum     string            // of the view's columns, in marks of a text
}

// Column is a column of a table, dropped or not.
type Column struct {
	Number  uint16 `json:"num"`
	Name    string `json:"name"`
	Type    uint32 `json:"type"`
	Mod     int32  `json:"mod"`
	Dropped bool   `json:"dropped,omitempty"`
	// Generated is how it is generated, "" for a column that holds what was written.
	Generated string  `json:"gen,omitempty"`
	Published bool    `json:"pub"`               // rows of the stream have it
	XMin      string  `json:"xmin"`              // the transaction that last altered or dropped it
	Missing   *string `json:"missing,omitempty"` // what older rows have in it
}

// Part is a table of its own for Postgres: it holds rows, or partitions that do.
type Part struct {
	OID    uint32 `json:"oid"`
	Name   string `json:"name"`
	Parent uint32 `json:"parent,omitempty"`
	Leaf   bool   `json:"leaf"` // it holds rows
	File   uint32 `json:"file"` // its file node: its number at first, another one after TRUNCATE, VACUUM FULL, CLUSTER and a rewrite
	XMin   string `json:"xmin"` // the transaction that last wrote its row, which names the file
	// Toast is the number of its TOAST table, 0 for none. ALTER TABLE makes
	// another one when it rewrites rows; nothing else does.
	Toast uint32 `json:"toast"`
	// Altered are the transactions that last altered its columns.
	Altered string `json:"altered"`
	Joined  string `json:"joined,omitempty"` // the transaction that made it a partition
	// Born says that it was created as a partition, not attached.
	Born bool `json:"born,omitempty"`
	// Filled says that it had pages, for a part that the look did not know.
	Filled bool `json:"filled,omitempty"`
	// Uncounted says that nobody has counted its rows since it was created or
	// truncated.
	Uncounted bool   `json:"uncounted,omitempty"`
	Counted   string `json:"counted,omitempty"` // when VACUUM and ANALYZE last did
	// Recent says that they did so a moment ago: ANALYZE shows before the
	// transaction that it is part of.
	Recent    bool `json:"recent,omitempty"`
	Permanent bool `json:"permanent"` // its changes are in the WAL
	Keyed     bool `json:"keyed"`     // its old rows carry the key
}

// Query says what to look at.
type Query struct {
	Publication string
	Schema      string
	Tables      []string // of the views, in Schema
	Version     int      // of the server
	Known       *Marks   // an earlier look, nil for none: tables are found by its numbers, and parts that it lacks are measured
}

// Look reads the catalog through the snapshot of conn's transaction. It locks no
// table.
func Look(ctx context.Context, conn *pgx.Conn, q Query) (*Marks, error) {
	var names, keys []string
	var known, parts []uint32
	for _, t := range q.Tables {
		names, keys = append(names, t), append(keys, strings.Join(change.KeyColumns(t), ","))
		var oid uint32
		if k := q.Known.table(t); k != nil {
			oid = k.OID
			parts = append(parts, oid) // not nil: sizes are asked for
			for _, p := range k.Parts {
				parts = append(parts, p.OID)
			}
		}
		known = append(known, oid)
	}
	m := &Marks{Tables: map[string]*Table{}}
	var pub []byte
	rows, err := conn.Query(ctx, tablesSQL(q.Version), q.Publication, q.Schema, names, known, keys, parts)
	if err != nil {
		return nil, fmt.Errorf("read the catalog: %w", err)
	}
	var name, lsn string
	var text []byte
	_, err = pgx.ForEachRow(rows, []any{&name, &text, &pub, &lsn}, func() error {
		var t Table
		if err := json.Unmarshal(text, &t); err != nil {
			return err
		}
		if t.OID != 0 {
			m.Tables[name] = &t
		}
		return nil
	})
	if err == nil && pub != nil {
		err = json.Unmarshal(pub, &m.Publication)
	}
	if err == nil {
		m.LSN, err = change.ParseLSN(lsn)
	}
	m.Publication.Earlier = m.Publication.Updates
	if q.Known != nil && q.Known.Publication.XMin == m.Publication.XMin {
		m.Publication.Earlier = q.Known.Publication.Updates
	}
	if err != nil {
		return nil, fmt.Errorf("read the catalog: %w", err)
	}
	return m, nil
}

// Columns reads the columns of one table.
func Columns(ctx context.Context, conn *pgx.Conn, q Query, oid uint32) ([]Column, error) {
	var text []byte
	err := conn.QueryRow(ctx, "SELECT "+columnsSQL(q.Version)+" FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_publication p ON p.pubname = $1 WHERE c.oid = $2", q.Publication, oid).Scan(&text)
	if err != nil {
		return nil, fmt.Errorf("read the columns: %w", err)
	}
	var out []Column
	if err := json.Unmarshal(text, &out); err != nil {
		return nil, fmt.Errorf("read the columns: %w", err)
	}
	return out, nil
}

func (m *Marks) table(name string) *Table {
	if m == nil {
		return nil
	}
	return m.Tables[name]
}

// Name returns the name that we give to the table of a number, "" when it is
// none of ours.
func (m *Marks) Name(oid uint32) string {
	if m == nil {
		return ""
	}
	for name, t := range m.Tables {
		if t.OID == oid {
			return name
		}
	}
	return ""
}

// columnsSQL is all columns of the table c as the publication p shows them.
func columnsSQL(version int) string {
	plain := "a.attgenerated = ''"
	listed := "r.prattrs IS NULL OR a.attnum = ANY (r.prattrs)"
	switch {
	case version < 150000: // no lists of columns
		listed = "true"
	case version >= 180000: // a list, or the publication, may have generated columns
		listed = "CASE WHEN r.prattrs IS NULL THEN " + plain + " OR a.attgenerated = p.pubgencols ELSE a.attnum = ANY (r.prattrs) END"
		plain += " OR a.attgenerated = p.pubgencols"
	}
	if version < 180000 {
		listed = "(" + listed + ") AND " + plain
	}
	listed = "COALESCE((SELECT " + listed + " FROM pg_catalog.pg_publication_rel r WHERE r.prpubid = p.oid AND r.prrelid = c.oid), " + plain + ")"
	return `(SELECT COALESCE(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
  'num', a.attnum, 'name', a.attname, 'type', a.atttypid::pg_catalog.int8, 'mod', a.atttypmod, 'dropped', a.attisdropped,
  'gen', a.attgenerated::pg_catalog.text, 'xmin', a.xmin::pg_catalog.text, 'pub', ` + listed + `,
  'missing', CASE WHEN a.atthasmissing THEN (a.attmissingval::pg_catalog.text::pg_catalog.text[])[1] END) ORDER BY a.attnum), '[]'::pg_catalog.jsonb)
 FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0)`
}

// tablesSQL gives a row for each of our tables: its name, what is known of it,
// the publication and the end of the WAL. $1 publication, $2 schema, $3 names, $4
// numbers (0 unknown), $5 keys, $6 numbers of known parts.
func tablesSQL(version int) string {
	schema := "NULL"
	if version >= 150000 { // 14 has no schemas in publications
		// A table that leaves a published schema and comes back is not published
		// meanwhile. It depends on its schema by a row that is written again then.
		schema = `(SELECT pg_catalog.concat_ws('.', 'schema', x.oid::pg_catalog.text, (SELECT d.xmin::pg_catalog.text FROM pg_catalog.pg_depend d
          WHERE d.classid = 1259 AND d.objid = c.oid AND d.objsubid = 0 AND d.refclassid = 2615 AND d.deptype = 'n' LIMIT 1))
         FROM pg_catalog.pg_publication_namespace x WHERE x.pnpubid = p.oid AND x.pnnspid = c.relnamespace)`
	}
	return `
SELECT t.name, pg_catalog.jsonb_build_object('oid', COALESCE(c.oid, 0)::pg_catalog.int8, 'called', pg_catalog.concat(cn.nspname, '.', c.relname),
  'holder', COALESCE(h.oid, 0)::pg_catalog.int8,
  'place', CASE WHEN p.puballtables THEN 'all' ELSE COALESCE((SELECT r.oid::pg_catalog.text FROM pg_catalog.pg_publication_rel r WHERE r.prpubid = p.oid AND r.prrelid = c.oid), ` + schema + `, 'none') END,
  'columns', ` + columnsSQL(version) + `,
  'parts', ` + partsSQL + `,
  'labels', (WITH RECURSIVE y (oid) AS (SELECT a.atttypid FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
      UNION SELECT b.x FROM y JOIN pg_catalog.pg_type ty ON ty.oid = y.oid CROSS JOIN LATERAL (VALUES (ty.typbasetype), (ty.typelem)) AS b (x) WHERE b.x <> 0)
    SELECT pg_catalog.jsonb_object_agg(e.oid::pg_catalog.text, e.enumlabel) FROM pg_catalog.pg_enum e WHERE e.enumtypid IN (SELECT y.oid FROM y))),
  CASE WHEN p.oid IS NOT NULL THEN pg_catalog.jsonb_build_object('oid', p.oid::pg_catalog.int8, 'xmin', p.xmin::pg_catalog.text,
    'content', pg_catalog.md5((pg_catalog.to_jsonb(p) OPERATOR(pg_catalog.-) '{oid,pubowner}'::pg_catalog.text[])::pg_catalog.text),
    'updates', pg_catalog.pg_stat_get_tuples_updated(6104)) END,
  pg_catalog.pg_current_wal_insert_lsn()::pg_catalog.text
FROM ROWS FROM (pg_catalog.unnest($3::pg_catalog.text[]), pg_catalog.unnest($4::pg_catalog.oid[]), pg_catalog.unnest($5::pg_catalog.text[])) AS t (name, known, keys)
LEFT JOIN pg_catalog.pg_publication p ON p.pubname = $1
LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = $2
LEFT JOIN pg_catalog.pg_class h ON h.relnamespace = n.oid AND h.relname = t.name AND h.relkind <> 'i' AND h.relkind <> 'I'
LEFT JOIN pg_catalog.pg_class c ON c.oid = COALESCE((SELECT k.oid FROM pg_catalog.pg_class k WHERE k.oid = t.known), h.oid)
LEFT JOIN pg_catalog.pg_namespace cn ON cn.oid = c.relnamespace`
}

// partsSQL is the table c and all below it. Inheritance is followed in the
// catalog: the functions for it would wait for locks. The size, which does wait,
// is asked of new leaves only. A partition that was created as one has its
// columns as they were written with the system's; ATTACH writes them again.
const partsSQL = `(WITH RECURSIVE m (oid, parent, joined) AS (SELECT c.oid, 0::pg_catalog.oid, ''
      UNION ALL SELECT i.inhrelid, i.inhparent, i.xmin::pg_catalog.text FROM m JOIN pg_catalog.pg_inherits i ON i.inhparent = m.oid WHERE c.relkind = 'p')
    SELECT COALESCE(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('oid', k.oid::pg_catalog.int8, 'name', pg_catalog.concat(kn.nspname, '.', k.relname),
      'parent', m.parent::pg_catalog.int8, 'leaf', k.relkind <> 'p', 'file', k.relfilenode::pg_catalog.int8, 'xmin', k.xmin::pg_catalog.text, 'toast', k.reltoastrelid::pg_catalog.int8, 'joined', m.joined,
      'altered', (SELECT pg_catalog.md5(pg_catalog.string_agg(a.xmin::pg_catalog.text, ',' ORDER BY a.attnum)) FROM pg_catalog.pg_attribute a WHERE a.attrelid = k.oid AND a.attnum > 0),
      'born', NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_attribute s ON s.attrelid = a.attrelid AND s.attnum = -1
        WHERE a.attrelid = k.oid AND a.attnum > 0 AND (a.xmin::pg_catalog.text <> s.xmin::pg_catalog.text OR a.cmin::pg_catalog.text <> s.cmin::pg_catalog.text)),
      'filled', k.relkind = 'r' AND m.parent <> 0 AND NOT k.oid = ANY ($6::pg_catalog.oid[]) AND pg_catalog.pg_relation_size(k.oid) > 0,
      'uncounted', k.reltuples < 0,
      'counted', CASE WHEN m.parent <> 0 THEN s.counted::pg_catalog.text END, 'recent', COALESCE(m.parent <> 0 AND s.counted > pg_catalog.clock_timestamp() - '10 min'::pg_catalog.interval, false),
      'permanent', k.relkind IN ('r', 'p') AND k.relpersistence = 'p',
      'keyed', k.relreplident = 'f' OR COALESCE((SELECT pg_catalog.string_to_array(t.keys, ',') OPERATOR(pg_catalog.<@) pg_catalog.array_agg(a.attname::pg_catalog.text)
        FROM pg_catalog.pg_index i JOIN pg_catalog.pg_attribute a ON a.attrelid = k.oid AND a.attnum = ANY (i.indkey::pg_catalog.int2[])
        WHERE i.indrelid = k.oid AND i.indisvalid AND i.indimmediate AND (k.relreplident = 'd' AND i.indisprimary OR k.relreplident = 'i' AND i.indisreplident)), false)
    ) ORDER BY k.oid), '[]'::pg_catalog.jsonb)
    FROM m JOIN pg_catalog.pg_class k ON k.oid = m.oid
    CROSS JOIN LATERAL (SELECT GREATEST(pg_catalog.pg_stat_get_last_vacuum_time(k.oid), pg_catalog.pg_stat_get_last_autovacuum_time(k.oid),
      pg_catalog.pg_stat_get_last_analyze_time(k.oid), pg_catalog.pg_stat_get_last_autoanalyze_time(k.oid)) AS counted) AS s JOIN pg_catalog.pg_namespace kn ON kn.oid = k.relnamespace)`

// Visible returns the columns that rows of the stream have, in their order.
func Visible(all []Column) []Column {
	return slices.DeleteFunc(slices.Clone(all), func(c Column) bool { return c.Dropped || !c.Published })
}
