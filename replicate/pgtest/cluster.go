package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Name and password of the superuser of every started cluster. Connections
// over 127.0.0.1 must give the password (scram-sha-256), those over the unix
// socket need none.
const (
	User     = "postgres"
	Password = "carbond-test"
)

// Mode is how Postgres is asked to stop.
type Mode string

// The shutdown modes of pg_ctl.
const (
	Smart     Mode = "smart"     // waits until clients have gone
	Fast      Mode = "fast"      // rolls back and disconnects clients, waits for walsenders
	Immediate Mode = "immediate" // recovery at next start
)

// Cluster is a running Postgres.
type Cluster struct {
	dir      string // folder of everything; "" for an external server
	port     int
	base     url.URL // superuser URL; Path is replaced by the database
	programs string
	cred     *syscall.Credential

	mu   sync.Mutex // guards proc
	proc *process

	databases atomic.Int64
}

// Start makes and starts a private cluster that is stopped and removed with the
// test. Each conf is a line of postgresql.conf, such as "wal_level=replica"; it
// overrides the defaults (wal_level=logical, fsync=off and generous limits).
func Start(tb testing.TB, conf ...string) *Cluster {
	tb.Helper()
	bin, err := findPrograms()
	if err != nil {
		missing(tb, err)
	}
	c, err := start(bin, conf)
	if err != nil {
		tb.Fatalf("start a private Postgres: %v", err)
	}
	tb.Cleanup(func() { c.finish(tb) })
	return c
}

// ErrMissing means that the programs of Postgres are not installed.
var ErrMissing = errors.New("the Postgres programs initdb and postgres are not installed")

// Launch is Start for a program that is no test. The caller calls Remove.
func Launch(conf ...string) (*Cluster, error) {
	bin, err := findPrograms()
	if err != nil {
		return nil, err
	}
	return start(bin, conf)
}

func (c *Cluster) finish(tb testing.TB) {
	if tb.Failed() {
		tb.Logf("end of the Postgres log:\n%s", c.LogTail(4000))
	}
	if err := c.Remove(); err != nil {
		tb.Errorf("remove the private Postgres: %v", err)
	}
}

func missing(tb testing.TB, err error) {
	tb.Helper()
	if os.Getenv("CARBOND_TEST_REQUIRE") == "1" {
		tb.Fatalf("CARBOND_TEST_REQUIRE=1, but %v", err)
	}
	tb.Skip(err)
}

// URL returns the superuser URL of a database over 127.0.0.1 with password.
func (c *Cluster) URL(db string) string {
	u := c.base
	u.Path = "/" + db
	return u.String()
}

// UserURL returns the URL of a database for another role.
func (c *Cluster) UserURL(user, password, db string) string {
	u := c.base
	u.User = url.UserPassword(user, password)
	u.Path = "/" + db
	return u.String()
}

// SocketURL returns the superuser URL of a database over the unix socket.
func (c *Cluster) SocketURL(db string) string {
	return fmt.Sprintf("postgres:///%s?host=%s&port=%d&user=%s", db, url.QueryEscape(c.dir), c.port, User)
}

// Dir returns the folder that holds the cluster ("data"), its log and socket.
func (c *Cluster) Dir() string { return c.dir }

// External reports whether the server was given by CARBOND_TEST_DSN, so that
// it cannot be stopped, restarted or reconfigured.
func (c *Cluster) External() bool { return c.dir == "" }

// Database creates a database with a fresh name and returns its URL. It is
// dropped, with every replication slot on it, when the test ends.
func (c *Cluster) Database(tb testing.TB) string {
	tb.Helper()
	name := fmt.Sprintf("t%d_%d", os.Getpid(), c.databases.Add(1))
	Exec(tb, c.URL("postgres"), "CREATE DATABASE "+name)
	tb.Cleanup(func() { c.dropDatabase(tb, name) })
	return c.URL(name)
}

func (c *Cluster) dropDatabase(tb testing.TB, name string) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, c.URL("postgres"))
	if err != nil {
		return // stopped or killed by the test; the whole cluster goes away
	}
	defer conn.Close(ctx)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		_, err = conn.Exec(ctx, `SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE database = $1 AND active_pid IS NOT NULL`, name)
		if err == nil {
			_, err = conn.Exec(ctx, `SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = $1`, name)
		}
		if err == nil {
			_, err = conn.Exec(ctx, "DROP DATABASE "+name+" WITH (FORCE)")
		}
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			tb.Errorf("drop database %s: %v", name, err)
			return
		}
	}
}

// Stop stops the server in the given mode and waits until it is gone.
func (c *Cluster) Stop(tb testing.TB, mode Mode) {
	tb.Helper()
	if err := c.stop(mode, 2*time.Minute); err != nil {
		tb.Fatalf("stop Postgres: %v", err)
	}
}

// Kill ends every server process with SIGKILL and waits until they are gone.
func (c *Cluster) Kill(tb testing.TB) {
	tb.Helper()
	p := c.process()
	if p == nil {
		return
	}
	if err := p.kill(); err != nil {
		tb.Fatalf("kill Postgres: %v", err)
	}
	c.setProcess(nil)
}

// Resume starts a stopped or killed server again.
func (c *Cluster) Resume(tb testing.TB) {
	tb.Helper()
	deadline := time.After(2 * time.Minute)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := c.launch()
		if err == nil {
			return
		}
		// Children of a killed postmaster need a moment to end.
		if !strings.Contains(c.LogTail(2000), "still in use") {
			tb.Fatalf("start Postgres again: %v", err)
		}
		select {
		case <-tick.C:
		case <-deadline:
			tb.Fatalf("start Postgres again: %v", err)
		}
	}
}

// Restart stops the server in fast mode and starts it again.
func (c *Cluster) Restart(tb testing.TB) {
	tb.Helper()
	c.Stop(tb, Fast)
	c.Resume(tb)
}

// Configure appends lines to postgresql.conf; Restart or pg_reload_conf()
// makes them count.
func (c *Cluster) Configure(tb testing.TB, conf ...string) {
	tb.Helper()
	f, err := os.OpenFile(filepath.Join(c.dir, "data", "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		tb.Fatalf("open postgresql.conf: %v", err)
	}
	_, err = f.WriteString(strings.Join(conf, "\n") + "\n")
	if err = errors.Join(err, f.Close()); err != nil {
		tb.Fatalf("write postgresql.conf: %v", err)
	}
}

// LogTail returns the last n bytes of the server's log.
func (c *Cluster) LogTail(n int) string {
	b, err := os.ReadFile(filepath.Join(c.dir, "log"))
	if err != nil {
		return err.Error()
	}
	if len(b) > n {
		b = b[len(b)-n:]
	}
	return string(b)
}

// launch starts the postmaster and waits until it answers.
func (c *Cluster) launch() error {
	p, err := launch(c)
	if err != nil {
		return err
	}
	c.setProcess(p)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := pgconn.Connect(ctx, c.SocketURL("postgres"))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-tick.C:
		case <-p.done:
			c.setProcess(nil)
			return fmt.Errorf("postgres ended at once: %w\n%s", p.err, c.LogTail(2000))
		case <-ctx.Done():
			return fmt.Errorf("wait for postgres: %w", err)
		}
	}
}

func (c *Cluster) stop(mode Mode, patience time.Duration) error {
	p := c.process()
	if p == nil {
		return nil
	}
	sig := map[Mode]syscall.Signal{Smart: syscall.SIGTERM, Fast: syscall.SIGINT, Immediate: syscall.SIGQUIT}[mode]
	if sig == 0 {
		return fmt.Errorf("unknown stop mode %q", mode)
	}
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.done:
		c.setProcess(nil)
		return nil
	case <-time.After(patience):
		return fmt.Errorf("postgres still runs %v after a %s stop", patience, mode)
	}
}

// Remove ends the server and takes its folder away.
func (c *Cluster) Remove() error {
	if c.External() {
		return nil
	}
	err := c.stop(Immediate, 2*time.Minute)
	if err != nil {
		if p := c.process(); p != nil {
			err = errors.Join(err, p.kill())
		}
	}
	return errors.Join(err, os.RemoveAll(c.dir))
}

func (c *Cluster) process() *process {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.proc
}

func (c *Cluster) setProcess(p *process) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.proc = p
}
