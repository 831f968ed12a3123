package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// ErrNoPostgres means that no server is installed here.
var ErrNoPostgres = errors.New("no Postgres server found in /usr/lib/postgresql")

// Postgres is a private server with wal_level=logical.
type Postgres struct {
	*Process
	URL string
	dir string
}

// StartPostgres makes a cluster in a folder of its own under parent, which must
// be reachable by the account postgres when the caller is root, since the
// server refuses to run as root.
func StartPostgres(ctx context.Context, parent string) (*Postgres, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		return nil, errors.Join(ErrNoPostgres, err)
	}
	slices.Sort(found)
	bin := filepath.Dir(found[len(found)-1])
	dir, err := os.MkdirTemp(parent, "postgres-")
	if err != nil {
		return nil, err
	}
	cred, err := unprivileged(dir)
	if err != nil {
		return nil, err
	}
	initdb := exec.CommandContext(ctx, bin+"/initdb", "-D", dir+"/data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
	initdb.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	number, err := port()
	if err != nil {
		return nil, err
	}
	p := &Postgres{dir: dir, URL: "postgres://postgres@127.0.0.1:" + number + "/postgres?sslmode=disable"}
	p.Process, err = start(ctx, nil, cred, bin+"/postgres", "-D", dir+"/data", "-p", number, "-k", dir,
		"-c", "listen_addresses=127.0.0.1", "-c", "wal_level=logical", "-c", "fsync=off",
		"-c", "max_slot_wal_keep_size=1GB", "-c", "autovacuum=off")
	if err != nil {
		return nil, err
	}
	return p, p.Until(ctx, 30*time.Second, func(ctx context.Context) error {
		return exec.CommandContext(ctx, bin+"/pg_isready", "-q", "-h", "127.0.0.1", "-p", number).Run()
	})
}

// Exec runs SQL by psql.
func (p *Postgres) Exec(ctx context.Context, sql string) error {
	out, err := exec.CommandContext(ctx, "psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-c", sql, p.URL).CombinedOutput()
	if err != nil {
		return fmt.Errorf("psql: %w: %s", err, out)
	}
	return nil
}

// Stop ends the server at once, as a crash would look to its clients.
func (p *Postgres) Stop() error {
	err := p.Signal(syscall.SIGQUIT)
	p.Wait()
	return err
}

// unprivileged gives dir to the account postgres when the caller is root.
func unprivileged(dir string) (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	account, err := user.Lookup("postgres")
	if err != nil {
		return nil, err
	}
	uid, err := strconv.Atoi(account.Uid)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.Atoi(account.Gid)
	if err != nil {
		return nil, err
	}
	if err := os.Chown(dir, uid, gid); err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}
