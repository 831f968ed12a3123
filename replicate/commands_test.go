package replicate_test

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"carbond/replicate"
	"carbond/replicate/pgerr"
	"carbond/replicate/pgtest"
	"carbond/replicate/schema"
	"carbond/store/change"
)

func TestMigrate(t *testing.T) {
	url := pgtest.Shared(t).Database(t)
	opt := options(url)
	// Somebody has a table already, with a column of his own.
	pgtest.Exec(t, url, "CREATE TABLE news (guid text PRIMARY KEY, mine int)", "INSERT INTO news VALUES ('1', 5)")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := schema.Migrate(t.Context(), opt); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := pgtest.Text(t, url, "SELECT mine, title FROM news"); got[0][0] != "5" || got[0][1] != "NULL" {
		t.Fatalf("got %v", got)
	}
	// Somebody drops a column; the next migration brings it back.
	pgtest.Exec(t, url, "ALTER TABLE verra DROP country", "ALTER PUBLICATION carbond DROP TABLE finance")
	if err := schema.Migrate(t.Context(), opt); err != nil {
		t.Fatal(err)
	}
	findings, err := schema.Preflight(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range findings {
		if !f.OK {
			t.Errorf("after the migration: %+v", f)
		}
	}
	for _, table := range []string{change.Verra, change.Carbonmark, change.Finance} {
		want := change.Standard(table)
		for _, c := range want.Columns {
			got := pgtest.Text(t, url, "SELECT atttypid::oid FROM pg_attribute WHERE attrelid = '"+table+"'::regclass AND attname = '"+c.Name+"'")
			if len(got) != 1 {
				t.Errorf("%s.%s does not exist", table, c.Name)
			}
		}
	}
	if _, err := schema.Teardown(t.Context(), opt); err != nil {
		t.Fatal(err)
	}
	if got := pgtest.Text(t, url, "SELECT (SELECT count(*) FROM pg_publication), (SELECT count(*) FROM news)"); got[0][0] != "0" || got[0][1] != "1" {
		t.Fatalf("after the teardown: %v", got)
	}
}

// TestMigrateBesideANewerCarbond marks the tables as those of a later version.
// They are complete, so this carbond may read them, but never change them.
func TestMigrateBesideANewerCarbond(t *testing.T) {
	url := pgtest.Shared(t).Database(t)
	opt := options(url)
	if err := schema.Migrate(t.Context(), opt); err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, url, "UPDATE carbond_schema_version SET version = 99")
	refused := func(err error) {
		t.Helper()
		e, ok := errors.AsType[*pgerr.Error](err)
		if !ok || e.Kind != pgerr.KindMigrate || !strings.Contains(e.Error(), "version 99") || !strings.Contains(e.Error(), "newer carbond") {
			t.Errorf("got %v", err)
		}
	}
	refused(schema.Migrate(t.Context(), opt))
	r := run(t, newSink(), opt)
	r.level()
	r.stop()
	pgtest.Exec(t, url, "ALTER TABLE verra DROP country")
	refused(schema.Migrate(t.Context(), opt))
	if s := run(t, newSink(), options(url)).trouble(pgerr.KindMigrate); !strings.Contains(s.Reason, "newer carbond") {
		t.Errorf("got %q", s.Reason)
	}
	if got := pgtest.Text(t, url, "SELECT version, (SELECT count(*) FROM pg_attribute WHERE attrelid = 'verra'::regclass AND attname = 'country') FROM carbond_schema_version"); got[0][0] != "99" || got[0][1] != "0" {
		t.Errorf("something was changed: %v", got)
	}
}

// TestMigrateSparesTablesWithoutKey has a table that Postgres would make read-only
// by publishing it: nothing is published until it has a key.
func TestMigrateSparesTablesWithoutKey(t *testing.T) {
	url := pgtest.Shared(t).Database(t)
	opt := options(url)
	pgtest.Exec(t, url, "CREATE TABLE verra(project_id text NOT NULL, country text)", "INSERT INTO verra VALUES ('A', 'Peru')")
	for range 2 {
		e, ok := errors.AsType[*pgerr.Error](schema.Migrate(t.Context(), opt))
		if !ok || e.Kind != pgerr.KindReplicaIdentity || !strings.Contains(e.Repair, `ALTER TABLE "public"."verra" ADD PRIMARY KEY (project_id)`) {
			t.Fatalf("got %v", e)
		}
		pgtest.Exec(t, url, "UPDATE verra SET country = 'Chile'", "DELETE FROM verra", "INSERT INTO verra VALUES ('A', 'Peru')")
	}
	if s := run(t, newSink(), opt).trouble(pgerr.KindReplicaIdentity); !strings.Contains(s.Reason, "public.verra") {
		t.Errorf("serve says %q", s.Reason)
	}
	pgtest.Exec(t, url, "UPDATE verra SET country = 'Chile'", `ALTER TABLE "public"."verra" ADD PRIMARY KEY (project_id)`)
	if err := schema.Migrate(t.Context(), opt); err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, url, "UPDATE verra SET country = 'Peru'")
}

// TestMigrateWidensCarefully finds a publication of inserts only: to publish
// UPDATE and DELETE too would make tables without a key read-only.
func TestMigrateWidensCarefully(t *testing.T) {
	for name, tc := range map[string]struct {
		publication string
		want        pgerr.Kind // "" for none
	}{
		"own tables":         {"CREATE PUBLICATION carbond FOR TABLE verra, finance WITH (publish = 'insert')", ""},
		"a table of others":  {"CREATE PUBLICATION carbond FOR TABLE verra, diary WITH (publish = 'insert')", pgerr.KindPublicationOps},
		"all tables":         {"CREATE PUBLICATION carbond FOR ALL TABLES WITH (publish = 'insert')", pgerr.KindPublicationOps},
		"own, without a key": {"ALTER TABLE verra DROP CONSTRAINT verra_pkey; CREATE PUBLICATION carbond FOR TABLE verra WITH (publish = 'insert')", pgerr.KindReplicaIdentity},
	} {
		t.Run(name, func(t *testing.T) {
			url := pgtest.Shared(t).Database(t)
			if err := schema.Migrate(t.Context(), options(url)); err != nil {
				t.Fatal(err)
			}
			pgtest.Exec(t, url, "DROP PUBLICATION carbond", "CREATE TABLE diary(entry text)", "INSERT INTO diary VALUES ('a')", "INSERT INTO verra(project_id) VALUES ('A')")
			for sql := range strings.SplitSeq(tc.publication, ";") {
				pgtest.Exec(t, url, sql)
			}
			err := schema.Migrate(t.Context(), options(url))
			if e, ok := errors.AsType[*pgerr.Error](err); ok != (tc.want != "") || ok && e.Kind != tc.want || !ok && err != nil {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			pgtest.Exec(t, url, "UPDATE diary SET entry = 'b'", "UPDATE verra SET country = 'Peru'")
		})
	}
}

// TestMigrateNamesTheRemedy has a table whose key cannot have the indexes of the
// views, and a role that may not create tables.
func TestMigrateNamesTheRemedy(t *testing.T) {
	c := pgtest.Shared(t)
	url := c.Database(t)
	pgtest.Exec(t, url, "CREATE TABLE news(guid uuid PRIMARY KEY, title text, link text, published text, published_at timestamptz, source text, summary text)")
	remedy := func(opt replicate.Options) string {
		t.Helper()
		e, ok := errors.AsType[*pgerr.Error](schema.Migrate(t.Context(), opt))
		if !ok || e.Kind != pgerr.KindMigrate {
			t.Fatalf("got %v", e)
		}
		return e.Repair
	}
	if got := remedy(options(url)); !strings.Contains(got, `ALTER TABLE "public"."news" ALTER COLUMN "guid" TYPE text`) {
		t.Errorf("of a uuid key: %q", got)
	}
	pgtest.Exec(t, url, `ALTER TABLE "public"."news" ALTER COLUMN "guid" TYPE text USING "guid"::text`)
	if err := schema.Migrate(t.Context(), options(url)); err != nil {
		t.Errorf("after the remedy: %v", err)
	}
	if c.External() {
		return // a role with a known password cannot be made there
	}
	other := c.Database(t)
	db := pgtest.Text(t, other, "SELECT current_database()")[0][0]
	pgtest.Exec(t, other, "CREATE ROLE "+db+"_weak LOGIN REPLICATION PASSWORD 'weak-secret'")
	t.Cleanup(func() { pgtest.Exec(t, other, "DROP ROLE "+db+"_weak") })
	if got := remedy(options(c.UserURL(db+"_weak", "weak-secret", db))); !strings.Contains(got, "grant the role CREATE") {
		t.Errorf("of a weak role: %q", got)
	}
}

// TestMigrateGoesOn begins with what the first step alone has made.
func TestMigrateGoesOn(t *testing.T) {
	url := pgtest.Shared(t).Database(t)
	opt := options(url)
	if err := schema.Migrate(t.Context(), opt); err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, url, "UPDATE carbond_schema_version SET version = 1", "DROP INDEX carbond_news_latest")
	if err := schema.Migrate(t.Context(), opt); err != nil {
		t.Fatal(err)
	}
	if got := pgtest.Text(t, url, "SELECT version, to_regclass('carbond_news_latest') FROM carbond_schema_version"); got[0][0] == "1" || got[0][1] != "carbond_news_latest" {
		t.Errorf("got %v", got)
	}
}

func TestMigrateIntoAnotherSchema(t *testing.T) {
	url := pgtest.Shared(t).Database(t)
	opt := options(url)
	opt.Schema, opt.Publication = "Carbon Data", `odd "name'`
	r := run(t, newSink(), opt)
	r.level()
	pgtest.Exec(t, url, `INSERT INTO "Carbon Data".news (guid) VALUES ('1')`)
	r.level()
	if c := r.last(); len(c) != 1 || c[0].Relation.Schema != "Carbon Data" {
		t.Fatalf("got %+v", c)
	}
}

func TestExportSnapshot(t *testing.T) {
	r, url := started(t)
	opt := options(url)
	pgtest.Exec(t, url, "INSERT INTO news (guid) VALUES ('1')")
	e, err := replicate.ExportSnapshot(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close(t.Context())
	pgtest.Exec(t, url, "INSERT INTO news (guid) VALUES ('2')")
	rows, err := e.Query(t.Context(), "SELECT guid FROM public.news")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for rows.Next() {
		var g string
		if err := rows.Scan(&g); err != nil {
			t.Fatal(err)
		}
		got = append(got, g)
	}
	if rows.Err() != nil || strings.Join(got, ",") != "1" {
		t.Fatalf("got %v, %v", got, rows.Err())
	}
	r.level()
	txns := r.sink.transactions()
	if a, b := txns[1].EndLSN, txns[2].EndLSN; e.LSN < a || e.LSN >= b {
		t.Fatalf("the snapshot stands at %s, the transactions end at %s and %s", e.LSN, a, b)
	}
	eventually(t, func() error { // it ends with its backend
		if got := pgtest.Text(t, url, "SELECT count(*) FROM pg_replication_slots WHERE temporary"); got[0][0] != "0" {
			return errors.New("the temporary slot is still there")
		}
		return nil
	})
}

func TestMetrics(t *testing.T) {
	url := pgtest.Shared(t).Database(t)
	reg := prometheus.NewRegistry()
	opt := options(url)
	opt.Registerer = reg
	r := run(t, newSink(), opt)
	r.level()
	pgtest.Exec(t, url, "INSERT INTO news (guid) VALUES ('1'), ('2')", "DELETE FROM news")
	r.level()
	problems, err := testutil.GatherAndLint(reg)
	if err != nil || len(problems) > 0 {
		t.Fatalf("lint: %v, %v", problems, err)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			got[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	for name, want := range map[string]float64{
		"carbond_replication_connected":                     1,
		"carbond_replication_changes_total c news":          2,
		"carbond_replication_changes_total d news":          2,
		"carbond_replication_transactions_total":            3,
		"carbond_replication_errors_total slot_lost":        0,
		"carbond_replication_snapshot_in_progress":          0,
		"carbond_replication_slot_wal_status_info reserved": 1,
		"carbond_replication_durable_lsn_bytes":             float64(r.Status().DurableLSN),
	} {
		if v, ok := got[name]; !ok || v != want && !strings.Contains(name, "lsn") {
			t.Errorf("%s is %v, want %v", name, v, want)
		}
	}
}
