package replicate_test

import (
	"fmt"
	"strings"
	"testing"

	"carbond/replicate/pgtest"
	"carbond/store/change"
)

// last returns the changes of the last transaction.
func (r *running) last() []change.Change {
	r.tb.Helper()
	txns := r.sink.transactions()
	return txns[len(txns)-1].Changes
}

func started(t *testing.T) (*running, string) {
	t.Helper()
	url := pgtest.Shared(t).Database(t)
	r := run(t, newSink(), options(url))
	r.level()
	return r, url
}

func TestUnchangedTOAST(t *testing.T) {
	r, url := started(t)
	big := "(SELECT string_agg(md5(i::text), '') FROM generate_series(1, 400) i)"
	pgtest.Exec(t, url,
		"ALTER TABLE verra ALTER project_summary SET STORAGE EXTERNAL",
		"INSERT INTO verra (project_id, project_summary) VALUES ('a', "+big+")",
		"UPDATE verra SET country = 'Brazil' WHERE project_id = 'a'",
	)
	r.level()
	c := r.last()[0]
	if v := c.After.Value(c.Relation.Index("project_summary")); v.Kind != change.Unchanged || c.Before != "" {
		t.Fatalf("want an unchanged value and no old row, got %v, %q", v.Kind, c.Before)
	}
	pgtest.Exec(t, url, "UPDATE verra SET project_id = 'b' WHERE project_id = 'a'")
	r.level()
	c = r.last()[0]
	if c.Op != change.Update || c.Before.Value(1) != change.T("a") || c.After.Value(1) != change.T("b") {
		t.Fatalf("key change: got %+v", c)
	}
	if c.Before.Value(c.Relation.Index("country")).Kind != change.Null {
		t.Fatal("the old row of a key change holds more than the key")
	}
	pgtest.Exec(t, url, "BEGIN; INSERT INTO verra (project_id, project_summary) VALUES ('c', "+big+"); UPDATE verra SET vintage = 1 WHERE project_id = 'c'; COMMIT")
	r.level()
	r.sink.sameAsSQL(t, url)
}

func TestKeySwap(t *testing.T) {
	r, url := started(t)
	pgtest.Exec(t, url,
		"INSERT INTO carbonmark (id, amount) VALUES ('1', 1), ('2', 2)",
		"BEGIN; UPDATE carbonmark SET id = 'x' WHERE id = '1'; UPDATE carbonmark SET id = '1' WHERE id = '2'; UPDATE carbonmark SET id = '2' WHERE id = 'x'; COMMIT")
	r.level()
	r.sink.sameAsSQL(t, url)
}

func TestTruncate(t *testing.T) {
	r, url := started(t)
	pgtest.Exec(t, url,
		"CREATE TABLE child (id text REFERENCES verra (project_id))",
		"INSERT INTO verra (project_id) VALUES ('a'), ('b')",
		"INSERT INTO news (guid) VALUES ('a')",
		"INSERT INTO child VALUES ('a')",
		"BEGIN; INSERT INTO verra (project_id) VALUES ('c'); TRUNCATE verra, news RESTART IDENTITY CASCADE; INSERT INTO verra (project_id) VALUES ('d'); COMMIT",
	)
	r.level()
	r.sink.sameAsSQL(t, url)
	var ops []string
	for _, c := range r.last() {
		ops = append(ops, c.Op.String()+" "+c.Relation.Name)
	}
	if got := strings.Join(ops, ", "); got != "c verra, t verra, t news, c verra" {
		t.Fatalf("got %s", got)
	}
	pgtest.Exec(t, url, "BEGIN; SAVEPOINT a; TRUNCATE verra CASCADE; ROLLBACK TO a; INSERT INTO verra (project_id) VALUES ('e'); COMMIT")
	r.level()
	r.sink.sameAsSQL(t, url)
}

func TestValues(t *testing.T) {
	c := pgtest.Shared(t)
	url := c.Database(t)
	db := pgtest.Text(t, url, "SELECT current_database()")[0][0]
	r := run(t, newSink(), options(url))
	r.level()
	pgtest.Exec(t, url,
		// The role and the database want another text form; ours must win.
		"ALTER DATABASE "+db+" SET datestyle = 'German'",
		"ALTER DATABASE "+db+" SET timezone = 'Asia/Tokyo'",
		"ALTER DATABASE "+db+" SET extra_float_digits = -10",
		"ALTER DATABASE "+db+" SET bytea_output = 'escape'",
		"CREATE TYPE mood AS ENUM ('sad', 'ok')",
		"CREATE DOMAIN price AS numeric CHECK (value > 0)",
		"CREATE TYPE pair AS (a int, b text)",
		"ALTER TABLE news ADD m mood, ADD d price, ADD p pair, ADD arr int[], ADD raw bytea, ADD n numeric, ADD i interval, ADD j jsonb",
		`INSERT INTO news (guid, published_at, m, d, p, arr, raw, n, i, j) VALUES
		 ('1', 'infinity', 'ok', 1.50, '(1,"x y")', '[2:4]={1,NULL,3}', '\x00ff', 'NaN', '1 year 2 days', '{"a": [1]}'),
		 ('2', '0044-03-15 12:00:00+00 BC', NULL, 3, NULL, '{}', '', 'Infinity', '-00:00:01', 'null'),
		 ('3', '2024-02-29 12:00:00.123456+05', NULL, 1e300::numeric, NULL, NULL, NULL, 1e-300::numeric, NULL, NULL)`,
		`INSERT INTO finance VALUES ('a', 'NaN', 1, 'Infinity', '-Infinity', 1), ('b', 0.1, 9223372036854775807, 1e308, 1e-320, 2), ('c', 1.0/3, 0, -0.0, 5e-324, 3)`,
		"INSERT INTO verra (project_id, project_name) VALUES (E'tab\\tnl\\nback\\\\', 'ünï\U0001F600'), ('', '')",
	)
	r.level()
	sql := url + "&bytea_output=hex&extra_float_digits=1"
	r.sink.sameAsSQL(t, sql)
	// The copy gives the same texts as the stream.
	again := newSink()
	opt := options(url)
	opt.Slot += "copy"
	r2 := run(t, again, opt)
	r2.level()
	again.sameAsSQL(t, sql)
	r2.stop()
	pgtest.Exec(t, url, "ALTER TYPE mood ADD VALUE 'happy'")
	pgtest.Exec(t, url, "UPDATE news SET m = 'happy' WHERE guid = '1'")
	r.level()
	r.sink.sameAsSQL(t, sql)
}

func TestReplicaIdentities(t *testing.T) {
	r, url := started(t)
	pgtest.Exec(t, url,
		"ALTER TABLE verra REPLICA IDENTITY FULL",
		"INSERT INTO verra (project_id, vintage) VALUES ('a', 1)",
		"UPDATE verra SET vintage = 2",
	)
	r.level()
	if c := r.last()[0]; c.Before.Value(c.Relation.Index("vintage")) != change.T("1") {
		t.Fatalf("FULL: the old row is not whole: %+v", c)
	}
	pgtest.Exec(t, url, "DELETE FROM verra",
		"ALTER TABLE carbonmark ALTER project_id SET NOT NULL", "CREATE UNIQUE INDEX other ON carbonmark (project_id, id)",
		"ALTER TABLE carbonmark REPLICA IDENTITY USING INDEX other",
		"INSERT INTO carbonmark (id, project_id, amount) VALUES ('1', 'p', 5)", "UPDATE carbonmark SET project_id = 'q'")
	r.level()
	if c := r.last()[0]; c.Before.Value(0) != change.T("1") || c.Before.Value(1) != change.T("p") || c.Before.Value(4).Kind != change.Null {
		t.Fatalf("index: got old row %+v", c)
	}
	pgtest.Exec(t, url, "DELETE FROM carbonmark")
	r.level()
	r.sink.sameAsSQL(t, url)
}

func TestSchemaChanges(t *testing.T) {
	r, url := started(t)
	pgtest.Exec(t, url,
		"INSERT INTO news (guid, title) VALUES ('1', 'a')",
		"ALTER TABLE news ADD extra int DEFAULT 7",
		"INSERT INTO news (guid, extra) VALUES ('2', 8)",
		"ALTER TABLE news RENAME title TO headline",
		"UPDATE news SET headline = 'b' WHERE guid = '2'",
		"BEGIN; ALTER TABLE news DROP extra; ALTER TABLE news ADD extra text; INSERT INTO news (guid, extra) VALUES ('3', 'x'); COMMIT",
	)
	r.level()
	txns := r.sink.transactions()
	first, last := txns[len(txns)-4].Changes[0].Relation, txns[len(txns)-1].Changes[0].Relation
	if first == last || first.Index("extra") >= 0 || last.Index("headline") < 0 || last.Columns[last.Index("extra")].Type != change.OIDText {
		t.Fatalf("got %+v and %+v", first, last)
	}
	eventually(t, func() error {
		for _, w := range r.Status().Warnings {
			if strings.Contains(w, "public.news") && strings.Contains(w, "title") {
				return nil
			}
		}
		return fmt.Errorf("no warning of the missing column: %+v", r.Status())
	})
	if !r.Status().Connected {
		t.Fatal("a lost column must not stop the stream")
	}
	// A new connection describes the relation again: the same pointer, once the look
	// at the catalog knows the columns' numbers, which the first one may not have.
	again := func(guid string) *change.Relation {
		t.Helper()
		pgtest.Exec(t, url, "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active_pid IS NOT NULL AND database = current_database()")
		pgtest.Exec(t, url, "INSERT INTO news (guid) VALUES ('"+guid+"')")
		r.level()
		c := r.last()[0]
		if c.After.Value(0) != change.T(guid) {
			t.Fatalf("got %v", c)
		}
		return c.Relation
	}
	if again("4") != again("5") {
		t.Fatal("after a reconnect an unchanged table is a new relation")
	}
}

func TestOtherTablesAreIgnored(t *testing.T) {
	r, url := started(t)
	pgtest.Exec(t, url,
		"CREATE TABLE orders (id int PRIMARY KEY)",
		"CREATE SCHEMA other", "CREATE TABLE other.verra (project_id text PRIMARY KEY)",
		"ALTER PUBLICATION carbond ADD TABLE orders, other.verra",
		"INSERT INTO orders SELECT generate_series(1, 100)",
		"INSERT INTO other.verra VALUES ('not ours')",
		"BEGIN; INSERT INTO orders VALUES (101); INSERT INTO verra (project_id) VALUES ('ours'); TRUNCATE orders; COMMIT",
		"UPDATE orders SET id = id + 1000",
	)
	r.level()
	r.sink.sameAsSQL(t, url)
	if n := strings.Count(r.log.String(), "ignoring a table"); n != 2 {
		t.Fatalf("%d log lines about ignored tables, want 2", n)
	}
	if n := len(r.sink.transactions()); n != 2 {
		t.Fatalf("%d transactions, want the copy and one", n)
	}
}

func TestOddTransactions(t *testing.T) {
	r, url := started(t)
	pgtest.Exec(t, url,
		"BEGIN; INSERT INTO news (guid) VALUES ('kept'); SAVEPOINT a; INSERT INTO news (guid) VALUES ('gone'); ROLLBACK TO a; INSERT INTO news (guid) VALUES ('kept too'); COMMIT",
		"BEGIN; INSERT INTO news (guid) VALUES ('aborted'); ROLLBACK",
		"SELECT pg_logical_emit_message(true, 'test', 'transactional')",
		"SELECT pg_logical_emit_message(false, 'test', 'at once')",
		"BEGIN; INSERT INTO news (guid) VALUES ('with message'); SELECT pg_logical_emit_message(true, 'test', 'x'); SELECT pg_logical_emit_message(false, 'test', 'y'); COMMIT",
		"DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_replication_origin WHERE roname = 'elsewhere') THEN PERFORM pg_replication_origin_create('elsewhere'); END IF; END $$",
		"BEGIN; SELECT pg_replication_origin_session_setup('elsewhere'); SELECT pg_replication_origin_xact_setup('0/1234', now()); INSERT INTO news (guid) VALUES ('from elsewhere'); COMMIT; SELECT pg_replication_origin_session_reset()",
		"BEGIN; INSERT INTO news (guid) VALUES ('prepared'); PREPARE TRANSACTION 'p"+options(url).Slot+"'",
	)
	r.level()
	before := r.sink.lines("news", []string{"guid"})
	if got := strings.Join(before, ","); got != "from elsewhere,kept,kept too,with message" {
		t.Fatalf("got %s", got)
	}
	r.stop()
	r = run(t, r.sink, options(url))
	r.level()
	pgtest.Exec(t, url, "COMMIT PREPARED 'p"+options(url).Slot+"'")
	r.level()
	r.sink.sameAsSQL(t, url)
	if c := r.last(); len(c) != 1 || c[0].After.Value(0) != change.T("prepared") {
		t.Fatalf("got %+v", c)
	}
}

func TestLargeTransactionComesInParts(t *testing.T) {
	url := pgtest.Shared(t).Database(t)
	sink := newSink()
	opt := options(url)
	opt.PartChanges, opt.PartBytes = 1000, 100_000
	r := run(t, sink, opt)
	r.level()
	pgtest.Exec(t, url, "INSERT INTO news (guid, title) SELECT i::text, repeat('x', 100) FROM generate_series(1, 30000) i")
	r.level()
	txns := sink.transactions()
	if n := len(txns[1].Changes); n != 30000 || sink.parts < 50 {
		t.Fatalf("%d changes in %d parts", n, sink.parts)
	}
	sink.sameAsSQL(t, url)
	// The copy of so much comes in parts too.
	again := newSink()
	opt.Slot += "copy"
	r2 := run(t, again, opt)
	r2.level()
	if again.parts < 50 {
		t.Fatalf("the copy came in %d parts", again.parts)
	}
	again.sameAsSQL(t, url)
}
