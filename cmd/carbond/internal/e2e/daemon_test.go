package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"carbond/store/change"
)

// environment is what every run of the program gets: nothing of ours but what
// the test says.
func environment(extra ...string) []string {
	env := []string{
		"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "CARBOND_CONFIG=" + os.DevNull,
		"CARBOND_LOG_FORMAT=json", "CARBOND_LOG_LEVEL=info", "CARBOND_FEEDS_ENABLED=none",
		"CARBOND_GRPC_LISTEN=127.0.0.1:0", "CARBOND_HTTP_LISTEN=127.0.0.1:0",
	}
	return append(env, extra...)
}

// daemon is one run of `carbond serve` as a child process.
type daemon struct {
	cmd  *exec.Cmd
	log  logBook
	up   chan struct{} // closed at "carbond is up"
	done chan struct{} // closed when it has ended
	err  error         // how; read after done
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
	d := &daemon{cmd: exec.Command(binary(t), "serve"), up: make(chan struct{}), done: make(chan struct{})}
	d.log.count = map[string]int{}
	d.log.on = func(m map[string]any) {
		if m["msg"] == "carbond is up" {
			d.grpc, _ = m["grpc"].(string)
			d.http, _ = m["http"].(string)
			close(d.up)
		}
	}
	d.cmd.Env, d.cmd.Stderr, d.cmd.Stdout = environment(env...), &d.log, &d.log
	d.cmd.SysProcAttr = dieWithParent()
	started := make(chan error, 1)
	go func() {
		// The kernel ties a child to the thread that started it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(d.done)
		err := d.cmd.Start()
		started <- err
		if err == nil {
			d.err = d.cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		t.Fatalf("start the daemon: %v", err)
	}
	t.Cleanup(func() {
		d.kill()
		if t.Failed() {
			t.Logf("end of the log of daemon %d:\n%s", d.cmd.Process.Pid, d.log.String())
		}
	})
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
	case <-d.done:
		t.Fatalf("the daemon ended at once: %v\n%s", d.err, d.log.String())
	case <-time.After(2 * time.Minute):
		t.Fatalf("the daemon is not up after 2 minutes:\n%s", d.log.String())
	}
}

// kill ends it at once.
func (d *daemon) kill() {
	_ = d.cmd.Process.Kill() // it may have ended
	<-d.done
}

// hasEnded reports whether it has ended by itself.
func (d *daemon) hasEnded() bool {
	select {
	case <-d.done:
		return true
	default:
		return false
	}
}

// stop asks it to end, as a service manager does, and wants a clean end in time.
func (d *daemon) stop(t testing.TB) {
	t.Helper()
	began := time.Now()
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatalf("signal the daemon: %v (ended: %v)\n%s", err, d.err, d.log.String())
	}
	select {
	case <-d.done:
	case <-time.After(15 * time.Second):
		t.Fatalf("SIGTERM does not end the daemon:\n%s", d.log.String())
	}
	took := time.Since(began)
	if d.err != nil || took > 11*time.Second {
		t.Errorf("the daemon ended with %v after %v:\n%s", d.err, took, d.log.String())
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

// command runs a command of the program to its end.
func command(t testing.TB, env []string, args ...string) (code int, output string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary(t), args...)
	cmd.Env = environment(env...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGQUIT) } // to see where it hangs
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("carbond %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// must runs a command that has to succeed.
func must(t testing.TB, env []string, args ...string) string {
	t.Helper()
	code, out := command(t, env, args...)
	if code != 0 {
		t.Fatalf("carbond %s: exit code %d\n%s", strings.Join(args, " "), code, out)
	}
	return out
}
