package replicate_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"carbond/replicate/pgtest"
	"carbond/replicate/schema"
)

// firstTables are the tables as the first versions made them.
func firstTables(t *testing.T, db string) {
	t.Helper()
	plainTables(t, db)
	pgtest.Exec(t, db, "ALTER TABLE verra ADD project_name text, ADD project_link text, ADD project_summary text, ADD registry_status text, ADD vintage int, ADD supply float8, ADD updated_at timestamptz",
		"INSERT INTO finance VALUES ('KRBN', 30, 1, 2, 3, 1)", "INSERT INTO news (guid, title) VALUES ('g', 'old')")
}

// quiet waits until all is here and fails when the status has anything to say.
func (r *running) quiet() {
	r.tb.Helper()
	r.level()
	if s := r.Status(); s.Kind != "" || len(s.Warnings) > 0 {
		r.tb.Fatalf("kind %q, warnings %q", s.Kind, s.Warnings)
	}
}

// TestColumnsAdded upgrades tables that hold rows of an earlier version: the
// stream goes on while the columns wait for their lock, and nothing counts as a
// gap, where a gap stops carbond.
func TestColumnsAdded(t *testing.T) {
	for name, noted := range map[string]bool{"with its notes": true, "with the changelog alone": false} {
		t.Run(name, func(t *testing.T) {
			db := pgtest.Shared(t).Database(t)
			firstTables(t, db)
			opt, sink := options(db), newSink()
			opt.Migrate = false
			if noted {
				opt.SourcePath = filepath.Join(t.TempDir(), "source.json")
			}
			pgtest.Exec(t, db, "CREATE PUBLICATION carbond FOR TABLE verra, carbonmark, finance, news")
			r := run(t, sink, opt)
			r.level()
			if s := r.Status(); len(s.Warnings) != 1 || !strings.Contains(s.Warnings[0], "table public.vintages does not exist") {
				t.Errorf("warnings %q", s.Warnings)
			}
			r.stop()

			opt.Migrate = true
			release := openTransaction(t, db, "SELECT count(*) FROM finance")
			r = run(t, sink, opt)
			eventually(t, func() error {
				if s := r.Status(); !strings.Contains(fmt.Sprint(s.Warnings), "ALTER TABLE") {
					return fmt.Errorf("warnings %q", s.Warnings)
				}
				return nil
			})
			pgtest.Exec(t, db, "INSERT INTO finance (ticker, timestamp) VALUES ('KRBN', 2)")
			r.level()
			release()
			eventually(t, func() error {
				if n := pgtest.Text(t, db, "SELECT count(*) FROM pg_attribute WHERE attrelid IN ('verra'::regclass, 'carbonmark'::regclass, 'finance'::regclass, 'news'::regclass) AND attname IN ('registry', 'first_issued', 'price_usd', 'listed', 'currency', 'published_estimated')")[0][0]; n != "6" {
					return fmt.Errorf("%s columns", n)
				}
				return nil
			})
			pgtest.Exec(t, db, "UPDATE finance SET currency = 'GBp' WHERE timestamp = 2", "INSERT INTO news (guid, published_estimated) VALUES ('n', true)",
				"UPDATE verra SET registry = 'Verra', crediting_start = '2015-01-31', latitude = 0", "UPDATE carbonmark SET price_usd = 0.5, listed = 12",
				"INSERT INTO vintages (project_id, vintage, issued) SELECT project_id, 2020, 7 FROM verra")
			r.level()
			sink.sameAsSQL(t, db)
			r.stop()
			r = run(t, sink, opt) // and compares with what it noted before
			r.quiet()
			sink.sameAsSQL(t, db)
		})
	}
}

// TestColumnsUnfed: tables that carbond's feeds do not fill keep the columns that the
// first versions gave them, whether they were there before or not: somebody else
// writes them, and may name no columns.
func TestColumnsUnfed(t *testing.T) {
	for name, made := range map[string]bool{"made by carbond": false, "made before": true} {
		t.Run(name, func(t *testing.T) {
			db := pgtest.Shared(t).Database(t)
			if made {
				firstTables(t, db)
			}
			opt, sink := options(db), newSink()
			opt.Unfed = []string{"finance"}
			r := run(t, sink, opt)
			r.quiet()
			pgtest.Exec(t, db, "INSERT INTO finance SELECT 'T', 1, 2, 3, 4, 50")
			r.level()
			sink.sameAsSQL(t, db)
			columns := func(table string) string {
				return pgtest.Text(t, db, "SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0", table)[0][0]
			}
			if got := columns("finance"); got != "ticker price volume market_cap change_percent timestamp" {
				t.Errorf("finance has %s", got)
			}
			eventually(t, func() error { // beside the stream
				if got := columns("news"); !strings.Contains(got, "published_estimated") {
					return fmt.Errorf("news has %s", got)
				}
				return nil
			})
		})
	}
}

const vintagesTable = "CREATE TABLE vintages (project_id text, vintage int, issued float8, retired float8, cancelled float8, available float8, updated_at timestamptz, PRIMARY KEY (project_id, vintage))"

// TestColumnsOfAnother leaves tables of somebody else as they are, and works.
func TestColumnsOfAnother(t *testing.T) {
	c := pgtest.Shared(t)
	if c.External() {
		t.Skip("needs a server with a known password")
	}
	db := c.Database(t)
	name := pgtest.Text(t, db, "SELECT current_database()")[0][0]
	firstTables(t, db)
	opt := options(db)
	opt.URL = c.UserURL("tenant", "choose one", name)
	pgtest.Exec(t, db, vintagesTable, "DROP ROLE IF EXISTS tenant", schema.RoleSQL(opt))
	t.Cleanup(func() { pgtest.Exec(t, db, "DROP OWNED BY tenant", "DROP ROLE tenant") })
	sink := newSink()
	r := run(t, sink, opt)
	r.quiet()
	pgtest.Exec(t, db, "INSERT INTO finance (ticker, timestamp) VALUES ('KRBN', 2)")
	r.quiet()
	sink.sameAsSQL(t, db)
	findings, err := schema.Preflight(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	var said string
	for _, f := range findings {
		if !f.OK && !f.Warning {
			t.Errorf("finding %+v", f)
		}
		said += f.Detail + "\n"
	}
	if !strings.Contains(said, "before column currency") || !strings.Contains(said, "before column published_estimated") {
		t.Errorf("the preflight says\n%s", said)
	}
}
