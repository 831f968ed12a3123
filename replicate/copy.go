package replicate

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"carbond/replicate/internal/catalog"
	"carbond/replicate/internal/note"
	"carbond/replicate/internal/server"
	"carbond/replicate/internal/stream"
	"carbond/replicate/pgerr"
	"carbond/replicate/schema"
	"carbond/store/change"
)

// copyAll creates the slot and copies the tables inside the snapshot that it
// exports, so that the stream continues exactly where the copy ends. The copy
// is one transaction for the sink, in bounded parts. It returns the catalog as
// the snapshot sees it. A crash before its last part leaves a slot behind and a
// marker of it; the next start finds no copy, drops the slot and begins again.
func (s *session) copyAll(ctx context.Context, failed <-chan struct{}) (*catalog.Marks, error) {
	probeCtx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { s.probeLoop(probeCtx) })
	defer wg.Wait()
	defer stop()
	conn, err := s.opt.Connect(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = conn.Close(ctx) // read only
	}()
	var b [8]byte
	_, _ = rand.Read(b[:])         // never fails
	id := hex.EncodeToString(b[:]) // the identity of this copy
	plain, err := s.lookPlain(ctx, conn)
	if err != nil {
		return nil, s.opt.Classify(err)
	}
	point, err := s.createSnapshot(ctx, conn, id, plain.sorted())
	if err != nil {
		return nil, s.opt.Classify(err)
	}
	seen, err := catalog.Look(ctx, conn, s.query(nil))
	if err != nil {
		return nil, s.opt.Classify(err)
	}
	seen.Copy, seen.LSN = id, point
	s.r.passed = passedXIDs{} // it may be another cluster
	s.st.enter(PhaseCopying, "copying the tables")
	s.st.update(func(st *Status) { st.CopiedRows = 0 })
	s.log.Info("copying the tables", "slot", s.opt.Slot, "lsn", point.String())
	c := &copier{session: s, opt: s.opt, st: s.st, pipe: s.pipe, conn: conn, failed: failed, seen: seen, txn: change.Txn{
		CommitLSN: point, First: true,
		Snapshot: &change.Snapshot{Source: change.Source{SystemID: s.srv.SystemID, Database: s.srv.Database, Slot: s.opt.Slot, Copy: id, Catalog: seen.Text()}, Marks: map[string]string{}},
	}}
	if err := conn.QueryRow(ctx, "SELECT transaction_timestamp()").Scan(&c.txn.CommitTime); err != nil {
		return nil, s.opt.Classify(err)
	}
	for _, table := range s.opt.Viewed() {
		if t := seen.Tables[table]; change.TableOf(table).Added && (t == nil || t.Place == "none") {
			continue // it is copied once it is there
		}
		if err := c.table(ctx, table); err != nil {
			return nil, s.copyError(fmt.Errorf("copy table %s.%s: %w", s.opt.Schema, table, err))
		}
	}
	if err := c.copyPlain(ctx, plain.sorted(), id); err != nil {
		return nil, s.copyError(err)
	}
	// Written first, the marks hold for the copy as soon as it is there.
	if err := s.r.saveNote(func(n *note.Note) { n.Marks = seen }); err != nil {
		return nil, err
	}
	if err := c.finish(ctx, point); err != nil {
		return nil, err
	}
	if err := s.finishCopy(); err != nil {
		return nil, err
	}
	s.log.Info("copied the tables", "rows", c.rows, "lsn", point.String())
	return seen, nil
}

// createSnapshot creates the slot and opens its snapshot on conn, again when a TRUNCATE or
// a rewrite came in between.
func (s *session) createSnapshot(ctx context.Context, conn *pgx.Conn, id string, plain []*catalog.Plain) (change.LSN, error) {
	for attempt := 1; ; attempt++ {
		point, snapshot, err := s.createSlot(ctx, id)
		if err != nil {
			return 0, err
		}
		err = openSnapshot(ctx, conn, s.opt, snapshot, plain)
		if !errors.Is(err, errRewritten) || attempt == maxSnapshots {
			return point, err
		}
		s.log.Info("a table was truncated or rewritten before the copy could begin; creating the slot again", "attempt", attempt)
		_, err = conn.Exec(ctx, "ROLLBACK")
		if err == nil {
			err = s.opt.DropSlot(ctx, s.repl)
		}
		if err != nil {
			return 0, err
		}
	}
}

// maxSnapshots is how often a snapshot is taken in a row before giving up.
const maxSnapshots = 20

// errRewritten says that a table in a snapshot is not what it was.
var errRewritten = errors.New("a table was truncated or rewritten at the same moment")

// openSnapshot begins a read-only transaction on conn that sees an exported
// snapshot, and locks our tables in it against TRUNCATE and rewrites. Those are
// not transactional for older snapshots, which see an empty table: one that
// came between the export and the lock is errRewritten. Row security is off:
// where a policy would hide rows, Postgres reports an error in place of an
// answer that lacks them.
func openSnapshot(ctx context.Context, conn *pgx.Conn, opt *server.Options, name string, plain []*catalog.Plain) error {
	var tables []string
	for _, p := range plain {
		tables = append(tables, server.Ident(p.Schema, p.Name))
	}
	opening := []string{
		"SET row_security = off",
		"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
		"SET TRANSACTION SNAPSHOT " + server.Literal(name),
	}
	for _, sql := range opening {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("open snapshot %s: %w", name, err)
		}
	}
	for _, t := range opt.Viewed() {
		name, there := server.Ident(opt.Schema, t), true
		if change.TableOf(t).Added {
			if err := conn.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL", name).Scan(&there); err != nil {
				return fmt.Errorf("look for %s: %w", name, err)
			}
		}
		if there {
			tables = append(tables, name)
		}
	}
	return lockTables(ctx, conn, tables)
}

// lockTables locks tables, given by quoted names, against TRUNCATE and rewrites, and says whether one
// came since the snapshot of conn's transaction was taken.
func lockTables(ctx context.Context, conn *pgx.Conn, tables []string) error {
	for _, t := range tables {
		// A query that reads nothing locks as LOCK TABLE does, partitions too, but
		// is also allowed to who may read some columns only.
		if _, err := conn.Exec(ctx, "SELECT FROM "+t+" LIMIT 0"); err != nil {
			return fmt.Errorf("lock %s: %w", t, err)
		}
	}
	// pg_class is read through the snapshot, pg_relation_filenode is not.
	var rewritten int
	err := conn.QueryRow(ctx, `
WITH root AS (SELECT to_regclass(t)::oid AS oid FROM unnest($1::text[]) t),
     leaf AS (SELECT oid FROM root UNION SELECT p.relid::oid FROM root, pg_partition_tree(root.oid::regclass) p WHERE p.isleaf)
SELECT count(*) FROM leaf LEFT JOIN pg_class c ON c.oid = leaf.oid
WHERE c.relkind IS DISTINCT FROM 'p' AND c.relfilenode IS DISTINCT FROM pg_relation_filenode(leaf.oid)`, tables).Scan(&rewritten)
	if err != nil {
		return fmt.Errorf("look for rewritten tables: %w", err)
	}
	if rewritten > 0 {
		return errRewritten
	}
	return nil
}

// copier reads the tables into the parts of one transaction.
type copier struct {
	session *session
	opt     *Options
	st      *state
	pipe    *stream.Pipe
	conn    *pgx.Conn
	failed  <-chan struct{}
	seen    *catalog.Marks // as the snapshot sees it
	txn     change.Txn
	size    int
	rows    uint64
	build   change.RowBuilder
}

// table copies one table. The simple protocol gives values in the text form of
// the stream, row by row, with no cursor and no escaping.
func (c *copier) table(ctx context.Context, name string) error {
	rel, sql, err := describe(ctx, c.conn, c.opt, c.session.srv.Version, name)
	if err != nil {
		return err
	}
	if t := c.seen.Tables[name]; t != nil {
		err = catalog.Describe(rel, t.Columns)
	}
	if err != nil {
		return err
	}
	if rel, err = c.session.intern(ctx, rel); err != nil {
		return err
	}
	c.session.r.checkRelation(rel, true)
	return c.read(ctx, rel, sql)
}

// read hands over the rows of a table that a query gives.
func (c *copier) read(ctx context.Context, rel *change.Relation, sql string) error {
	return readRows(ctx, c.conn, sql, func(values [][]byte) error { return c.row(ctx, rel, values) })
}

// readRows hands over the rows that a query gives, until one is refused.
func readRows(ctx context.Context, conn *pgx.Conn, sql string, row func([][]byte) error) error {
	results := conn.PgConn().Exec(ctx, sql)
	for results.NextResult() {
		rows := results.ResultReader()
		for rows.NextRow() {
			if err := row(rows.Values()); err != nil {
				_ = conn.PgConn().Conn().Close() // do not read the rest of the table
				_ = results.Close()
				return err
			}
		}
		if _, err := rows.Close(); err != nil {
			_ = results.Close() // the same error
			return err
		}
	}
	return results.Close()
}

func (c *copier) row(ctx context.Context, rel *change.Relation, values [][]byte) error {
	row, err := buildRow(&c.build, rel, values)
	if err != nil {
		return err
	}
	ch := change.Change{Op: change.Read, Relation: rel, After: row, LSN: c.txn.CommitLSN}
	c.txn.Changes = append(c.txn.Changes, ch)
	c.size += stream.ChangeCost + len(ch.After)
	c.rows++
	if c.size >= c.opt.PartBytes || len(c.txn.Changes) >= c.opt.PartChanges {
		return c.emit(ctx)
	}
	return nil
}

// buildRow makes a row of what a query gives.
func buildRow(b *change.RowBuilder, rel *change.Relation, values [][]byte) (change.Row, error) {
	if len(values) != len(rel.Columns) {
		return "", pgerr.New(pgerr.KindProtocol, "", nil, "a row has %d columns, not %d", len(values), len(rel.Columns))
	}
	size := 0
	for _, v := range values {
		size += len(v) + binary.MaxVarintLen32
	}
	b.Grow(size)
	b.Reset(len(values))
	for _, v := range values {
		if v == nil {
			b.Null()
		} else {
			b.Bytes(v)
		}
	}
	return b.Row(), nil
}

// emit hands over the present part and waits while the pipe is full.
func (c *copier) emit(ctx context.Context) error {
	c.pipe.Put([]change.Txn{c.txn}, c.size+stream.ChangeCost)
	c.txn.First, c.size = false, 0
	c.txn.Changes = make([]change.Change, 0, len(c.txn.Changes)+len(c.txn.Changes)/16) // the next part has about as many
	rows := c.rows
	c.st.update(func(st *Status) { st.CopiedRows = rows })
	return c.wait(ctx, c.pipe.Full)
}

// wait waits until busy is false.
func (c *copier) wait(ctx context.Context, busy func() bool) error {
	for busy() {
		select {
		case <-c.pipe.Room:
		case <-c.failed:
			return errSinkFailed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	select {
	case <-c.failed:
		return errSinkFailed
	default:
		return nil
	}
}

// finish hands over the last part and waits until the copy is durable.
func (c *copier) finish(ctx context.Context, point change.LSN) error {
	c.txn.EndLSN, c.txn.Final = point, true
	if err := c.emit(ctx); err != nil {
		return err
	}
	if err := c.wait(ctx, func() bool { return !c.pipe.Idle() }); err != nil {
		return err
	}
	pos := c.session.sink.Position()
	if !pos.Copied || pos.LSN != point || pos.Source != c.txn.Snapshot.Source {
		return pgerr.New(pgerr.KindSink, "", nil, "the changelog took the copy, but stands at %s of %+v, copied %t", pos.LSN, pos.Source, pos.Copied)
	}
	return nil
}

// describe reads the shape of a table as the publication shows it, with the
// key flags that RELATION messages would carry, and makes the SQL that copies
// it.
func describe(ctx context.Context, conn *pgx.Conn, opt *server.Options, version int, table string) (*change.Relation, string, error) {
	// Column lists exist since 15; from 18 on the list also says which
	// generated columns are published.
	published := "a.attgenerated = ''"
	if version >= 150000 {
		published = "a.attname = ANY (p.attnames)"
		if version < 180000 {
			published += " AND a.attgenerated = ''"
		}
	}
	rows, err := conn.Query(ctx, `
SELECT a.attname::text, a.atttypid, c.relreplident = 'f' OR COALESCE(a.attnum = ANY (i.indkey), false), c.relkind::text
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_publication_tables p ON p.pubname = $3 AND p.schemaname = n.nspname AND p.tablename = c.relname
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND `+published+`
LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisvalid AND i.indimmediate
  AND (c.relreplident = 'd' AND i.indisprimary OR c.relreplident = 'i' AND i.indisreplident)
WHERE n.nspname = $1 AND c.relname = $2 ORDER BY a.attnum`, opt.Schema, table, opt.Publication)
	if err != nil {
		return nil, "", fmt.Errorf("read the columns: %w", err)
	}
	rel := &change.Relation{Schema: opt.Schema, Name: table}
	var kind string
	var col change.Column
	_, err = pgx.ForEachRow(rows, []any{&col.Name, &col.Type, &col.Key, &kind}, func() error {
		rel.Columns = append(rel.Columns, col)
		return nil
	})
	if err != nil {
		return nil, "", fmt.Errorf("read the columns: %w", err)
	}
	if len(rel.Columns) == 0 {
		return nil, "", pgerr.New(pgerr.KindPublicationTables, schema.AddTable(opt, table), nil, "table %s.%s is not in publication %q", opt.Schema, table, opt.Publication)
	}
	names := make([]string, len(rel.Columns))
	for i, c := range rel.Columns {
		names[i] = c.Name
	}
	return rel, selectSQL(names, opt.Schema, table, kind == "p"), nil
}

// selectSQL reads columns of a table. Tables that inherit from it are tables of
// their own in the stream, unless they are its partitions.
func selectSQL(columns []string, schema, table string, partitioned bool) string {
	only := "ONLY "
	if partitioned {
		only = ""
	}
	return "SELECT " + strings.Join(identsOf(columns), ", ") + " FROM " + only + server.Ident(schema, table)
}
