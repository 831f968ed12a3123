package schema

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"carbond/replicate/internal/catalog"
	"carbond/replicate/internal/server"
	"carbond/replicate/pgerr"
	"carbond/store/change"
)

// tableInfo is what the catalog says of one of our tables.
type tableInfo struct {
	name       string
	kind       string // r table, p partitioned, ...
	persist    string // p permanent, u unlogged
	identity   string // d default, i index, f full, n nothing
	columns    []string
	types      []columnType // of columns
	generated  []string     // columns that Postgres computes
	keys       []string     // columns that UPDATE and DELETE will carry
	primary    []string     // columns of the primary key, whatever the identity is
	unique     [][]string   // columns of each index that makes rows unique, none of them NULL
	deferrable bool         // the primary key is
	selects    bool         // the role may read the whole table
	owned      bool         // the role may alter it
	readable   []string     // columns that it may read
	rowsec     bool         // policies hide rows from this role
	version    int          // of the server
	inheritors inheritors
}

// ReadTables reads what the catalog says of our tables, by name.
func ReadTables(ctx context.Context, conn *pgx.Conn, opt *server.Options) (map[string]*tableInfo, error) {
	rows, err := conn.Query(ctx, `
WITH RECURSIVE base AS (
  SELECT oid AS type, oid AS stands, typname, typtype, typbasetype FROM pg_type
  WHERE oid IN (SELECT a.atttypid FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = ANY ($2::text[]))
  UNION ALL SELECT base.type, t.oid, t.typname, t.typtype, t.typbasetype FROM base JOIN pg_type t ON t.oid = base.typbasetype WHERE base.typtype = 'd')
SELECT c.relname::text, c.relkind::text, c.relpersistence::text, c.relreplident::text,
       ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum),
       ARRAY(SELECT format_type(a.atttypid, a.atttypmod) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum),
       ARRAY(SELECT b.typname::text FROM pg_attribute a JOIN base b ON b.type = a.atttypid AND b.typtype <> 'd' WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum),
       ARRAY(SELECT y.typcategory::text FROM pg_attribute a JOIN pg_type y ON y.oid = a.atttypid WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum),
       ARRAY(SELECT NOT COALESCE(l.collisdeterministic, true) FROM pg_attribute a LEFT JOIN pg_collation l ON l.oid = a.attcollation WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum),
       ARRAY(SELECT a.attname::text FROM pg_index i JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey)
             WHERE i.indrelid = c.oid AND i.indisvalid AND i.indimmediate
               AND (c.relreplident = 'd' AND i.indisprimary OR c.relreplident = 'i' AND i.indisreplident) ORDER BY a.attnum),
       ARRAY(SELECT a.attname::text FROM pg_index i JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey)
             WHERE i.indrelid = c.oid AND i.indisprimary ORDER BY a.attnum),
       ARRAY(SELECT string_agg(a.attname, ' ' ORDER BY a.attname) FROM pg_index i JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey[0:i.indnkeyatts - 1])
             WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL GROUP BY i.indexrelid HAVING bool_and(a.attnotnull)),
       EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary AND NOT i.indimmediate),
       has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'),
       ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
             AND has_schema_privilege(n.oid, 'USAGE') AND has_column_privilege(c.oid, a.attnum, 'SELECT')),
       row_security_active(c.oid), current_setting('server_version_num')::int, pg_has_role(c.relowner, 'USAGE'),
       ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attgenerated <> '' AND NOT a.attisdropped)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname = ANY ($2::text[])`, opt.Schema, change.Tables())
	if err != nil {
		return nil, err
	}
	out := map[string]*tableInfo{}
	for rows.Next() {
		var t tableInfo
		var types, bases, categories, unique []string
		var folds []bool
		if err := rows.Scan(&t.name, &t.kind, &t.persist, &t.identity, &t.columns, &types, &bases, &categories, &folds, &t.keys, &t.primary, &unique, &t.deferrable, &t.selects, &t.readable, &t.rowsec, &t.version, &t.owned, &t.generated); err != nil {
			rows.Close()
			return nil, err
		}
		for i, name := range types {
			t.types = append(t.types, columnType{name, bases[i], categories[i], folds[i]})
		}
		for _, u := range unique {
			t.unique = append(t.unique, strings.Fields(u))
		}
		out[t.name] = &t
	}
	return out, rows.Err()
}

// checkTables looks at the tables of the views.
func checkTables(ctx context.Context, conn *pgx.Conn, opt *server.Options) ([]Finding, error) {
	tables, err := ReadTables(ctx, conn, opt)
	if err != nil {
		return nil, err
	}
	p, err := readPublication(ctx, conn, opt)
	if err != nil {
		return nil, err
	}
	var role string
	var version int
	if err := conn.QueryRow(ctx, "SELECT current_user::text, current_setting('server_version_num')::int").Scan(&role, &version); err != nil {
		return nil, err
	}
	if err := readInheritors(ctx, conn, opt, tables); err != nil {
		return nil, err
	}
	var out []Finding
	for _, name := range opt.Viewed() {
		full := opt.Schema + "." + name
		t := tables[name]
		if t == nil {
			out = append(out, repairable(pgerr.KindTables, false, "table "+full+" does not exist", "or run carbond migrate",
				append([]string{"CREATE SCHEMA IF NOT EXISTS " + server.Ident(opt.Schema), createSQL(opt, name)}, grants(opt.Schema, name, role, nil)...)...))
			out[len(out)-1].Warning = change.TableOf(name).Added
			continue
		}
		out = append(out, t.check(opt, role, p.columns[name])...)
	}
	parts, err := checkPartitions(ctx, conn, opt, version)
	return append(out, parts...), err
}

// checkPartitions looks whether the partitions of our tables bring their changes
// as the tables would.
func checkPartitions(ctx context.Context, conn *pgx.Conn, opt *server.Options, version int) ([]Finding, error) {
	m, err := catalog.Look(ctx, conn, catalog.Query{Publication: opt.Publication, Schema: opt.Schema, Tables: opt.Viewed(), Version: version})
	if err != nil {
		return nil, err
	}
	var out []Finding
	for _, name := range opt.Viewed() {
		t := m.Tables[name]
		if t == nil {
			continue
		}
		if text, sql := t.Unfit(); text != "" {
			out = append(out, repairable(pgerr.KindReplicaIdentity, false, text, "", sql))
		}
	}
	return out, nil
}

// grants let a role read a table, or only some columns of it.
func grants(schema, table, role string, columns []string) []string {
	what := "SELECT"
	if len(columns) > 0 {
		quoted := make([]string, len(columns))
		for i, c := range columns {
			quoted[i] = server.Ident(c)
		}
		what += " (" + strings.Join(quoted, ", ") + ")"
	}
	return []string{
		"GRANT USAGE ON SCHEMA " + server.Ident(schema) + " TO " + server.Ident(role),
		"GRANT " + what + " ON " + server.Ident(schema, table) + " TO " + server.Ident(role),
	}
}

// mayRead reports whether the role may read what the copy reads: the columns that
// the publication shows, where it says which.
func (t *tableInfo) mayRead(published []string) bool {
	if t.selects || len(published) == 0 {
		return t.selects
	}
	return !slices.ContainsFunc(published, func(c string) bool { return !slices.Contains(t.readable, c) })
}

// check returns the findings about one table: every fault, or one "fine".
// published are the columns that the publication shows, nil where it does not say.
func (t *tableInfo) check(opt *server.Options, role string, published []string) []Finding {
	full, quoted := opt.Schema+"."+t.name, server.Ident(opt.Schema, t.name)
	var out []Finding
	bad := func(kind pgerr.Kind, detail, advice string, sql ...string) {
		out = append(out, repairable(kind, false, detail, advice, sql...))
	}
	if t.kind != "r" && t.kind != "p" {
		out = append(out, NewFinding(pgerr.KindTables, false, full+" is not a table, so its changes are not replicated", "rename it and run carbond migrate"))
		return out
	}
	if t.persist != "p" {
		bad(pgerr.KindTables, "table "+full+" is unlogged, so its changes are not replicated", "", "ALTER TABLE "+quoted+" SET LOGGED")
	}
	key := change.KeyColumns(t.name)
	var later []string
	for _, c := range t.missing() {
		if change.TableOf(t.name).Column(c).Added {
			later = append(later, c)
			continue
		}
		f := repairable(pgerr.KindColumns, false, fmt.Sprintf("table %s has no column %s: the views show NULL in its place", full, c), "", addColumnsSQL(opt.Schema, t.name, c))
		f.Warning = !slices.Contains(key, c)
		out = append(out, f)
	}
	out = append(out, t.checkTypes(opt)...)
	out = append(out, t.checkGenerated(opt, published)...)
	out = append(out, t.inheritors.check(opt, t.name)...)
	out = append(out, t.checkKey(opt, key)...)
	if !t.mayRead(published) {
		listed := published
		if len(listed) == len(t.columns) {
			listed = nil // all of them
		}
		bad(pgerr.KindSelectRight, "the role may not read "+full+", which the first copy needs", "", grants(opt.Schema, t.name, role, listed)...)
	}
	if t.rowsec {
		bad(pgerr.KindRowSecurity, "row security hides rows of "+full+" from the role, so the first copy would lack them",
			"or ALTER TABLE "+quoted+" DISABLE ROW LEVEL SECURITY", "ALTER ROLE "+server.Ident(role)+" BYPASSRLS")
	}
	if len(out) == 0 {
		detail := "table " + full + " is fine"
		if later != nil {
			detail += ", and is of a time before column " + strings.Join(later, " and ") + ", which the views show as NULL"
		}
		out = append(out, NewFinding(pgerr.KindTables, true, detail, ""))
	}
	return out
}

// identityHolds reports whether old rows in the stream carry the key.
func (t *tableInfo) identityHolds(key []string) bool {
	if t.identity == "f" {
		return true
	}
	for _, k := range key {
		if !slices.Contains(t.keys, k) {
			return false
		}
	}
	return true
}

// keyed reports whether no two rows can have one key, and none lacks it.
func (t *tableInfo) keyed(key []string) bool {
	return slices.ContainsFunc(t.unique, func(columns []string) bool {
		return !slices.ContainsFunc(columns, func(c string) bool { return !slices.Contains(key, c) })
	})
}

// checkKey looks whether the stream tells which row a change is about.
func (t *tableInfo) checkKey(opt *server.Options, key []string) []Finding {
	full, columns := opt.Schema+"."+t.name, strings.Join(key, ", ")
	lacks := slices.ContainsFunc(key, func(k string) bool { return !slices.Contains(t.columns, k) })
	sql := t.identify(opt, key)
	switch {
	case !t.identityHolds(key):
		return []Finding{repairable(pgerr.KindReplicaIdentity, false, fmt.Sprintf("UPDATE and DELETE of %s would not carry its key (%s)", full, columns), "", sql...)}
	case lacks || t.keyed(key):
		return nil // a column that is missing has a finding of its own
	}
	detail := fmt.Sprintf("rows of %s can share a key (%s) or lack it: replication stops at the first that do", full, columns)
	f := repairable(pgerr.KindReplicaIdentity, false, detail, "", sql...)
	if t.kind == "p" {
		f = NewFinding(pgerr.KindReplicaIdentity, false, detail, "a unique index of a partitioned table has its partition key, so make sure of it where the rows are written")
	}
	f.Warning = true
	return []Finding{f}
}

// identify returns what makes the key one, and old rows carry it. A replica
// identity of the whole row is no remedy: two rows of one key would stay two.
func (t *tableInfo) identify(opt *server.Options, key []string) (sql []string) {
	quoted, columns := server.Ident(opt.Schema, t.name), strings.Join(key, ", ")
	if len(t.primary) == 0 {
		sql = append(sql, "ALTER TABLE "+quoted+" ADD PRIMARY KEY ("+columns+")")
	} else if !t.keyed(key) {
		for _, k := range key {
			sql = append(sql, "ALTER TABLE "+quoted+" ALTER COLUMN "+k+" SET NOT NULL")
		}
		index := "carbond_" + t.name + "_key"
		return append(sql, "CREATE UNIQUE INDEX "+server.Ident(index)+" ON "+quoted+" ("+columns+")", "ALTER TABLE "+quoted+" REPLICA IDENTITY USING INDEX "+server.Ident(index))
	}
	primary := t.primary
	if len(primary) == 0 {
		primary = key
	}
	identity := "DEFAULT"
	if slices.ContainsFunc(key, func(k string) bool { return !slices.Contains(primary, k) }) || t.deferrable && len(t.primary) > 0 {
		identity = "FULL"
	}
	if t.identity == "f" || t.identity == "d" && identity == "DEFAULT" {
		return sql
	}
	return append(sql, "ALTER TABLE "+quoted+" REPLICA IDENTITY "+identity)
}

// publicationInfo is what the catalog says of our publication.
type publicationInfo struct {
	exists  bool
	all     bool // FOR ALL TABLES
	viaRoot bool
	ops     map[string]bool
	tables  map[string]bool     // ours that it publishes
	columns map[string][]string // column list, absent before Postgres 15
	filters map[string]string
}

func readPublication(ctx context.Context, conn *pgx.Conn, opt *server.Options) (publicationInfo, error) {
	p := publicationInfo{ops: map[string]bool{}, tables: map[string]bool{}, columns: map[string][]string{}, filters: map[string]string{}}
	var ins, upd, del, trunc bool
	rows, err := conn.Query(ctx, `SELECT puballtables, pubviaroot, pubinsert, pubupdate, pubdelete, pubtruncate FROM pg_publication WHERE pubname = $1`, opt.Publication)
	if err != nil {
		return p, err
	}
	_, err = pgx.ForEachRow(rows, []any{&p.all, &p.viaRoot, &ins, &upd, &del, &trunc}, func() error {
		p.exists = true
		p.ops = map[string]bool{"insert": ins, "update": upd, "delete": del, "truncate": trunc}
		return nil
	})
	if err != nil || !p.exists {
		return p, err
	}
	// Through jsonb, because the columns of the view differ between versions.
	rows, err = conn.Query(ctx, `
SELECT j->>'tablename', ARRAY(SELECT jsonb_array_elements_text(CASE WHEN jsonb_typeof(j->'attnames') = 'array' THEN j->'attnames' ELSE '[]' END)), COALESCE(j->>'rowfilter', '')
FROM (SELECT to_jsonb(t) AS j FROM pg_publication_tables t WHERE t.pubname = $1 AND t.schemaname = $2 AND t.tablename = ANY ($3::text[])) x`,
		opt.Publication, opt.Schema, opt.Viewed())
	if err != nil {
		return p, err
	}
	var name, filter string
	var columns []string
	_, err = pgx.ForEachRow(rows, []any{&name, &columns, &filter}, func() error {
		p.tables[name] = true
		p.columns[name] = slices.Clone(columns)
		p.filters[name] = filter
		return nil
	})
	return p, err
}

// checkPublication looks at the publication and what it holds of our tables.
func checkPublication(ctx context.Context, conn *pgx.Conn, opt *server.Options) ([]Finding, error) {
	p, err := readPublication(ctx, conn, opt)
	if err != nil {
		return nil, err
	}
	if !p.exists {
		return []Finding{repairable(pgerr.KindPublication, false, fmt.Sprintf("publication %q does not exist", opt.Publication), "or run carbond migrate", publicationSQL(opt))}, nil
	}
	var out []Finding
	var lacks []string
	for _, op := range []string{"insert", "update", "delete", "truncate"} {
		if !p.ops[op] {
			lacks = append(lacks, op)
		}
	}
	if lacks != nil {
		out = append(out, repairable(pgerr.KindPublicationOps, false, fmt.Sprintf("publication %q leaves out %s", opt.Publication, strings.Join(lacks, ", ")), "", opsSQL(opt)))
	}
	tables, err := ReadTables(ctx, conn, opt)
	if err != nil {
		return nil, err
	}
	for _, name := range opt.Viewed() {
		full := opt.Schema + "." + name
		switch t := tables[name]; {
		case !p.tables[name] && t != nil && t.kind == "p" && !p.viaRoot:
			out = append(out, repairable(pgerr.KindPublicationTables, false, fmt.Sprintf("table %s is partitioned, but publication %q shows its partitions only", full, opt.Publication), "",
				fmt.Sprintf("ALTER PUBLICATION %s SET (publish_via_partition_root = true)", server.Ident(opt.Publication))))
		case !p.tables[name] && t == nil && change.TableOf(name).Added: // that it is not there is said once
		case !p.tables[name]:
			out = append(out, repairable(pgerr.KindPublicationTables, false, fmt.Sprintf("table %s is not in publication %q", full, opt.Publication), "", AddTable(opt, name)))
			out[len(out)-1].Table, out[len(out)-1].Warning = name, change.TableOf(name).Added // that is copied once it is there
		case p.filters[name] != "":
			out = append(out, repairable(pgerr.KindPublicationTables, false, fmt.Sprintf("publication %q filters rows of %s", opt.Publication, full), "",
				dropTable(opt, name), AddTable(opt, name)))
		case len(p.columns[name]) > 0 && t != nil:
			have := slices.DeleteFunc(slices.Clone(t.columns), func(c string) bool { return slices.Contains(t.generated, c) })
			out = append(out, listedColumns(opt, name, have, p.columns[name])...)
		}
	}
	if len(out) == 0 {
		out = append(out, NewFinding(pgerr.KindPublication, true, fmt.Sprintf("publication %q is fine", opt.Publication), ""))
	}
	return out, nil
}

// listedColumns warns of view columns that exist but are not published.
func listedColumns(opt *server.Options, table string, have, published []string) []Finding {
	var out []Finding
	for _, c := range change.TableOf(table).Columns {
		// A list of before a column came says nothing of it.
		if !c.Added && slices.Contains(have, c.Name) && !slices.Contains(published, c.Name) {
			f := repairable(pgerr.KindPublicationTables, false, fmt.Sprintf("publication %q leaves out column %s of %s.%s: the views show NULL in its place", opt.Publication, c.Name, opt.Schema, table), "",
				dropTable(opt, table), AddTable(opt, table))
			f.Warning = !c.Key
			out = append(out, f)
		}
	}
	return out
}

// MissingColumns lists the columns of our tables that rel lacks.
func MissingColumns(rel *change.Relation) []string {
	table := change.TableOf(rel.Name)
	if table == nil {
		return nil
	}
	var out []string
	for _, c := range table.Columns {
		if rel.Index(c.Name) < 0 && !c.Serial { // a number for people: nothing reads it
			out = append(out, c.Name)
		}
	}
	return out
}

func dropTable(o *server.Options, table string) string {
	return "ALTER PUBLICATION " + server.Ident(o.Publication) + " DROP TABLE " + server.Ident(o.Schema, table)
}

// AddTable returns the statement that publishes one of our tables.
func AddTable(o *server.Options, table string) string {
	return "ALTER PUBLICATION " + server.Ident(o.Publication) + " ADD TABLE ONLY " + server.Ident(o.Schema, table)
}
