package programtest

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// Log is what a run prints. The test reads it while the run goes on.
type Log struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

// Write implements io.Writer.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Line returns the first line with a message, nil when there is none yet.
func (l *Log) Line(msg string) map[string]any {
	for line := range strings.SplitSeq(l.String(), "\n") {
		if !strings.Contains(line, msg) {
			continue
		}
		var m map[string]any
		if json.Unmarshal([]byte(line), &m) == nil && m["msg"] == msg { // the last line may be unfinished
			return m
		}
	}
	return nil
}

// Daemon is a run of `carbond serve` or `carbond demo` beside the test.
type Daemon struct {
	*Process
	Out, Log   *Log   // standard output and error
	GRPC, HTTP string // listeners; read after Await
}

// Daemon starts a daemon command and waits for nothing. It is killed with the test.
func (p *Program) Daemon(t testing.TB, env []string, args ...string) *Daemon {
	t.Helper()
	out, log := &Log{}, &Log{}
	return &Daemon{Process: p.Start(t, env, args, out, log, log.String), Out: out, Log: log}
}

// Await waits until the daemon listens and has logged a message, which may be
// the "carbond is up" that says where it listens.
func (d *Daemon) Await(t testing.TB, msg string) {
	t.Helper()
	Until(t, 2*time.Minute, "the daemon logs "+msg, func() bool {
		if d.Ended() {
			t.Fatalf("the daemon ended: %v\n%s", d.Err, d.Log.String())
		}
		up := d.Log.Line("carbond is up")
		if up == nil || d.Log.Line(msg) == nil {
			return false
		}
		d.GRPC, _ = up["grpc"].(string)
		d.HTTP, _ = up["http"].(string)
		return true
	})
}

// Stop asks it to end, as a service manager does, wants a clean end and returns how
// long that took.
func (d *Daemon) Stop(t testing.TB) time.Duration {
	t.Helper()
	began := time.Now()
	if err := d.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatalf("signal the daemon: %v (ended: %v)\n%s", err, d.Err, d.Log.String())
	}
	Until(t, 2*time.Minute, "SIGTERM ends the daemon", d.Ended)
	if d.Err != nil {
		t.Errorf("the daemon ended with %v:\n%s", d.Err, d.Log.String())
	}
	return time.Since(began)
}

// Get reads a path of the HTTP listener.
func (d *Daemon) Get(ctx context.Context, path string) (code int, body []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+d.HTTP+path, nil)
	if err != nil {
		return 0, nil, err
	}
	req.Close = true // no connection outlives the test
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	return resp.StatusCode, body, err
}

// Dial opens a client connection that ends with the test.
func (d *Daemon) Dial(t testing.TB) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+d.GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1<<30)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() }) // it may be closed already
	return conn
}
