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

// Recognise finds out which tables of the views this database goes without, sets
// Options.Without, and says why. Of a table that came later, the database may have another one
// of its name, which somebody made for something else, or the role may not make or
// publish it. Nothing depends on such a table, so that is no reason not to start. One whose rows are
// held already (Options.Held) is judged as any other.
func Recognise(ctx context.Context, conn *pgx.Conn, opt *server.Options) ([]Finding, error) {
	opt.Without = nil
	tables, err := ReadTables(ctx, conn, opt)
	if err != nil {
		return nil, err
	}
	if err := readInheritors(ctx, conn, opt, tables); err != nil {
		return nil, err
	}
	p, err := readPublication(ctx, conn, opt)
	if err != nil {
		return nil, err
	}
	var role string
	var mayMake, mayPublish bool
	if err := conn.QueryRow(ctx, `
SELECT current_user::text,
       COALESCE((SELECT has_schema_privilege(oid, 'CREATE') FROM pg_namespace WHERE nspname = $1), has_database_privilege(current_database(), 'CREATE')),
       COALESCE((SELECT pg_has_role(pubowner, 'USAGE') FROM pg_publication WHERE pubname = $2), has_database_privilege(current_database(), 'CREATE'))`,
		opt.Schema, opt.Publication).Scan(&role, &mayMake, &mayPublish); err != nil {
		return nil, err
	}
	var out []Finding
	for _, name := range change.Tables() {
		if !change.TableOf(name).Added || opt.Held[name] {
			continue
		}
		t, full, quoted := tables[name], opt.Schema+"."+name, server.Ident(opt.Schema, name)
		publishes := p.all || p.tables[name] || mayPublish && (t == nil || t.owned)
		var found []Finding
		switch {
		case t == nil && opt.Migrate && !(mayMake && publishes):
			found = append(found, repairable(pgerr.KindTables, false, fmt.Sprintf("table %s does not exist, and the role may not make it", full), "then start carbond again; or run carbond migrate with a URL of the owner of the publication",
				append([]string{createSQL(opt, name), AddTable(opt, name)}, grants(opt.Schema, name, role, nil)...)...))
		case t == nil:
			continue
		default:
			found = slices.DeleteFunc(t.check(opt, role, p.columns[name]), func(f Finding) bool { return f.OK })
			if len(found) > 0 && t.foreign() {
				found = []Finding{repairable(pgerr.KindTables, false, fmt.Sprintf("%s is not the table of carbond's: %s", full, found[0].Detail),
					"then start carbond again, which makes its own; if it is meant for carbond, run instead: "+found[0].Repair, "ALTER TABLE "+quoted+" RENAME TO "+server.Ident("other_"+name))}
			}
			if len(found) == 0 && opt.Migrate && !publishes {
				found = append(found, repairable(pgerr.KindTables, false, fmt.Sprintf("table %s is not in publication %q, and the role may not add it", full, opt.Publication), "then start carbond again", AddTable(opt, name)))
			}
		}
		for i := range found {
			found[i].Warning = true
			found[i].Detail += "; until then the views show nothing of " + full
		}
		if len(found) > 0 {
			opt.Without = append(opt.Without, name)
			out = append(out, found...)
		}
	}
	return out, nil
}

// foreign reports whether a table has another shape than carbond would give it, so that it
// is somebody else's of the name.
func (t *tableInfo) foreign() bool {
	table := change.TableOf(t.name)
	return t.kind != "r" && t.kind != "p" || !t.keyed(change.KeyColumns(t.name)) || slices.ContainsFunc(table.Columns, func(want change.TableColumn) bool {
		i := slices.Index(t.columns, want.Name)
		if i < 0 {
			return !want.Added
		}
		letter, _ := category(want.Type)
		return !t.types[i].casts(letter)
	})
}
