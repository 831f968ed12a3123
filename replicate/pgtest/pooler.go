package pgtest

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Pooler starts pgbouncer in front of a database of c, with one connection to it
// that all transactions share, and returns the URL that leads through it. It ends
// with the test. Each conf is a line of its configuration. Where pgbouncer is not
// installed the test is skipped, unless CARBOND_TEST_REQUIRE is set.
func (c *Cluster) Pooler(tb testing.TB, database string, conf ...string) string {
	tb.Helper()
	if c.External() {
		tb.Skip("needs a server with a known password")
	}
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		if program, err = exec.LookPath("/usr/sbin/pgbouncer"); err != nil {
			missing(tb, fmt.Errorf("no pgbouncer: %w", err))
		}
	}
	dir, err := os.MkdirTemp(tempRoot(c.cred != nil), "carbond-pooler-")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { os.RemoveAll(dir) })
	port, err := FreePort()
	if err != nil {
		tb.Fatal(err)
	}
	lines := append([]string{
		"[databases]", fmt.Sprintf("* = host=127.0.0.1 port=%d user=%s password=%s", c.port, User, Password),
		"[pgbouncer]", "listen_addr = 127.0.0.1", fmt.Sprintf("listen_port = %d", port), "unix_socket_dir =",
		"auth_type = any", "pool_mode = transaction", "default_pool_size = 1", "max_client_conn = 50",
	}, conf...)
	ini := filepath.Join(dir, "pgbouncer.ini")
	if err := os.WriteFile(ini, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		tb.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		tb.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, program, ini)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.cred} // it refuses to run as root
	said, err := cmd.StderrPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	up, read := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(read)
		ready := sync.OnceFunc(func() { close(up) })
		for s := bufio.NewScanner(said); s.Scan(); { // to the end, else it stops at a full pipe
			if strings.Contains(s.Text(), "process up") {
				ready()
			}
		}
	}()
	tb.Cleanup(func() {
		stop()
		<-read
		_ = cmd.Wait() // it was killed
	})
	select {
	case <-up:
	case <-read:
		tb.Fatal("pgbouncer ended at its start")
	case <-time.After(time.Minute):
		tb.Fatal("pgbouncer does not start")
	}
	u := url.URL{Scheme: "postgres", User: url.User(User), Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), Path: database, RawQuery: "sslmode=disable"}
	return u.String()
}
