// Package lease lets one of several processes do what only one should. The lease is an
// advisory lock of a Postgres session: Postgres gives it to one, and takes it back when the
// session ends, however its process did.
package lease

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"carbond/replicate/internal/server"
)

// Lease is wanted by a process. Make it with New; Held is false until Run has it.
type Lease struct {
	opt  server.Options
	name string
	log  *slog.Logger

	mu   sync.Mutex // guards what follows
	held context.Context
	lose context.CancelFunc
	got  chan struct{} // closed while the lease is held
}

// New returns the lease of a name in the database of opt.
func New(opt server.Options, name string) *Lease {
	opt = opt.WithDefaults()
	return &Lease{opt: opt, name: name, log: opt.Logger, got: make(chan struct{})}
}

// every is how often the lease is asked for, and whether the session still lives. Another
// process may have the lease for about as long before one that lost its session notices: what
// is done under a lease may overlap for a moment.
const every = time.Second

// Run asks for the lease, and keeps it, until ctx ends.
func (l *Lease) Run(ctx context.Context) {
	t := time.NewTicker(every)
	defer t.Stop()
	var conn *pgx.Conn
	defer func() {
		l.set(ctx, false)
		if conn != nil {
			_ = conn.Close(context.WithoutCancel(ctx))
		}
	}()
	for {
		var err error
		if conn, err = l.look(ctx, conn); err != nil && ctx.Err() == nil {
			l.log.Debug("cannot ask for the lease", "lease", l.name, "error", err)
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// look asks once, on the connection of before or a new one.
func (l *Lease) look(ctx context.Context, conn *pgx.Conn) (_ *pgx.Conn, err error) {
	asking, cancel := context.WithTimeout(ctx, 3*every)
	defer cancel()
	if conn == nil {
		if conn, err = l.opt.Connect(asking); err != nil {
			return nil, err
		}
	}
	ask := "SELECT pg_try_advisory_lock(hashtextextended('carbond ' || $1, 0))"
	if l.Held() {
		ask = "SELECT $1::text IS NOT NULL" // does the session live?
	}
	var held bool
	if err = conn.QueryRow(asking, ask, l.name).Scan(&held); err != nil {
		l.set(ctx, false)
		_ = conn.Close(context.WithoutCancel(ctx))
		return nil, err
	}
	l.set(ctx, held)
	return conn, nil
}

// set notes whether the lease is held.
func (l *Lease) set(ctx context.Context, held bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case held == (l.held != nil):
	case held:
		l.held, l.lose = context.WithCancel(ctx)
		close(l.got)
		l.log.Info("this node has the lease", "lease", l.name)
	default:
		l.lose()
		l.held, l.lose, l.got = nil, nil, make(chan struct{})
		l.log.Info("this node has the lease no more", "lease", l.name)
	}
}

// Held reports whether this process has the lease.
func (l *Lease) Held() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held != nil
}

// While runs f each time that this process gets the lease, with a context that ends when the
// lease is lost, until ctx ends or f fails while it is held.
func (l *Lease) While(ctx context.Context, f func(context.Context) error) error {
	for {
		l.mu.Lock()
		got := l.got
		l.mu.Unlock()
		select {
		case <-got:
		case <-ctx.Done():
			return nil
		}
		l.mu.Lock()
		held := l.held
		l.mu.Unlock()
		if held == nil {
			continue
		}
		both, cancel := context.WithCancel(ctx)
		stop := context.AfterFunc(held, cancel)
		err := f(both)
		ended := both.Err() != nil
		stop()
		cancel()
		if err != nil && !ended {
			return err
		}
		select {
		case <-held.Done(): // f may have had nothing to do any more before
		case <-ctx.Done():
			return nil
		}
	}
}
