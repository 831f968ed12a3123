package life_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"carbond/cmd/carbond/internal/life"
)

var quiet = slog.New(slog.DiscardHandler)

func wait(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestStopJoins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := life.New(quiet)
		finished := false
		part := p.Start(t.Context(), "slow", func(ctx context.Context) error {
			<-ctx.Done()
			<-time.After(time.Second) // of the fake clock
			finished = true
			return nil
		})
		if err := part.Stop(t.Context()); err != nil || !finished {
			t.Fatal(err, finished)
		}
		if p.Cause() != nil {
			t.Fatal(p.Cause())
		}
	})
}

func TestStopGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := life.New(quiet)
		release := make(chan struct{})
		part := p.Start(t.Context(), "stuck", func(context.Context) error { <-release; return nil })
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := part.Stop(ctx); err == nil || !strings.Contains(err.Error(), "stuck did not stop in time") {
			t.Fatal(err)
		}
		close(release)
	})
}

func TestFirstCauseEndsTheDaemon(t *testing.T) {
	for name, tc := range map[string]struct {
		run  func(context.Context) error
		want string
	}{
		"error": {func(context.Context) error { return errors.New("disk full") }, "store: disk full"},
		"nil":   {func(context.Context) error { return nil }, "store: ended without being asked to"},
		"panic": {func(context.Context) error { panic("odd") }, "store: panic: odd"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := life.New(quiet)
				other := p.Start(t.Context(), "rpc", wait)
				p.Start(t.Context(), "store", tc.run)
				<-p.Down()
				if got := p.Cause().Error(); got != tc.want {
					t.Errorf("got %q, want %q", got, tc.want)
				}
				if err := other.Stop(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestShutdownRunsEveryStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var order []string
		step := func(name string, err error) life.Step {
			return life.Step{Do: name, Within: time.Second, Run: func(ctx context.Context) error {
				order = append(order, name)
				if err != nil {
					<-ctx.Done()
				}
				return err
			}}
		}
		began := time.Now()
		err := life.Shutdown(t.Context(), quiet, nil, []life.Step{step("a", errors.New("one")), step("b", nil), step("c", errors.New("two"))})
		if got := strings.Join(order, ""); got != "abc" {
			t.Error(got)
		}
		if err == nil || err.Error() != "a: one\nc: two" {
			t.Error(err)
		}
		if took := time.Since(began); took != 2*time.Second {
			t.Error(took)
		}
	})
}

func TestSecondSignalCutsWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hurry := make(chan struct{})
		steps := make([]life.Step, 3)
		ran := 0
		for i := range steps {
			steps[i] = life.Step{Do: "wait", Within: time.Hour, Run: func(ctx context.Context) error { ran++; return wait(ctx) }}
		}
		time.AfterFunc(time.Second, func() { close(hurry) })
		began := time.Now()
		if err := life.Shutdown(t.Context(), quiet, hurry, steps); err == nil {
			t.Error("no error")
		}
		if took := time.Since(began); took != time.Second || ran != 3 {
			t.Error(took, ran)
		}
	})
}
