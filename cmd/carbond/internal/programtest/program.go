// Package programtest builds the program and runs it as a child process, for the
// tests that look at it from outside.
package programtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Module is the root of the module, seen from a package of tests.
const Module = "../../../.."

// Program is the program under test, built when it is first needed.
type Program struct {
	Env  []string // of every run, behind the common part
	Race bool     // build it with the race detector

	once sync.Once
	dir  string
	err  error
}

// Path returns the path of the built program.
func (p *Program) Path(t testing.TB) string {
	t.Helper()
	p.once.Do(func() {
		if p.dir, p.err = os.MkdirTemp("", "carbond-test-"); p.err != nil {
			return
		}
		var flags []string
		if p.Race {
			flags = []string{"-race"}
		}
		p.err = Build(filepath.Join(p.dir, "carbond"), append(flags, "./cmd/carbond")...)
	})
	if p.err != nil {
		t.Fatalf("build the program: %v", p.err)
	}
	return filepath.Join(p.dir, "carbond")
}

// Build builds a program of the module to out; args are those of go build. Without
// -race among them it is a static one.
func Build(out string, args ...string) error {
	cmd := exec.Command("go", append([]string{"build", "-o", out}, args...)...)
	cmd.Dir = Module
	cmd.Env = os.Environ()
	if args[0] != "-race" {
		cmd.Env = append(cmd.Env, "CGO_ENABLED=0")
	}
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, text)
	}
	return nil
}

// Main is what runs the tests of a package.
type Main interface{ Run() int }

// Wrap returns m with the built program removed behind it.
func (p *Program) Wrap(m Main) Main { return wrapped{m, p} }

type wrapped struct {
	Main
	p *Program
}

// Run implements Main.
func (w wrapped) Run() int {
	defer func() {
		if w.p.dir != "" {
			_ = os.RemoveAll(w.p.dir)
		}
	}()
	return w.Main.Run()
}

// environment is what a run gets: nothing of ours but what the test says.
func (p *Program) environment(extra []string) []string {
	env := []string{
		"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "CARBOND_CONFIG=" + os.DevNull,
		"CARBOND_LOG_FORMAT=json", "CARBOND_GRPC_LISTEN=127.0.0.1:0", "CARBOND_HTTP_LISTEN=127.0.0.1:0",
	}
	return append(append(env, p.Env...), extra...)
}

// Command runs a command of the program to its end.
func (p *Program) Command(t testing.TB, env []string, args ...string) (code int, output string) {
	t.Helper()
	path := p.Path(t) // the time of the command does not count its build
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = p.environment(env)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGQUIT) } // to see where it hangs
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("carbond %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// Must runs a command that has to succeed.
func (p *Program) Must(t testing.TB, env []string, args ...string) string {
	t.Helper()
	code, out := p.Command(t, env, args...)
	if code != 0 {
		t.Fatalf("carbond %s: exit code %d\n%s", strings.Join(args, " "), code, out)
	}
	return out
}

// Process is a run of the program beside the test.
type Process struct {
	Cmd  *exec.Cmd
	Done chan struct{} // closed when it has ended
	Err  error         // how; read after Done
}

// Start runs the program without waiting for anything. It is killed with the test,
// which shows the end of what log returns when it has failed.
func (p *Program) Start(t testing.TB, env, args []string, stdout, stderr io.Writer, log func() string) *Process {
	t.Helper()
	d := &Process{Cmd: exec.Command(p.Path(t), args...), Done: make(chan struct{})}
	d.Cmd.Env, d.Cmd.Stdout, d.Cmd.Stderr = p.environment(env), stdout, stderr
	d.Cmd.SysProcAttr = dieWithParent()
	started := make(chan error, 1)
	go func() {
		// The kernel ties a child to the thread that started it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(d.Done)
		err := d.Cmd.Start()
		started <- err
		if err == nil {
			d.Err = d.Cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		t.Fatalf("start the daemon: %v", err)
	}
	t.Cleanup(func() {
		d.Kill()
		if t.Failed() {
			text := log()
			t.Logf("end of the log of daemon %d:\n%s", d.Cmd.Process.Pid, text[max(len(text)-40_000, 0):])
		}
	})
	return d
}

// Kill ends it at once.
func (d *Process) Kill() {
	_ = d.Cmd.Process.Kill() // it may have ended
	<-d.Done
}

// Ended reports whether it has ended by itself.
func (d *Process) Ended() bool {
	select {
	case <-d.Done:
		return true
	default:
		return false
	}
}

// Until polls for so long until ok.
func Until(t testing.TB, patience time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}
