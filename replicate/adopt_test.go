package replicate_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"carbond/replicate"
	"carbond/replicate/pgerr"
	"carbond/replicate/pgtest"
	"carbond/replicate/schema"
)

// adopt lets a changelog of one place go on in another, by the word that the
// refusal names, and returns the options of the other place.
func adopt(t *testing.T, sink *memSink, opt replicate.Options, url string) replicate.Options {
	t.Helper()
	opt.URL = url
	r := run(t, sink, opt)
	id := pgtest.Text(t, url, "SELECT system_identifier FROM pg_control_system()")[0][0]
	if s := r.trouble(pgerr.KindOtherCluster); !strings.Contains(s.Reason, "postgres.adopt to "+id) {
		t.Errorf("reason %q does not name %s", s.Reason, id)
	}
	r.stop()
	opt.Adopt = "1" + id
	r = run(t, sink, opt)
	r.trouble(pgerr.KindOtherCluster)
	r.stop()

	before := sink.transactions()
	pgtest.Exec(t, url, "DELETE FROM news WHERE guid = 'gone'", "INSERT INTO news (guid) VALUES ('new')")
	opt.Adopt = id
	r = run(t, sink, opt)
	r.level()
	sink.sameAsSQL(t, url)
	if got := sink.transactions(); len(got) <= len(before) || got[len(before)].Snapshot == nil {
		t.Errorf("%d transactions before, %d now: the copy has to follow what is there", len(before), len(got))
	}
	r.stop()
	r = run(t, sink, opt) // the word in the configuration does no harm
	pgtest.Exec(t, url, "INSERT INTO news (guid) VALUES ('after')")
	r.level()
	sink.sameAsSQL(t, url)
	r.stop()
	return opt
}

func TestAdopt(t *testing.T) {
	for name, place := range map[string]func(t *testing.T, c *pgtest.Cluster, name string) string{
		"the database was renamed": func(t *testing.T, c *pgtest.Cluster, name string) string {
			pgtest.Exec(t, c.URL("postgres"), "ALTER DATABASE "+name+" RENAME TO renamed")
			t.Cleanup(func() { // under its name it is dropped with the test
				pgtest.Exec(t, c.URL("postgres"), "ALTER DATABASE renamed RENAME TO "+name)
			})
			return c.URL("renamed")
		},
		"restored from a dump": func(t *testing.T, _ *pgtest.Cluster, name string) string {
			other := pgtest.Start(t)
			pgtest.Exec(t, other.URL("postgres"), "CREATE DATABASE "+name)
			url := other.URL(name)
			if err := schema.Migrate(t.Context(), options(url)); err != nil {
				t.Fatal(err)
			}
			pgtest.Exec(t, url, "INSERT INTO news (guid) VALUES ('both'), ('gone')")
			return url
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := pgtest.Shared(t)
			db := c.Database(t)
			opt, sink := options(db), newSink()
			opt.SourcePath = filepath.Join(t.TempDir(), "source.json")
			r := run(t, sink, opt)
			r.level()
			pgtest.Exec(t, db, "INSERT INTO news (guid) VALUES ('both'), ('gone')")
			r.level()
			r.stop()
			opt = adopt(t, sink, opt, place(t, c, pgtest.Text(t, db, "SELECT current_database()")[0][0]))

			// It counts once: another database of the same cluster is refused.
			opt.URL = opt.URL[:strings.LastIndex(opt.URL, "/")] + "/postgres?sslmode=disable"
			r = run(t, sink, opt)
			if s := r.trouble(pgerr.KindOtherCluster); !strings.Contains(s.Reason, "has been used") {
				t.Errorf("reason %q", s.Reason)
			}
			r.stop()
		})
	}
}

// TestAdoptUpgrade goes through a real pg_upgrade, to the version whose programs
// the environment names.
func TestAdoptUpgrade(t *testing.T) {
	programs := os.Getenv("CARBOND_TEST_UPGRADE_PGBIN")
	if programs == "" {
		return // TestAdopt has the same from our side; make pg-matrix sets it
	}
	c := pgtest.Start(t)
	db := c.Database(t)
	name := pgtest.Text(t, db, "SELECT current_database()")[0][0]
	opt, sink := options(db), newSink()
	opt.SourcePath = filepath.Join(t.TempDir(), "source.json")
	r := run(t, sink, opt)
	r.level()
	pgtest.Exec(t, db, "INSERT INTO news (guid) VALUES ('both'), ('gone')", "INSERT INTO finance (ticker, price, timestamp) VALUES ('KRBN', 1.5, 7)")
	r.level()
	r.stop()
	// The server does not upgrade with a slot that is not read to its end.
	dropSlots(t, db, "slot_name = '"+opt.Slot+"'")
	adopt(t, sink, opt, c.Upgrade(t, programs).URL(name))
}
