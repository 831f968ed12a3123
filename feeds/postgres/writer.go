package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"carbond/feeds/internal/poll"
	"carbond/store/change"
)

// writeTimeout bounds one transaction, so that a Postgres that hangs does not
// hold a source for ever.
const writeTimeout = 2 * time.Minute

// pruneBatch is how many rows one prune transaction deletes.
const pruneBatch = 10_000

// Writer writes to a Postgres whose tables have the shape of
// change.Standard; other columns may exist and are left alone, and columns that
// came later than their tables may be missing.
//
// Rows that are already as wanted are filtered out by a join before the INSERT
// or UPDATE sees them: an ON CONFLICT DO UPDATE with a false condition would
// still lock each row, and row locks are written to the WAL.
type Writer struct {
	pool Pool
}

// Pool runs SQL; *pgxpool.Pool is one.
type Pool interface {
	BeginTx(context.Context, pgx.TxOptions) (pgx.Tx, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

// New returns a Writer over pool, which stays the caller's.
func New(pool Pool) *Writer { return &Writer{pool: pool} }

// Write implements feeds.Writer. Rows are written in key order, so that two writers
// never wait for each other in a circle.
func (w *Writer) Write(ctx context.Context, edits []change.Edit) (change.Written, error) {
	var total change.Written
	err := w.inTx(ctx, pgx.TxOptions{}, edits, func(ctx context.Context, tx pgx.Tx, _ change.Edit, s *editSQL) error {
		n, err := apply(ctx, tx, s)
		total = total.Add(n)
		return err
	})
	if err != nil {
		return change.Written{}, err
	}
	return total, nil
}

// Preview implements feeds.Writer, in a read-only transaction.
func (w *Writer) Preview(ctx context.Context, edits []change.Edit) (left []change.Edit, total change.Written, err error) {
	err = w.inTx(ctx, pgx.TxOptions{AccessMode: pgx.ReadOnly}, edits, func(ctx context.Context, tx pgx.Tx, e change.Edit, s *editSQL) error {
		n, err := preview(ctx, tx, s, &e)
		if total = total.Add(n); len(e.Rows)+len(e.Delete) > 0 {
			left = append(left, e)
		}
		return err
	})
	if err != nil {
		return nil, change.Written{}, err
	}
	return left, total, nil
}

func (w *Writer) inTx(ctx context.Context, opts pgx.TxOptions, edits []change.Edit, do func(context.Context, pgx.Tx, change.Edit, *editSQL) error) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	return pgx.BeginTxFunc(ctx, w.pool, opts, func(tx pgx.Tx) error {
		for _, e := range edits {
			if len(e.Rows)+len(e.Delete) == 0 {
				continue
			}
			types, err := columnTypes(ctx, tx, e.Table)
			if err != nil {
				return err
			}
			e = fitting(e, types)
			s, err := newEditSQL(e, types)
			if err != nil {
				return err
			}
			if err := do(ctx, tx, e, s); err != nil {
				return fmt.Errorf("write table %s: %w", e.Table, plainPG(err))
			}
		}
		return nil
	})
}

// plainPG drops the detail of a Postgres error, which quotes row values.
func plainPG(err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return fmt.Errorf("%s (SQLSTATE %s)", pg.Message, pg.Code)
	}
	return err
}

// columnTypes returns the types of a table's columns as casts may name them, so
// that a user's table with numeric or varchar columns works as well.
func columnTypes(ctx context.Context, tx pgx.Tx, table string) (map[string]string, error) {
	if change.KeyColumns(table) == nil {
		return nil, fmt.Errorf("write table %q: carbond keeps no such table", table)
	}
	rows, err := tx.Query(ctx, `SELECT attname, format_type(atttypid, atttypmod) FROM pg_catalog.pg_attribute
		WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped`, "public."+table)
	if err != nil {
		return nil, fmt.Errorf("read columns of table %s: %w", table, err)
	}
	types := map[string]string{}
	var name, typ string
	if _, err := pgx.ForEachRow(rows, []any{&name, &typ}, func() error { types[name] = typ; return nil }); err != nil {
		return nil, fmt.Errorf("read columns of table %s: %w", table, err)
	}
	if fits, err := fits(ctx, tx, table); err != nil || !fits {
		return nil, cmp.Or(err, fmt.Errorf("table public.%s: %w: carbond doctor says more", table, poll.ErrNoTable))
	}
	if len(types) == 0 {
		return nil, fmt.Errorf("table public.%s does not exist: run carbond migrate", table)
	}
	return types, nil
}

// querier is a Pool or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// fits reports whether a table is one to write to. One that came later may not be there,
// and one of its name may be somebody else's: it has to be as the migrations make it.
func fits(ctx context.Context, q querier, table string) (ok bool, err error) {
	t := change.TableOf(table)
	if !t.Added {
		return true, nil
	}
	var names []string
	var types []uint32
	for _, c := range t.Columns {
		names, types = append(names, c.Name), append(types, c.Type)
	}
	rows, err := q.Query(ctx, `
SELECT has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT') AND has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE')
   AND (SELECT count(*) FROM unnest($2::text[], $3::oid[]) AS w (name, type) JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attname = w.name AND a.atttypid = w.type AND NOT a.attisdropped AND a.attgenerated = '') = cardinality($2::text[])
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attnotnull AND NOT a.atthasdef AND a.attidentity = '' AND a.attname <> ALL ($2::text[]))
   AND EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisprimary AND i.indimmediate AND i.indnkeyatts = cardinality($4::text[])
     AND ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum = ANY (i.indkey)) @> $4::text[])
FROM pg_catalog.pg_class c WHERE c.oid = to_regclass($1)`, "public."+table, names, types, change.KeyColumns(table))
	if err == nil {
		_, err = pgx.ForEachRow(rows, []any{&ok}, func() error { return nil })
	}
	if err != nil {
		return false, fmt.Errorf("look at table %s: %w", table, err)
	}
	return ok, nil
}

// fitting returns the edit without the columns that came later than a table and
// that it lacks: whoever reads them finds NULL.
func fitting(e change.Edit, types map[string]string) change.Edit {
	lacks := func(c string) bool {
		col := change.TableOf(e.Table).Column(c)
		return col != nil && col.Added && types[c] == ""
	}
	if !slices.ContainsFunc(e.Columns, lacks) {
		return e
	}
	var keep []int
	columns := e.Columns
	e.Columns = nil
	for i, c := range columns {
		if !lacks(c) {
			keep, e.Columns = append(keep, i), append(e.Columns, c)
		}
	}
	rows := make([]change.Row, len(e.Rows))
	var b change.RowBuilder
	for i, r := range e.Rows {
		b.Reset(len(keep))
		for _, at := range keep {
			b.Value(r.Value(at))
		}
		rows[i] = b.Row()
	}
	e.Rows = rows
	return e
}

// editSQL is one Edit made ready for statements.
type editSQL struct {
	table   string
	keys    []string
	values  []string // columns beside the keys
	types   map[string]string
	stamp   string
	merge   change.Merge
	rows    []change.Row // as given, each key once
	columns [][]*string  // column-wise parameters of rows: keys, then values
	dead    []change.Row // keys to delete
	gone    [][]*string  // column-wise parameters of dead
}

func newEditSQL(e change.Edit, types map[string]string) (*editSQL, error) {
	s := &editSQL{table: pgx.Identifier{"public", e.Table}.Sanitize(), keys: change.KeyColumns(e.Table), types: types, stamp: e.Stamp, merge: e.Merge}
	for _, c := range e.Columns {
		if !slices.Contains(s.keys, c) {
			s.values = append(s.values, c)
		}
	}
	order := slices.Concat(s.keys, s.values)
	at := make([]int, len(order))
	for i, c := range order {
		if types[c] == "" {
			return nil, fmt.Errorf("table public.%s has no column %s: run carbond migrate", e.Table, c)
		}
		if at[i] = slices.Index(e.Columns, c); at[i] < 0 && len(e.Rows) > 0 {
			return nil, fmt.Errorf("edit of table %s lacks its key column %s", e.Table, c)
		}
	}
	if e.Stamp != "" && types[e.Stamp] == "" {
		return nil, fmt.Errorf("table public.%s has no column %s: run carbond migrate", e.Table, e.Stamp)
	}
	rows := unique(e.Rows, at[:len(s.keys)])
	s.rows, s.columns = rows, transpose(rows, at)
	keyAt := make([]int, len(s.keys))
	for i := range keyAt {
		keyAt[i] = i
	}
	dead := unique(e.Delete, keyAt)
	s.dead, s.gone = dead, transpose(dead, keyAt)
	return s, nil
}

// unique keeps the last row of each key, in key order.
func unique(rows []change.Row, at []int) []change.Row {
	key := func(r change.Row) string {
		var b strings.Builder
		for _, i := range at {
			b.WriteString(r.Value(i).Text)
			b.WriteByte(0)
		}
		return b.String()
	}
	last := make(map[string]change.Row, len(rows))
	for _, r := range rows {
		last[key(r)] = r
	}
	out := make([]string, 0, len(last))
	for k := range last {
		out = append(out, k)
	}
	slices.SortFunc(out, cmp.Compare)
	sorted := make([]change.Row, len(out))
	for i, k := range out {
		sorted[i] = last[k]
	}
	return sorted
}

// transpose turns rows into one array of texts per column.
func transpose(rows []change.Row, at []int) [][]*string {
	cols := make([][]*string, len(at))
	for i := range cols {
		cols[i] = make([]*string, len(rows))
	}
	for n, r := range rows {
		for i, c := range at {
			if v := r.Value(c); v.Kind == change.Text {
				cols[i][n] = &v.Text
			}
		}
	}
	return cols
}

func args(cols [][]*string) []any {
	out := make([]any, len(cols))
	for i := range cols {
		out[i] = cols[i]
	}
	return out
}

// input is the common table expression with the wanted rows, typed as the
// table's columns are, each with its number n.
func (s *editSQL) input(columns []string) string {
	casts, params, names := []string{"x.n"}, []string(nil), []string(nil)
	for i, c := range columns {
		casts = append(casts, fmt.Sprintf("x.c%d::%s AS %s", i, s.types[c], quote(c)))
		params = append(params, fmt.Sprintf("$%d::text[]", i+1))
		names = append(names, fmt.Sprintf("c%d", i))
	}
	return fmt.Sprintf("WITH i AS MATERIALIZED (SELECT %s FROM unnest(%s) WITH ORDINALITY AS x(%s, n))",
		strings.Join(casts, ", "), strings.Join(params, ", "), strings.Join(names, ", "))
}

func (s *editSQL) order() []string { return slices.Concat(s.keys, s.values) }

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }

// list joins columns, each after a prefix such as "t.".
func list(prefix string, columns []string) string {
	out := make([]string, len(columns))
	for i, c := range columns {
		out[i] = prefix + quote(c)
	}
	return strings.Join(out, ", ")
}

// match compares the keys of t and i.
func (s *editSQL) match() string {
	out := make([]string, len(s.keys))
	for i, k := range s.keys {
		out[i] = "t." + quote(k) + " = i." + quote(k)
	}
	return strings.Join(out, " AND ")
}

func (s *editSQL) differs() string {
	if len(s.values) == 0 {
		return "false"
	}
	given := make([]string, len(s.values))
	for i, c := range s.values {
		given[i] = s.merged("i.", c)
	}
	return fmt.Sprintf("ROW(%s) IS DISTINCT FROM ROW(%s)", list("t.", s.values), strings.Join(given, ", "))
}

// merged is the value that a column of a stored row t gets from another row.
func (s *editSQL) merged(from, column string) string {
	stored, given := "t."+quote(column), from+quote(column)
	switch s.merge {
	case change.Known:
		return "COALESCE(" + given + ", " + stored + ")"
	case change.Missing:
		return "COALESCE(" + stored + ", " + given + ")"
	}
	return given
}

// sets is the SET list that takes values from another row.
func (s *editSQL) sets(from string) string {
	var out []string
	for _, c := range s.values {
		out = append(out, quote(c)+" = "+s.merged(from, c))
	}
	if s.stamp != "" {
		out = append(out, quote(s.stamp)+" = now()")
	}
	return strings.Join(out, ", ")
}

func (s *editSQL) updateSQL() string {
	return fmt.Sprintf("%s UPDATE %s AS t SET %s FROM i WHERE %s AND %s",
		s.input(s.order()), s.table, s.sets("i."), s.match(), s.differs())
}

// insertSQL adds the rows whose key is missing. The conflict clause is for a
// writer that added the same key in between.
func (s *editSQL) insertSQL() string {
	into, from := list("", s.order()), list("i.", s.order())
	if s.stamp != "" {
		into, from = into+", "+quote(s.stamp), from+", now()"
	}
	conflict := "DO NOTHING"
	if len(s.values) > 0 {
		conflict = "DO UPDATE SET " + s.sets("excluded.")
	}
	return fmt.Sprintf("%s INSERT INTO %s AS t (%s) SELECT %s FROM i WHERE NOT EXISTS (SELECT FROM %s AS t WHERE %s) ON CONFLICT (%s) %s",
		s.input(s.order()), s.table, into, from, s.table, s.match(), list("", s.keys), conflict)
}

func apply(ctx context.Context, tx pgx.Tx, s *editSQL) (change.Written, error) {
	var n change.Written
	if len(s.dead) > 0 {
		sql := fmt.Sprintf("%s DELETE FROM %s AS t USING i WHERE %s", s.input(s.keys), s.table, s.match())
		tag, err := tx.Exec(ctx, sql, args(s.gone)...)
		if err != nil {
			return n, err
		}
		n.Deleted = int(tag.RowsAffected())
	}
	if len(s.rows) == 0 {
		return n, nil
	}
	if len(s.values) > 0 {
		tag, err := tx.Exec(ctx, s.updateSQL(), args(s.columns)...)
		if err != nil {
			return n, err
		}
		n.Updated = int(tag.RowsAffected())
	}
	tag, err := tx.Exec(ctx, s.insertSQL(), args(s.columns)...)
	if err != nil {
		return n, err
	}
	n.Inserted = int(tag.RowsAffected())
	n.Unchanged = len(s.rows) - n.Updated - n.Inserted
	return n, nil
}

// preview leaves in e the rows and deletes that would change something.
func preview(ctx context.Context, tx pgx.Tx, s *editSQL, e *change.Edit) (n change.Written, err error) {
	e.Rows, e.Delete = nil, nil
	var at int
	var missing bool
	if len(s.dead) > 0 {
		rows, _ := tx.Query(ctx, fmt.Sprintf("%s SELECT i.n FROM %s AS t JOIN i ON %s ORDER BY 1", s.input(s.keys), s.table, s.match()), args(s.gone)...)
		_, err = pgx.ForEachRow(rows, []any{&at}, func() error {
			n.Deleted++
			e.Delete = append(e.Delete, s.dead[at-1])
			return nil
		})
	}
	if err != nil || len(s.rows) == 0 {
		return n, err
	}
	absent := "t." + quote(s.keys[0]) + " IS NULL"
	rows, _ := tx.Query(ctx, fmt.Sprintf("%s SELECT i.n, %s FROM i LEFT JOIN %s AS t ON %s WHERE %s OR %s ORDER BY 1",
		s.input(s.order()), absent, s.table, s.match(), absent, s.differs()), args(s.columns)...)
	_, err = pgx.ForEachRow(rows, []any{&at, &missing}, func() error {
		if missing {
			n.Inserted++
		} else {
			n.Updated++
		}
		e.Rows = append(e.Rows, s.rows[at-1])
		return nil
	})
	n.Unchanged = len(s.rows) - n.Updated - n.Inserted
	return n, err
}
