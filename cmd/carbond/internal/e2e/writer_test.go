package e2e_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"carbond/store/change"
)

// writer is one connection that keeps changing the tables.
type writer struct {
	random
	id         int
	url        string
	gate       *sync.RWMutex // held for reading during a transaction
	conn       *pgx.Conn
	every      time.Duration // mean time between transactions
	deferrable bool          // the key of carbonmark is, and cannot be ON CONFLICT's

	committed, failed atomic.Int64
}

func newWriter(seed uint64, id int, url string, gate *sync.RWMutex, every time.Duration) *writer {
	return &writer{random: random{rand.New(rand.NewPCG(seed, uint64(id)))}, id: id, url: url, gate: gate, every: every}
}

// connectDirect opens a connection to Postgres itself. The simple protocol
// keeps no plans, which a changed column would break.
func connectDirect(ctx context.Context, url, name string) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	cfg.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	for k, v := range map[string]string{
		"timezone": "UTC", "application_name": name, "lock_timeout": "2s", "statement_timeout": "60s", "deadlock_timeout": "200ms",
		"standard_conforming_strings": "on",
	} {
		cfg.RuntimeParams[k] = v
	}
	cfg.ConnectTimeout = 5 * time.Second
	return pgx.ConnectConfig(ctx, cfg)
}

// run writes until ctx ends, whatever happens to Postgres.
func (w *writer) run(ctx context.Context) {
	defer w.close()
	for pause(ctx, time.Duration(w.ExpFloat64()*float64(w.every))) {
		if w.conn == nil || w.conn.IsClosed() {
			if err := w.connect(ctx); err != nil {
				w.close()
				if !pause(ctx, 50*time.Millisecond) {
					return
				}
				continue
			}
		}
		w.gate.RLock()
		// A transaction is not torn by the end of the test.
		err := w.transaction(context.WithoutCancel(ctx))
		w.gate.RUnlock()
		if err != nil {
			w.failed.Add(1)
		} else {
			w.committed.Add(1)
		}
	}
}

// fill inserts rows until every view has many.
func (w *writer) fill(ctx context.Context) error {
	if err := w.connect(ctx); err != nil {
		return err
	}
	for _, table := range change.Tables() {
		for range 150 {
			sql, args := w.upsert(table, w.key(table))
			_, _ = w.conn.Exec(ctx, sql, args...) // a key that is taken stays
		}
	}
	return nil
}

func (w *writer) close() {
	if w.conn != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = w.conn.Close(ctx) // broken or not
		w.conn = nil
	}
}

func (w *writer) connect(ctx context.Context) (err error) {
	if w.conn, err = connectDirect(ctx, w.url, fmt.Sprintf("e2e writer %d", w.id)); err != nil {
		return err
	}
	if w.id%3 == 0 { // some transactions come from elsewhere
		name := fmt.Sprintf("e2e_%d", w.id)
		_, _ = w.conn.Exec(ctx, "SELECT pg_replication_origin_create($1)", name)        // it may exist
		_, _ = w.conn.Exec(ctx, "SELECT pg_replication_origin_session_setup($1)", name) // its last user may still end
	}
	return nil
}

// transaction runs one transaction to one of its possible ends.
func (w *writer) transaction(ctx context.Context) error {
	exec := func(sql string, args ...any) error {
		_, err := w.conn.Exec(ctx, sql, args...)
		return err
	}
	rollback := func(err error) error {
		if !w.conn.IsClosed() {
			_ = exec("ROLLBACK")
		}
		return err
	}
	if w.IntN(4) == 0 { // no BEGIN: one statement is a transaction
		sql, args := w.statement()
		return exec(sql, args...)
	}
	if err := exec("BEGIN"); err != nil {
		return err
	}
	for range 1 + w.IntN(6) {
		if err := w.step(exec); err != nil {
			return rollback(err)
		}
	}
	gid := fmt.Sprintf("e2e %d %d", w.id, w.Uint64())
	switch w.IntN(20) {
	case 0, 1:
		return rollback(nil)
	case 2:
		if err := exec("PREPARE TRANSACTION '" + gid + "'"); err != nil {
			return rollback(err)
		}
		return exec("COMMIT PREPARED '" + gid + "'")
	case 3:
		if err := exec("PREPARE TRANSACTION '" + gid + "'"); err != nil {
			return rollback(err)
		}
		return exec("ROLLBACK PREPARED '" + gid + "'")
	}
	return exec("COMMIT")
}

// step runs a statement, or a few between savepoints.
func (w *writer) step(exec func(string, ...any) error) error {
	if w.IntN(3) > 0 {
		return w.one(exec)
	}
	if err := exec("SAVEPOINT a"); err != nil {
		return err
	}
	var err error
	for range 1 + w.IntN(3) {
		if err = w.one(exec); err != nil {
			break
		}
	}
	if err != nil || w.IntN(2) == 0 {
		if err := exec("ROLLBACK TO SAVEPOINT a"); err != nil {
			return err
		}
		if w.IntN(2) == 0 {
			return nil // and the savepoint stays until the end
		}
	}
	return exec("RELEASE SAVEPOINT a")
}

func (w *writer) one(exec func(string, ...any) error) error {
	switch w.IntN(24) {
	case 0, 1:
		return w.swap(exec)
	case 2:
		sql, rows := w.copyRows()
		_, err := w.conn.PgConn().CopyFrom(context.Background(), strings.NewReader(rows), sql)
		return err
	case 3:
		return exec(w.random.one([]string{"DELETE FROM finance WHERE ticker = 'COPY'", "DELETE FROM news WHERE guid LIKE 'copy-%'"}))
	}
	sql, args := w.statement()
	return exec(sql, args...)
}

// swap exchanges two keys through a third.
func (w *writer) swap(exec func(string, ...any) error) error {
	table := w.table()
	a, b := w.key(table), w.key(table)
	tmp := w.key(table)
	tmp[0].value = fmt.Sprintf("tmp %d %d", w.id, w.IntN(1000))
	for _, move := range [][2][]column{{a, tmp}, {b, a}, {tmp, b}} {
		var args []any
		set := assign(move[1], &args)
		if err := exec("UPDATE "+table+" SET "+set+" WHERE "+match(move[0], &args), args...); err != nil {
			return err
		}
	}
	return nil
}

// table prefers the two that are joined.
func (w *writer) table() string {
	return w.random.one([]string{change.Verra, change.Verra, change.Carbonmark, change.Carbonmark, change.Finance, change.News})
}

// statement draws one statement.
func (w *writer) statement() (string, []any) {
	table := w.table()
	key := w.key(table)
	var args []any
	if w.IntN(400) == 0 {
		return w.truncate(), nil
	}
	switch n := w.IntN(100); {
	case n < 35:
		return w.upsert(table, key)
	case n < 60: // some columns; long values among the others are not sent
		cols := w.columns(table)
		w.Shuffle(len(cols), func(i, j int) { cols[i], cols[j] = cols[j], cols[i] })
		set := assign(cols[:1+w.IntN(2)], &args)
		return "UPDATE " + table + " SET " + set + " WHERE " + match(key, &args), args
	case n < 75:
		return "DELETE FROM " + table + " WHERE " + match(key, &args), args
	case n < 84: // a new key, long values unchanged
		set := assign(w.key(table), &args)
		return "UPDATE " + table + " SET " + set + " WHERE " + match(key, &args), args
	case n < 88: // the other side of the join
		args = append(args, w.maybe(w.random.one(projectIDs)), w.random.one(projectIDs))
		return "UPDATE carbonmark SET project_id = $1::text WHERE project_id = $2::text", args
	case n < 91: // many rows at once
		args = append(args, w.random.one(countries))
		return "UPDATE verra SET vintage = COALESCE(vintage % 1000, 0) + 1 WHERE country = $1::text", args
	case n < 93:
		args = append(args, w.random.one(projectIDs))
		return "INSERT INTO notes(project_id, body) SELECT project_id, 'x' FROM verra WHERE project_id = $1::text", args
	case n < 95:
		return fmt.Sprintf("SELECT pg_logical_emit_message(%t, 'e2e', 'hello')", w.IntN(2) == 0), nil
	case n < 97:
		args = append(args, w.text())
		return "UPDATE " + table + " SET extra = $1::text WHERE " + match(key, &args), args
	}
	// Several rows in one statement, of both kinds of end.
	return "WITH gone AS (DELETE FROM carbonmark WHERE id LIKE 'c1%' RETURNING project_id) " +
		"UPDATE verra SET supply = supply + 1 WHERE project_id IN (SELECT project_id FROM gone)", nil
}

func (w *writer) truncate() string {
	tables := change.Tables()
	w.Shuffle(len(tables), func(i, j int) { tables[i], tables[j] = tables[j], tables[i] })
	tables = tables[:1+w.IntN(2)]
	if w.IntN(3) == 0 {
		tables = append(tables, "notes")
	}
	sql := "TRUNCATE " + strings.Join(tables, ", ")
	if w.IntN(2) == 0 {
		sql += " RESTART IDENTITY"
	}
	return sql + " CASCADE" // of notes, which refers to verra
}

func (w *writer) upsert(table string, key []column) (string, []any) {
	var args []any
	var names, values, sets []string
	for i, c := range append(key, w.columns(table)...) {
		args = append(args, c.value)
		names = append(names, `"`+c.name+`"`)
		values = append(values, fmt.Sprintf("$%d::%s", len(args), c.typ))
		if i >= len(key) {
			sets = append(sets, fmt.Sprintf(`"%s" = excluded."%s"`, c.name, c.name))
		}
	}
	var keys []string
	for _, c := range key {
		keys = append(keys, `"`+c.name+`"`)
	}
	sql := fmt.Sprintf("INSERT INTO %s(%s) VALUES (%s)", table, strings.Join(names, ", "), strings.Join(values, ", "))
	if w.deferrable && table == change.Carbonmark {
		return sql, args
	}
	switch w.IntN(3) {
	case 0:
		sql += " ON CONFLICT DO NOTHING"
	case 1:
		sql += fmt.Sprintf(" ON CONFLICT (%s) DO UPDATE SET %s", strings.Join(keys, ", "), strings.Join(sets, ", "))
	}
	return sql, args
}

func assign(cols []column, args *[]any) string { return terms(cols, args, ", ") }

func match(cols []column, args *[]any) string { return terms(cols, args, " AND ") }

func terms(cols []column, args *[]any, sep string) string {
	var out []string
	for _, c := range cols {
		*args = append(*args, c.value)
		out = append(out, fmt.Sprintf(`"%s" = $%d::%s`, c.name, len(*args), c.typ))
	}
	return strings.Join(out, sep)
}

// large returns the statements of one large transaction of about n rows.
func (r random) large(n int) []string {
	switch r.IntN(4) {
	case 0:
		return []string{fmt.Sprintf("UPDATE finance SET price = price + 1, volume = NULL WHERE ticker LIKE 'BULK%%'"), "DELETE FROM finance WHERE ticker = 'BULK1'"}
	case 1:
		return []string{"DELETE FROM verra WHERE project_id LIKE 'BULK-%'", "DELETE FROM finance WHERE ticker LIKE 'BULK%'", "DELETE FROM news WHERE guid LIKE 'bulk-%'"}
	}
	return []string{
		fmt.Sprintf("INSERT INTO finance(ticker, price, timestamp) SELECT 'BULK' || i %% 3, i, i FROM generate_series(1, %d) i ON CONFLICT DO NOTHING", n*8/10),
		fmt.Sprintf("INSERT INTO verra(project_id, project_name, country, supply) SELECT 'BULK-' || i, repeat('n', 40), 'Brazil', i FROM generate_series(1, %d) i ON CONFLICT (project_id) DO UPDATE SET supply = excluded.supply + 1", n/10),
		fmt.Sprintf("INSERT INTO news(guid, title, published_at, source) SELECT 'bulk-' || i, 't', timestamptz '2024-05-01 10:00:00+00' - make_interval(secs => i), 'Reuters' FROM generate_series(1, %d) i ON CONFLICT DO NOTHING", n/10),
	}
}
