package replicate_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"carbond/replicate/pgerr"
	"carbond/replicate/pgtest"
)

// coldCopy stops the server, copies its files and starts it again.
func coldCopy(t *testing.T, c *pgtest.Cluster) (older string) {
	t.Helper()
	older = filepath.Join(c.Dir(), fmt.Sprintf("cold%d", time.Now().UnixNano()))
	c.Stop(t, pgtest.Fast)
	if out, err := exec.Command("cp", "-a", filepath.Join(c.Dir(), "data"), older).CombinedOutput(); err != nil {
		t.Fatalf("copy the cluster: %v\n%s", err, out)
	}
	c.Resume(t)
	return older
}

// putBack puts a copy of the server's files in the place of the present ones.
// Without recovery the server stays on its timeline.
func putBack(t *testing.T, c *pgtest.Cluster, older string) {
	t.Helper()
	c.Stop(t, pgtest.Immediate)
	data := filepath.Join(c.Dir(), "data")
	if err := os.RemoveAll(data); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(older, data); err != nil {
		t.Fatal(err)
	}
	c.Resume(t)
}

// TestServerPutBack puts a cold copy of its files in the server's place and lets
// it write on. What the server holds then, or what it lost, must never be served
// as if it were what the changelog holds, whatever was written meanwhile and
// whether somebody was watching.
func TestServerPutBack(t *testing.T) {
	const (
		other = "INSERT INTO junk SELECT repeat('x', 500) FROM generate_series(1, 3000)"
		some  = "INSERT INTO junk VALUES ('x')"
		ours  = "INSERT INTO news (guid) VALUES ('new') ON CONFLICT DO NOTHING"
		gone  = "INSERT INTO news (guid) VALUES ('old')"
	)
	for name, tt := range map[string]struct {
		lost, then []string
		running    bool // the server is put back under a running replicator
		equal      bool // nothing of ours differs: it may go on
	}{
		"rows lost, far beyond":            {lost: []string{gone}, then: []string{other, ours}},
		"rows lost, others' writing alone": {lost: []string{gone, "UPDATE news SET title = 'gone'"}, then: []string{other}, running: true},
		"the same statement again":         {lost: []string{gone}, then: []string{gone, other}},
		"others' writing lost, ours new":   {lost: []string{other}, then: []string{ours, other, other}, running: true},
		"nothing of ours lost or new":      {lost: []string{some}, then: []string{other}, running: true, equal: true},
		"many lost, a little new":          {lost: []string{"INSERT INTO news (guid) SELECT i::text FROM generate_series(1, 500) i", "DELETE FROM news WHERE guid = '7'"}, then: []string{some, ours, some}},
	} {
		t.Run(name, func(t *testing.T) {
			c := pgtest.Start(t)
			url := c.Database(t)
			opt, sink := options(url), newSink()
			opt.SourcePath = filepath.Join(t.TempDir(), "source.json")
			r := run(t, sink, opt)
			pgtest.Exec(t, url, "CREATE TABLE junk (a text)")
			r.level()
			pgtest.Exec(t, url, "INSERT INTO news (guid) VALUES ('both')")
			r.level()
			older := coldCopy(t, c)
			r.level()
			pgtest.Exec(t, url, tt.lost...)
			r.level()
			if !tt.running {
				r.stop()
			}
			putBack(t, c, older)
			pgtest.Exec(t, url, tt.then...)
			if !tt.running {
				r = run(t, sink, opt)
			}
			if tt.equal {
				r.level()
				sink.sameAsSQL(t, url)
				return
			}
			r.trouble(pgerr.KindServerBehind)
			for range 3 { // it does not go away by writing
				pgtest.Exec(t, url, other, ours)
				r.trouble(pgerr.KindServerBehind)
			}
			r.stop()
			r = run(t, sink, opt)
			r.trouble(pgerr.KindServerBehind)
			r = r.resnapshot(opt)
			r.stop()
			r = run(t, sink, opt)
			pgtest.Exec(t, url, "DELETE FROM news")
			r.level()
			sink.sameAsSQL(t, url)
		})
	}
}

// TestRightServerAgain has the address lead to an older state of the server for a
// while. The finding is durable; the right server disproves it without a copy.
func TestRightServerAgain(t *testing.T) {
	c := pgtest.Start(t)
	url := c.Database(t)
	opt, sink := options(url), newSink()
	opt.SourcePath = filepath.Join(t.TempDir(), "source.json")
	r := run(t, sink, opt)
	r.level()
	older := coldCopy(t, c)
	r.level()
	pgtest.Exec(t, url, "INSERT INTO news (guid) SELECT i::text FROM generate_series(1, 100) i")
	r.level()
	newer := coldCopy(t, c)
	r.level()
	data := filepath.Join(c.Dir(), "data")
	for _, place := range []string{older, newer} {
		c.Stop(t, pgtest.Immediate)
		if err := os.Rename(data, data+".aside"); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(place, data); err != nil {
			t.Fatal(err)
		}
		c.Resume(t)
		if place == newer {
			break
		}
		r.trouble(pgerr.KindServerBehind)
		r.stop()
		b, err := os.ReadFile(opt.SourcePath)
		if err != nil || !strings.Contains(string(b), "server_behind") {
			t.Fatalf("the note says %s, %v", b, err)
		}
		if err := os.RemoveAll(data + ".aside"); err != nil {
			t.Fatal(err)
		}
		r = run(t, sink, opt)
		r.trouble(pgerr.KindServerBehind)
	}
	r.level()
	pgtest.Exec(t, url, "INSERT INTO news (guid) VALUES ('after')")
	r.level()
	sink.sameAsSQL(t, url)
	if s := r.Status(); s.Kind != "" || len(sink.transactions()) != 3 {
		t.Errorf("%d transactions, status %+v", len(sink.transactions()), s)
	}
}

// TestSentAgain forgets what was confirmed, as a server does that is killed: what
// comes again is recognised, and nothing is taken for another history.
func TestSentAgain(t *testing.T) {
	c := pgtest.Start(t)
	url := c.Database(t)
	sink, opt := newSink(), options(url)
	r := run(t, sink, opt)
	r.level()
	for i := range 5 {
		pgtest.Exec(t, url,
			fmt.Sprintf("INSERT INTO news (guid, title) SELECT %d || '-' || i, repeat('x', 100) FROM generate_series(1, 3000) i", i),
			fmt.Sprintf("DELETE FROM news WHERE guid LIKE '%d-9%%'", i), "TRUNCATE finance", "CREATE TABLE IF NOT EXISTS junk (a text)")
		r.level()
		if i%2 == 0 {
			c.Stop(t, pgtest.Immediate)
			c.Resume(t)
		}
	}
	r.level()
	sink.sameAsSQL(t, url)
	if s := r.log.String(); sink.redelivered != 0 {
		t.Errorf("%d transactions came to the sink again:\n%s", sink.redelivered, s)
	}
}
