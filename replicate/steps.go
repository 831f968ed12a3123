package replicate

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

//go:embed migrations/*.sql
var migrations embed.FS

// step is one numbered SQL file. It may run again on what it has made: somebody
// may have dropped a part of that.
type step struct {
	name    string // of the file
	version int    // 1 for the first
	sql     string
}

// readSteps returns the steps of a folder in order. Files are named
// 001_what.sql and numbered without a gap.
func readSteps(files fs.FS, dir string) ([]step, error) {
	names, err := fs.Glob(files, path.Join(dir, "*.sql"))
	if err != nil {
		return nil, err
	}
	var steps []step
	for i, name := range names { // sorted by name
		base := path.Base(name)
		if !strings.HasPrefix(base, fmt.Sprintf("%03d_", i+1)) {
			return nil, fmt.Errorf("read migration %s: want number %03d in front of an underscore", base, i+1)
		}
		sql, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, fmt.Errorf("read migration %s: %w", base, err)
		}
		steps = append(steps, step{name: base, version: i + 1, sql: string(sql)})
	}
	return steps, nil
}

// schemaVersion returns the number of the last step that was done, 0 for none.
// The version table is the owner's business: known is false where the role may
// not read it.
func schemaVersion(ctx context.Context, conn *pgx.Conn, opt *Options) (version int, known bool, err error) {
	table := ident(opt.Schema, versionTable)
	var exists bool
	err = conn.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL, COALESCE(has_table_privilege(to_regclass($1), 'SELECT'), true)", table).Scan(&exists, &known)
	if err != nil || !exists || !known {
		return 0, known, err
	}
	err = conn.QueryRow(ctx, "SELECT COALESCE(max(version), 0) FROM "+table).Scan(&version)
	return version, true, err
}

// tooNew refuses to change what a newer carbond has made.
func (o *Options) tooNew(version, latest int) *Error {
	return fault(KindMigrate, "run the newer carbond, or set postgres.migrate to off where this one only has to read", nil,
		"the tables in schema %q are of version %d, made by a newer carbond; this one knows %d", o.Schema, version, latest)
}

// runSteps brings the schema to the latest version, from its first step on when
// repeat is set. Each step is one transaction with its mark in the version
// table, so that a failed one leaves nothing behind.
func runSteps(ctx context.Context, conn *pgx.Conn, opt *Options, steps []step, repeat bool) error {
	version, known, err := schemaVersion(ctx, conn, opt)
	if err != nil {
		return fmt.Errorf("read the schema version: %w", err)
	}
	if known && version > len(steps) {
		return opt.tooNew(version, len(steps))
	}
	for _, s := range steps {
		if s.version <= version && !repeat {
			continue
		}
		if err := s.run(ctx, conn, opt, max(version, s.version)); err != nil {
			return err
		}
	}
	return nil
}

// run does one step and notes version as done.
func (s step) run(ctx context.Context, conn *pgx.Conn, opt *Options, version int) (err error) {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("migration %s: %w", s.name, err)
			if rerr := tx.Rollback(context.WithoutCancel(ctx)); !errors.Is(rerr, pgx.ErrTxClosed) {
				err = errors.Join(err, rerr)
			}
		}
	}()
	table := ident(opt.Schema, versionTable)
	for _, sql := range []string{
		// Names without a schema lead to ours alone.
		"SET LOCAL search_path = " + ident(opt.Schema),
		s.sql,
		"CREATE TABLE IF NOT EXISTS " + table + " (version int NOT NULL)",
		"DELETE FROM " + table,
		"INSERT INTO " + table + " VALUES (" + strconv.Itoa(version) + ")",
	} {
		if _, err := tx.Exec(ctx, sql); err != nil {
			return err
		}
	}
	return tx.Commit(ctx)
}
