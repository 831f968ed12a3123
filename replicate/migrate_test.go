package replicate_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"carbond/replicate"
	"carbond/replicate/pgerr"
	"carbond/replicate/pgtest"
	"carbond/replicate/schema"
)

// plainTables is what somebody may have before the first start. verra lacks
// columns, so that it has to be altered.
func plainTables(t *testing.T, db string) {
	t.Helper()
	pgtest.Exec(t, db, "CREATE TABLE verra (project_id text PRIMARY KEY, country text)",
		"CREATE TABLE carbonmark (id text PRIMARY KEY, project_id text, project_name text, vintage int, amount float8, updated_at timestamptz)",
		"CREATE TABLE finance (ticker text, price float8, volume bigint, market_cap float8, change_percent float8, timestamp bigint, PRIMARY KEY (ticker, timestamp))",
		"CREATE TABLE news (guid text PRIMARY KEY, title text, link text, published text, published_at timestamptz, source text, summary text)")
}

// indexesOf lists our valid indexes.
func indexesOf(t *testing.T, db string) string {
	t.Helper()
	return pgtest.Text(t, db, "SELECT COALESCE(string_agg(c.relname, ' ' ORDER BY c.relname), '') FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indisvalid AND c.relname LIKE 'carbond\\_%' AND NOT i.indisprimary AND NOT c.relispartition")[0][0]
}

const allIndexes = "carbond_carbonmark_project carbond_finance_latest carbond_news_latest carbond_news_source carbond_verra_country"

// TestStartBesideOthers begins while others hold the table that has to be altered.
// They, and whoever comes after them, go on; the status says for whom it waits.
func TestStartBesideOthers(t *testing.T) {
	for name, tc := range map[string]struct {
		hold   string
		named  string
		finish string // "" to end the session
	}{
		"a reader":               {"SELECT count(*) FROM verra", "idle in transaction", ""},
		"a writer":               {"INSERT INTO verra VALUES ('held')", "idle in transaction", ""},
		"a prepared transaction": {"INSERT INTO verra VALUES ('held'); PREPARE TRANSACTION '%s'", "prepared transaction '%s'", "ROLLBACK PREPARED '%s'"},
	} {
		t.Run(name, func(t *testing.T) {
			db := pgtest.Shared(t).Database(t)
			gid := "held in " + pgtest.Text(t, db, "SELECT current_database()")[0][0]
			with := func(s string) string { return strings.ReplaceAll(s, "%s", gid) }
			plainTables(t, db)
			release := openTransaction(t, db, with(tc.hold))
			if tc.finish != "" {
				release = sync.OnceFunc(func() { pgtest.Exec(t, db, with(tc.finish)) })
				t.Cleanup(release)
			}
			r := run(t, newSink(), options(db))
			eventually(t, func() error {
				if s := r.Status(); !strings.Contains(s.Reason, `ALTER TABLE "public"."verra"`) || !strings.Contains(s.Reason, with(tc.named)) {
					return fmt.Errorf("reason %q", s.Reason)
				}
				return nil
			})
			for i := range 5 {
				// The limit fails the test; it does not measure.
				pgtest.Exec(t, db, fmt.Sprintf("SET statement_timeout = '20s'; SELECT count(*) FROM verra; INSERT INTO verra VALUES ('app %d')", i))
			}
			release()
			r.level()
			r.sink.sameAsSQL(t, db)
		})
	}
}

// TestIndexesBesideWriters has a writer that stays: the copy is not held up, and
// the indexes come when it has gone.
func TestIndexesBesideWriters(t *testing.T) {
	db := pgtest.Shared(t).Database(t)
	plainTables(t, db)
	pgtest.Exec(t, db, "ALTER TABLE verra ADD project_name text, ADD project_link text, ADD project_summary text, ADD registry_status text, ADD vintage int, ADD supply float8, ADD updated_at timestamptz",
		"ALTER TABLE finance ADD currency text", "ALTER TABLE news ADD published_estimated boolean")
	// It has no transaction id, for which the slot would wait.
	release := openTransaction(t, db, "LOCK TABLE news IN ROW EXCLUSIVE MODE")
	r := run(t, newSink(), options(db))
	r.level()
	eventually(t, func() error {
		if w := strings.Join(r.Status().Warnings, "; "); !strings.Contains(w, "CREATE INDEX CONCURRENTLY") || !strings.Contains(w, "idle in transaction") {
			return fmt.Errorf("warnings: %s", w)
		}
		return nil
	})
	pgtest.Exec(t, db, "INSERT INTO news (guid) VALUES ('meanwhile')")
	r.level()
	release()
	eventually(t, func() error {
		if got := indexesOf(t, db); got != allIndexes {
			return fmt.Errorf("indexes: %s", got)
		}
		if s := r.Status(); len(s.Warnings) > 0 {
			return fmt.Errorf("warnings: %v", s.Warnings)
		}
		return nil
	})
	// From now on they are the owner's.
	pgtest.Exec(t, db, "DROP INDEX carbond_news_source")
	r.stop()
	r = run(t, r.sink, options(db))
	r.level()
	if got := indexesOf(t, db); strings.Contains(got, "carbond_news_source") {
		t.Errorf("an index that was dropped came back: %s", got)
	}
}

// TestIndexesAgain finds what attempts that did not end have left.
func TestIndexesAgain(t *testing.T) {
	db := pgtest.Shared(t).Database(t)
	plainTables(t, db)
	pgtest.Exec(t, db, "INSERT INTO news (guid, source) VALUES ('1', 'a'), ('2', 'a')", "DROP TABLE finance",
		"CREATE TABLE finance (ticker text, price float8, volume bigint, market_cap float8, change_percent float8, timestamp bigint, PRIMARY KEY (ticker, timestamp)) PARTITION BY LIST (ticker)",
		`CREATE SCHEMA "Old Data"`, `CREATE TABLE "Old Data"."a b" PARTITION OF finance FOR VALUES IN ('A')`,
		"CREATE TABLE finance_b PARTITION OF finance FOR VALUES IN ('B') PARTITION BY RANGE (timestamp)",
		"CREATE TABLE finance_b1 PARTITION OF finance_b FOR VALUES FROM (0) TO (10)", "CREATE TABLE finance_b2 PARTITION OF finance_b DEFAULT",
		"CREATE INDEX carbond_finance_latest ON ONLY finance (ticker COLLATE \"C\", timestamp DESC)")
	// A unique index over rows that are not stays behind, invalid.
	if err := attempt(t, db, "CREATE UNIQUE INDEX CONCURRENTLY carbond_news_source ON news (source)"); err == nil {
		t.Fatal("no error")
	}
	for range 2 {
		opt := options(db)
		opt.Publication = "viaroot"
		if err := schema.Migrate(t.Context(), opt); err != nil {
			t.Fatal(err)
		}
		if got := indexesOf(t, db); got != allIndexes {
			t.Errorf("indexes: %s", got)
		}
	}
	if got := pgtest.Text(t, db, "SELECT count(*) FROM pg_index i WHERE NOT i.indisvalid")[0][0]; got != "0" {
		t.Errorf("%s indexes are not valid", got)
	}
	leaves := pgtest.Text(t, db, "SELECT count(*) FROM pg_partition_tree('carbond_finance_latest')")[0][0]
	if leaves != "5" {
		t.Errorf("the index has %s parts", leaves)
	}
}

// TestNothingInPlaceOfATable takes a table away, as a swap or a restore does.
func TestNothingInPlaceOfATable(t *testing.T) {
	for _, gap := range []replicate.GapAction{replicate.GapStop, replicate.GapResnapshot} {
		for _, running := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, running %t", gap, running), func(t *testing.T) {
				db := pgtest.Shared(t).Database(t)
				opt, sink := options(db), newSink()
				opt.OnGap = gap
				r := run(t, sink, opt)
				r.level()
				pgtest.Exec(t, db, "INSERT INTO verra (project_id) VALUES ('old')", "CREATE TABLE verra_new (LIKE verra INCLUDING ALL)", "INSERT INTO verra_new (project_id) VALUES ('new')")
				r.level()
				if !running {
					r.stop()
				}
				pgtest.Exec(t, db, "DROP TABLE verra CASCADE")
				if !running {
					r = run(t, sink, opt)
				} else {
					pgtest.Exec(t, db, "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '"+opt.Slot+"'")
				}
				if s := r.trouble(pgerr.KindTables); !strings.Contains(s.Reason, "public.verra") || !strings.Contains(s.Reason, "carbond migrate") {
					t.Errorf("reason %q", s.Reason)
				}
				pgtest.Exec(t, db, "ALTER TABLE verra_new RENAME TO verra")
				if gap == replicate.GapStop {
					r.trouble(pgerr.KindPublicationChange)
					return
				}
				r.level()
				sink.sameAsSQL(t, db)
			})
		}
	}
}

// TestBesideAPublicationOfAll starts where every table is published by somebody
// else, which makes those without a key read-only.
func TestBesideAPublicationOfAll(t *testing.T) {
	db := pgtest.Shared(t).Database(t)
	pgtest.Exec(t, db, "CREATE PUBLICATION other FOR ALL TABLES")
	r := run(t, newSink(), options(db))
	r.level()
	r.stop()
	// As an early carbond had made it, and left it in the middle.
	pgtest.Exec(t, db, "DROP TABLE carbond_schema_version", "CREATE TABLE carbond_schema_version (version int NOT NULL)", "INSERT INTO carbond_schema_version VALUES (1)")
	if err := schema.Migrate(t.Context(), options(db)); err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, db, "UPDATE carbond_schema_version SET version = version")
	// The same by a start.
	pgtest.Exec(t, db, "DROP TABLE carbond_schema_version", "CREATE TABLE carbond_schema_version (version int NOT NULL)", "INSERT INTO carbond_schema_version VALUES (2)")
	r = run(t, r.sink, options(db))
	r.level()
	pgtest.Exec(t, db, "UPDATE carbond_schema_version SET version = version")
}

// TestMigrateGivesUp ends a migration that waits, and names for whom it did.
func TestMigrateGivesUp(t *testing.T) {
	db := pgtest.Shared(t).Database(t)
	plainTables(t, db)
	release := openTransaction(t, db, "SELECT * FROM verra")
	ctx, cancel := context.WithCancel(t.Context())
	opt := options(db)
	opt.Logger = onFirst(cancel)
	err := schema.Migrate(ctx, opt)
	if e, ok := errors.AsType[*pgerr.Error](err); !ok || e.Kind != pgerr.KindMigrate || !strings.Contains(e.Error(), "idle in transaction") {
		t.Errorf("got %v", err)
	}
	release()
	if err := schema.Migrate(t.Context(), options(db)); err != nil {
		t.Error(err)
	}
}
