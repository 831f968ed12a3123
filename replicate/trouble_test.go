package replicate_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"carbond/replicate"
	"carbond/replicate/pgerr"
	"carbond/replicate/pgtest"
	"carbond/replicate/schema"
	"carbond/store/change"
)

// TestTroubleHeals breaks one thing at a time before the start, wants the kind
// and a message that names the thing and the remedy, then runs the remedy and
// wants the stream.
func TestTroubleHeals(t *testing.T) {
	for name, tt := range map[string]struct {
		breaks []string // SQL, %s is the slot
		opt    func(*replicate.Options)
		kind   pgerr.Kind
		says   []string
		repair []string
	}{
		"publication missing": {
			opt: func(o *replicate.Options) { o.Migrate = false }, breaks: []string{"DROP PUBLICATION carbond"},
			kind: pgerr.KindPublication, says: []string{`"carbond" does not exist`, "CREATE PUBLICATION"},
			repair: []string{"CREATE PUBLICATION carbond FOR TABLE verra, carbonmark, finance, news"},
		},
		"publication lacks a table": {
			opt: func(o *replicate.Options) { o.Migrate = false }, breaks: []string{"ALTER PUBLICATION carbond DROP TABLE news"},
			kind: pgerr.KindPublicationTables, says: []string{"public.news", "ADD TABLE"},
			repair: []string{"ALTER PUBLICATION carbond ADD TABLE news"},
		},
		"publication lacks delete": {
			opt: func(o *replicate.Options) { o.Migrate = false }, breaks: []string{"ALTER PUBLICATION carbond SET (publish = 'insert, update')"},
			kind: pgerr.KindPublicationOps, says: []string{"delete, truncate"},
			repair: []string{"ALTER PUBLICATION carbond SET (publish = 'insert, update, delete, truncate')"},
		},
		"publication filters rows": {
			breaks: []string{"ALTER PUBLICATION carbond DROP TABLE news", "ALTER PUBLICATION carbond ADD TABLE news WHERE (guid > 'a')"},
			kind:   pgerr.KindPublicationTables, says: []string{"filters rows of public.news"},
			repair: []string{"ALTER PUBLICATION carbond DROP TABLE news", "ALTER PUBLICATION carbond ADD TABLE news"},
		},
		"table missing": {
			opt: func(o *replicate.Options) { o.Migrate = false }, breaks: []string{"DROP TABLE finance"},
			kind: pgerr.KindTables, says: []string{"public.finance does not exist", "CREATE TABLE"},
			repair: []string{"CREATE TABLE finance (ticker text, price float8, volume bigint, market_cap float8, change_percent float8, timestamp bigint, PRIMARY KEY (ticker, timestamp))", "ALTER PUBLICATION carbond ADD TABLE finance"},
		},
		"unlogged table": {
			breaks: []string{"ALTER PUBLICATION carbond DROP TABLE finance", "ALTER TABLE finance SET UNLOGGED"}, opt: func(o *replicate.Options) { o.Migrate = false },
			kind: pgerr.KindTables, says: []string{"unlogged", "SET LOGGED"},
			repair: []string{"ALTER TABLE finance SET LOGGED", "ALTER PUBLICATION carbond ADD TABLE finance"},
		},
		"no primary key": {
			breaks: []string{"ALTER TABLE news DROP CONSTRAINT news_pkey"},
			kind:   pgerr.KindReplicaIdentity, says: []string{"public.news", "PRIMARY KEY (guid)"},
			repair: []string{"ALTER TABLE news REPLICA IDENTITY FULL"},
		},
		"slot of another plugin": {
			breaks: []string{"SELECT pg_create_logical_replication_slot('%s', 'test_decoding')"},
			kind:   pgerr.KindSlotForeign, says: []string{"test_decoding", "pg_drop_replication_slot"},
			repair: []string{"SELECT pg_drop_replication_slot('%s')"},
		},
	} {
		if name == "publication filters rows" && version(t, pgtest.Shared(t).URL("postgres")) < 15 {
			continue // filters came with 15
		}
		t.Run(name, func(t *testing.T) {
			db := pgtest.Shared(t).Database(t)
			opt := options(db)
			if err := schema.Migrate(t.Context(), opt); err != nil {
				t.Fatal(err)
			}
			if tt.opt != nil {
				tt.opt(&opt)
			}
			exec := func(sql []string) {
				for _, s := range sql {
					pgtest.Exec(t, db, strings.ReplaceAll(s, "%s", opt.Slot))
				}
			}
			exec(tt.breaks)
			r := run(t, newSink(), opt)
			s := r.trouble(tt.kind)
			for _, want := range tt.says {
				if !strings.Contains(s.Reason, want) {
					t.Errorf("reason %q does not say %q", s.Reason, want)
				}
			}
			exec(tt.repair)
			r.level()
		})
	}
}

func TestWrongAddress(t *testing.T) {
	c := pgtest.Shared(t)
	if c.External() {
		t.Skip("needs a server with a known password")
	}
	db := c.Database(t)
	pgtest.Exec(t, db, "DROP ROLE IF EXISTS weak", "CREATE ROLE weak LOGIN PASSWORD 'weak-secret'")
	t.Cleanup(func() { pgtest.Exec(t, db, "DROP ROLE weak") })
	name := pgtest.Text(t, db, "SELECT current_database()")[0][0]
	for what, tt := range map[string]struct {
		url  string
		kind pgerr.Kind
		says string
	}{
		"wrong password":       {c.UserURL(pgtest.User, "not-the-secret", name), pgerr.KindAuth, "password"},
		"unknown database":     {c.URL("nowhere"), pgerr.KindDatabase, "nowhere"},
		"nobody listens":       {"postgres://u:not-the-secret@127.0.0.1:1/x", pgerr.KindConnect, "127.0.0.1:1"},
		"unusable URL":         {"postgres://u:not-the-secret@host:port/x", pgerr.KindOptions, "postgres://user@host:5432/database"},
		"no TLS there":         {strings.Replace(db, "sslmode=disable", "sslmode=require", 1), pgerr.KindConnect, "TLS"},
		"no replication right": {c.UserURL("weak", "weak-secret", name), pgerr.KindReplicationRight, "REPLICATION"},
	} {
		t.Run(what, func(t *testing.T) {
			opt := options(db)
			opt.URL = tt.url
			r := run(t, newSink(), opt)
			s := r.trouble(tt.kind)
			if !strings.Contains(s.Reason, tt.says) {
				t.Errorf("reason %q does not say %q", s.Reason, tt.says)
			}
			r.stop()
			if all := s.Reason + r.log.String(); strings.Contains(all, "secret") {
				t.Errorf("a password leaks: %s", all)
			}
		})
	}
}

func TestWALLevel(t *testing.T) {
	c := pgtest.Start(t, "wal_level=replica")
	opt := options(c.Database(t))
	r := run(t, newSink(), opt)
	if s := r.trouble(pgerr.KindWALLevel); !strings.Contains(s.Reason, "ALTER SYSTEM SET wal_level = 'logical'") {
		t.Errorf("got %q", s.Reason)
	}
	c.Configure(t, "wal_level=logical")
	c.Restart(t)
	r.level()
}

func TestSlotInUse(t *testing.T) {
	db := pgtest.Shared(t).Database(t)
	first := run(t, newSink(), options(db))
	first.level()
	second := run(t, newSink(), options(db))
	if s := second.trouble(pgerr.KindSlotInUse); !strings.Contains(s.Reason, "pg_terminate_backend") {
		t.Errorf("got %q", s.Reason)
	}
	if _, err := schema.Teardown(t.Context(), options(db)); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("teardown of a slot in use: %v", err)
	}
	first.stop()
	// The other data directory needs the slot: it is not taken away.
	second.trouble(pgerr.KindSlotForeign)
}

// TestGap makes the slot useless in several ways while carbond is stopped.
func TestGap(t *testing.T) {
	for name, tt := range map[string]struct {
		breaks func(t *testing.T, c *pgtest.Cluster, db, slot string)
		kind   pgerr.Kind
	}{
		"dropped": {func(t *testing.T, _ *pgtest.Cluster, db, slot string) {
			dropSlots(t, db, "slot_name = '"+slot+"'")
		}, pgerr.KindSlotMissing},
		"advanced": {func(t *testing.T, _ *pgtest.Cluster, db, slot string) {
			pgtest.Exec(t, db, "INSERT INTO news (guid) VALUES ('lost')", "SELECT pg_replication_slot_advance('"+slot+"', pg_current_wal_lsn())")
		}, pgerr.KindSlotAhead},
		"publication created again": {func(t *testing.T, _ *pgtest.Cluster, db, slot string) {
			pgtest.Exec(t, db,
				// Where Postgres only warns of it, the database must not hide that.
				"DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET client_min_messages = error', current_database()); END $$",
				"DROP PUBLICATION carbond", "INSERT INTO news (guid) VALUES ('unpublished')", "CREATE PUBLICATION carbond FOR TABLE verra, carbonmark, finance, news")
		}, pgerr.KindPublicationChange},
	} {
		t.Run(name, func(t *testing.T) {
			c := pgtest.Shared(t)
			db := c.Database(t)
			opt, sink := options(db), newSink()
			r := run(t, sink, opt)
			r.level()
			pgtest.Exec(t, db, "INSERT INTO news (guid) VALUES ('1'), ('2')")
			r.level()
			r.stop()
			tt.breaks(t, c, db, opt.Slot)
			pgtest.Exec(t, db, "DELETE FROM news WHERE guid = '2'")
			r = run(t, sink, opt)
			s := r.trouble(tt.kind)
			if !strings.Contains(s.Reason, "resnapshot") || len(sink.transactions()) != 2 {
				t.Errorf("reason %q, %d transactions", s.Reason, len(sink.transactions()))
			}
			r = r.resnapshot(opt)
			pgtest.Exec(t, db, "INSERT INTO news (guid) VALUES ('after')")
			r.level()
			sink.sameAsSQL(t, db)
		})
	}
}

func TestSlotLost(t *testing.T) {
	c := pgtest.Start(t, "max_slot_wal_keep_size=1MB", "max_wal_size=32MB", "min_wal_size=32MB")
	db := c.Database(t)
	opt, sink := options(db), newSink()
	r := run(t, sink, opt)
	r.level()
	r.stop()
	pgtest.Exec(t, db, "CREATE TABLE filler (a text)")
	eventually(t, func() error {
		pgtest.Exec(t, db, "INSERT INTO filler SELECT repeat('x', 1000) FROM generate_series(1, 20000)", "SELECT pg_switch_wal()", "CHECKPOINT")
		if got := pgtest.Text(t, db, "SELECT wal_status FROM pg_replication_slots")[0][0]; got != "lost" {
			return fmt.Errorf("wal_status %s", got)
		}
		return nil
	})
	r = run(t, sink, opt)
	if s := r.trouble(pgerr.KindSlotLost); !strings.Contains(s.Reason, "max_slot_wal_keep_size") {
		t.Errorf("got %q", s.Reason)
	}
	r.stop()
	opt.OnGap, opt.MaxRetained = replicate.GapResnapshot, 1
	r = run(t, sink, opt)
	r.level()
	if s := r.Status(); s.SlotSafe <= 0 || s.WALStatus == "" || s.SlotRetained < 0 {
		t.Errorf("slot figures: %+v", s)
	}
	eventually(t, func() error {
		if w := r.Status().Warnings; !slices.ContainsFunc(w, func(w string) bool { return strings.Contains(w, "postgres.max_retained_wal") }) {
			return fmt.Errorf("the slot keeps more than it may, and the warnings are %q", w)
		}
		return nil
	})
}

// TestGiveUpSlot gives up a slot that keeps more than it may while the changelog takes nothing,
// and copies again when that may be: a table without a view is cleared and read
// again, since what it lost is not known.
func TestGiveUpSlot(t *testing.T) {
	db := pgtest.Shared(t).Database(t)
	pgtest.Exec(t, db, "CREATE SCHEMA shop", "CREATE TABLE shop.orders (id int PRIMARY KEY)", "INSERT INTO shop.orders VALUES (1), (2)", "CREATE TABLE filler (a text)")
	opt, sink := options(db), newSink()
	opt.Tables, opt.MaxRetained, opt.GiveUpSlot = []string{"shop.orders"}, 40<<20, true
	r := run(t, sink, opt)
	r.level()
	sink.setHook(func([]change.Txn) error { return errors.New("the disk is full") })
	pgtest.Exec(t, db, "DELETE FROM shop.orders WHERE id = 1", "INSERT INTO shop.orders VALUES (3)", "INSERT INTO news (guid) VALUES ('1')")
	for range 12 {
		pgtest.Exec(t, db, "INSERT INTO filler SELECT repeat('x', 1000) FROM generate_series(1, 5000)")
	}
	if s := r.trouble(pgerr.KindSlotGivenUp); !strings.Contains(s.Reason, "more than the 40 MiB of postgres.max_retained_wal, and was given up") {
		t.Errorf("got %q", s.Reason)
	}
	eventually(t, func() error { // by the next session
		if got := pgtest.Text(t, db, "SELECT count(*) FROM pg_replication_slots WHERE slot_name = $1", opt.Slot)[0][0]; got != "0" {
			return fmt.Errorf("%s slots are left", got)
		}
		return nil
	})
	sink.setHook(nil)
	r.stop()
	opt.OnGap = replicate.GapResnapshot
	r = run(t, sink, opt)
	r.level()
	sink.sameAsSQL(t, db)
	if got, want := sink.topic("carbon.shop.orders"), []string{"r (1)", "r (2)", "t", "r (2)", "r (3)"}; !slices.Equal(got, want) {
		t.Errorf("the topic has %q, want %q", got, want)
	}
}

// TestSegmentRemoved takes WAL away that the slot needs, of which the slot itself
// knows nothing.
func TestSegmentRemoved(t *testing.T) {
	c := pgtest.Start(t)
	db := c.Database(t)
	opt, sink := options(db), newSink()
	r := run(t, sink, opt)
	r.level()
	r.stop()
	needed := pgtest.Text(t, db, "SELECT pg_walfile_name(restart_lsn) FROM pg_replication_slots")[0][0]
	pgtest.Exec(t, db, "INSERT INTO news (guid) VALUES ('1')", "SELECT pg_switch_wal()", "CHECKPOINT", "SELECT pg_switch_wal()", "CHECKPOINT")
	if err := os.Remove(filepath.Join(c.Dir(), "data", "pg_wal", needed)); err != nil {
		t.Fatal(err)
	}
	r = run(t, sink, opt)
	r.trouble(pgerr.KindSlotLost)
	r.resnapshot(opt)
}

func TestOtherCluster(t *testing.T) {
	db := pgtest.Shared(t).Database(t)
	sink := newSink()
	sink.pos = change.Position{LSN: 1, Copied: true, Source: change.Source{SystemID: "123", Database: "x"}}
	r := run(t, sink, options(db))
	if s := r.trouble(pgerr.KindOtherCluster); !strings.Contains(s.Reason, "cluster 123") {
		t.Errorf("got %q", s.Reason)
	}
	r.stop()
	// A log that was filled without Postgres is copied over.
	sink.pos = change.Position{LSN: 0, Copied: true}
	r = run(t, sink, options(db))
	r.level()
}

// TestCrashDuringCopy leaves the slot of an unfinished copy behind.
func TestCrashDuringCopy(t *testing.T) {
	db := pgtest.Shared(t).Database(t)
	opt, sink := options(db), newSink()
	if err := schema.Migrate(t.Context(), opt); err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, db, "INSERT INTO news (guid) SELECT i::text FROM generate_series(1, 5000) i")
	opt.PartChanges, opt.QueueBytes = 500, 50_000 // so that the sink gets one part at a time
	n := 0
	sink.setHook(func([]change.Txn) error {
		if n++; n == 3 {
			return errors.New("crash")
		}
		return nil
	})
	r := run(t, sink, opt)
	r.level()
	sink.sameAsSQL(t, db)
	if !strings.Contains(r.log.String(), "dropping the replication slot before a new copy") {
		t.Error("the slot of the unfinished copy was not dropped")
	}
	if got := pgtest.Text(t, db, "SELECT count(*) FROM pg_replication_slots WHERE database = current_database()")[0][0]; got != "1" {
		t.Errorf("%s slots", got)
	}
}

// TestBlockedSlot holds a writing transaction open while the slot is created.
func TestBlockedSlot(t *testing.T) {
	db := pgtest.Shared(t).Database(t)
	opt := options(db)
	if err := schema.Migrate(t.Context(), opt); err != nil {
		t.Fatal(err)
	}
	release := openTransaction(t, db+"&application_name=forgotten", "INSERT INTO news (guid) VALUES ('open')")
	r := run(t, newSink(), opt)
	eventually(t, func() error {
		if s := r.Status(); s.Phase != replicate.PhaseCreatingSlot || !strings.Contains(s.Reason, "forgotten") {
			return fmt.Errorf("got %+v", s)
		}
		return nil
	})
	release()
	r.level()
	r.sink.sameAsSQL(t, db)
}

func TestLeastPrivilege(t *testing.T) {
	c := pgtest.Shared(t)
	if c.External() {
		t.Skip("needs a server with a known password")
	}
	db := c.Database(t)
	name := pgtest.Text(t, db, "SELECT current_database()")[0][0]
	pgtest.Exec(t, db, "DROP ROLE IF EXISTS reader")
	if err := schema.Migrate(t.Context(), options(db)); err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, db, "DROP PUBLICATION carbond", "INSERT INTO news (guid) VALUES ('1')")
	opt := options(db)
	opt.URL = c.UserURL("reader", "choose one", name)
	pgtest.Exec(t, db, schema.RoleSQL(opt))
	t.Cleanup(func() { pgtest.Exec(t, db, "DROP OWNED BY reader", "DROP ROLE reader") })
	r := run(t, newSink(), opt) // with Migrate: there is nothing to do, so no right is missing
	r.level()
	r.sink.sameAsSQL(t, db)
	r.stop()

	pgtest.Exec(t, db, "ALTER TABLE news ENABLE ROW LEVEL SECURITY", "CREATE POLICY none ON news USING (guid = '2')", "REVOKE SELECT ON verra FROM reader")
	findings, err := schema.Preflight(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	bad := map[string]string{}
	for _, f := range findings {
		if !f.OK {
			bad[f.Name] = f.Repair
		}
	}
	if !strings.Contains(bad["row_security"], "BYPASSRLS") || !strings.Contains(bad["select_right"], "GRANT SELECT") || len(bad) != 2 {
		t.Fatalf("got %v", bad)
	}
}
