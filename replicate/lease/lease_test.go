package lease_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"carbond/replicate"
	"carbond/replicate/lease"
	"carbond/replicate/pgtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(pgtest.Wrap(m)) }

// TestLease: of three processes one has the lease, whatever becomes of the sessions; what runs
// under it ends with it.
func TestLease(t *testing.T) {
	url := pgtest.Start(t).Database(t)
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()

	type process struct {
		*lease.Lease
		end     func()
		running atomic.Bool
		begun   atomic.Int32
	}
	ps := make([]*process, 3)
	for i := range ps {
		ctx, end := context.WithCancel(ctx)
		p := &process{Lease: lease.New(replicate.Options{URL: url}, "fleet desk"), end: end}
		ps[i] = p
		all.Go(func() { p.Run(ctx) })
		all.Go(func() {
			err := p.While(ctx, func(ctx context.Context) error {
				p.begun.Add(1)
				p.running.Store(true)
				defer p.running.Store(false)
				<-ctx.Done()
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	other := lease.New(replicate.Options{URL: url}, "fleet other")
	all.Go(func() { other.Run(ctx) })

	until := func(what string, ok func() bool) {
		t.Helper()
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for began := time.Now(); !ok(); <-tick.C {
			if time.Since(began) > 30*time.Second {
				t.Fatal(what)
			}
		}
	}
	holders := func() (out []*process) {
		for _, p := range ps {
			if p.Held() || p.running.Load() {
				out = append(out, p)
			}
		}
		return out
	}
	begun := func() (n int32) {
		for _, p := range ps {
			n += p.begun.Load()
		}
		return n
	}
	until("nobody has the lease", func() bool { return begun() == 1 && len(holders()) == 1 })
	first := holders()[0]
	first.end()
	until("the lease does not go to the next", func() bool { return begun() == 2 && len(holders()) == 1 && holders()[0] != first })
	// The session of the holder ends; whoever gets the lease next, it is one.
	pgtest.Exec(t, url, "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted")
	until("the lease does not move with its session", func() bool { return begun() == 3 && len(holders()) == 1 })
	until("another name is not another lease", other.Held)
}

// TestWhile gives back the error of what runs while the lease is held.
func TestWhile(t *testing.T) {
	url := pgtest.Start(t).Database(t)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	l := lease.New(replicate.Options{URL: url}, "x")
	wg.Go(func() { l.Run(ctx) })
	broken := errors.New("broken")
	if err := l.While(ctx, func(context.Context) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}
