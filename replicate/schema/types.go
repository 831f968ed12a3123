package schema

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"carbond/replicate/internal/server"
	"carbond/replicate/pgerr"
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
	case change.OIDTimestamptz, change.OIDDate:
		return "D", "a date or a time with one"
	case change.OIDBool:
		return "B", "a boolean"
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
func (t *tableInfo) checkTypes(opt *server.Options) []Finding {
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
		column, sqlType := server.Ident(want.Name), want.SQLType()
		f := repairable(pgerr.KindColumnTypes, false,
			fmt.Sprintf("column %s of %s.%s is %s, not %s: the NonStreaming calls and verify fail", want.Name, opt.Schema, t.name, have.name, words),
			"it rewrites the rows: do it before the first copy, or with postgres.on_gap: resnapshot",
			fmt.Sprintf("ALTER TABLE %s ALTER COLUMN %s TYPE %s USING %s::%s", server.Ident(opt.Schema, t.name), column, sqlType, between(column, have, letter), sqlType))
		// Digits in a text order rows as well as a number does.
		f.Warning = letter == "S" || have.category == "S" || !want.Key
		out = append(out, f)
	}
	return out
}

// checkEquality warns of a text column that SQL joins, groups or filters by, and
// whose type or collation takes texts for equal that differ in their bytes.
func (t *tableInfo) checkEquality(opt *server.Options, column string, have columnType) []Finding {
	joined := column == "project_id" || slices.Contains(change.KeyColumns(t.name), column)
	filtered := column == "country" || column == "source"
	if !(have.base == "citext" && joined) && !(have.folds && (joined || filtered)) {
		return nil
	}
	f := repairable(pgerr.KindColumnTypes, false,
		fmt.Sprintf("column %s of %s.%s is %s, in which SQL takes different texts for equal: the views tell them apart, so joins, order and filters can differ", column, opt.Schema, t.name, have.words()),
		"it rewrites the rows: do it before the first copy, or with postgres.on_gap: resnapshot",
		fmt.Sprintf("ALTER TABLE %s ALTER COLUMN %s TYPE text COLLATE \"C\"", server.Ident(opt.Schema, t.name), server.Ident(column)))
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
func (t *tableInfo) checkGenerated(opt *server.Options, published []string) []Finding {
	var out []Finding
	for _, c := range change.TableOf(t.name).Columns {
		if !slices.Contains(t.generated, c.Name) || c.Unread || t.version >= 180000 && slices.Contains(published, c.Name) {
			continue
		}
		detail := fmt.Sprintf("column %s of %s.%s is a generated one, which Postgres before 18 does not publish: the views show NULL in its place", c.Name, opt.Schema, t.name)
		sql := "ALTER TABLE " + server.Ident(opt.Schema, t.name) + " ALTER COLUMN " + server.Ident(c.Name) + " DROP EXPRESSION"
		advice := "it makes a plain column, which a trigger or the writer has to fill from then on"
		if t.version >= 180000 {
			detail = fmt.Sprintf("column %s of %s.%s is a generated one, which publication %q leaves out: the views show NULL in its place", c.Name, opt.Schema, t.name, opt.Publication)
			sql = "ALTER PUBLICATION " + server.Ident(opt.Publication) + " SET (publish_generated_columns = stored)"
			advice = "a virtual column must be made a stored one for that"
		}
		f := repairable(pgerr.KindColumns, false, detail, advice, sql)
		f.Warning = !c.Key
		out = append(out, f)
	}
	return out
}

// checkValues looks for numbers that the queries of the views cannot cast, where
// a column's type can hold such. It reads the table, so it is for doctor alone:
// a daemon sees each row as it comes.
func checkValues(ctx context.Context, conn *pgx.Conn, opt *server.Options) ([]Finding, error) {
	tables, err := ReadTables(ctx, conn, opt)
	if err != nil {
		return nil, err
	}
	var out []Finding
	for _, name := range opt.Viewed() {
		t := tables[name]
		if t == nil || !t.selects || t.rowsec || t.kind != "r" && t.kind != "p" {
			continue
		}
		for _, want := range change.TableOf(name).Columns {
			i := slices.Index(t.columns, want.Name)
			if i < 0 || want.Unread {
				continue
			}
			wrong := uncastable(server.Ident(want.Name), t.types[i].base, want.Type, want.Key)
			if wrong == "" {
				continue
			}
			var n int64
			table := server.Ident(opt.Schema, name)
			if err := conn.QueryRow(ctx, "SELECT count(*) FROM "+table+" WHERE "+wrong).Scan(&n); err != nil {
				return out, fmt.Errorf("look for values in %s.%s.%s that cannot be cast: %w", opt.Schema, name, want.Name, err)
			}
			if n > 0 {
				f := NewFinding(pgerr.KindColumnTypes, false, fmt.Sprintf("%d rows of %s.%s have a %s that is no %s: the NonStreaming calls and verify fail", n, opt.Schema, name, want.Name, want.SQLType()),
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
func checkEncoding(ctx context.Context, conn *pgx.Conn, _ *server.Options) ([]Finding, error) {
	var encoding string
	if err := conn.QueryRow(ctx, "SELECT pg_catalog.getdatabaseencoding()").Scan(&encoding); err != nil {
		return nil, err
	}
	switch {
	case encoding == "SQL_ASCII":
		f := NewFinding(pgerr.KindEncoding, false, "the database's encoding is SQL_ASCII: replication stops at a text that is not UTF-8", "create the database again with ENCODING 'UTF8'")
		f.Warning = true
		return []Finding{f}, nil
	case !slices.Contains(sorted, encoding):
		f := NewFinding(pgerr.KindEncoding, false, fmt.Sprintf("the database's encoding is %s: SQL sorts letters beyond ASCII by their bytes in it, the views by UTF-8. The order of answers, the offer that is joined among those of one time, and the last of the newest 100 can differ, and replication stops at a text that has no UTF-8", encoding),
			"create the database again with ENCODING 'UTF8', or use ASCII in project_id, id, ticker and guid")
		f.Warning = true
		return []Finding{f}, nil
	}
	return nil, nil
}
