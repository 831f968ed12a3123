package replicate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"carbond/replicate/internal/catalog"
	"carbond/replicate/internal/server"
	"carbond/replicate/internal/stream"
	"carbond/replicate/schema"
	"carbond/store/change"
)

const (
	// lookInterval is the time between two looks for tables that have to be copied.
	lookInterval = 10 * time.Second
	// pieceRows is the largest number of rows of a piece, and pieceBytes what one
	// is meant to have: while it is read, later transactions wait.
	pieceRows  = 10_000
	pieceBytes = 2 << 20
	// earlyTries is how often a piece is read again because a transaction was just
	// ending. Where commits wait for a synchronous standby one always is; then rows
	// that it wrote may come in front of the changes that made them.
	earlyTries = 8
)

// online copies tables beside the stream: those that came to postgres.tables or to
// the views after the copy of all, those that may lack changes, and those that
// somebody asks for.
type online struct {
	*session
	conn   *pgx.Conn
	failed map[string]bool // topics that could not be copied at this look
}

// target is a table to be copied.
type target struct {
	topic string
	name  string // with schema, for people
	mark  tableMark
	plain *catalog.Plain // nil for a table of a view
	table string         // of a view
	fresh bool           // what was streamed so far may be missing, in the topic or in a snapshot
	clear bool           // its topic has records that may lack changes: a TRUNCATE comes first
	rows  int64          // expected, -1 unknown
}

// whole reports whether the table is read in one snapshot: rows of a view are
// compared all at once, and rows without a key cannot be told apart.
func (t *target) whole() bool { return t.plain == nil || len(t.plain.Key()) == 0 }

// copyTables looks for tables to copy until ctx ends.
func (s *session) copyTables(ctx context.Context) {
	o := &online{session: s}
	defer func() {
		if o.conn != nil {
			_ = o.conn.Close(context.WithoutCancel(ctx)) // read only
		}
	}()
	for {
		err := o.look(ctx)
		if ctx.Err() != nil {
			return
		}
		text := ""
		if err != nil {
			text = "a table cannot be copied, and is tried again: " + err.Error()
			s.log.Warn("cannot copy a table beside the stream; it is tried again", "error", err)
		}
		s.st.setWarning("copy", text)
		select {
		case <-ctx.Done():
			return
		case <-s.r.wanted.wake:
		case <-time.After(lookInterval):
		}
	}
}

// look copies every table that has to be.
func (o *online) look(ctx context.Context) error {
	o.failed = map[string]bool{}
	var errs []error
	for ctx.Err() == nil {
		t, err := o.next(ctx)
		if err != nil || t == nil {
			return errors.Join(append(errs, err)...)
		}
		err = o.copy(ctx, t)
		if ctx.Err() == nil { // else the next session goes on
			o.r.wanted.done(t.topic, err)
		}
		o.st.setCopy(nil)
		if err != nil { // the others need not wait for it
			o.failed[t.topic] = true
			errs = append(errs, fmt.Errorf("%s: %w", t.name, err))
		}
	}
	return ctx.Err()
}

// connect makes the connection, on which a lock that is not free ends a statement
// soon: whoever came later would wait behind it.
func (o *online) connect(ctx context.Context) error {
	if o.conn != nil && !o.conn.IsClosed() {
		_, err := o.conn.Exec(ctx, "ROLLBACK")
		return err
	}
	conn, err := o.opt.Connect(ctx)
	if err != nil {
		return err
	}
	o.conn = conn
	_, err = conn.Exec(ctx, "SET row_security = off; SET lock_timeout = '200ms'")
	return err
}

// next returns a table that has to be copied, nil for none.
func (o *online) next(ctx context.Context) (*target, error) {
	if len(o.opt.Tables) == 0 && len(o.later) == 0 && !o.r.wanted.any() {
		return nil, nil
	}
	if err := o.connect(ctx); err != nil {
		return nil, o.opt.Classify(err)
	}
	if o.opt.Migrate {
		m := &schema.Migration{Conn: o.conn, Opt: o.opt, Wait: func(who string) { o.st.setWarning("publish", who) }}
		if err := m.PublishPlain(ctx); err != nil {
			return nil, o.opt.Classify(err)
		}
	}
	tables, err := o.lookPlain(ctx, o.conn)
	if err != nil {
		return nil, o.opt.Classify(err)
	}
	marks, id := o.sink.Marks(), o.sink.Position().Source.Copy
	if t, err := o.nextOfViews(ctx, marks, id, tables); t != nil || err != nil {
		return t, err
	}
	rules := o.opt.MaskRules()
	for _, p := range tables.sorted() {
		t := &target{topic: p.Topic(), name: p.Schema + "." + p.Name, plain: p, rows: p.Rows}
		t.mark = tableMark{OID: p.OID, Place: p.Place, Copy: id, Masks: rules.Text(p.Schema, p.Name)}
		if o.failed[t.topic] {
			continue
		}
		had, ok := readMark(marks[t.topic])
		same := ok && had.OID == p.OID && had.Place == p.Place && had.Copy == id && had.Masks == t.mark.Masks
		switch {
		case same && had.Done && !o.r.wanted.has(t.topic):
			continue
		case same && !had.Done: // it goes on; what an earlier process passed must be visible
			t.mark, t.fresh = had, !o.r.visible
		case !same:
			t.fresh, t.clear = true, ok
		case t.whole(): // rows without a key would count twice
			t.clear = true
		}
		return t, nil
	}
	return nil, nil
}

// nextOfViews returns a table of the views that has to be copied, nil for none. plain may
// have the table of a name that this database has for something else.
func (o *online) nextOfViews(ctx context.Context, marks map[string]string, id string, plain plainTables) (*target, error) {
	for _, name := range change.Tables() {
		t := &target{topic: change.TopicName(name), name: o.opt.Schema + "." + name, table: name, rows: -1}
		if slices.ContainsFunc(plain.sorted(), func(p *catalog.Plain) bool { return p.Topic() == t.topic }) {
			continue
		}
		had, _ := readMark(marks[t.topic])
		due := o.later[name] && !(had.Done && had.Copy == id && had.Viewed)
		if !due && !o.r.wanted.has(t.topic) || o.failed[t.topic] {
			continue
		}
		look, err := catalog.Look(ctx, o.conn, o.query(nil))
		if err != nil {
			return nil, o.opt.Classify(err)
		}
		now := look.Tables[name]
		if now == nil || now.Place == "none" {
			if !due {
				return t, nil // its copy says what is wrong
			}
			continue // not there yet
		}
		t.fresh = due
		t.mark = tableMark{OID: now.OID, Place: now.Place, Copy: id, Viewed: true}
		return t, nil
	}
	return nil, nil
}

// copy copies one table, piece by piece.
func (o *online) copy(ctx context.Context, t *target) error {
	o.log.Info("copying a table beside the stream", "table", t.name, "topic", t.topic, "rows", t.mark.Rows)
	if t.fresh {
		if err := o.settled(ctx, t); err != nil {
			return err
		}
	}
	rows, tries := pieceRows/10, 0
	for {
		o.st.setCopy(&CopyStatus{Table: t.name, Rows: t.mark.Rows, Expected: t.rows})
		began := time.Now()
		r := &pieceReader{online: o, target: t, limit: rows, last: tries >= earlyTries}
		err := r.run(ctx)
		switch {
		case errors.Is(err, errEarly):
			tries++
			continue
		case errors.Is(err, errUnseen):
			o.st.setWarning("copy waits", fmt.Sprintf("the copy of %s waits for transactions that have committed and are not visible yet: is a synchronous standby away?", t.name))
			if err := pause(ctx, lookInterval); err != nil {
				return err
			}
			continue
		case err != nil:
			return o.opt.Classify(err)
		}
		o.st.setWarning("copy waits", "")
		t.mark, t.clear, tries = r.mark, false, 0
		if t.mark.Done {
			// Until the changelog has the mark, the next look would copy the table again.
			for o.sink.Marks()[t.topic] != t.mark.text() {
				if err := pause(ctx, 5*time.Millisecond); err != nil {
					return err
				}
			}
			o.log.Info("copied a table beside the stream", "table", t.name, "topic", t.topic, "rows", t.mark.Rows)
			return nil
		}
		// About so many rows as make a piece of the size that is meant.
		rows = min(max(1, r.rows*pieceBytes/max(r.bytes, 1)), 4*rows, pieceRows)
		if err := pause(ctx, min(time.Since(began), time.Second)); err != nil { // the server has as much time for others
			return err
		}
	}
}

// pause waits, or ends early with ctx.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// settled waits until no transaction is left that wrote before the publication
// showed the table: the stream may lack what those wrote.
func (o *online) settled(ctx context.Context, t *target) error {
	var from uint64
	if err := o.conn.QueryRow(ctx, "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint").Scan(&from); err != nil {
		return o.opt.Classify(err)
	}
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, 500*time.Millisecond) {
		var oldest uint64
		if err := o.conn.QueryRow(ctx, "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint").Scan(&oldest); err != nil {
			return o.opt.Classify(err)
		}
		if oldest >= from {
			o.r.visible = true
			o.st.setWarning("copy waits", "")
			return nil
		}
		who, err := server.Blockers(ctx, o.conn)
		if err != nil {
			return o.opt.Classify(err)
		}
		o.st.setWarning("copy waits", fmt.Sprintf("the copy of %s waits for older transactions to end: %s", t.name, who))
		if err := pause(ctx, wait); err != nil {
			return err
		}
	}
}

// pieceReader reads one piece.
type pieceReader struct {
	*online
	target *target
	limit  int
	last   bool // as snapshot.last

	raw   *change.Relation // the table as it was described
	p     *piece
	txn   change.Txn
	build change.RowBuilder
	size  int
	rows  int
	bytes int
	key   []string  // of the last row
	mark  tableMark // once it has its place
}

// run reads the piece and waits until it has its place in the stream.
func (r *pieceReader) run(ctx context.Context) error {
	if err := r.connect(ctx); err != nil {
		return err
	}
	rel, err := r.describe(ctx)
	if err != nil {
		return err
	}
	r.raw, r.p = rel, newPiece(rel)
	select {
	case r.pieces <- r.p:
	case <-ctx.Done():
		return ctx.Err()
	}
	r.wire.Interrupt()
	select {
	case <-r.p.begin:
	case <-ctx.Done():
		close(r.p.taken)
		return ctx.Err()
	}
	err = r.read(ctx)
	if err != nil {
		r.p.failed.Store(true)
	}
	close(r.p.parts)
	r.p.full.Store(true)
	_, done := r.conn.Exec(ctx, "COMMIT")
	if err = errors.Join(err, done); err != nil {
		r.wire.Interrupt()
		return errors.Join(err, r.settle(ctx))
	}
	return r.settle(ctx)
}

// describe returns the table as it is now.
func (r *pieceReader) describe(ctx context.Context) (*change.Relation, error) {
	if p := r.target.plain; p != nil {
		now, err := schema.PlainByOID(ctx, r.conn, r.opt, p.OID)
		switch {
		case err != nil:
			return nil, err
		case now == nil || now.Place != p.Place:
			return nil, errors.New("it was dropped, or taken out of the publication")
		}
		r.target.plain = now
		return now.Relation(), nil
	}
	rel, _, err := describe(ctx, r.conn, r.opt, r.srv.Version, r.target.table)
	if err != nil {
		return nil, err
	}
	columns, err := catalog.Columns(ctx, r.conn, r.query(nil), r.target.mark.OID)
	if err != nil {
		return nil, err
	}
	return rel, catalog.Describe(rel, columns)
}

// read takes the snapshot and reads the rows.
func (r *pieceReader) read(ctx context.Context) error {
	snap, err := r.snapshot(ctx)
	if err != nil {
		close(r.p.taken)
		return err
	}
	r.txn.First, r.txn.CommitLSN = true, snap.end
	r.txn.Copy = &change.Copy{Topic: r.target.topic, Whole: r.target.table}
	if r.target.clear {
		r.txn.Changes = append(r.txn.Changes, change.Change{Op: change.Truncate, Relation: r.p.rel, LSN: snap.end})
	}
	if err := r.lock(ctx); err != nil {
		return err
	}
	if err := readRows(ctx, r.conn, r.sql(), func(values [][]byte) error { return r.row(ctx, values) }); err != nil {
		return err
	}
	r.mark = r.target.mark
	r.mark.Rows += uint64(r.rows)
	r.mark.After, r.mark.Done = r.key, r.target.whole() || r.rows < r.limit
	if r.mark.Done {
		r.mark.After = nil
	}
	if r.target.whole() {
		r.mark.Seen, r.mark.End = snap.text, snap.end.String()
	}
	r.txn.Copy = &change.Copy{Topic: r.target.topic, Whole: r.target.table, Mark: r.mark.text()}
	r.txn.Final = true
	return r.emit(ctx)
}

// snapshot begins a transaction with a snapshot that is good for the receiver.
func (r *pieceReader) snapshot(ctx context.Context) (snap snapshot, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for {
		if _, err = r.conn.Exec(ctx, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"); err != nil {
			return snap, err
		}
		var text, end string
		err = r.conn.QueryRow(ctx, "SELECT pg_current_snapshot()::text, pg_current_wal_insert_lsn()::text, transaction_timestamp()").Scan(&text, &end, &r.txn.CommitTime)
		if err == nil {
			snap, err = parseSnapshot(text, end)
		}
		if err != nil {
			return snap, err
		}
		snap.last = r.last
		r.p.taken <- snap
		select {
		case err = <-r.p.judged:
		case <-ctx.Done():
			err = ctx.Err()
		}
		if !errors.Is(err, errAgain) {
			return snap, err
		}
		if _, err = r.conn.Exec(ctx, "ROLLBACK"); err != nil {
			return snap, err
		}
		if err = pause(ctx, 2*time.Millisecond); err != nil {
			return snap, err
		}
	}
}

// lock keeps the table from being rewritten, and makes sure that it was not since
// the snapshot was taken, nor altered since it was described.
func (r *pieceReader) lock(ctx context.Context) error {
	name := server.Ident(r.opt.Schema, r.target.table)
	if p := r.target.plain; p != nil {
		name = server.Ident(p.Schema, p.Name)
	}
	if err := lockTables(ctx, r.conn, []string{name}); err != nil {
		return err
	}
	now, err := r.describe(ctx)
	if err != nil {
		return err
	}
	if !now.Equal(r.raw) {
		return errors.New("it was altered at the same moment")
	}
	return nil
}

// sql reads the rows behind the last one in the order of the key.
func (r *pieceReader) sql() string {
	p := r.target.plain
	if p == nil {
		names := make([]string, len(r.p.rel.Columns))
		for i, c := range r.p.rel.Columns {
			names[i] = c.Name
		}
		return selectSQL(names, r.opt.Schema, r.target.table, false)
	}
	sql := selectPlain(p)
	if r.target.whole() {
		return sql
	}
	key := strings.Join(identsOf(p.Key()), ", ")
	if after := r.target.mark.After; after != nil {
		values := make([]string, len(after))
		for i, v := range after {
			values[i] = server.Literal(v)
		}
		sql += " WHERE ROW(" + key + ") > ROW(" + strings.Join(values, ", ") + ")"
	}
	return fmt.Sprintf("%s ORDER BY %s LIMIT %d", sql, key, r.limit)
}

func (r *pieceReader) row(ctx context.Context, values [][]byte) error {
	row, err := buildRow(&r.build, r.p.rel, values)
	if err != nil {
		return err
	}
	r.rows++
	r.bytes += len(row)
	if !r.target.whole() {
		r.key = r.key[:0]
		for _, k := range r.target.plain.Key() {
			r.key = append(r.key, string(values[r.p.rel.Index(k)]))
		}
	}
	r.txn.Changes = append(r.txn.Changes, change.Change{Op: change.Read, Relation: r.p.rel, After: row, LSN: r.txn.CommitLSN})
	r.size += stream.ChangeCost + len(row)
	if r.size >= r.opt.PartBytes || len(r.txn.Changes) >= r.opt.PartChanges {
		return r.emit(ctx)
	}
	return nil
}

// emit hands over a part, at the latest when the piece has its place.
func (r *pieceReader) emit(ctx context.Context) error {
	next := part{r.txn, r.size + stream.ChangeCost}
	r.txn.First, r.txn.Changes, r.size = false, nil, 0
	select {
	case r.p.parts <- next:
		return nil
	default:
	}
	r.p.full.Store(true)
	for {
		r.wire.Interrupt()
		select {
		case r.p.parts <- next:
			return nil
		case err := <-r.p.placed: // given up
			r.p.placed <- err
			return err
		case <-time.After(100 * time.Millisecond): // the receiver may wait for what the server has not sent
			r.ask.Store(true)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// settle waits until the receiver has said how the piece ended. What the snapshot
// sees may not have been sent yet: a server that nobody writes to leaves the end of
// its WAL in memory, and sends it behind the next commit.
func (r *pieceReader) settle(ctx context.Context) error {
	for n := 0; ; n++ {
		r.wire.Interrupt()
		select {
		case err := <-r.p.placed:
			return err
		case <-time.After(100 * time.Millisecond):
			r.ask.Store(true)
		case <-ctx.Done():
			return ctx.Err()
		}
		if n == 2 {
			if _, err := r.conn.Exec(ctx, "SELECT pg_logical_emit_message(true, 'carbond', '')"); err != nil {
				r.log.Debug("cannot have the end of the WAL written", "error", err)
			}
		}
	}
}
