package pgtest

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Standby makes and starts a hot standby of c that streams from the physical
// slot named slot, which it makes, and ends with the test. Each conf is as in
// Start; primary_conninfo names the database postgres, which the
// synchronisation of slots wants.
func (c *Cluster) Standby(tb testing.TB, slot string, conf ...string) *Cluster {
	tb.Helper()
	info := fmt.Sprintf("host=%s port=%d user=%s dbname=postgres", c.dir, c.port, User)
	s, err := begin(c.programs, append([]string{
		"primary_conninfo = '" + info + "'", "primary_slot_name = '" + slot + "'", "hot_standby_feedback = on",
	}, conf...), func(s *Cluster) error {
		data := filepath.Join(s.dir, "data")
		if err := s.program("pg_basebackup", "-D", data, "-d", info, "-C", "-S", slot, "-X", "stream", "-c", "fast", "--no-sync"); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(data, "standby.signal"), nil, 0o644)
	})
	if err != nil {
		tb.Fatalf("start a standby: %v", err)
	}
	tb.Cleanup(func() { s.finish(tb) })
	return s
}

// Upgrade stops c and makes a cluster of it by pg_upgrade, with the programs of
// another major version. It ends with the test; c stays stopped.
func (c *Cluster) Upgrade(tb testing.TB, programs string) *Cluster {
	tb.Helper()
	c.Stop(tb, Fast)
	s, err := begin(programs, nil, func(s *Cluster) error {
		if err := s.initialise(); err != nil {
			return err
		}
		return s.program("pg_upgrade", "-b", c.programs, "-B", s.programs, "-d", filepath.Join(c.dir, "data"), "-D", filepath.Join(s.dir, "data"),
			"-U", User, "-s", s.dir)
	})
	if err != nil {
		tb.Fatalf("upgrade Postgres: %v", err)
	}
	tb.Cleanup(func() { s.finish(tb) })
	return s
}

func start(bin string, conf []string) (*Cluster, error) {
	return begin(bin, conf, (*Cluster).initialise)
}

// begin makes a cluster by create and starts it.
func begin(bin string, conf []string, create func(*Cluster) error) (*Cluster, error) {
	cred, err := credential()
	if err != nil {
		return nil, err
	}
	// Not tb.TempDir: its parent is closed to other users, and a socket path
	// may have 107 bytes only. For the same reasons not every TMPDIR will do.
	dir, err := os.MkdirTemp(tempRoot(cred != nil), "carbond-pg-")
	if err != nil {
		return nil, err
	}
	c := &Cluster{dir: dir, programs: bin, cred: cred}
	if err := c.create(conf, create); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	for attempt := 0; ; attempt++ {
		if c.port, err = FreePort(); err != nil {
			break
		}
		c.base = url.URL{
			Scheme: "postgres", User: url.UserPassword(User, Password),
			Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(c.port)), RawQuery: "sslmode=disable",
		}
		if err = c.launch(); err == nil || attempt == 3 || !strings.Contains(c.LogTail(2000), "could not bind") {
			break // somebody may have taken the port in between
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%w\n%s", err, c.LogTail(2000)), c.Remove())
	}
	return c, nil
}

// create makes the data folder by the given function, and appends the settings.
func (c *Cluster) create(conf []string, data func(*Cluster) error) error {
	if c.cred != nil {
		if err := os.Chown(c.dir, int(c.cred.Uid), int(c.cred.Gid)); err != nil {
			return err
		}
	}
	if err := data(c); err != nil {
		return err
	}
	lines := append([]string{
		"", "listen_addresses = '127.0.0.1'", "unix_socket_directories = '" + c.dir + "'",
		"wal_level = logical", "fsync = off", "shared_buffers = 32MB",
		"max_connections = 100", "max_wal_senders = 30", "max_replication_slots = 30",
		"max_prepared_transactions = 10", "autovacuum = off", "max_wal_size = 2GB",
		"log_min_messages = info", "log_line_prefix = '%m [%p] '", "timezone = 'Europe/Berlin'",
	}, conf...)
	f, err := os.OpenFile(filepath.Join(c.dir, "data", "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(strings.Join(lines, "\n") + "\n")
	return errors.Join(err, f.Close())
}

func (c *Cluster) initialise() error {
	pw := filepath.Join(c.dir, "password")
	if err := os.WriteFile(pw, []byte(Password+"\n"), 0o644); err != nil {
		return err
	}
	if c.cred != nil { // a strict umask keeps others out of the file
		if err := os.Chown(pw, int(c.cred.Uid), int(c.cred.Gid)); err != nil {
			return err
		}
	}
	// Checksums as version 18 has them by itself: pg_upgrade wants both to agree.
	return c.program("initdb", "-D", filepath.Join(c.dir, "data"), "-U", User, "--data-checksums",
		"-E", "UTF8", "--locale=C", "--no-sync", "--auth-local=trust", "--auth-host=scram-sha-256", "--pwfile="+pw)
}

// program runs one of Postgres's programs to its end.
func (c *Cluster) program(name string, args ...string) error {
	cmd := exec.Command(filepath.Join(c.programs, name), args...)
	cmd.Dir = c.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.cred}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("run %s: %w\n%s", name, err, out)
	}
	return nil
}
