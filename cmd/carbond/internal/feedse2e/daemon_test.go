package feedse2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"carbond/cmd/carbond/internal/admin"
	"carbond/cmd/carbond/internal/programtest"
	"carbond/proto/carbon"
)

// safeBuffer is a buffer that one side fills while the other looks.
type safeBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// daemon is one run of a daemon command as a child process.
type daemon struct {
	*programtest.Process
	t      testing.TB
	stdout safeBuffer
	stderr safeBuffer
	grpc   string // listeners
	http   string
	conn   *grpc.ClientConn
	api    carbon.CarbonServiceClient
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
	d := &daemon{t: t}
	// Slots belong to the whole cluster, which parallel tests share.
	env = append([]string{"CARBOND_POSTGRES_SLOT=" + slotName(t)}, env...)
	d.Process = program.Start(t, env, args, &d.stdout, &d.stderr, d.stderr.String)
	programtest.Until(t, patience, "the daemon serves", func() bool {
		select {
		case <-d.Done:
			t.Fatalf("the daemon ended: %v\n%s", d.Err, d.stderr.String())
		default:
		}
		return d.listeners()
	})
	var err error
	if d.conn, err = grpc.NewClient("passthrough:///"+d.grpc, grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.conn.Close() }) // it may be closed already
	d.api = carbon.NewCarbonServiceClient(d.conn)
	return d
}

// listeners finds in the log where the daemon listens, and reports whether it is
// up and serves; which it says first depends on its source.
func (d *daemon) listeners() (serving bool) {
	for l := range strings.SplitSeq(d.stderr.String(), "\n") {
		var m struct{ Msg, GRPC, HTTP string }
		if json.Unmarshal([]byte(l), &m) != nil {
			continue // the last line may be unfinished
		}
		switch m.Msg {
		case "carbond is up":
			d.grpc, d.http = m.GRPC, m.HTTP
		case "serving":
			serving = true
		}
	}
	return serving && d.grpc != ""
}

// stop asks the daemon to end and wants a clean end in time.
func (d *daemon) stop() {
	d.t.Helper()
	_ = d.conn.Close()
	if err := d.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		d.t.Fatalf("signal the daemon: %v", err)
	}
	select {
	case <-d.Done:
	case <-time.After(patience):
		d.t.Fatal("SIGTERM does not end the daemon")
	}
	if d.Err != nil {
		d.t.Errorf("the daemon ended with %v", d.Err)
	}
}

// get reads a path of the HTTP listener.
func (d *daemon) get(path string) (code int, body string) {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+d.http+path, nil)
	if err != nil {
		d.t.Fatal(err)
	}
	req.Close = true // no connection outlives the test
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
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
	return program.Must(d.t, nil, "feeds", "--http-addr", d.http)
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
