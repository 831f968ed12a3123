package replicate_test

import (
	"fmt"
	"strings"
	"testing"

	"carbond/replicate"
	"carbond/replicate/pgerr"
	"carbond/replicate/pgtest"
)

// What takes changes out of the stream for a while leaves no trace in it. The
// catalog has one: it is found while running and at the next start, it lasts
// until somebody decides, and a new copy heals it.
func TestCatalogChange(t *testing.T) {
	for name, tt := range map[string]struct {
		kind pgerr.Kind
		sql  []string
	}{
		"taken out and put back": {pgerr.KindPublicationChange, []string{
			"ALTER PUBLICATION carbond DROP TABLE finance",
			"INSERT INTO finance (ticker, timestamp) VALUES ('lost', 1)",
			"ALTER PUBLICATION carbond ADD TABLE finance",
		}},
		"no deletes for a while": {pgerr.KindPublicationChange, []string{
			"ALTER PUBLICATION carbond SET (publish = 'insert, update, truncate')",
			"DELETE FROM news",
			"ALTER PUBLICATION carbond SET (publish = 'insert, update, delete, truncate')",
		}},
		"another table of the name": {pgerr.KindPublicationChange, []string{
			"ALTER TABLE news RENAME TO old_news",
			"CREATE TABLE news (LIKE old_news INCLUDING ALL)",
			"ALTER PUBLICATION carbond ADD TABLE news",
			"INSERT INTO news (guid) VALUES ('new')",
		}},
		"another type": {pgerr.KindTableChange, []string{
			"ALTER TABLE verra ALTER supply TYPE numeric(10, 2)",
		}},
		"a default for all": {pgerr.KindTableChange, []string{
			"ALTER TABLE verra DROP country, ADD country text DEFAULT 'Brazil'",
		}},
	} {
		for _, while := range []string{"running", "stopped"} {
			t.Run(name+" while "+while, func(t *testing.T) {
				r, url := started(t)
				pgtest.Exec(t, url, "INSERT INTO news (guid) VALUES ('gone')", "INSERT INTO verra (project_id, supply) VALUES ('a', 1)")
				r.level()
				opt := options(url)
				if while == "stopped" {
					r.stop()
				}
				pgtest.Exec(t, url, tt.sql...)
				if while == "stopped" {
					r = run(t, r.sink, opt)
				}
				if tt.kind == pgerr.KindPublicationChange {
					r.trouble(tt.kind)
				} else {
					r.blamed("public.verra")
				}
				r = r.resnapshot(opt)
				r.stop()
				r = run(t, r.sink, options(url))
				r.level()
				if s := r.Status(); s.Kind != "" || len(s.Warnings) > 0 {
					t.Errorf("after the copy: %+v", s)
				}
			})
		}
	}
}

// blamed waits until the status says that rows are wrong while the stream goes on.
func (r *running) blamed(of string) {
	r.tb.Helper()
	r.level()
	eventually(r.tb, func() error {
		if s := r.Status(); !s.Connected || s.Kind != pgerr.KindTableChange || !strings.Contains(s.Reason, of) {
			return fmt.Errorf("no word of %s: %+v", of, s)
		}
		return nil
	})
}

// ALTER TABLE with USING changes rows without changing what the catalog says of
// the column. With resnapshot the tables are copied again by themselves.
func TestRewriteWhileRunning(t *testing.T) {
	url := pgtest.Shared(t).Database(t)
	opt, sink := options(url), newSink()
	opt.OnGap = replicate.GapResnapshot
	r := run(t, sink, opt)
	r.level()
	pgtest.Exec(t, url,
		"INSERT INTO verra (project_id, supply) VALUES ('a', 1)",
		// None of these is a reason to copy.
		"TRUNCATE finance", "ALTER TABLE news ALTER title SET STORAGE EXTERNAL", "ALTER TABLE verra ADD mine int",
		"ALTER TABLE verra ALTER country SET DEFAULT 'Peru'", "CREATE TABLE other (a int PRIMARY KEY)", "ALTER PUBLICATION carbond ADD TABLE other")
	r.level()
	if n := strings.Count(r.log.String(), `msg="copied the tables"`); n != 1 {
		t.Fatalf("%d copies", n)
	}
	pgtest.Exec(t, url, "VACUUM FULL verra")
	r.level()
	pgtest.Exec(t, url, "ALTER TABLE verra ALTER supply TYPE double precision USING supply * 10")
	eventually(t, func() error {
		if n := strings.Count(r.log.String(), `msg="copied the tables"`); n != 2 {
			return fmt.Errorf("%d copies", n)
		}
		return nil
	})
	r.level()
	sink.sameAsSQL(t, url)
}
