package replicate_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"carbond/replicate"
	"carbond/replicate/pgerr"
	"carbond/replicate/pgtest"
	"carbond/replicate/schema"
)

// findings of a preflight that are not OK, by name.
func bad(t *testing.T, opt replicate.Options) map[string]schema.Finding {
	t.Helper()
	findings, err := schema.Preflight(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]schema.Finding{}
	for _, f := range findings {
		if !f.OK {
			out[f.Name] = f
		}
	}
	return out
}

// TestSynchronousStandby lets each commit wait for carbond, on a server that asks
// for no status and gets none on its own: without a word for each durable
// position the first commit would wait for ever. Commits to tables of others, and
// in other databases, wait as well.
func TestSynchronousStandby(t *testing.T) {
	for _, names := range []string{"*", "FIRST 1 (*)", `ANY 1 (nobody, "carbond")`} {
		t.Run(names, func(t *testing.T) {
			c := pgtest.Start(t, "wal_sender_timeout = 0")
			db, elsewhere := c.Database(t), c.Database(t)
			pgtest.Exec(t, db, "CREATE TABLE diary (n int)")
			pgtest.Exec(t, elsewhere, "CREATE TABLE diary (n int)")
			pgtest.Exec(t, db, "ALTER SYSTEM SET synchronous_standby_names = '"+names+"'", "SELECT pg_reload_conf()")
			eventually(t, func() error {
				if got := pgtest.Text(t, db, "SELECT current_setting('synchronous_standby_names')")[0][0]; got != names {
					return errors.New(got)
				}
				return nil
			})
			opt := options(db)
			opt.StatusInterval, opt.AdvanceInterval = time.Hour, time.Hour
			r := run(t, newSink(), opt) // its own commits must not wait
			eventually(t, func() error {
				if s := r.Status(); !s.Connected {
					return fmt.Errorf("%+v", s)
				}
				return nil
			})
			for i := range 5 {
				pgtest.Exec(t, db, fmt.Sprintf("INSERT INTO news (guid) VALUES ('%d')", i), "INSERT INTO diary VALUES (1)")
				pgtest.Exec(t, elsewhere, "INSERT INTO diary VALUES (1)")
			}
			if w := strings.Join(r.Status().Warnings, "; "); strings.Count(w, "synchronous_standby_names") != 1 {
				t.Errorf("warnings: %s", w)
			}
			if f := bad(t, opt)["synchronous_standby"]; !f.Warning || !strings.Contains(f.Repair, "ALTER SYSTEM") {
				t.Errorf("doctor: %+v", f)
			}
			pgtest.Exec(t, db, "ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()")
			eventually(t, func() error {
				if w := r.Status().Warnings; len(w) > 0 {
					return fmt.Errorf("warnings: %v", w)
				}
				return nil
			})
			r.stop()
		})
	}
}

// TestSwallowingPooler goes through a pooler that drops what it does not know. The
// slot, which a copy would replace, must stay.
func TestSwallowingPooler(t *testing.T) {
	c := pgtest.Shared(t)
	db := c.Database(t)
	name := pgtest.Text(t, db, "SELECT current_database()")[0][0]
	opt := options(db)
	if err := schema.Migrate(t.Context(), opt); err != nil {
		t.Fatal(err)
	}
	if _, err := replicate.PrepareSlot(t.Context(), opt); err != nil {
		t.Fatal(err)
	}
	before := confirmed(t, db, opt.Slot)
	for name, pooled := range map[string]string{
		"refuses":  c.Pooler(t, name),
		"swallows": c.Pooler(t, name, "ignore_startup_parameters = replication,search_path,extra_float_digits,intervalstyle,bytea_output,array_nulls,statement_timeout,lock_timeout,idle_in_transaction_session_timeout,idle_session_timeout,default_transaction_read_only,default_transaction_isolation,default_transaction_deferrable,client_min_messages,synchronous_commit"),
	} {
		t.Run(name, func(t *testing.T) {
			through := opt
			through.URL, through.TakeOver, through.OnGap = pooled, true, replicate.GapResnapshot
			if f, ok := bad(t, through)["pooler"]; !ok || !strings.Contains(f.Repair, "query_url") {
				t.Errorf("doctor: %+v", bad(t, through))
			}
			r := run(t, newSink(), through)
			r.trouble(pgerr.KindPooler)
			r.stop()
			if got := confirmed(t, db, opt.Slot); got != before {
				t.Errorf("the slot stands at %s, not %s", got, before)
			}
		})
	}
}

// TestForgottenPreparedTransaction blocks the creation of the slot.
func TestForgottenPreparedTransaction(t *testing.T) {
	c := pgtest.Start(t)
	db := c.Database(t)
	pgtest.Exec(t, db, "CREATE TABLE t (i int)", "BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'it''s forgotten'")
	r := run(t, newSink(), options(db))
	eventually(t, func() error {
		if s := r.Status(); !strings.Contains(s.Reason, "ROLLBACK PREPARED 'it''s forgotten'") {
			return fmt.Errorf("reason %q", s.Reason)
		}
		return nil
	})
	pgtest.Exec(t, db, "COMMIT PREPARED 'it''s forgotten'")
	r.level()
	r.stop()
}

// TestTeardownOfOneOfTwo lets the other one go on.
func TestTeardownOfOneOfTwo(t *testing.T) {
	db := pgtest.Shared(t).Database(t)
	one, two := options(db), options(db)
	two.Slot += "_two"
	a, b := run(t, newSink(), one), run(t, newSink(), two)
	a.level()
	b.level()
	a.stop()
	kept, err := schema.Teardown(t.Context(), one)
	if err != nil || len(kept) != 1 || kept[0] != two.Slot {
		t.Errorf("kept for %v, %v", kept, err)
	}
	pgtest.Exec(t, db, "INSERT INTO news (guid) VALUES ('after')")
	b.level()
	b.sink.sameAsSQL(t, db)
	b.stop()
	if kept, err := schema.Teardown(t.Context(), two); err != nil || kept != nil {
		t.Errorf("the last: kept for %v, %v", kept, err)
	}
	if got := pgtest.Text(t, db, "SELECT count(*) FROM pg_publication")[0][0]; got != "0" {
		t.Error("the publication is still there")
	}
}

// TestNoMoreRightsThanNeeded has a login that may read the published columns only
// and not ask which cluster this is, and one that acts as another role.
func TestNoMoreRightsThanNeeded(t *testing.T) {
	c := pgtest.Start(t)
	db := c.Database(t)
	name := pgtest.Text(t, db, "SELECT current_database()")[0][0]
	pgtest.Exec(t, db, "REVOKE EXECUTE ON FUNCTION pg_control_system() FROM public")
	t.Run("acts as another role", func(t *testing.T) {
		pgtest.Exec(t, db, "CREATE ROLE owner", "CREATE ROLE actor LOGIN REPLICATION NOINHERIT PASSWORD 'secret' IN ROLE owner", "ALTER ROLE actor SET role = 'owner'",
			"GRANT CREATE ON DATABASE "+name+" TO owner", "CREATE SCHEMA owned AUTHORIZATION owner")
		opt := options(c.UserURL("actor", "secret", name))
		opt.Schema, opt.Publication = "owned", "owned"
		if err := schema.Migrate(t.Context(), opt); err != nil {
			t.Fatal(err)
		}
		if created, err := replicate.PrepareSlot(t.Context(), opt); err != nil || !created {
			t.Errorf("%t, %v", created, err)
		}
		r := run(t, newSink(), opt)
		r.level()
		if found := bad(t, opt); len(found) > 0 {
			t.Errorf("doctor: %+v", found)
		}
		r.stop()
		if got := pgtest.Text(t, db, "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'owned'"); len(got) != 1 || got[0][0] != "owner" {
			t.Errorf("owners: %v", got)
		}
		if _, err := schema.Teardown(t.Context(), opt); err != nil {
			t.Error(err)
		}
	})
	t.Run("reads columns", func(t *testing.T) {
		if version(t, db) < 15 {
			t.Skip("column lists are of version 15")
		}
		const listed = "project_id, project_name, project_link, project_summary, registry_status, country, vintage, supply, updated_at"
		if err := schema.Migrate(t.Context(), options(db)); err != nil {
			t.Fatal(err)
		}
		pgtest.Exec(t, db, "ALTER TABLE verra ADD secret text", "INSERT INTO verra (project_id, secret) VALUES ('a', 'x')", "DROP PUBLICATION carbond",
			"CREATE PUBLICATION carbond FOR TABLE verra ("+listed+"), carbonmark, finance, news",
			"CREATE ROLE clerk LOGIN REPLICATION PASSWORD 'secret'", "GRANT SELECT ON carbonmark, finance, news TO clerk", "GRANT SELECT (project_id, country) ON verra TO clerk")
		opt := options(c.UserURL("clerk", "secret", name))
		opt.Migrate = false
		if f, ok := bad(t, opt)["select_right"]; !ok || !strings.Contains(f.Repair, `"supply"`) || strings.Contains(f.Repair, "secret") {
			t.Errorf("doctor: %+v", f)
		}
		pgtest.Exec(t, db, "GRANT SELECT ("+listed+") ON verra TO clerk")
		r := run(t, newSink(), opt)
		r.level()
		pgtest.Exec(t, db, "UPDATE verra SET country = 'Peru', secret = 'y'")
		r.level()
		if last := r.last(); len(last) != 1 || last[0].Relation.Index("secret") >= 0 {
			t.Errorf("got %+v", last)
		}
		r.stop()
	})
}

// TestInheritedRows has tables that inherit from ours, from the start on, since
// later, and as the only place of rows.
func TestInheritedRows(t *testing.T) {
	db := pgtest.Shared(t).Database(t)
	opt := options(db)
	r := run(t, newSink(), opt)
	r.level()
	pgtest.Exec(t, db, "CREATE SCHEMA _chunks", `CREATE TABLE _chunks."News 1" () INHERITS (news)`, "INSERT INTO news (guid) VALUES ('a')")
	eventually(t, func() error {
		if w := strings.Join(r.Status().Warnings, "; "); !strings.Contains(w, `_chunks."News 1"`) || !strings.Contains(w, "inherit") {
			return fmt.Errorf("warnings: %s", w)
		}
		return nil
	})
	r.stop()
	if f := bad(t, opt)["tables"]; !f.Warning || !strings.Contains(f.Detail, "inherit") {
		t.Errorf("doctor: %+v", f)
	}
	pgtest.Exec(t, db, `INSERT INTO _chunks."News 1" (guid) VALUES ('b')`, "DELETE FROM ONLY news")
	if f := bad(t, opt)["tables"]; f.Warning || !strings.Contains(f.Detail, "hypertable") {
		t.Errorf("doctor: %+v", f)
	}
	r = run(t, r.sink, opt)
	if s := r.trouble(pgerr.KindTables); !strings.Contains(s.Reason, "public.news") {
		t.Errorf("reason %q", s.Reason)
	}
	pgtest.Exec(t, db, `ALTER TABLE _chunks."News 1" NO INHERIT news`)
	r.level()
}

// TestGeneratedViewColumn names a column that the stream does not have.
func TestGeneratedViewColumn(t *testing.T) {
	db := pgtest.Shared(t).Database(t)
	opt := options(db)
	if err := schema.Migrate(t.Context(), opt); err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, db, "ALTER TABLE verra DROP supply, ADD supply float8 GENERATED ALWAYS AS (vintage * 2) STORED", "INSERT INTO verra (project_id, vintage) VALUES ('a', 21)")
	f, ok := bad(t, opt)["columns"]
	if !ok || !f.Warning || !strings.Contains(f.Detail, "supply") || len(f.SQL) != 1 {
		t.Fatalf("doctor: %+v", f)
	}
	r := run(t, newSink(), opt)
	r.level()
	if w := strings.Join(r.Status().Warnings, "; "); !strings.Contains(w, f.Detail) {
		t.Errorf("warnings: %s", w)
	}
	r.stop()
	pgtest.Exec(t, db, f.SQL[0])
	if found := bad(t, opt); found["columns"].Detail != "" {
		t.Errorf("after the remedy: %+v", found)
	}
}

// TestColumnsOfAnUnseenTransaction adds a column in a transaction that the server sends
// before anybody can see it: its commit waits for a standby.
func TestColumnsOfAnUnseenTransaction(t *testing.T) {
	c := pgtest.Start(t)
	db := c.Database(t)
	r := run(t, newSink(), options(db))
	r.level()
	appear := hide(t, db, "BEGIN; ALTER TABLE verra ADD note text; INSERT INTO verra (project_id, note) VALUES ('A', 'x'); COMMIT")
	appear()
	r.level()
	r.sink.sameAsSQL(t, db)
}

// TestCopyOfAnUnseenTransaction copies a table without a key again while a change of it
// has come that no snapshot shows yet.
func TestCopyOfAnUnseenTransaction(t *testing.T) {
	c := pgtest.Start(t)
	db := c.Database(t)
	pgtest.Exec(t, db, "CREATE TABLE public.bag (a int); ALTER TABLE public.bag REPLICA IDENTITY FULL", "INSERT INTO public.bag SELECT generate_series(1, 10)")
	opt := options(db)
	opt.Tables = []string{"public.bag"}
	r := run(t, newSink(), opt)
	copied := func() error {
		if !r.sink.finished("carbon.public.bag") {
			return fmt.Errorf("%+v", r.Status())
		}
		return nil
	}
	eventually(t, copied)
	appear := hide(t, db, "INSERT INTO public.bag VALUES (11)")
	done := make(chan error, 1)
	go func() { done <- r.Resnapshot(t.Context(), "public.bag") }()
	eventually(t, func() error {
		if w := r.Status().Warnings; len(done) == 0 && !strings.Contains(strings.Join(w, " "), "not visible yet") {
			return fmt.Errorf("no warning that the copy waits: %q", w)
		}
		return nil
	})
	appear()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	r.level()
	if got, want := count(t, r.sink.changes("carbon.public.bag")), sqlLines(t, db, "public.bag", "a"); !slices.Equal(got, want) {
		t.Errorf("bag: %d rows, want %d: %s", len(got), len(want), firstDifference(got, want))
	}
}

// hide commits a transaction that the server sends and nobody sees: its commit waits
// for a standby, until appear.
func hide(t *testing.T, db, sql string) (appear func()) {
	t.Helper()
	pgtest.Exec(t, db, "ALTER SYSTEM SET synchronous_standby_names = 'nobody'", "SELECT pg_reload_conf()")
	eventually(t, func() error {
		if got := pgtest.Text(t, db, "SELECT current_setting('synchronous_standby_names')")[0][0]; got != "nobody" {
			return errors.New(got)
		}
		return nil
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		pgtest.Exec(t, db, sql)
	}()
	eventually(t, func() error {
		rows := pgtest.Text(t, db, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"+
			" AND (SELECT min(sent_lsn) FROM pg_stat_replication) >= pg_current_wal_flush_lsn()")
		if rows[0][0] == "0" {
			return errors.New("the commit is not sent")
		}
		return nil
	})
	return func() {
		pgtest.Exec(t, db, "ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()")
		<-done
	}
}
