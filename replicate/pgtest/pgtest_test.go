package pgtest_test

import (
	"testing"

	"go.uber.org/goleak"

	"carbond/replicate/pgtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(pgtest.Wrap(m)) }

func TestSharedDatabase(t *testing.T) {
	url := pgtest.Shared(t).Database(t)
	pgtest.Exec(t, url, "CREATE TABLE a (b int)", "INSERT INTO a VALUES (1), (NULL)")
	got := pgtest.Text(t, url, "SELECT b FROM a ORDER BY b NULLS LAST")
	if len(got) != 2 || got[0][0] != "1" || got[1][0] != "NULL" {
		t.Fatalf("got %v", got)
	}
}

func TestLife(t *testing.T) {
	c := pgtest.Start(t, "fsync=on", "wal_level=replica")
	url := c.Database(t)
	pgtest.Exec(t, url, "CREATE TABLE a (b int)", "INSERT INTO a VALUES (1)")
	check := func(when string) {
		t.Helper()
		if got := pgtest.Text(t, url, "SELECT b, current_setting('wal_level') FROM a"); len(got) != 1 || got[0][1] != "replica" {
			t.Fatalf("after %s: %v", when, got)
		}
	}
	c.Restart(t)
	check("restart")
	c.Kill(t)
	c.Resume(t)
	check("kill")
	c.Stop(t, pgtest.Immediate)
	c.Resume(t)
	check("immediate stop")
}
