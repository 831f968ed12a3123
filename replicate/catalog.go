package replicate

import (
	"context"
	"fmt"
	"hash/crc32"
	"strings"

	"github.com/jackc/pgx/v5"

	"carbond/store/change"
)

// catalog is what the server's catalog says of the way from our tables into the
// stream. The stream itself does not tell when a table leaves the publication
// and comes back, when another table takes its name, or when ALTER TABLE
// rewrites its rows: what happened meanwhile is just not there. But the catalog
// gives no number twice.
type catalog struct {
	publication string // its number and that of the transaction that set it
	tables      map[string]tableMark
}

// tableMark is what a catalog says of one table.
type tableMark struct {
	way     string // number of the table, and of its place in the publication
	columns string // checksum over the columns that the views read

	// Both change when, and almost only when, ALTER TABLE rewrites the rows.
	// They also change one by one, so they mean something between two looks only.
	file, altered string
}

// catalogSQL reads the catalog through the snapshot of the transaction. The
// last argument is the version of the server: 14 has no schemas in publications.
func catalogSQL(version int) string {
	schema := "NULL"
	if version >= 150000 {
		schema = "(SELECT 'schema' || x.oid FROM pg_publication_namespace x WHERE x.pnpubid = p.oid AND x.pnnspid = n.oid)"
	}
	return `
SELECT p.oid || '.' || p.xmin, c.relname::text, c.oid || '.' || c.relpersistence::text || '.' || CASE WHEN p.puballtables THEN 'all'
         ELSE COALESCE((SELECT r.oid::text FROM pg_publication_rel r WHERE r.prpubid = p.oid AND r.prrelid = c.oid), ` + schema + `, 'none') END,
       c.relfilenode::text, COALESCE(string_agg(concat_ws(':', a.attname, a.attnum, a.atttypid, a.atttypmod, a.attgenerated), ',' ORDER BY a.attnum), ''),
       COALESCE(string_agg(a.xmin::text, ',' ORDER BY a.attnum), '')
FROM pg_publication p, pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN unnest($3::text[], $4::text[]) AS w (t, a) ON w.t = c.relname
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = w.a AND NOT a.attisdropped
WHERE p.pubname = $1 AND n.nspname = $2 AND c.relname = ANY ($3::text[])
GROUP BY p.oid, p.xmin, p.puballtables, n.oid, c.oid, c.relname, c.relpersistence, c.relfilenode`
}

func readCatalog(ctx context.Context, conn *pgx.Conn, opt *Options, version int) (*catalog, error) {
	var tables, columns []string
	for _, t := range change.Tables() {
		for _, c := range change.Standard(t).Columns {
			tables, columns = append(tables, t), append(columns, c.Name)
		}
	}
	rows, err := conn.Query(ctx, catalogSQL(version), opt.Publication, opt.Schema, tables, columns)
	if err != nil {
		return nil, fmt.Errorf("read the catalog: %w", err)
	}
	c := &catalog{tables: map[string]tableMark{}}
	var name, shape string
	var m tableMark
	_, err = pgx.ForEachRow(rows, []any{&c.publication, &name, &m.way, &m.file, &shape, &m.altered}, func() error {
		m.columns = fmt.Sprintf("%08x", crc32.ChecksumIEEE([]byte(shape)))
		c.tables[name] = m
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the catalog: %w", err)
	}
	return c, nil
}

// text is what the changelog keeps of a catalog beside the copy that was made
// under it.
func (c *catalog) text() string {
	words := []string{c.publication}
	for _, t := range change.Tables() {
		m := c.tables[t]
		words = append(words, t+"="+m.way+"/"+m.columns)
	}
	return strings.Join(words, " ")
}

// parseCatalog reads what text wrote; nil when there is nothing to compare with.
func parseCatalog(text string) *catalog {
	words := strings.Fields(text)
	if len(words) == 0 {
		return nil
	}
	c := &catalog{publication: words[0], tables: map[string]tableMark{}}
	for _, w := range words[1:] {
		name, mark, _ := strings.Cut(w, "=")
		way, columns, _ := strings.Cut(mark, "/")
		c.tables[name] = tableMark{way: way, columns: columns}
	}
	return c
}

// lost says which changes may have been left out of the stream between two
// looks at the catalog, "" for none.
func (c *catalog) lost(now *catalog, opt *Options) string {
	if c == nil || now == nil {
		return ""
	}
	if c.publication != now.publication {
		return fmt.Sprintf("publication %q was altered or dropped since the copy was made", opt.Publication)
	}
	for _, t := range change.Tables() {
		if c.tables[t].way != now.tables[t].way {
			return fmt.Sprintf("table %s.%s was replaced, or taken out of publication %q, since the copy was made", opt.Schema, t, opt.Publication)
		}
	}
	return ""
}

// altered lists the tables whose rows may have changed without an event.
func (c *catalog) altered(now *catalog) []string {
	if c == nil || now == nil {
		return nil
	}
	var out []string
	for _, t := range change.Tables() {
		a, b := c.tables[t], now.tables[t]
		rewritten := a.file != "" && a.file != b.file && a.altered != b.altered
		if a.columns != b.columns || rewritten {
			out = append(out, t)
		}
	}
	return out
}

// survey compares the catalog with an earlier look at it. What it finds is a
// verdict that lasts. A loss of changes is an error, and so is an altered table
// when the tables may be copied again; else the stream goes on, and the status
// says that rows are wrong.
func (s *session) survey(before, now *catalog) error {
	if lost := before.lost(now, &s.opt); lost != "" {
		return s.found(fault(KindPublicationChange, resnapshotAdvice, nil, "%s: changes may be missing", lost))
	}
	if tables := before.altered(now); tables != nil {
		names := make([]string, len(tables))
		for i, t := range tables {
			names[i] = s.opt.Schema + "." + t
		}
		return s.found(fault(KindTableChange, resnapshotAdvice, nil,
			"ALTER TABLE changed columns of %s: rows that were not written since keep their old values here", strings.Join(names, ", ")), tables...)
	}
	return nil
}

// found makes a verdict, and an error where the session has to end.
func (s *session) found(e *Error, tables ...string) error {
	if err := s.condemn(e, tables...); err != nil {
		return err
	}
	if e.Kind != KindTableChange || s.opt.OnGap == GapResnapshot {
		return e
	}
	s.log.Warn("rows are wrong here, and the stream does not tell which", "error", e)
	s.st.blame(e)
	return nil
}

// compare looks whether the catalog is still the one under which the copy was
// made.
func (s *session) compare(ctx context.Context, conn *pgx.Conn, pos change.Position) (plan, error) {
	now, err := readCatalog(ctx, conn, &s.opt, s.srv.version)
	if err != nil {
		return 0, err
	}
	s.seen = now
	err = s.survey(parseCatalog(pos.Source.Catalog), now)
	if err != nil && s.opt.OnGap == GapResnapshot {
		s.log.Info("the tables have to be copied anew", "reason", err)
		return planCopy, nil
	}
	return planStream, err
}

// look surveys the catalog while the stream runs, and reports whether nothing is
// missing. What it finds ends the session. During a copy there is nothing to
// compare with, and what was durable before it says nothing.
func (s *session) look(ctx context.Context, conn *pgx.Conn) (fine bool, err error) {
	if s.seen == nil {
		return false, nil
	}
	now, err := readCatalog(ctx, conn, &s.opt, s.srv.version)
	if err != nil {
		return false, err
	}
	flaw := s.survey(s.seen, now)
	s.seen = now
	if flaw != nil && s.flaw.CompareAndSwap(nil, &flaw) {
		s.wire.poke()
	}
	return s.flaw.Load() == nil, nil
}
