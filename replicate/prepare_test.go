package replicate_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"carbond/replicate"
	"carbond/replicate/pgerr"
	"carbond/replicate/pgtest"
	"carbond/replicate/schema"
	"carbond/store/change"
)

// TestPrepareSlot goes the way of an operator who does not let the daemon
// change the database.
func TestPrepareSlot(t *testing.T) {
	url := pgtest.Shared(t).Database(t)
	opt := options(url)
	if err := schema.Migrate(t.Context(), opt); err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{true, false} {
		if created, err := replicate.PrepareSlot(t.Context(), opt); err != nil || created != want {
			t.Fatalf("run %d: %t, %v", i, created, err)
		}
	}
	findings, err := schema.Preflight(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	said := ""
	for _, f := range findings {
		if !f.OK {
			t.Errorf("after preparing: %+v", f)
		}
		said += f.Detail + "\n"
	}
	if !strings.Contains(said, "waits for the first start") {
		t.Errorf("got %s", said)
	}
	pgtest.Exec(t, url, "INSERT INTO news (guid) VALUES ('between')")
	opt.Migrate = false
	sink := newSink()
	r := run(t, sink, opt)
	r.level()
	pgtest.Exec(t, url, "INSERT INTO news (guid) VALUES ('after')")
	r.level()
	sink.sameAsSQL(t, url)
	r.stop()
	if got := pgtest.Text(t, url, "SELECT two_phase, active FROM pg_replication_slots WHERE slot_name = $1", opt.Slot); len(got) != 1 || got[0][0] != "f" {
		t.Fatalf("the slot in use: %v", got)
	}
	if created, err := replicate.PrepareSlot(t.Context(), opt); err != nil || created {
		t.Errorf("beside the slot of a stopped carbond: %t, %v", created, err)
	}

	// Somebody starts a second one with the same name while the first is down.
	pgtest.Exec(t, url, "INSERT INTO news (guid) VALUES ('while down')")
	second := run(t, newSink(), opt)
	if s := second.trouble(pgerr.KindSlotForeign); !strings.Contains(s.Reason, "another data directory") || !strings.Contains(s.Reason, "pg_drop_replication_slot") {
		t.Errorf("got %q", s.Reason)
	}
	second.stop()
	r = run(t, sink, opt) // and the first one has lost nothing
	r.level()
	sink.sameAsSQL(t, url)
	if n := len(sink.transactions()); n != 3 {
		t.Errorf("%d transactions", n)
	}
}

// TestPrepareSlotWaits leaves a writing transaction open.
func TestPrepareSlotWaits(t *testing.T) {
	url := pgtest.Shared(t).Database(t)
	opt := options(url)
	if err := schema.Migrate(t.Context(), opt); err != nil {
		t.Fatal(err)
	}
	release := openTransaction(t, url+"&application_name=forgotten", "INSERT INTO news (guid) VALUES ('open')")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	prepared := make(chan error, 1)
	go func() {
		_, err := replicate.PrepareSlot(ctx, opt)
		prepared <- err
	}()
	eventually(t, func() error {
		if got := pgtest.Text(t, url, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"); got[0][0] != "1" {
			return fmt.Errorf("%s backends wait for a transaction", got[0][0])
		}
		return nil
	})
	cancel()
	if err := <-prepared; err == nil || !strings.Contains(err.Error(), "forgotten") {
		t.Errorf("got %v", err)
	}
	release()
	eventually(t, func() error {
		// The attempt that was given up may hold the name for a moment.
		_, err := replicate.PrepareSlot(t.Context(), opt)
		if err != nil {
			return err
		}
		if got := pgtest.Text(t, url, "SELECT confirmed_flush_lsn IS NOT NULL FROM pg_replication_slots WHERE slot_name = $1", opt.Slot); len(got) != 1 || got[0][0] != "t" {
			return fmt.Errorf("got %v", got)
		}
		return nil
	})
}

func TestPrepareForeignSlot(t *testing.T) {
	url := pgtest.Shared(t).Database(t)
	opt := options(url)
	pgtest.Exec(t, url, "SELECT pg_create_logical_replication_slot('"+opt.Slot+"', 'test_decoding')")
	if _, err := replicate.PrepareSlot(t.Context(), opt); err == nil || !strings.Contains(err.Error(), "test_decoding") {
		t.Errorf("got %v", err)
	}
}

// TestCrashBetweenStarts ends a process in the middle of its copy. The next one
// knows by the note in the data directory that the slot is its own.
func TestCrashBetweenStarts(t *testing.T) {
	for name, tt := range map[string]struct {
		note  bool
		heals bool
	}{
		"with the note":    {true, true},
		"without the note": {false, false},
	} {
		t.Run(name, func(t *testing.T) {
			url := pgtest.Shared(t).Database(t)
			opt := options(url)
			if err := schema.Migrate(t.Context(), opt); err != nil {
				t.Fatal(err)
			}
			pgtest.Exec(t, url, "INSERT INTO news (guid) SELECT i::text FROM generate_series(1, 3000) i")
			opt.PartChanges, opt.QueueBytes = 500, 50_000
			if tt.note {
				opt.SourcePath = filepath.Join(t.TempDir(), "source.json")
			}
			half := make(chan struct{})
			sink, n := newSink(), 0
			sink.setHook(func([]change.Txn) error {
				if n++; n == 3 {
					close(half)
				}
				if n >= 3 {
					return errors.New("the disk is gone")
				}
				return nil
			})
			opt.MaxBackoff = time.Hour
			first := run(t, sink, opt)
			<-half
			first.trouble(pgerr.KindSink)
			first.stop()
			opt.MaxBackoff = 0
			fresh := newSink()
			second := run(t, fresh, opt)
			if !tt.heals {
				second.trouble(pgerr.KindSlotForeign)
				return
			}
			second.level()
			fresh.sameAsSQL(t, url)
			if b, err := os.ReadFile(opt.SourcePath); err != nil || strings.Contains(string(b), "copying") {
				t.Errorf("the marker is still there: %s, %v", b, err)
			}
		})
	}
}

// told calls f once when a line of the log says so.
type told struct {
	says string
	f    func()
}

// Write implements io.Writer.
func (w *told) Write(p []byte) (int, error) {
	if w.f != nil && strings.Contains(string(p), w.says) {
		w.f()
		w.f = nil
	}
	return len(p), nil
}

// A command that waits in Postgres says for whom while it does.
func TestCommandsSayForWhomTheyWait(t *testing.T) {
	url := pgtest.Shared(t).Database(t)
	ctx := t.Context()
	other, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close(ctx)
	do := func(sql string) {
		if _, err := other.Exec(ctx, sql); err != nil {
			t.Error(err)
		}
	}
	opt := options(url)
	do("SET application_name = 'the other one'")
	do("SELECT pg_advisory_lock(7302112950631)")
	opt.Logger = slog.New(slog.NewTextHandler(&told{"another migration, of pid", func() { do("SELECT pg_advisory_unlock(7302112950631)") }}, nil))
	if err := schema.Migrate(ctx, opt); err != nil {
		t.Fatal(err)
	}
	do("BEGIN; CREATE TABLE mine ()")
	opt.Logger = slog.New(slog.NewTextHandler(&told{"the other one", func() { do("COMMIT") }}, nil))
	if created, err := replicate.PrepareSlot(ctx, opt); err != nil || !created {
		t.Fatalf("%t, %v", created, err)
	}
}
