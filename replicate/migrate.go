package replicate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"carbond/store/change"
)

// migrateLock is the advisory lock that makes concurrent migrations take turns; an
// arbitrary number of our own.
const migrateLock = int64(7_302_112_950_631)

const (
	// lockPatience is how long a statement waits for its lock on a table. Whoever
	// comes after it waits behind it for so long at most: no application may hang
	// because carbond starts.
	lockPatience = 200 * time.Millisecond
	// buildPatience is the same for CREATE INDEX CONCURRENTLY, behind which only
	// other DDL and VACUUM wait.
	buildPatience = 5 * time.Second
	// lockPause is the longest time between two tries.
	lockPause = 5 * time.Second
)

// migration creates and completes tables, publication and indexes, one statement
// at a time. It never drops or changes what it finds, and never makes others wait
// for long: a lock that is not free is asked for again later.
type migration struct {
	conn   *pgx.Conn
	opt    *Options
	alter  bool         // tables may get columns and indexes
	create bool         // tables may be made
	wait   func(string) // is told for whom a statement waits, and "" when it does no more
}

// Migrate creates or upgrades the schema, the four tables, their indexes and
// the publication. It never drops or changes what it finds: tables, columns and
// rows of others stay. Concurrent calls take turns. Tables that a newer carbond
// has made are refused with KindMigrate and left alone.
func Migrate(ctx context.Context, opt Options) error {
	opt = opt.withDefaults()
	conn, err := opt.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	findings, err := preflight(ctx, conn, &opt)
	if err != nil {
		return err
	}
	if err := basics(findings); err != nil && kindOf(err) == KindStandby {
		return err // everything else can be repaired later
	}
	state, err := readSchemaState(ctx, conn, &opt)
	if err != nil {
		return opt.classify(err)
	}
	if state.version > latestVersion {
		return opt.tooNew(state.version)
	}
	m := &migration{conn: conn, opt: &opt, alter: true, create: true, wait: func(who string) {
		if who != "" {
			opt.Logger.Warn("a migration waits", "for", who)
		}
	}}
	needed, err := m.needed(ctx, findings)
	if err != nil {
		return err
	}
	if needed {
		if _, err := m.run(ctx, findings); err != nil {
			return err
		}
		if err := m.indexes(ctx); err != nil {
			return m.failed(err, findings)
		}
	}
	return leftover(ctx, conn, &opt)
}

// leftover returns the first fault of the tables that no migration repairs,
// because it would change what somebody else made. What the role may read is
// not asked: serve may have another one.
func leftover(ctx context.Context, conn *pgx.Conn, opt *Options) error {
	findings, err := checkTables(ctx, conn, opt)
	if err != nil {
		return opt.classify(err)
	}
	return firstFault(slices.DeleteFunc(findings, func(f Finding) bool {
		return Kind(f.Name) == KindSelectRight || Kind(f.Name) == KindRowSecurity
	}))
}

// needed reports whether anything is missing that a migration makes. Tables that
// somebody else has made and that are complete are left alone: the role may not
// own them. Nothing is missing from complete tables of a newer carbond either, so
// that old and new ones can run side by side.
func (m *migration) needed(ctx context.Context, findings []Finding) (bool, error) {
	for _, f := range findings {
		switch Kind(f.Name) {
		case KindPublication, KindPublicationTables, KindPublicationOps:
			if !f.OK {
				return true, nil
			}
		}
	}
	tables, err := readTables(ctx, m.conn, m.opt)
	if err != nil {
		return false, m.opt.classify(err)
	}
	for _, name := range change.Tables() {
		if t := tables[name]; t == nil || len(t.missing()) > 0 {
			return true, nil
		}
	}
	state, err := readSchemaState(ctx, m.conn, m.opt)
	return m.alter && (state.keyless || state.version > 0 && state.version < latestVersion), m.opt.classify(err)
}

// run does the work, but for the indexes of tables that exist. It reports whether
// a publication that existed before got more tables.
func (m *migration) run(ctx context.Context, findings []Finding) (extended bool, err error) {
	unlock, err := m.turn(ctx)
	if err != nil {
		return false, err
	}
	defer unlock()
	if m.alter {
		if err := m.tables(ctx); err != nil {
			return false, m.failed(err, findings)
		}
	}
	if extended, err = m.publication(ctx); err != nil {
		return extended, m.failed(err, findings)
	}
	return extended, nil
}

// failed gives an error of Postgres the remedy.
func (m *migration) failed(err error, findings []Finding) error {
	if kindOf(err) != KindServer || errors.Is(err, context.Canceled) {
		return err
	}
	return fault(KindMigrate, migrateRepair(err, findings), err, "tables and publication could not be created")
}

// turn waits until no other migration works. It asks again and again: to wait
// inside Postgres would hold a snapshot, for which the other one's CREATE INDEX
// CONCURRENTLY would wait.
func (m *migration) turn(ctx context.Context) (unlock func(), err error) {
	t := time.NewTicker(lockPatience)
	defer t.Stop()
	for {
		var mine bool
		if err := m.conn.QueryRow(ctx, "SELECT pg_try_advisory_lock($1)", migrateLock).Scan(&mine); err != nil {
			return nil, m.opt.classify(fmt.Errorf("wait for another migration: %w", err))
		}
		if mine {
			return func() {
				// With a broken connection it is gone already.
				_, _ = m.conn.Exec(context.WithoutCancel(ctx), "SELECT pg_advisory_unlock($1)", migrateLock)
				_, _ = m.conn.Exec(context.WithoutCancel(ctx), "RESET lock_timeout")
			}, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-t.C:
		}
	}
}

// exec runs one statement that locks a table, in short tries.
func (m *migration) exec(ctx context.Context, table, sql string) error {
	return m.patiently(ctx, table, sql, lockPatience, nil)
}

// patiently runs one statement until it gets its locks. before is called before
// each try but the first.
func (m *migration) patiently(ctx context.Context, table, sql string, patience time.Duration, before func() error) error {
	defer m.wait("")
	for pause := lockPatience; ; pause = min(2*pause, lockPause) {
		_, err := m.conn.Exec(ctx, fmt.Sprintf("SET lock_timeout = %d", patience.Milliseconds()))
		if err == nil {
			_, err = m.conn.Exec(ctx, sql)
		}
		if pe, ok := errors.AsType[*pgconn.PgError](err); !ok || pe.Code != "55P03" && pe.Code != "40P01" { // no lock, or a deadlock that we lost
			return err
		}
		who, err := lockers(ctx, m.conn, table)
		if err != nil {
			return err
		}
		m.wait(fmt.Sprintf("%.60s... waits for the lock on %s, which %s", sql, table, who))
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			t.Stop()
			return fault(KindMigrate, "end it and try again", ctx.Err(), "%.60s... did not get its lock on %s, which %s", sql, table, who)
		case <-t.C:
		}
		if before != nil {
			if err := before(); err != nil {
				return err
			}
		}
	}
}

// lockers describes who holds what a statement on a table may wait for: locks on it
// or its partitions, and the snapshots of old transactions.
func lockers(ctx context.Context, conn *pgx.Conn, table string) (string, error) {
	var text string
	err := conn.QueryRow(ctx, `
WITH rel AS (SELECT to_regclass(NULLIF($1, ''))::oid AS oid UNION SELECT relid::oid FROM pg_partition_tree(to_regclass(NULLIF($1, '')))),
     who AS (SELECT DISTINCT a.xact_start AS since, format('pid %s (%s, %s, for %s s)', a.pid, COALESCE(NULLIF(a.application_name, ''), a.usename::text), a.state, extract(epoch FROM now() - a.xact_start)::int) AS what
             FROM pg_stat_activity a LEFT JOIN pg_locks l ON l.pid = a.pid AND l.granted AND l.relation IN (SELECT oid FROM rel)
             WHERE a.pid <> pg_backend_pid() AND a.xact_start IS NOT NULL AND (l.pid IS NOT NULL OR a.backend_xmin IS NOT NULL AND a.datname = current_database())
             UNION
             SELECT x.prepared, format('prepared transaction %L of %s', x.gid, x.owner)
             FROM pg_prepared_xacts x JOIN pg_locks own ON own.pid IS NULL AND own.transactionid = x.transaction
             JOIN pg_locks l ON l.pid IS NULL AND l.virtualtransaction = own.virtualtransaction AND l.relation IN (SELECT oid FROM rel))
SELECT COALESCE(string_agg(what, ', ' ORDER BY since), '') FROM (SELECT * FROM who ORDER BY since LIMIT 3) x`, table).Scan(&text)
	if text == "" {
		text = "somebody"
	}
	return "is held by " + text, err
}

// migrateRepair says what lets a failed migration pass.
func migrateRepair(err error, findings []Finding) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "42501" { // insufficient_privilege
		return "grant the role CREATE on the database and ownership of the tables, or run carbond migrate with a URL of such a role and set postgres.migrate to off"
	}
	for _, f := range findings {
		if !f.OK && Kind(f.Name) == KindColumnTypes { // they cannot have the indexes of the views either
			return f.Repair
		}
	}
	return "remove what Postgres complains of, or run the SQL that carbond doctor prints and set postgres.migrate to off"
}

// tables makes what is missing of the schema, the tables and their columns.
func (m *migration) tables(ctx context.Context) error {
	state, err := readSchemaState(ctx, m.conn, m.opt)
	if err != nil {
		return err
	}
	found, err := readTables(ctx, m.conn, m.opt)
	if err != nil {
		return err
	}
	added := 0
	for _, name := range change.Tables() {
		t := found[name]
		if t != nil && len(t.missing()) == 0 || t == nil && !m.create {
			continue
		}
		if state.version > latestVersion {
			return m.opt.tooNew(state.version)
		}
		added++
		if t == nil {
			err = m.table(ctx, name)
		} else {
			err = m.columns(ctx, t)
		}
		if err != nil {
			return err
		}
	}
	switch left, err := m.missingIndexes(ctx, change.Tables()...); {
	case err != nil && m.create:
		return err
	case err != nil || state.version > latestVersion:
		return nil
	case len(left) == 0:
		return m.mark(ctx, latestVersion)
	case added > 0 || state.version < latestVersion:
		return m.mark(ctx, tablesMade)
	}
	return m.mark(ctx, state.version)
}

// table makes one table with its indexes. Nobody uses it yet.
func (m *migration) table(ctx context.Context, name string) error {
	var exists bool
	if err := m.conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)", m.opt.Schema).Scan(&exists); err != nil {
		return err
	}
	if !exists {
		if err := m.exec(ctx, "", "CREATE SCHEMA "+ident(m.opt.Schema)); err != nil {
			return fmt.Errorf("create schema %q: %w", m.opt.Schema, err)
		}
	}
	full := ident(m.opt.Schema, name)
	if err := m.exec(ctx, full, createSQL(m.opt.Schema, name)); err != nil {
		return fmt.Errorf("create table %s: %w", full, err)
	}
	for _, ix := range indexes() {
		if ix.table != name {
			continue
		}
		if err := m.exec(ctx, full, "CREATE INDEX IF NOT EXISTS "+ident(ix.name)+" ON "+full+" "+ix.columns); err != nil {
			return fmt.Errorf("create index %s: %w", ix.name, err)
		}
	}
	return nil
}

func (m *migration) columns(ctx context.Context, t *tableInfo) error {
	for _, c := range t.missing() {
		if err := m.exec(ctx, ident(m.opt.Schema, t.name), addColumnSQL(m.opt.Schema, t.name, c)); err != nil {
			return fmt.Errorf("add column %s of %s.%s: %w", c, m.opt.Schema, t.name, err)
		}
	}
	return nil
}

// publication makes the publication, or adds what it lacks.
func (m *migration) publication(ctx context.Context) (extended bool, err error) {
	opt := m.opt
	p, err := readPublication(ctx, m.conn, opt)
	if err != nil {
		return false, err
	}
	if err := publishable(ctx, m.conn, opt, p); err != nil {
		return false, err
	}
	if !p.exists {
		if err := m.exec(ctx, ident(opt.Schema, change.Tables()[0]), publicationSQL(opt)); err != nil {
			return false, fmt.Errorf("create publication %q: %w", opt.Publication, err)
		}
		return false, nil
	}
	for _, name := range change.Tables() {
		if p.tables[name] || p.all {
			continue
		}
		if err := m.exec(ctx, ident(opt.Schema, name), opt.addTable(name)); err != nil {
			return extended, fmt.Errorf("add table %s to publication %q: %w", name, opt.Publication, err)
		}
		extended = true
	}
	for op, on := range p.ops {
		if !on {
			if err := alone(ctx, m.conn, opt, p); err != nil {
				return extended, err
			}
			if err := m.exec(ctx, "", opsSQL(opt)); err != nil {
				return extended, fmt.Errorf("add %s to publication %q: %w", op, opt.Publication, err)
			}
			return true, nil
		}
	}
	return extended, nil
}

// publishable refuses to publish a table whose rows would have no identity in
// the stream: from then on Postgres would refuse UPDATE and DELETE of it to
// everybody.
func publishable(ctx context.Context, conn *pgx.Conn, opt *Options, p publicationInfo) error {
	tables, err := readTables(ctx, conn, opt)
	if err != nil {
		return err
	}
	for _, name := range change.Tables() {
		t := tables[name]
		published := (p.all || p.tables[name]) && p.ops["update"] && p.ops["delete"]
		if t == nil || published || t.identityHolds(change.KeyColumns(name)) {
			continue
		}
		return fault(KindReplicaIdentity, strings.Join(t.identify(opt, change.KeyColumns(name)), "; "), nil, "table %s.%s is not published: UPDATE and DELETE of it would not carry its key (%s), and without any replica identity Postgres would refuse them",
			opt.Schema, name, strings.Join(change.KeyColumns(name), ", "))
	}
	return nil
}

// alone refuses to widen what a publication says of other people's tables: one
// without a replica identity could not be updated any more.
func alone(ctx context.Context, conn *pgx.Conn, opt *Options, p publicationInfo) error {
	var others int
	if err := conn.QueryRow(ctx, "SELECT count(*) FROM pg_publication_tables WHERE pubname = $1 AND NOT (schemaname = $2 AND tablename = ANY ($3::text[]))",
		opt.Publication, opt.Schema, change.Tables()).Scan(&others); err != nil {
		return err
	}
	if p.all || others > 0 {
		return fault(KindPublicationOps, opsSQL(opt)+", once each of its tables has a replica identity; or give carbond a publication of its own with postgres.publication", nil,
			"publication %q leaves out operations and holds tables of others, so it is left alone", opt.Publication)
	}
	return nil
}

func publicationSQL(opt *Options) string {
	var names []string
	for _, t := range change.Tables() {
		names = append(names, "ONLY "+ident(opt.Schema, t)) // tables that inherit from it are not ours
	}
	return "CREATE PUBLICATION " + ident(opt.Publication) + " FOR TABLE " + strings.Join(names, ", ") +
		" WITH (publish = 'insert, update, delete, truncate', publish_via_partition_root = true)"
}

func opsSQL(opt *Options) string {
	return "ALTER PUBLICATION " + ident(opt.Publication) + " SET (publish = 'insert, update, delete, truncate')"
}
