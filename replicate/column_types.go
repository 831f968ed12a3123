package replicate

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"carbond/store/change"
)

// columnType is what the catalog says of the type of one column.
type columnType struct {
	name     string // as format_type prints it
	base     string // name of the type that a domain stands for, else its own
	category string // pg_type.typcategory of base
	folds    bool   // a collation under which texts of different bytes are equal
}

// castable are the types, by their letter in pg_type.typcategory, that the
// queries of the views can cast to a standard type of that letter. Of texts any
// will do.
var castable = map[string][]string{
	"N": {"int2", "int4", "int8", "float4", "float8", "numeric"},
	"D": {"date", "timestamp", "timestamptz"},
}

// category returns the class of types, in the letters of pg_type.typcategory,
// from which the queries of the views can cast to a standard type.
func category(oid uint32) (letter, words string) {
	switch oid {
	case change.OIDInt4, change.OIDInt8, change.OIDFloat8:
		return "N", "a number that casts to the others"
	case change.OIDTimestamptz:
		return "D", "a date or a time with one"
	}
	return "S", "text"
}

// casts reports whether the queries of the views can cast the type to a standard
// type of that letter.
func (c columnType) casts(letter string) bool {
	return c.category == letter && (castable[letter] == nil || slices.Contains(castable[letter], c.base))
}

// checkTypes warns of columns whose type the queries of the views cannot cast,
// or compare otherwise than the views do. The stream brings every type as text,
// so that only calls that run SQL fail, with one exception: rows of finance are
// ordered by a number.
func (t *tableInfo) checkTypes(opt *Options) []Finding {
	var out []Finding
	for _, want := range change.TableOf(t.name).Columns {
		i := slices.Index(t.columns, want.Name)
		if i < 0 || want.Unread {
			continue
		}
		have := t.types[i]
		letter, words := category(want.Type)
		if have.casts(letter) {
			out = append(out, t.checkEquality(opt, want.Name, have)...)
			continue
		}
		column, sqlType := ident(want.Name), want.SQLType()
		f := repairable(KindColumnTypes, false,
			fmt.Sprintf("column %s of %s.%s is %s, not %s: the NonStreaming calls and verify fail", want.Name, opt.Schema, t.name, have.name, words),
			"it rewrites the rows: do it before the first copy, or with postgres.on_gap: resnapshot",
			fmt.Sprintf("ALTER TABLE %s ALTER COLUMN %s TYPE %s USING %s::%s", ident(opt.Schema, t.name), column, sqlType, between(column, have, letter), sqlType))
		// Digits in a text order rows as well as a number does.
		f.Warning = letter == "S" || have.category == "S" || !want.Key
		out = append(out, f)
	}
	return out
}

// checkEquality warns of a text column that SQL joins, groups or filters by, and
// whose type or collation takes texts for equal that differ in their bytes.
func (t *tableInfo) checkEquality(opt *Options, column string, have columnType) []Finding {
	joined := column == "project_id" || slices.Contains(change.KeyColumns(t.name), column)
	filtered := column == "country" || column == "source"
	if !(have.base == "citext" && joined) && !(have.folds && (joined || filtered)) {
		return nil
	}
	f := repairable(KindColumnTypes, false,
		fmt.Sprintf("column %s of %s.%s is %s, in which SQL takes different texts for equal: the views tell them apart, so joins, order and filters can differ", column, opt.Schema, t.name, have.words()),
		"it rewrites the rows: do it before the first copy, or with postgres.on_gap: resnapshot",
		fmt.Sprintf("ALTER TABLE %s ALTER COLUMN %s TYPE text COLLATE \"C\"", ident(opt.Schema, t.name), ident(column)))
	f.Warning = true
	return []Finding{f}
}

func (c columnType) words() string {
	if c.folds {
		return c.name + " of a nondeterministic collation"
	}
	return c.name
}

// between is a column in a type from which there is a cast to one of the letter.
// The unit of finance.timestamp is seconds since 1970.
func between(column string, have columnType, letter string) string {
	switch have.category + letter {
	case "DN":
		return "extract(epoch FROM " + column + ")"
	case "ND":
		return "to_timestamp(" + column + ")"
	case "DD": // a time of day
		return "(date '1970-01-01' + " + column + ")"
	case "NN":
		if have.base == "money" {
			return column + "::numeric"
		}
		return column + "::text"
	}
	return column
}

// checkGenerated warns of columns that the views read and Postgres computes: they
// are in the stream from version 18 on only, and when the publication says so.
func (t *tableInfo) checkGenerated(opt *Options, published []string) []Finding {
	var out []Finding
	for _, c := range change.TableOf(t.name).Columns {
		if !slices.Contains(t.generated, c.Name) || c.Unread || t.version >= 180000 && slices.Contains(published, c.Name) {
			continue
		}
		detail := fmt.Sprintf("column %s of %s.%s is a generated one, which Postgres before 18 does not publish: the views show NULL in its place", c.Name, opt.Schema, t.name)
		sql := "ALTER TABLE " + ident(opt.Schema, t.name) + " ALTER COLUMN " + ident(c.Name) + " DROP EXPRESSION"
		advice := "it makes a plain column, which a trigger or the writer has to fill from then on"
		if t.version >= 180000 {
			detail = fmt.Sprintf("column %s of %s.%s is a generated one, which publication %q leaves out: the views show NULL in its place", c.Name, opt.Schema, t.name, opt.Publication)
			sql = "ALTER PUBLICATION " + ident(opt.Publication) + " SET (publish_generated_columns = stored)"
			advice = "a virtual column must be made a stored one for that"
		}
		f := repairable(KindColumns, false, detail, advice, sql)
		f.Warning = !c.Key
		out = append(out, f)
	}
	return out
}

// checkValues looks for numbers that the queries of the views cannot cast, where
// a column's type can hold such. It reads the table, so it is for doctor alone:
// a daemon sees each row as it comes.
func checkValues(ctx context.Context, conn *pgx.Conn, opt *Options) ([]Finding, error) {
	tables, err := readTables(ctx, conn, opt)
	if err != nil {
		return nil, err
	}
	var out []Finding
	for _, name := range change.Tables() {
		t := tables[name]
		if t == nil || !t.selects || t.rowsec || t.kind != "r" && t.kind != "p" {
			continue
		}
		for _, want := range change.TableOf(name).Columns {
			i := slices.Index(t.columns, want.Name)
			if i < 0 || want.Unread {
				continue
			}
			wrong := uncastable(ident(want.Name), t.types[i].base, want.Type, want.Key)
			if wrong == "" {
				continue
			}
			var n int64
			table := ident(opt.Schema, name)
			if err := conn.QueryRow(ctx, "SELECT count(*) FROM "+table+" WHERE "+wrong).Scan(&n); err != nil {
				return out, fmt.Errorf("look for values in %s.%s.%s that cannot be cast: %w", opt.Schema, name, want.Name, err)
			}
			if n > 0 {
				f := finding(KindColumnTypes, false, fmt.Sprintf("%d rows of %s.%s have a %s that is no %s: the NonStreaming calls and verify fail", n, opt.Schema, name, want.Name, want.SQLType()),
					"correct the rows: SELECT * FROM "+table+" WHERE "+wrong)
				f.Warning = !want.Key
				out = append(out, f)
			}
		}
	}
	return out, nil
}

// uncastable is the condition under which a value of a type is none of the
// wanted one, "" where there is no such value.
func uncastable(column, base string, want uint32, key bool) string {
	if !slices.Contains([]string{"int8", "float4", "float8", "numeric"}, base) {
		return ""
	}
	number := column + "::numeric"
	var sql string
	switch {
	case want == change.OIDInt4:
		sql = fmt.Sprintf("NOT (%[1]s > -2147483648.5 AND %[1]s < 2147483647.5)", number)
	case want == change.OIDInt8 && base != "int8":
		sql = fmt.Sprintf("NOT (%[1]s > -9223372036854775808.5 AND %[1]s < 9223372036854775807.5)", number)
		if key {
			sql += fmt.Sprintf(" OR %[1]s <> trunc(%[1]s)", number)
		}
	case want == change.OIDFloat8 && base == "numeric":
		sql = fmt.Sprintf("abs(%[1]s) > 1.797693134862315807e308 AND %[1]s NOT IN ('NaN', 'Infinity', '-Infinity')", number)
	}
	return sql
}

// sorted are the encodings of a database in which texts have the byte order of
// their UTF-8. In SQL_ASCII nothing but UTF-8 is replicated.
var sorted = []string{"UTF8", "SQL_ASCII", "LATIN1"}

// checkEncoding warns of a database whose texts sort otherwise than here.
func checkEncoding(ctx context.Context, conn *pgx.Conn, _ *Options) ([]Finding, error) {
	var encoding string
	if err := conn.QueryRow(ctx, "SELECT pg_catalog.getdatabaseencoding()").Scan(&encoding); err != nil {
		return nil, err
	}
	switch {
	case encoding == "SQL_ASCII":
		f := finding(KindEncoding, false, "the database's encoding is SQL_ASCII: replication stops at a text that is not UTF-8", "create the database anew with ENCODING 'UTF8'")
		f.Warning = true
		return []Finding{f}, nil
	case !slices.Contains(sorted, encoding):
		f := finding(KindEncoding, false, fmt.Sprintf("the database's encoding is %s: SQL sorts letters beyond ASCII by their bytes in it, the views by UTF-8. The order of answers, the offer that is joined among those of one time, and the last of the newest 100 can differ, and replication stops at a text that has no UTF-8", encoding),
			"create the database anew with ENCODING 'UTF8', or use ASCII in project_id, id, ticker and guid")
		f.Warning = true
		return []Finding{f}, nil
	}
	return nil, nil
}

// bases maps the number of each type that is not built in to that of the type
// that it stands for: a domain's base type, which never changes, else itself.
type bases map[uint32]uint32

// firstUserType is where the numbers begin that initdb and users give out.
const firstUserType = 10000

// load adds the domains of the database.
func (b bases) load(ctx context.Context, conn *pgx.Conn) error {
	rows, err := conn.Query(ctx, `
WITH RECURSIVE d AS (
  SELECT oid AS domain, typbasetype AS base FROM pg_catalog.pg_type WHERE typtype = 'd'
  UNION ALL SELECT d.domain, t.typbasetype FROM d JOIN pg_catalog.pg_type t ON t.oid = d.base WHERE t.typtype = 'd')
SELECT d.domain, d.base FROM d JOIN pg_catalog.pg_type t ON t.oid = d.base WHERE t.typtype <> 'd'`)
	if err != nil {
		return fmt.Errorf("read the domains: %w", err)
	}
	var domain, base uint32
	_, err = pgx.ForEachRow(rows, []any{&domain, &base}, func() error {
		b[domain] = base
		return nil
	})
	if err != nil {
		return fmt.Errorf("read the domains: %w", err)
	}
	return nil
}

// lacks reports whether a type of the relation is not known.
func (b bases) lacks(rel *change.Relation) bool {
	return slices.ContainsFunc(rel.Columns, func(c change.Column) bool {
		_, known := b[c.Type]
		return c.Type >= firstUserType && !known
	})
}

// resolve returns the relation with base types in the place of domains.
func (b bases) resolve(rel *change.Relation) *change.Relation {
	out := *rel
	out.Columns = slices.Clone(rel.Columns)
	for i := range out.Columns {
		c := &out.Columns[i]
		if c.Type < firstUserType {
			continue
		}
		if base, ok := b[c.Type]; ok {
			c.Type = base
		} else {
			b[c.Type] = c.Type // no domain, or one that is gone by now
		}
	}
	return &out
}

// resolve returns the relation with base types in the place of domains. The
// stream gives the number of a domain alone, so a new one is asked for.
func (s *session) resolve(ctx context.Context, rel *change.Relation) (*change.Relation, error) {
	if s.bases.lacks(rel) {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		err := s.ctl.do(ctx, s.bases.load)
		if err != nil {
			return nil, s.opt.classify(err)
		}
	}
	return s.bases.resolve(rel), nil
}
