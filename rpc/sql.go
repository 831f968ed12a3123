package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"carbond/store/change"
)

// ViewSQL returns the defining query of a view, with the filter as its only
// parameter ("" = all). It is what the NonStreaming calls run and what the views
// are compared with: NULL is "" or 0, but for fields that tell it, text order is byte order, and columns are
// cast, so that tables with wider or narrower types answer alike. A table that
// lacks a column which came later than the table has NULL there.
func ViewSQL(d *change.ViewDef) string {
	fields := make([]string, len(d.Fields))
	for i, f := range d.Fields {
		fields[i] = fmt.Sprintf("%s::%s AS %s", notNull(d, &f), castNames[f.Type], quoted(f.Name))
	}
	key := column(d.Field(d.Key).From[0]) + ` COLLATE "C"`
	filter := column(d.Field(d.Filter).From[0])
	sql, order := "SELECT ", d.Order
	if d.Latest {
		sql, order = "SELECT DISTINCT ON ("+key+") ", key+", "+d.Order
	}
	sql += strings.Join(fields, ", ") + "\nFROM " + d.From + added(d.Tables) +
		"\nWHERE ($1::text = '' OR " + filter + " = $1::text)\nORDER BY " + order
	if d.Limit > 0 {
		sql += fmt.Sprintf(" LIMIT %d", d.Limit)
	}
	return sql
}

// VintagesSQL returns the query that the vintages of projects are compared with: the key of
// their project and the fields of change.VintageSupplies, of projects that there are.
func VintagesSQL(schema string) string {
	d := &change.VintageSupplies
	fields := make([]string, len(d.Fields))
	for i, f := range d.Fields {
		fields[i] = column(f.From[0]) + "::" + castNames[f.Type]
	}
	in := func(table string) string { return pgx.Identifier{schema, table}.Sanitize() }
	return "SELECT vintages.project_id::text, " + strings.Join(fields, ", ") + "\nFROM " + in(change.Vintages) +
		"\nWHERE EXISTS (SELECT FROM " + in(change.Verra) + " AS verra WHERE verra.project_id = vintages.project_id)\n" + `ORDER BY vintages.project_id COLLATE "C", vintages.vintage`
}

// TotalsSQL returns the query that the totals by one of change.Groupings are compared
// with, "" where the tables have no such column. Its columns are the group, the number of
// rows, the sum of finite supplies as text, the numbers of rows whose supply is NULL, NaN
// and infinite, and the sum of absolute values as text. Sums are of numerics, which do not
// overflow.
func TotalsSQL(by string) string {
	table, supply := change.Verra, "verra.supply::float8"
	if by == "source" {
		table, supply = change.News, "0::float8"
	}
	group := "''"
	if by != "" {
		c := change.TableOf(table).Column(by)
		if c == nil {
			return ""
		}
		group = "COALESCE(" + column(table+"."+by) + "::" + castNames[c.Type] + "::text, '')"
	}
	const finite = "FILTER (WHERE s NOT IN ('NaN', 'Infinity', '-Infinity'))"
	return "SELECT g, count(*), COALESCE(sum(s::text::numeric) " + finite + ", 0)::text, count(*) FILTER (WHERE s IS NULL), count(*) FILTER (WHERE s = 'NaN'), " +
		"count(*) FILTER (WHERE s IN ('Infinity', '-Infinity')), COALESCE(sum(abs(s)::text::numeric) " + finite + ", 0)::text\n" +
		"FROM (SELECT " + group + ` AS g, ` + supply + " AS s FROM public." + table + added([]string{table}) + `) q GROUP BY g ORDER BY g COLLATE "C"`
}

// pageSQL is the paged form: $2 says whether to begin after the key $3, $4 is the
// largest number of rows or NULL.
func pageSQL(d *change.ViewDef) string {
	key := "q." + quoted(d.Key) + ` COLLATE "C"`
	return "SELECT * FROM (" + ViewSQL(d) + ") q\nWHERE (NOT $2::bool OR " + key + " > $3::text) ORDER BY " + key + " LIMIT $4::int8"
}

var castNames = map[uint32]string{
	change.OIDText: "text", change.OIDInt4: "int4", change.OIDInt8: "int8", change.OIDFloat8: "float8", change.OIDBool: "bool", change.OIDDate: "date",
}

// notNull is a field as an expression. A key is never NULL, and dates are texts.
func notNull(d *change.ViewDef, f *change.ViewField) string {
	from := make([]string, len(f.From), len(f.From)+1)
	for i, c := range f.From {
		from[i] = column(c)
		if table, name, _ := strings.Cut(c, "."); change.TableOf(table).Column(name).Type == change.OIDDate {
			from[i] += "::text"
		}
	}
	switch {
	case f.Known:
		return "(CASE WHEN " + from[1] + " IS NOT NULL THEN " + from[0] + " IS NOT NULL END)"
	case f.Name == d.Key, f.Null:
		return from[0]
	}
	zero := "0"
	switch f.Type {
	case change.OIDText:
		zero = "''"
	case change.OIDBool:
		zero = "false"
	}
	return "COALESCE(" + strings.Join(append(from, zero), ", ") + ")"
}

// column quotes a column of a table. One that the table may lack is taken from
// the row that added makes.
func column(name string) string {
	table, c, _ := strings.Cut(name, ".")
	if change.TableOf(table).Column(c).Added {
		table = later(table)
	}
	return table + "." + quoted(c)
}

func quoted(name string) string { return pgx.Identifier{name}.Sanitize() }

func later(table string) string { return table + "_later" }

// added joins to each table a row of the columns that it may lack. A name that is
// no column of the table is looked for outside of the inner query, where it is
// NULL. The planner makes plain columns of it.
func added(tables []string) (sql string) {
	for _, table := range tables {
		var names, nulls []string
		for _, c := range change.TableOf(table).Columns {
			if c.Added {
				names = append(names, quoted(c.Name))
				nulls = append(nulls, "NULL::"+castNames[c.Type]+" AS "+quoted(c.Name))
			}
		}
		if names != nil {
			sql += fmt.Sprintf("\n  CROSS JOIN (SELECT %s) AS %s_lacks CROSS JOIN LATERAL (SELECT %s FROM (SELECT %s.*) AS has) AS %s",
				strings.Join(nulls, ", "), table, strings.Join(names, ", "), table, later(table))
		}
	}
	return sql
}

// Querier runs SQL; *pgxpool.Pool is one.
type Querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// each runs sql and hands every row to use, until use says that it is enough.
// Rows are not collected: a large answer is held once, encoded. A connection of
// the pool that broke while nobody used it, as all of them do when Postgres
// restarts, is no failure of the call: it runs once more, on a fresh one.
func each(ctx context.Context, q Querier, view *change.ViewDef, use func(row any) bool, sql string, args ...any) error {
	begun, err := rowsOf(ctx, q, view, use, sql, args)
	if err == nil || begun || ctx.Err() != nil || !broken(err) {
		return err
	}
	if p, ok := q.(resetter); ok {
		p.Reset() // the others are as old as the broken one
	}
	_, err = rowsOf(ctx, q, view, use, sql, args)
	return err
}

// resetter is a pool that can close all its idle connections.
type resetter interface{ Reset() }

// nullable sets the value of a field from one that may be NULL.
func nullable[T any](to, v *T, field int, nulls *change.Nulls) {
	*to = *new(T)
	if v == nil {
		nulls.Set(field)
		return
	}
	*to = *v
}

// rowsOf is one try of each. It reports whether use was given a row.
func rowsOf(ctx context.Context, q Querier, view *change.ViewDef, use func(row any) bool, sql string, args []any) (begun bool, err error) {
	rows, err := q.Query(ctx, sql, args...)
	if err != nil {
		return false, err
	}
	defer rows.Close()
	row, to := view.NewRow(), make([]any, len(view.Fields))
	for i := range to {
		to[i] = view.Value(row, i)
		if _, truth := to[i].(*bool); view.Fields[i].Null && truth {
			to[i] = new(*bool)
		} else if view.Fields[i].Null {
			to[i] = new(*float64)
		}
	}
	for rows.Next() {
		if err := rows.Scan(to...); err != nil {
			return begun, err
		}
		var nulls change.Nulls
		for i := range to {
			switch v := to[i].(type) {
			case **float64:
				nullable(view.Value(row, i).(*float64), *v, i, &nulls)
			case **bool:
				nullable(view.Value(row, i).(*bool), *v, i, &nulls)
			}
		}
		view.SetNull(row, nulls)
		begun = true
		if !use(row) {
			return begun, nil
		}
	}
	return begun, rows.Err()
}

// broken reports whether err means that an open connection was lost. The queries
// only read, so it does not matter how much of one Postgres had seen.
func broken(err error) bool {
	var connect *pgconn.ConnectError
	var pg *pgconn.PgError
	var op *net.OpError
	switch {
	case errors.As(err, &connect):
		return false // a fresh one could not be made either
	case errors.As(err, &pg):
		return pg.Code == "57P01" || pg.Code == "57P02" // admin_shutdown, crash_shutdown
	}
	return pgconn.SafeToRetry(err) || errors.As(err, &op) || errors.Is(err, io.EOF) ||
		errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}
