package replicate_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"carbond/replicate"
	"carbond/replicate/pgerr"
	"carbond/replicate/pgtest"
	"carbond/store/change"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(pgtest.Wrap(m)) }

// running is a Replicator at work.
type running struct {
	*replicate.Replicator
	tb   testing.TB
	sink *memSink
	stop func()
	log  *logBuffer
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// resnapshot ends r and lets another one copy the tables again, until it is level
// and holds what SQL does.
func (r *running) resnapshot(opt replicate.Options) *running {
	r.tb.Helper()
	r.stop()
	opt.OnGap = replicate.GapResnapshot
	next := run(r.tb, r.sink, opt)
	next.level()
	next.sink.sameAsSQL(r.tb, opt.URL)
	return next
}

// run starts a Replicator that stops with the test or by stop.
func run(tb testing.TB, sink *memSink, opt replicate.Options) *running {
	tb.Helper()
	log := &logBuffer{}
	opt.Logger = slog.New(slog.NewTextHandler(log, nil))
	if opt.ProbeInterval == 0 {
		opt.ProbeInterval = 20 * time.Millisecond
	}
	if opt.AdvanceInterval == 0 {
		opt.AdvanceInterval = 20 * time.Millisecond
	}
	if opt.MaxBackoff == 0 {
		opt.MaxBackoff = 300 * time.Millisecond
	}
	r := &running{Replicator: replicate.New(sink, opt), tb: tb, sink: sink, log: log}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	var once sync.Once
	r.stop = func() {
		once.Do(func() {
			cancel()
			select {
			case err := <-done:
				if err != nil {
					tb.Errorf("Run: %v", err)
				}
			case <-time.After(patience):
				tb.Errorf("Run does not end")
			}
			if tb.Failed() {
				tb.Logf("log of the replicator:\n%s", log)
			}
		})
	}
	tb.Cleanup(r.stop)
	return r
}

// options gives each test its own slot name.
func options(url string) replicate.Options {
	slot := "s"
	for i := len(url) - 1; i >= 0; i-- {
		if url[i] == '/' {
			for _, c := range url[i+1:] {
				if c == '?' {
					break
				}
				slot += string(c)
			}
			break
		}
	}
	return replicate.Options{URL: url, Slot: slot, Migrate: true}
}

// level waits until everything committed before the call is here.
func (r *running) level() {
	r.tb.Helper()
	since := time.Now()
	eventually(r.tb, func() error {
		if s := r.Status(); !s.LastLevel.After(since) {
			return fmt.Errorf("not level: %+v", s)
		}
		return nil
	})
}

// trouble waits until the status names the kind.
func (r *running) trouble(kind pgerr.Kind) replicate.Status {
	r.tb.Helper()
	var s replicate.Status
	eventually(r.tb, func() error {
		if s = r.Status(); s.Kind != kind || s.Connected {
			return fmt.Errorf("want kind %s, have %+v", kind, s)
		}
		return nil
	})
	if s.Reason == "" {
		r.tb.Fatalf("kind %s without a reason", kind)
	}
	return s
}

// confirmed returns confirmed_flush_lsn of a slot.
func confirmed(tb testing.TB, url, slot string) change.LSN {
	tb.Helper()
	rows := pgtest.Text(tb, url, "SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = $1", slot)
	if len(rows) != 1 {
		tb.Fatalf("slot %s does not exist", slot)
	}
	l, err := change.ParseLSN(rows[0][0])
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

// openTransaction leaves a transaction open until the returned func is called.
func openTransaction(tb testing.TB, url, sql string) (release func()) {
	tb.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		tb.Fatal(err)
	}
	release = sync.OnceFunc(func() { conn.Close(ctx) })
	tb.Cleanup(release)
	if _, err := conn.Exec(ctx, "BEGIN; "+sql); err != nil {
		tb.Fatal(err)
	}
	return release
}

// attempt runs one statement that may fail.
func attempt(tb testing.TB, url, sql string) error {
	tb.Helper()
	conn, err := pgx.Connect(tb.Context(), url)
	if err != nil {
		tb.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(tb.Context()))
	_, err = conn.Exec(tb.Context(), sql)
	return err
}

// onFirst is a logger that calls f at the first warning.
func onFirst(f func()) *slog.Logger { return slog.New(&firstWarning{slog.DiscardHandler, f}) }

type firstWarning struct {
	slog.Handler
	call func()
}

func (firstWarning) Enabled(context.Context, slog.Level) bool { return true }

func (h *firstWarning) Handle(_ context.Context, r slog.Record) error {
	if r.Level >= slog.LevelWarn {
		h.call()
	}
	return nil
}
