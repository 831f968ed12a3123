package schema

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"carbond/replicate/internal/server"
	"carbond/replicate/pgerr"
	"carbond/store/change"
)

// inheritors are about tables that inherit from a plain one of ours. For SQL their rows
// are rows of ours; the stream brings them, if at all, as those of other tables. A
// hypertable of TimescaleDB is such a table, with all rows in the others.
type inheritors struct {
	children    []string // qualified names, the first few
	emptyParent bool     // all rows are in the children
}

// ReadChildren returns which of our tables have inheritors.
func ReadChildren(ctx context.Context, conn *pgx.Conn, opt *server.Options) (map[string][]string, error) {
	rows, err := conn.Query(ctx, `
SELECT c.relname::text, (array_agg(i.inhrelid::regclass::text ORDER BY i.inhrelid))[:3]
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_inherits i ON i.inhparent = c.oid
WHERE n.nspname = $1 AND c.relname = ANY ($2::text[]) AND c.relkind = 'r' GROUP BY c.relname`, opt.Schema, change.Tables())
	if err != nil {
		return nil, err
	}
	out := map[string][]string{}
	var table string
	var children []string
	_, err = pgx.ForEachRow(rows, []any{&table, &children}, func() error {
		out[table] = append([]string(nil), children...)
		return nil
	})
	return out, err
}

// readInheritors completes tables.
func readInheritors(ctx context.Context, conn *pgx.Conn, opt *server.Options, tables map[string]*tableInfo) error {
	children, err := ReadChildren(ctx, conn, opt)
	if err != nil {
		return err
	}
	for name, list := range children {
		t := tables[name]
		if t == nil {
			continue // it came a moment ago
		}
		t.inheritors.children = list
		if len(t.readable) == 0 {
			continue
		}
		var own, any bool
		from := server.Ident(opt.Schema, name)
		if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM ONLY "+from+"), EXISTS (SELECT FROM "+from+")").Scan(&own, &any); err != nil {
			return err
		}
		t.inheritors.emptyParent = any && !own
	}
	return nil
}

// check says what the children mean. An empty view in place of a full table is no
// view at all: that stops.
func (l inheritors) check(opt *server.Options, table string) []Finding {
	if len(l.children) == 0 {
		return nil
	}
	if l.emptyParent {
		return []Finding{NewFinding(pgerr.KindTables, false,
			fmt.Sprintf("all rows of %s.%s are in tables that inherit from it (%s), as in a hypertable: the stream does not bring them as its own, and the view would be empty", opt.Schema, table, strings.Join(l.children, ", ")),
			"make it a plain or a partitioned table (PARTITION BY), or keep the history elsewhere and write a plain table of this name for carbond")}
	}
	f := NewFinding(pgerr.KindTables, false, Inherited(opt, table, l.children), "move the rows into the table, or ALTER TABLE ... NO INHERIT, or make it a partitioned table")
	f.Warning = true
	return []Finding{f}
}

// Inherited says in words that tables inherit from one of ours.
func Inherited(opt *server.Options, table string, children []string) string {
	return fmt.Sprintf("tables inherit from %s.%s (%s): SQL counts their rows as its own, the views do not have them", opt.Schema, table, strings.Join(children, ", "))
}
