package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"carbond/cmd/carbond/internal/programtest"
	"carbond/store/change"
)

// daemon is one run of `carbond serve` as a child process.
type daemon struct {
	*programtest.Process
	log  logBook
	up   chan struct{} // closed at "carbond is up"
	grpc string        // listener; read after up
	http string
}

// logBook keeps the end of a log and watches its lines.
type logBook struct {
	mu    sync.Mutex // guards what follows
	line  []byte     // an unfinished one
	last  []string
	on    func(map[string]any)
	count map[string]int // lines by level
}

const keepLines = 300

// Write implements io.Writer.
func (l *logBook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.line = append(l.line, p...)
	for {
		i := bytes.IndexByte(l.line, '\n')
		if i < 0 {
			return len(p), nil
		}
		text := string(l.line[:i])
		l.line = l.line[i+1:]
		if l.last = append(l.last, text); len(l.last) > keepLines {
			l.last = l.last[1:]
		}
		var m map[string]any
		if json.Unmarshal([]byte(text), &m) == nil {
			l.count[fmt.Sprint(m["level"])]++
			l.on(m)
		}
	}
}

func (l *logBook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.last, "\n") + "\n" + string(l.line)
}

// launch starts the daemon and does not wait for anything. It is killed with
// the test.
func launch(t testing.TB, env []string) *daemon {
	t.Helper()
	d := &daemon{up: make(chan struct{})}
	d.log.count = map[string]int{}
	d.log.on = func(m map[string]any) {
		if m["msg"] == "carbond is up" {
			d.grpc, _ = m["grpc"].(string)
			d.http, _ = m["http"].(string)
			close(d.up)
		}
	}
	d.Process = program.Start(t, env, []string{"serve"}, &d.log, &d.log, d.log.String)
	return d
}

// serve starts the daemon and waits until it answers.
func serve(t testing.TB, env []string) *daemon {
	t.Helper()
	d := launch(t, env)
	d.answers(t)
	return d
}

func (d *daemon) answers(t testing.TB) {
	t.Helper()
	select {
	case <-d.up:
	case <-d.Done:
		t.Fatalf("the daemon ended at once: %v\n%s", d.Err, d.log.String())
	case <-time.After(2 * time.Minute):
		t.Fatalf("the daemon is not up after 2 minutes:\n%s", d.log.String())
	}
}

// stop asks it to end, as a service manager does, and wants a clean end in time.
func (d *daemon) stop(t testing.TB) {
	t.Helper()
	began := time.Now()
	if err := d.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatalf("signal the daemon: %v (ended: %v)\n%s", err, d.Err, d.log.String())
	}
	select {
	case <-d.Done:
	case <-time.After(15 * time.Second):
		t.Fatalf("SIGTERM does not end the daemon:\n%s", d.log.String())
	}
	took := time.Since(began)
	if d.Err != nil || took > 11*time.Second {
		t.Errorf("the daemon ended with %v after %v:\n%s", d.Err, took, d.log.String())
	}
}

// get reads a path of the HTTP listener.
func (d *daemon) get(ctx context.Context, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+d.http+path, nil)
	if err != nil {
		return nil, err
	}
	req.Close = true // no connection outlives the test
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", path, resp.Status)
	}
	return b, err
}

// position is the durable position that the daemon reports, 0 when none.
func (d *daemon) position(ctx context.Context) (change.LSN, error) {
	b, err := d.get(ctx, "/status.json")
	if err != nil {
		return 0, err
	}
	var s struct {
		Position struct {
			LSN string `json:"lsn"`
		} `json:"position"`
	}
	if err := json.Unmarshal(b, &s); err != nil || s.Position.LSN == "" {
		return 0, err
	}
	return change.ParseLSN(s.Position.LSN)
}

// dial opens a client connection that ends with the test.
func (d *daemon) dial(t testing.TB) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+d.grpc, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1<<30)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() }) // it may be closed already
	return conn
}
