package replicate_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"carbond/replicate/pgerr"
	"carbond/replicate/pgtest"
)

// TestRestoredServer puts an older copy of the cluster in the place of the
// present one and lets it write more than the other ever had: the positions fit,
// the history does not.
func TestRestoredServer(t *testing.T) {
	c := pgtest.Start(t)
	url := c.Database(t)
	opt, sink := options(url), newSink()
	opt.SourcePath = filepath.Join(t.TempDir(), "source.json")
	r := run(t, sink, opt)
	r.level()
	pgtest.Exec(t, url, "INSERT INTO news (guid) VALUES ('both')")
	r.level()
	c.Stop(t, pgtest.Fast)
	data, older := filepath.Join(c.Dir(), "data"), filepath.Join(c.Dir(), "older")
	if out, err := exec.Command("cp", "-a", data, older).CombinedOutput(); err != nil {
		t.Fatalf("copy the cluster: %v\n%s", err, out)
	}
	c.Resume(t)
	r.level()
	pgtest.Exec(t, url, "INSERT INTO news (guid) SELECT 'gone ' || i FROM generate_series(1, 1000) i")
	r.level()
	r.stop()
	c.Stop(t, pgtest.Fast)
	if err := os.RemoveAll(data); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(older, data); err != nil {
		t.Fatal(err)
	}
	c.Configure(t, "restore_command = 'false'")
	if err := os.WriteFile(filepath.Join(data, "recovery.signal"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	c.Resume(t)
	eventually(t, func() error {
		if pgtest.Text(t, url, "SELECT pg_is_in_recovery()")[0][0] != "f" {
			return errors.New("in recovery")
		}
		return nil
	})
	pgtest.Exec(t, url, "CREATE TABLE much (a text)", "INSERT INTO much SELECT repeat('x', 1000) FROM generate_series(1, 3000)")
	if end := pgtest.Text(t, url, "SELECT pg_current_wal_flush_lsn() > $1::pg_lsn", sink.Position().LSN.String()); end[0][0] != "t" {
		t.Fatal("the server has not written enough: the test proves nothing")
	}

	r = run(t, sink, opt)
	if s := r.trouble(pgerr.KindServerBehind); !strings.Contains(s.Reason, "timeline 2, which left timeline 1 at") {
		t.Errorf("reason %q", s.Reason)
	}
	r = r.resnapshot(opt)
	r.stop()
	r = run(t, sink, opt)
	r.level()
}
