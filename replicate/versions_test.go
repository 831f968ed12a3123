package replicate_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"carbond/replicate/pgerr"
	"carbond/replicate/pgtest"
	"carbond/replicate/schema"
	"carbond/store/change"
)

// Behaviour that differs between the major versions of Postgres. Each test says
// what is right on the version that it meets; `make pg-matrix` brings others.

func version(t *testing.T, url string) int {
	t.Helper()
	n, err := strconv.Atoi(pgtest.Text(t, url, "SHOW server_version_num")[0][0])
	if err != nil {
		t.Fatal(err)
	}
	return n / 10000
}

// TestFailover goes on with a standby that was promoted. From version 17 on the
// standby has kept the slot in step, and nothing is missing; before, the slot is
// not there, and that is said.
func TestFailover(t *testing.T) {
	major := version(t, pgtest.Shared(t).URL("postgres"))
	var primaryConf, standbyConf []string
	if major >= 17 {
		primaryConf = []string{"synchronized_standby_slots = 'standby'"}
		standbyConf = []string{"sync_replication_slots = on", "synchronized_standby_slots = ''"}
	}
	primary := pgtest.Start(t, primaryConf...)
	standby := primary.Standby(t, "standby", standbyConf...)
	db := primary.Database(t)
	opt, sink := options(db), newSink()
	opt.Failover = true
	r := run(t, sink, opt)
	r.level()
	pgtest.Exec(t, db, "INSERT INTO news (guid) VALUES ('1'), ('2')")
	r.level()
	name := pgtest.Text(t, db, "SELECT current_database()")[0][0]
	lsn := pgtest.Text(t, db, "SELECT pg_current_wal_lsn()")[0][0]
	there := "SELECT pg_last_wal_replay_lsn() >= '" + lsn + "'"
	if major >= 17 {
		there += " AND EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = '" + opt.Slot + "' AND synced AND NOT temporary AND invalidation_reason IS NULL)"
	}
	eventually(t, func() error {
		if got := pgtest.Text(t, standby.URL("postgres"), there)[0][0]; got != "t" {
			return fmt.Errorf("the standby is behind: %s", standby.LogTail(500))
		}
		return nil
	})
	r.stop()
	primary.Stop(t, pgtest.Immediate)
	pgtest.Exec(t, standby.URL("postgres"), "SELECT pg_promote()")
	opt.URL = standby.URL(name)
	pgtest.Exec(t, opt.URL, "INSERT INTO news (guid) VALUES ('3')", "DELETE FROM news WHERE guid = '1'")

	r = run(t, sink, opt)
	if major < 17 {
		r.trouble(pgerr.KindSlotMissing)
		return
	}
	r.level()
	sink.sameAsSQL(t, opt.URL)
	if n := len(sink.transactions()); n != 4 {
		t.Errorf("%d transactions, want the copy, one before the failover and two after it", n)
	}
}

// TestGeneratedColumns: the rows of the copy have the columns of the stream's,
// which has stored generated columns where Postgres can publish them and is told
// to.
func TestGeneratedColumns(t *testing.T) {
	db := pgtest.Shared(t).Database(t)
	major := version(t, db)
	opt, sink := options(db), newSink()
	if err := schema.Migrate(t.Context(), opt); err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, db,
		"ALTER TABLE news ADD COLUMN loud text GENERATED ALWAYS AS (upper(title)) STORED",
		"INSERT INTO news (guid, title) VALUES ('copied', 'one')")
	if major >= 18 {
		pgtest.Exec(t, db,
			"ALTER TABLE news ADD COLUMN quiet text GENERATED ALWAYS AS (lower(title)) VIRTUAL",
			"ALTER PUBLICATION carbond SET (publish_generated_columns = stored)")
	}
	r := run(t, sink, opt)
	r.level()
	pgtest.Exec(t, db, "INSERT INTO news (guid, title) VALUES ('streamed', 'two')")
	r.level()
	var have [2][]string
	txns := sink.transactions()
	for i, txn := range []change.Txn{txns[0], txns[len(txns)-1]} {
		c := txn.Changes[len(txn.Changes)-1]
		for j, col := range c.Relation.Columns {
			have[i] = append(have[i], col.Name)
			if col.Name == "loud" && c.After.Value(j) != change.T([]string{"ONE", "TWO"}[i]) {
				t.Errorf("column %s is %v", col.Name, c.After.Value(j))
			}
		}
	}
	if !slices.Equal(have[0], have[1]) {
		t.Errorf("the copy has %q, the stream %q", have[0], have[1])
	}
	if got := slices.Contains(have[0], "loud"); got != (major >= 18) {
		t.Errorf("generated column published: %t, columns %q", got, have[0])
	}
	if slices.Contains(have[0], "quiet") {
		t.Errorf("a virtual column cannot be published: %q", have[0])
	}
}

// TestSlotIdleTooLong: from version 18 on a slot that nobody reads can be lost
// by time alone.
func TestSlotIdleTooLong(t *testing.T) {
	if version(t, pgtest.Shared(t).URL("postgres")) < 18 {
		return // TestSlotLost has the other way, which all versions know
	}
	c := pgtest.Start(t, "idle_replication_slot_timeout = '1s'")
	db := c.Database(t)
	opt, sink := options(db), newSink()
	r := run(t, sink, opt)
	r.level()
	r.stop()
	eventually(t, func() error {
		pgtest.Exec(t, db, "CHECKPOINT")
		if got := pgtest.Text(t, db, "SELECT COALESCE(invalidation_reason, '') FROM pg_replication_slots")[0][0]; got != "idle_timeout" {
			return fmt.Errorf("invalidation_reason %q", got)
		}
		return nil
	})
	r = run(t, sink, opt)
	if s := r.trouble(pgerr.KindSlotLost); !strings.Contains(s.Reason, "idle_replication_slot_timeout") {
		t.Errorf("got %q", s.Reason)
	}
	r.resnapshot(opt)
}

// TestTwoPromotions promotes one standby and, when that is gone, another that
// never followed it: both are on timeline 2 then. What only the first one had is
// not served as if the second had it, however much that has written, and whether
// a slot of ours was kept in step there or not.
func TestTwoPromotions(t *testing.T) {
	if version(t, pgtest.Shared(t).URL("postgres")) < 17 {
		return // a standby has no slot of ours, see TestFailover
	}
	primary := pgtest.Start(t)
	var standbys []*pgtest.Cluster
	for _, name := range []string{"first", "second"} {
		standbys = append(standbys, primary.Standby(t, name, "sync_replication_slots = on"))
	}
	db := primary.Database(t)
	name := pgtest.Text(t, db, "SELECT current_database()")[0][0]
	opt, sink := options(db), newSink()
	opt.Failover, opt.SourcePath = true, filepath.Join(t.TempDir(), "source.json")
	r := run(t, sink, opt)
	r.level()
	pgtest.Exec(t, db, "INSERT INTO news (guid) VALUES ('all')")
	r.level()
	for _, s := range standbys {
		eventually(t, func() error {
			pgtest.Exec(t, db, "SELECT pg_log_standby_snapshot()")
			if got := pgtest.Text(t, s.URL("postgres"), "SELECT count(*) FROM pg_replication_slots WHERE slot_name = '"+opt.Slot+"' AND synced AND NOT temporary")[0][0]; got != "1" {
				return fmt.Errorf("the slot is not in step: %s", s.LogTail(500))
			}
			return nil
		})
	}
	r.stop()
	primary.Stop(t, pgtest.Immediate)
	promote := func(s *pgtest.Cluster) {
		pgtest.Exec(t, s.URL("postgres"), "SELECT pg_promote()")
		opt.URL = s.URL(name)
	}
	promote(standbys[0])
	pgtest.Exec(t, opt.URL, "INSERT INTO news (guid) SELECT 'first ' || i FROM generate_series(1, 20) i")
	r = run(t, sink, opt)
	r.level()
	sink.sameAsSQL(t, opt.URL)
	r.stop()
	standbys[0].Stop(t, pgtest.Immediate)

	promote(standbys[1])
	for i := range 30 {
		pgtest.Exec(t, opt.URL, fmt.Sprintf("INSERT INTO news (guid) SELECT 'second %d ' || i FROM generate_series(1, 100) i", i))
	}
	pgtest.Exec(t, opt.URL, "CHECKPOINT")
	if got := pgtest.Text(t, opt.URL, "SELECT pg_current_wal_flush_lsn() > $1::pg_lsn AND (SELECT timeline_id = 2 FROM pg_control_checkpoint())", sink.Position().LSN.String())[0][0]; got != "t" {
		t.Fatal("the server has not written enough, or is on another timeline: the test proves nothing")
	}
	r = run(t, sink, opt)
	r.trouble(pgerr.KindServerBehind)
	r.stop()
	opt.SourcePath = "" // as a changelog without its note, such as from an older backup
	r = run(t, sink, opt)
	r.trouble(pgerr.KindServerBehind)
	r.resnapshot(opt)
}

// TestFailoverLater asks for a failover slot when the slot exists already.
func TestFailoverLater(t *testing.T) {
	db := pgtest.Shared(t).Database(t)
	opt, sink := options(db), newSink()
	r := run(t, sink, opt)
	r.level()
	r.stop()
	opt.Failover = true
	findings, err := schema.Preflight(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(findings, func(f schema.Finding) bool { return f.Warning && strings.Contains(f.Detail, "failover") }) {
		t.Errorf("the preflight says nothing: %+v", findings)
	}
	r = run(t, sink, opt)
	r.level()
	if version(t, db) < 17 {
		if s := r.Status(); !slices.ContainsFunc(s.Warnings, func(w string) bool { return strings.Contains(w, "no effect before Postgres 17") }) {
			t.Errorf("warnings %q", s.Warnings)
		}
		return
	}
	if got := pgtest.Text(t, db, "SELECT failover FROM pg_replication_slots WHERE slot_name = $1", opt.Slot)[0][0]; got != "t" {
		t.Errorf("failover is %s", got)
	}
}
