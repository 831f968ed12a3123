package pgtest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
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

// TestOddEnvironment starts a server where neither the folder for temporary
// files nor the umask lets another user in, and where that folder's path is too
// long for a socket.
func TestOddEnvironment(t *testing.T) {
	deep := filepath.Join(t.TempDir(), strings.Repeat("deep", 25))
	if err := os.Mkdir(deep, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", deep)
	defer syscall.Umask(syscall.Umask(0o077))
	c := pgtest.Start(t)
	if got := pgtest.Text(t, c.URL("postgres"), "SELECT 1"); got[0][0] != "1" {
		t.Fatalf("got %v", got)
	}
}

// TestFreePort finds ports that the system does not hand out by itself.
func TestFreePort(t *testing.T) {
	b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		t.Skip("not Linux: ", err)
	}
	var low, high int
	if _, err := fmt.Sscan(string(b), &low, &high); err != nil {
		t.Fatal(err)
	}
	for range 50 {
		if port, err := pgtest.FreePort(); err != nil || low > 20_000 && port >= low {
			t.Fatalf("got %d, %v; the system's own begin at %d", port, err, low)
		}
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
