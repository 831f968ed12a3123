package replicate

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"carbond/store/change"
)

// heirs are about tables that inherit from a plain one of ours. For SQL their rows
// are rows of ours; the stream brings them, if at all, as those of other tables. A
// hypertable of TimescaleDB is such a table, with all rows in the others.
type heirs struct {
	children []string // qualified names, the first few
	hollow   bool     // all rows are in the children
}

// readChildren returns which of our tables have inheritors.
func readChildren(ctx context.Context, conn *pgx.Conn, opt *Options) (map[string][]string, error) {
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

// readHeirs completes tables.
func readHeirs(ctx context.Context, conn *pgx.Conn, opt *Options, tables map[string]*tableInfo) error {
	children, err := readChildren(ctx, conn, opt)
	if err != nil {
		return err
	}
	for name, list := range children {
		t := tables[name]
		if t == nil {
			continue // it came a moment ago
		}
		t.heirs.children = list
		if len(t.readable) == 0 {
			continue
		}
		var own, any bool
		from := ident(opt.Schema, name)
		if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM ONLY "+from+"), EXISTS (SELECT FROM "+from+")").Scan(&own, &any); err != nil {
			return err
		}
		t.heirs.hollow = any && !own
	}
	return nil
}

// check says what the children mean. An empty view in place of a full table is no
// view at all: that stops.
func (l heirs) check(opt *Options, table string) []Finding {
	if len(l.children) == 0 {
		return nil
	}
	if l.hollow {
		return []Finding{finding(KindTables, false,
			fmt.Sprintf("all rows of %s.%s are in tables that inherit from it (%s), as in a hypertable: the stream does not bring them as its own, and the view would be empty", opt.Schema, table, strings.Join(l.children, ", ")),
			"make it a plain or a partitioned table (PARTITION BY), or keep the history elsewhere and write a plain table of this name for carbond")}
	}
	f := finding(KindTables, false, inherited(opt, table, l.children), "move the rows into the table, or ALTER TABLE ... NO INHERIT, or make it a partitioned table")
	f.Warning = true
	return []Finding{f}
}

func inherited(opt *Options, table string, children []string) string {
	return fmt.Sprintf("tables inherit from %s.%s (%s): SQL counts their rows as its own, the views do not have them", opt.Schema, table, strings.Join(children, ", "))
}

// watchChildren warns of tables that inherit from ours since the start.
func (s *session) watchChildren(ctx context.Context, conn *pgx.Conn) error {
	children, err := readChildren(ctx, conn, &s.opt)
	if err != nil {
		return err
	}
	for _, table := range change.Tables() {
		text := ""
		if list := children[table]; list != nil {
			text = inherited(&s.opt, table, list)
		}
		s.st.remark("children of "+table, text)
	}
	return nil
}
