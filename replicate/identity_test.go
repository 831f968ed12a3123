package replicate_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"carbond/replicate"
	"carbond/replicate/pgerr"
	"carbond/replicate/pgtest"
)

const partitioned = `CREATE TABLE finance (ticker text, price double precision, volume bigint, market_cap double precision, change_percent double precision, timestamp bigint, PRIMARY KEY (ticker, timestamp)) PARTITION BY RANGE (timestamp);
CREATE TABLE early PARTITION OF finance FOR VALUES FROM (0) TO (100);
CREATE TABLE late PARTITION OF finance FOR VALUES FROM (100) TO (200)`

// toastless is a table whose rows are too short for TOAST.
const toastless = "CREATE TABLE finance (ticker varchar(20), price double precision, volume bigint, market_cap double precision, change_percent double precision, currency varchar(3), timestamp bigint, PRIMARY KEY (ticker, timestamp))"

// filled has a row for each partition.
const filled = "INSERT INTO finance (ticker, timestamp) VALUES ('m', 50), ('n', 150); "

// TestWhichTable does to the tables what the stream tells nothing, little or the
// wrong thing about, while carbond runs and while it is stopped. Afterwards the
// rows are those of Postgres: by following the stream, or by a new copy where it
// cannot tell.
func TestWhichTable(t *testing.T) {
	const write = "UPDATE x SET supply = supply + 7; DELETE FROM x WHERE project_id = 'b'; INSERT INTO x (project_id, supply) VALUES ('c', 3); "
	for name, tt := range map[string]struct {
		setup string // before the first start
		rows  string
		sql   []string // each is a transaction of its own
		copy  bool     // only a new copy brings the rows
	}{
		"another name in one transaction":   {sql: []string{"ALTER TABLE verra RENAME TO x; " + write + "ALTER TABLE x RENAME TO verra"}},
		"another name":                      {sql: []string{"ALTER TABLE verra RENAME TO x", write, "ALTER TABLE x RENAME TO verra"}},
		"another schema in one transaction": {sql: []string{"CREATE SCHEMA attic; ALTER TABLE verra SET SCHEMA attic; UPDATE attic.verra SET supply = 9; ALTER TABLE attic.verra SET SCHEMA public"}},
		"another schema":                    {sql: []string{"CREATE SCHEMA attic", "ALTER TABLE verra SET SCHEMA attic", "UPDATE attic.verra SET supply = 9", "ALTER TABLE attic.verra SET SCHEMA public"}},
		"names of two tables swapped and back": {sql: []string{
			"ALTER TABLE news RENAME TO n; ALTER TABLE verra RENAME TO news; INSERT INTO news (project_id) VALUES ('w'); INSERT INTO n (guid) VALUES ('w'); ALTER TABLE news RENAME TO verra; ALTER TABLE n RENAME TO news",
		}},
		"a column renamed and back":   {sql: []string{"ALTER TABLE verra RENAME country TO land; INSERT INTO verra (project_id, land) VALUES ('k', 'KE'); UPDATE verra SET land = 'PE' WHERE project_id = 'a'; ALTER TABLE verra RENAME land TO country"}},
		"the key renamed and back":    {sql: []string{"ALTER TABLE verra RENAME project_id TO pid; INSERT INTO verra (pid) VALUES ('k'); DELETE FROM verra WHERE pid = 'a'; ALTER TABLE verra RENAME pid TO project_id"}},
		"columns swapped and back":    {sql: []string{"ALTER TABLE news RENAME title TO t; ALTER TABLE news RENAME link TO title; ALTER TABLE news RENAME t TO link; INSERT INTO news (guid, title, link) VALUES ('s', 'is a link', 'is a title'); ALTER TABLE news RENAME link TO t; ALTER TABLE news RENAME title TO link; ALTER TABLE news RENAME t TO title"}},
		"TRUNCATE with grants":        {sql: []string{"TRUNCATE verra; GRANT SELECT (country), UPDATE (country) ON verra TO PUBLIC; ALTER TABLE verra ALTER country SET STATISTICS 50; INSERT INTO verra (project_id) VALUES ('t')"}},
		"VACUUM FULL":                 {sql: []string{"GRANT SELECT (supply) ON verra TO PUBLIC", "VACUUM FULL verra", "CLUSTER verra USING verra_pkey", "ALTER TABLE verra ALTER supply SET STATISTICS 10"}},
		"publication set to the same": {sql: []string{"ALTER PUBLICATION carbond SET (publish = 'insert, update, delete, truncate')", "DELETE FROM verra"}},
		"publication given away": {
			rows: "DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO pg_monitor', current_database()); END $$",
			sql:  []string{"ALTER PUBLICATION carbond OWNER TO pg_monitor", "DELETE FROM verra"},
		},
		"publication there and back":          {sql: []string{"ALTER PUBLICATION carbond SET (publish = 'insert'); DELETE FROM verra; ALTER PUBLICATION carbond SET (publish = 'insert, update, delete, truncate')"}, copy: true},
		"USING":                               {sql: []string{"ALTER TABLE verra ALTER supply TYPE double precision USING supply * 10"}, copy: true},
		"USING, statistics and a grant":       {sql: []string{"ALTER TABLE verra ALTER supply TYPE double precision USING supply * 10; ALTER TABLE verra ALTER supply SET STATISTICS 50; GRANT SELECT (supply) ON verra TO PUBLIC"}, copy: true},
		"unlogged for a while":                {setup: "CREATE PUBLICATION carbond FOR ALL TABLES", sql: []string{"ALTER TABLE verra SET UNLOGGED", "DELETE FROM verra", "ALTER TABLE verra SET LOGGED"}, copy: true},
		"unlogged for a while, without TOAST": {setup: "CREATE PUBLICATION carbond FOR ALL TABLES; " + toastless, sql: []string{"ALTER TABLE finance SET UNLOGGED", "DELETE FROM finance", "ALTER TABLE finance SET LOGGED"}, copy: true},
		"a partition unlogged for a while":    {setup: partitioned, sql: []string{"ALTER TABLE early SET UNLOGGED; DELETE FROM early; ALTER TABLE early SET LOGGED"}, copy: true},
		"TRUNCATE without TOAST":              {setup: toastless, sql: []string{"TRUNCATE finance", "INSERT INTO finance (ticker, timestamp) VALUES ('m', 50)"}},
		"VACUUM FULL without TOAST":           {setup: toastless, sql: []string{"VACUUM FULL finance", "DELETE FROM finance"}, copy: true},
		"columns swapped in steps":            {sql: []string{"ALTER TABLE news RENAME title TO t; INSERT INTO news (guid, t, link) VALUES ('s1', 'is a link', 'is a title'); ALTER TABLE news RENAME link TO title; UPDATE news SET t = t || '!'; ALTER TABLE news RENAME t TO link; INSERT INTO news (guid, title, link) VALUES ('s3', 'title', 'link')"}, copy: true},
		"a column of many names":              {sql: []string{"ALTER TABLE news RENAME title TO t; INSERT INTO news (guid, t) VALUES ('n1', 'one'); ALTER TABLE news RENAME t TO u; UPDATE news SET u = u || '!'; ALTER TABLE news RENAME u TO title; DELETE FROM news WHERE title = 'title!'"}},
		"a schema that is published": {
			setup: "CREATE SCHEMA attic; CREATE PUBLICATION carbond FOR TABLES IN SCHEMA public",
			sql:   []string{"ALTER TABLE verra SET SCHEMA attic; DELETE FROM attic.verra; ALTER TABLE attic.verra SET SCHEMA public"}, copy: true,
		},
		"a value of an enumeration renamed": {
			setup: "CREATE TYPE state AS ENUM ('ACTIVE', 'RETIRED'); CREATE DOMAIN status AS state; CREATE TABLE verra (id bigserial, project_id text PRIMARY KEY, project_name text, project_link text, project_summary text, registry_status status, country text, vintage int, supply double precision, updated_at timestamptz)",
			rows:  "UPDATE verra SET registry_status = 'ACTIVE'", sql: []string{"ALTER TYPE state RENAME VALUE 'ACTIVE' TO 'LIVE'"}, copy: true,
		},
		"a value of an enumeration added": {
			setup: "CREATE TYPE state AS ENUM ('ACTIVE', 'RETIRED'); CREATE TABLE verra (id bigserial, project_id text PRIMARY KEY, project_name text, project_link text, project_summary text, registry_status state, country text, vintage int, supply double precision, updated_at timestamptz)",
			sql:   []string{"ALTER TYPE state ADD VALUE 'OTHER' BEFORE 'RETIRED'", "UPDATE verra SET registry_status = 'OTHER'"},
		},
		"USING on partitions":           {setup: partitioned, sql: []string{"ALTER TABLE finance ALTER price TYPE double precision USING price * 10"}, copy: true},
		"a partition dropped":           {setup: partitioned, sql: []string{"DROP TABLE early"}, copy: true},
		"a partition detached":          {setup: partitioned, sql: []string{"ALTER TABLE finance DETACH PARTITION early"}, copy: true},
		"a partition detached and back": {setup: partitioned, sql: []string{"ALTER TABLE finance DETACH PARTITION early; DELETE FROM early; ALTER TABLE finance ATTACH PARTITION early FOR VALUES FROM (0) TO (100)"}, copy: true},
		"a partition truncated":         {setup: partitioned, sql: []string{"TRUNCATE early"}, copy: true},
		"a partition loaded again":      {setup: partitioned, sql: []string{"TRUNCATE early; INSERT INTO early (ticker, timestamp) VALUES ('new', 3); ANALYZE early"}, copy: true},
		"a partition attached":          {setup: partitioned, sql: []string{"CREATE TABLE more (LIKE finance INCLUDING ALL); INSERT INTO more (ticker, timestamp) VALUES ('m', 250); ALTER TABLE finance ATTACH PARTITION more FOR VALUES FROM (200) TO (300)"}, copy: true},
		"a tree of partitions attached": {setup: partitioned, sql: []string{"CREATE TABLE more (LIKE finance INCLUDING ALL) PARTITION BY RANGE (timestamp)", "CREATE TABLE leaf PARTITION OF more FOR VALUES FROM (200) TO (250)", "INSERT INTO more (ticker, timestamp) VALUES ('m', 220)", "ALTER TABLE finance ATTACH PARTITION more FOR VALUES FROM (200) TO (300)"}, copy: true},
		"a partition created":           {setup: partitioned, sql: []string{"CREATE TABLE more PARTITION OF finance FOR VALUES FROM (200) TO (300)", "INSERT INTO finance (ticker, timestamp) VALUES ('m', 250)"}},
		"all partitions truncated":      {setup: partitioned, sql: []string{"TRUNCATE finance", "INSERT INTO finance (ticker, timestamp) VALUES ('m', 50)"}},
		"a table truncated twice":       {setup: partitioned, sql: []string{"TRUNCATE finance; " + filled, "TRUNCATE finance; " + filled}},
		"a partition, then its table":   {setup: partitioned, sql: []string{"TRUNCATE early; TRUNCATE finance; " + filled}},
		"a table, then a partition":     {setup: partitioned, sql: []string{"TRUNCATE finance; " + filled, "TRUNCATE early"}, copy: true},
		"a table, then each partition":  {setup: partitioned, sql: []string{"TRUNCATE finance; " + filled, "TRUNCATE early, late"}, copy: true},
		"a table, then in a savepoint":  {setup: partitioned, sql: []string{"TRUNCATE finance; " + filled + "BEGIN TRUNCATE early; EXCEPTION WHEN division_by_zero THEN NULL; END; "}, copy: true},
		"a table, and one without TOAST unlogged": {setup: "CREATE PUBLICATION carbond FOR ALL TABLES; " + toastless, sql: []string{
			"TRUNCATE finance; " + filled, "ALTER TABLE finance SET UNLOGGED", "DELETE FROM finance", "ALTER TABLE finance SET LOGGED",
		}, copy: true},
		"a new partition truncated":       {setup: partitioned, sql: []string{"CREATE TABLE more PARTITION OF finance FOR VALUES FROM (200) TO (300)", "INSERT INTO finance (ticker, timestamp) VALUES ('m', 250)", "TRUNCATE more"}, copy: true},
		"a new partition, then its table": {setup: partitioned, sql: []string{"CREATE TABLE more PARTITION OF finance FOR VALUES FROM (200) TO (300)", "INSERT INTO finance (ticker, timestamp) VALUES ('m', 250)", "TRUNCATE finance; " + filled}},
		"VACUUM FULL of a partition":      {setup: partitioned, sql: []string{"VACUUM FULL early", "DELETE FROM early"}},
		"a partitioned table for a while": {setup: partitioned, sql: []string{"ALTER TABLE finance RENAME TO f; DELETE FROM f WHERE timestamp < 100; ALTER TABLE f RENAME TO finance"}},
	} {
		states := []string{"running", "stopped"}
		if testing.Short() {
			states = states[len(name)%2:][:1] // the short form has half of them
		}
		for _, while := range states {
			t.Run(name+" while "+while, func(t *testing.T) {
				t.Parallel()
				url := pgtest.Shared(t).Database(t)
				if strings.Contains(tt.setup, "IN SCHEMA") && pgtest.Text(t, url, "SELECT current_setting('server_version_num')::int < 150000")[0][0] == "t" {
					t.Skip("needs Postgres 15")
				}
				if tt.setup != "" {
					pgtest.Exec(t, url, strings.Split(strings.ReplaceAll(tt.setup, ";\n", "; "), "; ")...)
				}
				opt := options(url)
				opt.OnGap, opt.SourcePath = replicate.GapResnapshot, filepath.Join(t.TempDir(), "source.json")
				r := run(t, newSink(), opt)
				r.level()
				pgtest.Exec(t, url, "INSERT INTO verra (project_id, supply) VALUES ('a', 1), ('b', 2)",
					"INSERT INTO finance (ticker, price, timestamp) VALUES ('x', 1, 50), ('y', 2, 150)", "INSERT INTO news (guid, title, link) VALUES ('g', 'title', 'link')")
				if tt.rows != "" {
					pgtest.Exec(t, url, tt.rows)
				}
				r.level()
				r.sink.sameAsSQL(t, url)
				copies := r.copies()
				if while == "stopped" {
					r.stop()
				}
				for _, sql := range tt.sql {
					if strings.Contains(sql, "; ") {
						sql = "DO $do$ BEGIN " + strings.TrimSuffix(sql, "; ") + "; END $do$"
					}
					pgtest.Exec(t, url, sql)
				}
				if while == "stopped" {
					r = run(t, r.sink, opt)
					copies = 0
				}
				r.level()
				r.sink.sameAsSQL(t, url)
				if n := r.copies() - copies; tt.copy != (n > 0) {
					t.Errorf("%d new copies, want one: %t", n, tt.copy)
				}
			})
		}
	}
}

// copies counts the copies that a run has made.
func (r *running) copies() int { return strings.Count(r.log.String(), `msg="copied the tables"`) }

// TestVerdictLasts ends a Replicator between the finding and its remedy: the next
// one knows of it although the catalog shows nothing any more.
func TestVerdictLasts(t *testing.T) {
	url := pgtest.Shared(t).Database(t)
	opt := options(url)
	opt.SourcePath = filepath.Join(t.TempDir(), "source.json")
	r := run(t, newSink(), opt)
	r.level()
	pgtest.Exec(t, url, "INSERT INTO verra (project_id, supply) VALUES ('a', 1)")
	r.level()
	pgtest.Exec(t, url, "ALTER TABLE verra ALTER supply TYPE double precision USING supply * 10")
	r.blamed("public.verra")
	pgtest.Exec(t, url, "INSERT INTO verra (project_id) VALUES ('streamed')", "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '"+opt.Slot+"'")
	r.blamed("public.verra")
	for range 2 {
		r.stop()
		r = run(t, r.sink, opt)
		r.blamed("public.verra")
	}
	r = r.resnapshot(opt)
	if s := r.Status(); s.Kind != "" {
		t.Errorf("after the copy: %+v", s)
	}
}

// A table that bears another name is followed, and the status says so; a partition
// whose changes do not carry the key is refused.
func TestWarnsOfNamesAndPartitions(t *testing.T) {
	url := pgtest.Shared(t).Database(t)
	pgtest.Exec(t, url, strings.Split(partitioned, ";\n")...)
	opt := options(url)
	r := run(t, newSink(), opt)
	r.level()
	pgtest.Exec(t, url, "ALTER TABLE news RENAME TO old_news", "INSERT INTO old_news (guid) VALUES ('away')")
	r.level()
	eventually(t, func() error {
		if s := r.Status(); !strings.Contains(strings.Join(s.Warnings, " "), "public.old_news") {
			return fmt.Errorf("no warning: %+v", s)
		}
		return nil
	})
	pgtest.Exec(t, url, "ALTER TABLE old_news RENAME TO news")
	r.level()
	r.sink.sameAsSQL(t, url)
	eventually(t, func() error {
		if s := r.Status(); len(s.Warnings) > 0 {
			return fmt.Errorf("still: %+v", s)
		}
		return nil
	})
	pgtest.Exec(t, url, "ALTER TABLE early REPLICA IDENTITY NOTHING")
	if s := r.trouble(pgerr.KindPublicationChange); !strings.Contains(s.Reason, "public.early") {
		t.Errorf("reason %q", s.Reason)
	}
	r.stop()
	fresh := run(t, newSink(), opt)
	if s := fresh.trouble(pgerr.KindReplicaIdentity); !strings.Contains(s.Reason, "public.early") {
		t.Errorf("reason %q", s.Reason)
	}
}
