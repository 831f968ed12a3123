package schema

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"carbond/replicate/internal/server"
	"carbond/replicate/pgerr"
	"carbond/store/change"
)

// migrateLock is the advisory lock that makes concurrent migrations take turns; an
// arbitrary number of our own.
const migrateLock = int64(7_302_112_950_631)

const (
	// lockTimeout is how long a statement waits for its lock on a table. Whoever
	// comes after it waits behind it for so long at most: no application may hang
	// because carbond starts.
	lockTimeout = 200 * time.Millisecond
	// buildTimeout is the same for CREATE INDEX CONCURRENTLY, behind which only
	// other DDL and VACUUM wait.
	buildTimeout = 5 * time.Second
	// lockPause is the longest time between two tries.
	lockPause = 5 * time.Second
)

// Migration creates and completes tables, publication and indexes, one statement
// at a time. It never drops or changes what it finds, and never makes others wait
// for long: a lock that is not free is asked for again later.
type Migration struct {
	Conn   *pgx.Conn
	Opt    *server.Options
	Alter  bool            // tables may get columns and indexes
	Create bool            // tables may be made
	added  bool            // tables may get columns that came later than they
	Later  map[string]bool // tables that were never copied: publishing them misses nothing
	Wait   func(string)    // is told for whom a statement waits, and "" when it does no more
}

// Migrate creates or upgrades the schema, the tables, their indexes and
// the publication. It never drops or changes what it finds: tables, columns and
// rows of others stay. Concurrent calls take turns. Tables that a newer carbond
// has made are refused with KindMigrate and left alone.
func Migrate(ctx context.Context, opt server.Options) error {
	opt = opt.WithDefaults()
	conn, err := opt.Connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	findings, err := Check(ctx, conn, &opt)
	if err != nil {
		return err
	}
	if err := Prerequisites(findings); err != nil && pgerr.KindOf(err) == pgerr.KindStandby {
		return err // everything else can be repaired later
	}
	state, err := readSchemaState(ctx, conn, &opt)
	if err != nil {
		return opt.Classify(err)
	}
	if state.version > latestVersion {
		return tooNew(&opt, state.version)
	}
	m := &Migration{Conn: conn, Opt: &opt, Alter: true, Create: true, added: true, Wait: func(who string) {
		if who != "" {
			opt.Logger.Warn("a migration waits", "for", who)
		}
	}}
	needed, err := m.Needed(ctx, findings)
	if err != nil {
		return err
	}
	if needed {
		if _, err := m.Run(ctx, findings); err != nil {
			return err
		}
		if err := m.Indexes(ctx); err != nil {
			return m.failed(err, findings)
		}
	}
	return remainingFault(ctx, conn, &opt)
}

// remainingFault returns the first fault of the tables that no migration repairs,
// because it would change what somebody else made. What the role may read is
// not asked: serve may have another one.
func remainingFault(ctx context.Context, conn *pgx.Conn, opt *server.Options) error {
	findings, err := checkTables(ctx, conn, opt)
	if err != nil {
		return opt.Classify(err)
	}
	return FirstFault(slices.DeleteFunc(findings, func(f Finding) bool {
		return pgerr.Kind(f.Name) == pgerr.KindSelectRight || pgerr.Kind(f.Name) == pgerr.KindRowSecurity
	}))
}

// Needed reports whether anything is missing that a migration makes. Tables that
// somebody else has made and that are complete are left alone: the role may not
// own them. Nothing is missing from complete tables of a newer carbond either, so
// that old and new ones can run side by side.
func (m *Migration) Needed(ctx context.Context, findings []Finding) (bool, error) {
	for _, f := range findings {
		switch pgerr.Kind(f.Name) {
		case pgerr.KindPublication, pgerr.KindPublicationTables, pgerr.KindPublicationOps:
			if !f.OK {
				return true, nil
			}
		}
	}
	tables, err := ReadTables(ctx, m.Conn, m.Opt)
	if err != nil {
		return false, m.Opt.Classify(err)
	}
	for _, name := range m.Opt.Viewed() {
		if t := tables[name]; t == nil || len(m.lacks(t)) > 0 {
			return true, nil
		}
	}
	state, err := readSchemaState(ctx, m.Conn, m.Opt)
	return m.Alter && (state.keyless || state.version > 0 && state.version < latestVersion), m.Opt.Classify(err)
}

// Run does the work, but for the indexes of tables that exist. It reports whether
// a publication that existed before got more tables.
func (m *Migration) Run(ctx context.Context, findings []Finding) (extended bool, err error) {
	unlock, err := m.lock(ctx)
	if err != nil {
		return false, err
	}
	defer unlock()
	if m.Alter {
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
func (m *Migration) failed(err error, findings []Finding) error {
	if pgerr.KindOf(err) != pgerr.KindServer || errors.Is(err, context.Canceled) {
		return err
	}
	return pgerr.New(pgerr.KindMigrate, migrateRepair(err, findings), err, "tables and publication could not be created")
}

// lock waits until no other migration works. It asks again and again: to wait
// inside Postgres would hold a snapshot, for which the other one's CREATE INDEX
// CONCURRENTLY would wait.
func (m *Migration) lock(ctx context.Context) (unlock func(), err error) {
	t := time.NewTicker(lockTimeout)
	defer t.Stop()
	told := ""
	for {
		var mine bool
		if err := m.Conn.QueryRow(ctx, "SELECT pg_try_advisory_lock($1)", migrateLock).Scan(&mine); err != nil {
			return nil, m.Opt.Classify(fmt.Errorf("wait for another migration: %w", err))
		}
		if mine {
			if told != "" {
				m.Wait("")
			}
			return func() {
				// With a broken connection it is gone already.
				_, _ = m.Conn.Exec(context.WithoutCancel(ctx), "SELECT pg_advisory_unlock($1)", migrateLock)
				_, _ = m.Conn.Exec(context.WithoutCancel(ctx), "RESET lock_timeout")
			}, nil
		}
		var who string
		// An index may keep the other one waiting for hours.
		if err := m.Conn.QueryRow(ctx, `
SELECT COALESCE(max(format('pid %s (%s)', a.pid, COALESCE(NULLIF(a.application_name, ''), a.usename::text))), '')
FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND l.classid::int8 = $1 AND l.objid::int8 = $2`,
			migrateLock>>32, migrateLock&math.MaxUint32).Scan(&who); err != nil {
			return nil, m.Opt.Classify(fmt.Errorf("wait for another migration: %w", err))
		}
		if who != "" && who != told {
			told = who
			m.Wait("another migration, of " + who + ", which has to end first")
		}
		select {
		case <-ctx.Done():
			if told != "" {
				return nil, pgerr.New(pgerr.KindMigrate, "wait for it, or end it and try again", ctx.Err(), "another migration, of %s, has not ended", told)
			}
			return nil, ctx.Err()
		case <-t.C:
		}
	}
}

// exec runs one statement that locks a table, in short tries.
func (m *Migration) exec(ctx context.Context, table, sql string) error {
	return m.withRetry(ctx, table, sql, lockTimeout, nil)
}

// withRetry runs one statement until it gets its locks. before is called before
// each try but the first.
func (m *Migration) withRetry(ctx context.Context, table, sql string, patience time.Duration, before func() error) error {
	defer m.Wait("")
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.MaxInterval = lockTimeout, lockPause
	for {
		_, err := m.Conn.Exec(ctx, fmt.Sprintf("SET lock_timeout = %d", patience.Milliseconds()))
		if err == nil {
			_, err = m.Conn.Exec(ctx, sql)
		}
		if pe, ok := errors.AsType[*pgconn.PgError](err); !ok || pe.Code != "55P03" && pe.Code != "40P01" { // no lock, or a deadlock that we lost
			return err
		}
		who, err := lockers(ctx, m.Conn, table)
		if err != nil {
			return err
		}
		m.Wait(fmt.Sprintf("%.60s... waits for the lock on %s, which %s", sql, table, who))
		t := time.NewTimer(wait.NextBackOff())
		select {
		case <-ctx.Done():
			t.Stop()
			return pgerr.New(pgerr.KindMigrate, "end it and try again", ctx.Err(), "%.60s... did not get its lock on %s, which %s", sql, table, who)
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
		if !f.OK && pgerr.Kind(f.Name) == pgerr.KindColumnTypes { // they cannot have the indexes of the views either
			return f.Repair
		}
	}
	return "remove what Postgres complains of, or run the SQL that carbond doctor prints and set postgres.migrate to off"
}

// tables makes what is missing of the schema, the tables and their columns.
func (m *Migration) tables(ctx context.Context) error {
	state, err := readSchemaState(ctx, m.Conn, m.Opt)
	if err != nil {
		return err
	}
	found, err := ReadTables(ctx, m.Conn, m.Opt)
	if err != nil {
		return err
	}
	added := 0
	for _, name := range m.Opt.Viewed() {
		t := found[name]
		if t != nil && len(m.lacks(t)) == 0 || t == nil && !m.Create {
			continue
		}
		if state.version > latestVersion {
			return tooNew(m.Opt, state.version)
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
	switch left, err := m.missingIndexes(ctx, m.Opt.Viewed()...); {
	case err != nil && m.Create:
		return err
	case err != nil || state.version > latestVersion:
		return nil
	case len(left) == 0:
		return m.recordVersion(ctx, latestVersion)
	case added > 0 || state.version < latestVersion:
		return m.recordVersion(ctx, tablesMade)
	}
	return m.recordVersion(ctx, state.version)
}

// table makes one table with its indexes. Nobody uses it yet.
func (m *Migration) table(ctx context.Context, name string) error {
	var exists bool
	if err := m.Conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)", m.Opt.Schema).Scan(&exists); err != nil {
		return err
	}
	if !exists {
		if err := m.exec(ctx, "", "CREATE SCHEMA "+server.Ident(m.Opt.Schema)); err != nil {
			return fmt.Errorf("create schema %q: %w", m.Opt.Schema, err)
		}
	}
	full := server.Ident(m.Opt.Schema, name)
	if err := m.exec(ctx, full, createSQL(m.Opt, name)); err != nil {
		return fmt.Errorf("create table %s: %w", full, err)
	}
	for _, ix := range indexes() {
		if ix.table != name {
			continue
		}
		if err := m.exec(ctx, full, "CREATE INDEX IF NOT EXISTS "+server.Ident(ix.name)+" ON "+full+" "+ix.columns); err != nil {
			return fmt.Errorf("create index %s: %w", ix.name, err)
		}
	}
	return nil
}

func (m *Migration) columns(ctx context.Context, t *tableInfo) error {
	lacks := m.lacks(t)
	if len(lacks) == 0 {
		return nil
	}
	if err := m.exec(ctx, server.Ident(m.Opt.Schema, t.name), addColumnsSQL(m.Opt.Schema, t.name, lacks...)); err != nil {
		return fmt.Errorf("add columns %s of %s.%s: %w", strings.Join(lacks, ", "), m.Opt.Schema, t.name, err)
	}
	return nil
}

// lacks lists the columns that a table is to get. The owner of a table decides on
// those that came later, and who does not have carbond fill the table gets none:
// carbond works without them, and others may count the columns.
func (m *Migration) lacks(t *tableInfo) []string {
	return slices.DeleteFunc(t.missing(), func(c string) bool {
		return change.TableOf(t.name).Column(c).Added && (slices.Contains(m.Opt.Unfed, t.name) || !(m.added && t.owned))
	})
}

// AddColumns makes the columns that came later than their tables, of tables that
// are the role's own. It may have to wait for long.
func (m *Migration) AddColumns(ctx context.Context) error {
	m.added = true
	tables, err := ReadTables(ctx, m.Conn, m.Opt)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(m.Opt.Viewed(), func(name string) bool { t := tables[name]; return t != nil && len(m.lacks(t)) > 0 }) {
		return nil
	}
	unlock, err := m.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if tables, err = ReadTables(ctx, m.Conn, m.Opt); err != nil { // what another one has made meanwhile
		return err
	}
	for _, name := range m.Opt.Viewed() {
		if t := tables[name]; t == nil {
			continue
		} else if err := m.columns(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

// publication makes the publication, or adds what it lacks.
func (m *Migration) publication(ctx context.Context) (extended bool, err error) {
	opt := m.Opt
	p, err := readPublication(ctx, m.Conn, opt)
	if err != nil {
		return false, err
	}
	if err := publishable(ctx, m.Conn, opt, p); err != nil {
		return false, err
	}
	if !p.exists {
		if err := m.exec(ctx, server.Ident(opt.Schema, change.Tables()[0]), publicationSQL(opt)); err != nil {
			return false, fmt.Errorf("create publication %q: %w", opt.Publication, err)
		}
		return false, m.PublishPlain(ctx)
	}
	for _, name := range opt.Viewed() {
		if p.tables[name] || p.all {
			continue
		}
		if err := m.exec(ctx, server.Ident(opt.Schema, name), AddTable(opt, name)); err != nil {
			return extended, fmt.Errorf("add table %s to publication %q: %w", name, opt.Publication, err)
		}
		extended = extended || !m.Later[name]
	}
	for op, on := range p.ops {
		if !on {
			if err := refuseForeignTables(ctx, m.Conn, opt, p); err != nil {
				return extended, err
			}
			if err := m.exec(ctx, "", opsSQL(opt)); err != nil {
				return extended, fmt.Errorf("add %s to publication %q: %w", op, opt.Publication, err)
			}
			extended = true
			break
		}
	}
	return extended, m.PublishPlain(ctx)
}

// publishable refuses to publish a table whose rows would have no identity in
// the stream: from then on Postgres would refuse UPDATE and DELETE of it to
// everybody.
func publishable(ctx context.Context, conn *pgx.Conn, opt *server.Options, p publicationInfo) error {
	tables, err := ReadTables(ctx, conn, opt)
	if err != nil {
		return err
	}
	for _, name := range opt.Viewed() {
		t := tables[name]
		published := (p.all || p.tables[name]) && p.ops["update"] && p.ops["delete"]
		if t == nil || published || t.identityHolds(change.KeyColumns(name)) {
			continue
		}
		return pgerr.New(pgerr.KindReplicaIdentity, strings.Join(t.identify(opt, change.KeyColumns(name)), "; "), nil, "table %s.%s is not published: UPDATE and DELETE of it would not carry its key (%s), and without any replica identity Postgres would refuse them",
			opt.Schema, name, strings.Join(change.KeyColumns(name), ", "))
	}
	return nil
}

// refuseForeignTables refuses to widen what a publication says of other people's tables: one
// without a replica identity could not be updated any more.
func refuseForeignTables(ctx context.Context, conn *pgx.Conn, opt *server.Options, p publicationInfo) error {
	var others int
	if err := conn.QueryRow(ctx, "SELECT count(*) FROM pg_publication_tables WHERE pubname = $1 AND NOT (schemaname = $2 AND tablename = ANY ($3::text[]))",
		opt.Publication, opt.Schema, opt.Viewed()).Scan(&others); err != nil {
		return err
	}
	if p.all || others > 0 {
		return pgerr.New(pgerr.KindPublicationOps, opsSQL(opt)+", once each of its tables has a replica identity; or give carbond a publication of its own with postgres.publication", nil,
			"publication %q leaves out operations and holds tables of others, so it is left alone", opt.Publication)
	}
	return nil
}

func publicationSQL(opt *server.Options) string {
	var names []string
	for _, t := range opt.Viewed() {
		names = append(names, "ONLY "+server.Ident(opt.Schema, t)) // tables that inherit from it are not ours
	}
	return "CREATE PUBLICATION " + server.Ident(opt.Publication) + " FOR TABLE " + strings.Join(names, ", ") +
		" WITH (publish = 'insert, update, delete, truncate', publish_via_partition_root = true)"
}

func opsSQL(opt *server.Options) string {
	return "ALTER PUBLICATION " + server.Ident(opt.Publication) + " SET (publish = 'insert, update, delete, truncate')"
}
