package replicate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"carbond/store/change"
)

const (
	// versionTable holds the number of the last migration, in our schema.
	versionTable = "carbond_schema_version"
	// migrateLock is the advisory lock that makes concurrent migrations take
	// turns; an arbitrary number of our own.
	migrateLock = int64(7_302_112_950_631)
)

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
	steps, err := readSteps(migrations, "migrations")
	if err != nil {
		return err
	}
	if version, _, err := schemaVersion(ctx, conn, &opt); err != nil || version > len(steps) {
		return cmp.Or(opt.classify(err), error(opt.tooNew(version, len(steps))))
	}
	needed, err := migrationNeeded(ctx, conn, &opt, findings)
	if err != nil {
		return err
	}
	if needed {
		if _, err := migrateOn(ctx, conn, &opt, findings); err != nil {
			return err
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

// migrationNeeded reports whether anything is missing that a migration makes.
// Tables that somebody else has made and that are complete are left alone: the
// role may not own them. Nothing is missing from complete tables of a newer
// carbond either, so that old and new ones can run side by side.
func migrationNeeded(ctx context.Context, conn *pgx.Conn, opt *Options, findings []Finding) (bool, error) {
	for _, f := range findings {
		switch Kind(f.Name) {
		case KindTables, KindColumns, KindPublication, KindPublicationTables, KindPublicationOps:
			if !f.OK {
				return true, nil
			}
		}
	}
	version, _, err := schemaVersion(ctx, conn, opt)
	if err != nil {
		return false, opt.classify(err)
	}
	steps, err := readSteps(migrations, "migrations")
	return version > 0 && version < len(steps), err
}

// migrateOn does the work on an open connection. It reports whether a
// publication that existed before got more tables.
func migrateOn(ctx context.Context, conn *pgx.Conn, opt *Options, findings []Finding) (extended bool, err error) {
	defer func() {
		if err != nil && kindOf(err) == KindServer {
			err = fault(KindMigrate, migrateRepair(err, findings), err, "tables and publication could not be created")
		}
	}()
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock($1)", migrateLock); err != nil {
		return false, fmt.Errorf("wait for another migration: %w", err)
	}
	defer func() {
		_, uerr := conn.Exec(context.WithoutCancel(ctx), "SELECT pg_advisory_unlock($1)", migrateLock)
		if err == nil {
			err = uerr
		}
	}()
	repeat := slices.ContainsFunc(findings, func(f Finding) bool {
		return !f.OK && (Kind(f.Name) == KindTables || Kind(f.Name) == KindColumns)
	})
	if err := migrateTables(ctx, conn, opt, repeat); err != nil {
		return false, err
	}
	return migratePublication(ctx, conn, opt)
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

// migrateTables makes the schema and the tables. With repeat it also makes again
// what was dropped from them.
func migrateTables(ctx context.Context, conn *pgx.Conn, opt *Options, repeat bool) error {
	var exists bool
	if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)", opt.Schema).Scan(&exists); err != nil {
		return err
	}
	if !exists {
		if _, err := conn.Exec(ctx, "CREATE SCHEMA "+ident(opt.Schema)); err != nil {
			return fmt.Errorf("create schema %q: %w", opt.Schema, err)
		}
	}
	steps, err := readSteps(migrations, "migrations")
	if err != nil {
		return err
	}
	return runSteps(ctx, conn, opt, steps, repeat)
}

func migratePublication(ctx context.Context, conn *pgx.Conn, opt *Options) (extended bool, err error) {
	p, err := readPublication(ctx, conn, opt)
	if err != nil {
		return false, err
	}
	if err := publishable(ctx, conn, opt, p); err != nil {
		return false, err
	}
	if !p.exists {
		if _, err := conn.Exec(ctx, publicationSQL(opt)); err != nil {
			return false, fmt.Errorf("create publication %q: %w", opt.Publication, err)
		}
		return false, nil
	}
	for _, name := range change.Tables() {
		if p.tables[name] || p.all {
			continue
		}
		if _, err := conn.Exec(ctx, opt.addTable(name)); err != nil {
			return extended, fmt.Errorf("add table %s to publication %q: %w", name, opt.Publication, err)
		}
		extended = true
	}
	for op, on := range p.ops {
		if !on {
			if err := alone(ctx, conn, opt, p); err != nil {
				return extended, err
			}
			if _, err := conn.Exec(ctx, opsSQL(opt)); err != nil {
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

// createSQL returns the statement that makes one table, for people who do not
// let carbond migrate.
func createSQL(schema, table string) string {
	var cols []string
	for _, c := range change.Standard(table).Columns {
		cols = append(cols, ident(c.Name)+" "+standardType(table, c.Name))
	}
	return "CREATE TABLE " + ident(schema, table) + " (" + strings.Join(cols, ", ") + ", PRIMARY KEY (" + strings.Join(change.KeyColumns(table), ", ") + "))"
}

// standardType returns the SQL type of a column of section 3.4.
func standardType(table, column string) string {
	rel := change.Standard(table)
	i := rel.Index(column)
	if i < 0 {
		return "text"
	}
	if table == change.Verra && column == "id" {
		return "bigserial"
	}
	switch rel.Columns[i].Type {
	case change.OIDInt8:
		return "bigint"
	case change.OIDInt4:
		return "int"
	case change.OIDFloat8:
		return "double precision"
	case change.OIDTimestamptz:
		return "timestamptz"
	}
	return "text"
}
