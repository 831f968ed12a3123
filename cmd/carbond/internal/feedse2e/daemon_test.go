package feedse2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"carbond/cmd/carbond/internal/admin"
	"carbond/cmd/carbond/internal/programtest"
	"carbond/proto/carbon"
)

// daemon is one run of a daemon command as a child process.
type daemon struct {
	*programtest.Daemon
	t   testing.TB
	api carbon.CarbonServiceClient
}

// slotName is the replication slot of a test's daemons.
func slotName(t testing.TB) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToLower(t.Name()))
}

// start runs a daemon command and waits until it serves: before the first copy
// of the tables the API has no answers. It is killed with the test.
func start(t testing.TB, env []string, args ...string) *daemon {
	t.Helper()
	// Slots belong to the whole cluster, which parallel tests share.
	env = append([]string{"CARBOND_POSTGRES_SLOT=" + slotName(t)}, env...)
	d := &daemon{Daemon: program.Daemon(t, env, args...), t: t}
	d.Await(t, "serving")
	d.api = carbon.NewCarbonServiceClient(d.Dial(t))
	return d
}

// get reads a path of the HTTP listener.
func (d *daemon) get(path string) (code int, body string) {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	code, b, err := d.Get(ctx, path)
	if err != nil {
		d.t.Fatal(err)
	}
	return code, string(b)
}

// status is what /status.json says.
func (d *daemon) status() (s admin.Status) {
	d.t.Helper()
	_, body := d.get("/status.json")
	if err := json.Unmarshal([]byte(body), &s); err != nil {
		d.t.Fatalf("status: %v\n%s", err, body)
	}
	return s
}

// feed is the status of one feed.
func (d *daemon) feed(name string) admin.Feed {
	d.t.Helper()
	for _, f := range d.status().Feeds {
		if f.Name == name {
			return f
		}
	}
	d.t.Fatalf("no feed %s", name)
	return admin.Feed{}
}

// offset is the position of the changelog.
func (d *daemon) offset() uint64 { return d.status().Position.Offset }

// metric is the value of a series such as `carbond_feed_items{feed="verra"}`; 0
// when there is none.
func (d *daemon) metric(series string) float64 {
	d.t.Helper()
	_, body := d.get("/metrics")
	for l := range strings.SplitSeq(body, "\n") {
		if v, ok := strings.CutPrefix(l, series+" "); ok {
			f, err := strconv.ParseFloat(strings.Fields(v)[0], 64)
			if err != nil {
				d.t.Fatalf("%s: %v", l, err)
			}
			return f
		}
	}
	return 0
}

// polls counts the polls of a feed with a result.
func (d *daemon) polls(feed, result string) float64 {
	d.t.Helper()
	return d.metric(fmt.Sprintf("carbond_feed_polls_total{feed=%q,result=%q}", feed, result))
}

// morePolls waits until each feed had n more good polls.
func (d *daemon) morePolls(n float64, feeds ...string) {
	d.t.Helper()
	was := map[string]float64{}
	for _, f := range feeds {
		was[f] = d.polls(f, "ok")
	}
	for _, f := range feeds {
		programtest.Until(d.t, patience, fmt.Sprintf("%g more polls of %s", n, f), func() bool { return d.polls(f, "ok") >= was[f]+n })
	}
}

// feedsCommand is what `carbond feeds` prints.
func (d *daemon) feedsCommand() string {
	d.t.Helper()
	return program.Must(d.t, nil, "feeds", "--http-addr", d.HTTP)
}

// configFile writes a configuration file and returns its path.
func configFile(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "carbond.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
