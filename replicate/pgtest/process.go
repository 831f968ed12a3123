package pgtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"sort"
	"strconv"
	"syscall"
)

// process is a postmaster started by this test binary.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // how it ended; read after done
}

// launch starts the postmaster. One goroutine starts it and waits for it on a
// thread of its own, because the "die with the parent" signal of Linux is sent
// when the starting thread ends, not the process.
func launch(c *Cluster) (*process, error) {
	log, err := os.OpenFile(filepath.Join(c.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(filepath.Join(c.programs, "postgres"), "-D", filepath.Join(c.dir, "data"), "-p", strconv.Itoa(c.port))
	cmd.Dir = c.dir
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.SysProcAttr = attributes(c.cred)
	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.done)
		defer log.Close()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// kill ends the postmaster and its children at once. The postmaster is stopped
// first, so that it can neither start nor reap a child in between.
func (p *process) kill() error {
	pid := p.cmd.Process.Pid
	err := syscall.Kill(pid, syscall.SIGSTOP)
	if err == nil {
		for _, child := range children(pid) {
			_ = syscall.Kill(child, syscall.SIGKILL) // it may be gone already
		}
		err = syscall.Kill(pid, syscall.SIGKILL)
	}
	if errors.Is(err, syscall.ESRCH) {
		err = nil
	}
	<-p.done
	return err
}

// credential returns whom to run Postgres as: nil for the present user, the
// user postgres for root.
func credential() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("root cannot run Postgres and there is no user postgres: %w", err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// findPrograms returns the folder of initdb and postgres.
func findPrograms() (string, error) {
	var dirs []string
	if d := os.Getenv("CARBOND_TEST_PGBIN"); d != "" {
		dirs = append(dirs, d)
	} else {
		if p, err := exec.LookPath("initdb"); err == nil {
			if real, err := filepath.EvalSymlinks(p); err == nil {
				dirs = append(dirs, filepath.Dir(real))
			}
		}
		found, _ := filepath.Glob("/usr/lib/postgresql/*/bin") // the pattern is well formed
		version := func(dir string) int {
			n, _ := strconv.Atoi(filepath.Base(filepath.Dir(dir))) // 0 sorts last
			return n
		}
		sort.Slice(found, func(i, j int) bool { return version(found[i]) > version(found[j]) })
		dirs = append(dirs, found...)
	}
	for _, d := range dirs {
		if executable(filepath.Join(d, "initdb")) && executable(filepath.Join(d, "postgres")) {
			return d, nil
		}
	}
	return "", fmt.Errorf("%w (looked in %q; Debian: apt install postgresql)", ErrMissing, dirs)
}

func executable(path string) bool {
	fi, err := os.Stat(path)
	return err == nil && fi.Mode().IsRegular() && fi.Mode()&0o111 != 0
}
