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

// ReadPlain looks at the tables that the patterns of the options name. fit are those
// whose topics can be kept; the findings say what is wrong with the others. They
// are warnings: the views do not depend on them.
func ReadPlain(ctx context.Context, conn *pgx.Conn, opt *server.Options) (fit []*catalog.Plain, out []Finding, err error) {
	if len(opt.Tables) == 0 {
		return nil, nil, nil
	}
	q, err := plainQuery(ctx, conn, opt)
	if err != nil {
		return nil, nil, err
	}
	all, err := q.Look(ctx, conn)
	if err != nil {
		return nil, nil, err
	}
	topics := map[string][]string{}
	for _, name := range opt.Viewed() {
		topics[change.TopicName(name)] = []string{opt.Schema + "." + name}
	}
	for _, p := range all {
		topics[p.Topic()] = append(topics[p.Topic()], p.Schema+"."+p.Name)
	}
	for _, p := range opt.Patterns() {
		if p.Name != "*" && !opt.Keeps(p.Schema, p.Name) && !slices.ContainsFunc(all, func(t *catalog.Plain) bool { return t.Schema == p.Schema && t.Name == p.Name }) {
			out = append(out, warning(pgerr.KindTables, fmt.Sprintf("postgres.tables names %s.%s, and there is no such table", p.Schema, p.Name), "create it, or take it out of postgres.tables"))
		}
	}
	for _, p := range all {
		var found []Finding
		if same := topics[p.Topic()]; len(same) > 1 {
			found = append(found, warning(pgerr.KindTables, fmt.Sprintf("tables %s would have the same topic %s, so none of them is kept", strings.Join(same, " and "), p.Topic()), "rename one of them, or take it out of postgres.tables"))
		} else {
			found = checkPlain(opt, p)
		}
		if len(found) == 0 {
			fit = append(fit, p)
			detail := fmt.Sprintf("table %s.%s is kept as topic %s", p.Schema, p.Name, p.Topic())
			if len(p.Key()) == 0 {
				detail += ", whose records have no key: the table has no primary key"
			}
			if len(p.Hidden) > 0 {
				detail += "; the publication does not show column " + strings.Join(p.Hidden, ", ")
			}
			found = append(found, NewFinding(pgerr.KindTables, true, detail, ""))
			found = append(found, lostMasks(opt, p)...)
			found = append(found, tooLarge(opt, p)...)
		}
		out = append(out, found...)
	}
	return fit, out, nil
}

// PlainByOID looks at one table that no view reads; nil when there is none of this
// number.
func PlainByOID(ctx context.Context, conn *pgx.Conn, opt *server.Options, oid uint32) (*catalog.Plain, error) {
	q, err := plainQuery(ctx, conn, opt)
	if err != nil {
		return nil, err
	}
	q.OID = oid
	all, err := q.Look(ctx, conn)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	return all[0], nil
}

func plainQuery(ctx context.Context, conn *pgx.Conn, opt *server.Options) (q catalog.PlainQuery, err error) {
	q = catalog.PlainQuery{Query: catalog.Query{Publication: opt.Publication, Schema: opt.Schema, Tables: append(opt.Viewed(), server.GroupsTable)}, Schemas: []string{}, Names: []string{}}
	for _, p := range opt.Patterns() {
		q.Schemas, q.Names = append(q.Schemas, p.Schema), append(q.Names, p.Name)
	}
	if err := conn.QueryRow(ctx, "SELECT current_setting('server_version_num')::int").Scan(&q.Version); err != nil {
		return q, fmt.Errorf("read the server's version: %w", err)
	}
	return q, nil
}

// checkPlain says what keeps the topic of a table from being kept.
func checkPlain(opt *server.Options, p *catalog.Plain) (out []Finding) {
	full, quoted, pub := p.Schema+"."+p.Name, server.Ident(p.Schema, p.Name), server.Ident(opt.Publication)
	bad := func(kind pgerr.Kind, detail, advice string, sql ...string) {
		f := repairable(kind, false, detail, advice, sql...)
		f.Warning = true
		out = append(out, f)
	}
	switch {
	case p.Persist != "p":
		bad(pgerr.KindTables, "table "+full+" is unlogged, so its changes are not replicated", "", "ALTER TABLE "+quoted+" SET LOGGED")
	case len(p.Leaves) > 0:
		bad(pgerr.KindTables, fmt.Sprintf("partition %s of %s is unlogged or foreign, so its changes are not replicated", p.Leaves[0], full), "", "ALTER TABLE "+p.Leaves[0]+" SET LOGGED")
	}
	if !p.Identified() {
		bad(pgerr.KindReplicaIdentity, fmt.Sprintf("table %s has no primary key and no replica identity: while it is published, Postgres refuses UPDATE and DELETE of it to everybody", full), "or give it a primary key",
			"ALTER TABLE "+quoted+" REPLICA IDENTITY FULL")
	}
	switch {
	case p.Place == "none" && !p.Identified(): // it must not be added before
	case p.Place == "none":
		bad(pgerr.KindPublicationTables, fmt.Sprintf("table %s is not in publication %q", full, opt.Publication), "or run carbond migrate as their owner", addPlain(opt, p))
	case p.Kind == "p" && !p.ViaRoot:
		bad(pgerr.KindPublicationTables, fmt.Sprintf("table %s is partitioned, but publication %q shows its partitions only", full, opt.Publication), "", "ALTER PUBLICATION "+pub+" SET (publish_via_partition_root = true)")
	case p.Filter != "":
		bad(pgerr.KindPublicationTables, fmt.Sprintf("publication %q filters rows of %s", opt.Publication, full), "", "ALTER PUBLICATION "+pub+" DROP TABLE "+quoted, addPlain(opt, p))
	}
	if p.RowSec {
		bad(pgerr.KindRowSecurity, "row security hides rows of "+full+" from the copy, but not from the stream", "give carbond's role BYPASSRLS, or ownership of the table")
	}
	if len(p.Unread) > 0 {
		bad(pgerr.KindSelectRight, fmt.Sprintf("the role may not select column %s of %s, so it cannot be copied", strings.Join(p.Unread, ", "), full), "GRANT SELECT ON "+quoted+" to carbond's role, and USAGE on its schema")
	}
	for _, c := range opt.MaskRules().Columns(p.Schema, p.Name) {
		if slices.Contains(p.Key(), c) {
			bad(pgerr.KindOptions, fmt.Sprintf("postgres.masks hides column %s of %s, which is part of its key: rows could not be told apart, so the table is not kept", c, full), "take that mask away")
		}
	}
	return out
}

// lostMasks says that a mask names a column that the stream does not bring. The column may
// have another name now, so nothing but the key is shown until somebody has looked.
func lostMasks(opt *server.Options, p *catalog.Plain) (out []Finding) {
	for _, c := range opt.MaskRules().Columns(p.Schema, p.Name) {
		if !slices.Contains(p.Columns, c) {
			out = append(out, warning(pgerr.KindOptions, fmt.Sprintf("postgres.masks hides column %s, which table %s.%s lacks: it may have been renamed, so all columns of its topic but the key are NULL", c, p.Schema, p.Name),
				"name the column as it is now in postgres.masks, or take the mask away, and start carbond again: it copies the table again"))
		}
	}
	return out
}

// tooLarge says that retention will not keep the copy of a table.
func tooLarge(opt *server.Options, p *catalog.Plain) []Finding {
	bound, key, whose := opt.KeepTables, "retention.tables_bytes", "all tables without a view"
	if bound == 0 {
		bound, key, whose = opt.KeepBytes, "retention.bytes", "all topics"
	}
	if bound == 0 || p.Size <= bound {
		return nil
	}
	return []Finding{warning(pgerr.KindTables, fmt.Sprintf("table %s.%s has about %d MiB, more than the %d MiB of %s: its copy takes the older history of %s, and its own beginning", p.Schema, p.Name, p.Size>>20, bound>>20, key, whose),
		"raise "+key+", or leave the table out")}
}

func warning(kind pgerr.Kind, detail, advice string) Finding {
	f := NewFinding(kind, false, detail, advice)
	f.Warning = true
	return f
}

func addPlain(opt *server.Options, p *catalog.Plain) string {
	only := "ONLY "
	if p.Kind == "p" {
		only = ""
	}
	return "ALTER PUBLICATION " + server.Ident(opt.Publication) + " ADD TABLE " + only + server.Ident(p.Schema, p.Name)
}

// checkFurther looks at the tables of postgres.tables.
func checkFurther(ctx context.Context, conn *pgx.Conn, opt *server.Options) ([]Finding, error) {
	_, findings, err := ReadPlain(ctx, conn, opt)
	return findings, err
}

// PublishPlain adds tables of postgres.tables to the publication where that is ours to do: the
// role owns both, and Postgres goes on to accept all writes.
func (m *Migration) PublishPlain(ctx context.Context) error {
	if len(m.Opt.Tables) == 0 {
		return nil
	}
	q, err := plainQuery(ctx, m.Conn, m.Opt)
	if err != nil {
		return err
	}
	all, err := q.Look(ctx, m.Conn)
	if err != nil {
		return err
	}
	for _, p := range all {
		if p.Place != "none" || !p.Owned || !p.Identified() || p.Persist != "p" || len(p.Leaves) > 0 {
			continue
		}
		if err := m.exec(ctx, server.Ident(p.Schema, p.Name), addPlain(m.Opt, p)); err != nil {
			return fmt.Errorf("add table %s.%s to publication %q: %w", p.Schema, p.Name, m.Opt.Publication, err)
		}
	}
	return nil
}
