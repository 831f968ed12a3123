package main

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"carbond/cmd/carbond/internal/programtest"
)

// proc is the program running inside the test.
type proc struct {
	t          *testing.T
	signals    chan os.Signal
	done       chan int
	stdout     programtest.Log
	stderr     programtest.Log
	grpc, http string
}

// start runs a daemon command with JSON logs on free ports and waits until it
// is up. It is stopped with the test.
func start(t *testing.T, env []string, args ...string) *proc {
	t.Helper()
	p := &proc{t: t, signals: make(chan os.Signal, 4), done: make(chan int, 1)}
	env = append([]string{
		"CARBOND_LOG_FORMAT=json", "CARBOND_LOG_LEVEL=debug", "CARBOND_FEEDS_ENABLED=none",
		"CARBOND_GRPC_LISTEN=127.0.0.1:0", "CARBOND_HTTP_LISTEN=127.0.0.1:0", "CARBOND_CONFIG=" + emptyConfig(t),
	}, env...)
	go func() {
		p.done <- run(context.Background(), args, stdio{
			in: strings.NewReader(""), out: &p.stdout, err: &p.stderr, env: env, signals: p.signals, pid: os.Getpid(),
		})
	}()
	t.Cleanup(func() {
		if code, ok := p.stop(); !ok {
			t.Errorf("the daemon did not stop")
		} else if code != 0 && !t.Failed() {
			t.Logf("exit code %d", code)
		}
		if t.Failed() {
			t.Logf("log:\n%s", p.stderr.String())
		}
	})
	up := p.line("carbond is up")
	p.grpc, p.http = up["grpc"].(string), up["http"].(string)
	return p
}

func emptyConfig(t *testing.T) string {
	t.Helper()
	return file(t, "carbond.yaml", "")
}

// file writes a file into a temporary directory.
func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// stop sends SIGTERM and returns the exit code.
func (p *proc) stop() (code int, ok bool) {
	select {
	case p.signals <- syscall.SIGTERM:
	default:
	}
	select {
	case code = <-p.done:
		p.done <- code
		return code, true
	case <-time.After(patience):
		return 0, false
	}
}

// line waits for a log line with the message and returns it.
func (p *proc) line(msg string) (found map[string]any) {
	p.t.Helper()
	p.until("log line "+msg, func() bool {
		if found = p.stderr.Line(msg); found != nil {
			return true
		}
		select {
		case code := <-p.done:
			p.done <- code
			p.t.Fatalf("exit code %d:\n%s", code, p.stderr.String())
		default:
		}
		return false
	})
	return found
}

// patience is how long a test waits for what happens by itself. It tells a hang
// from a busy machine and measures nothing.
const patience = 2 * time.Minute

// until polls until ok.
func (p *proc) until(what string, ok func() bool) {
	p.t.Helper()
	programtest.Until(p.t, patience, what, ok)
}

// get reads a path of the HTTP listener.
func (p *proc) get(path string) (code int, body string) {
	p.t.Helper()
	resp, err := http.Get("http://" + p.http + path)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// command runs a one-shot command and returns what it printed.
func command(t *testing.T, env []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs programtest.Log
	env = append([]string{"CARBOND_CONFIG=" + emptyConfig(t)}, env...)
	code = run(t.Context(), args, stdio{in: strings.NewReader(""), out: &out, err: &errs, env: env})
	return code, out.String(), errs.String()
}

// must runs a command that has to succeed.
func must(t *testing.T, env []string, args ...string) string {
	t.Helper()
	code, out, errs := command(t, env, args...)
	if code != 0 {
		t.Fatalf("carbond %s: exit code %d\n%s%s", strings.Join(args, " "), code, out, errs)
	}
	return out
}
