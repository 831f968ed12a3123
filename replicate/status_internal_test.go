package replicate

import (
	"testing"
	"time"

	"carbond/replicate/internal/stream"
	"carbond/replicate/pgerr"
	"carbond/store/change"
)

// TestLagOfAState plays what a probe and the stream report against a clock.
func TestLagOfAState(t *testing.T) {
	start := time.Now()
	now := start
	s := newState(func() time.Time { return now }, 10*time.Second)
	after := func(d time.Duration) { now = start.Add(d) }
	durable := func(l change.LSN) { s.move(func(p *stream.Progress) { p.Persisted(l) }) }
	want := func(what string, seconds float64) {
		t.Helper()
		if got := s.snapshot().LagSeconds; got != seconds {
			t.Errorf("%s: the lag is %v s, want %v s", what, got, seconds)
		}
	}
	s.streaming(100, 0)
	s.probed(now, 100)
	want("level", 0)
	after(5 * time.Second)
	s.probed(now, 200)
	after(8 * time.Second)
	want("something to come", 3)
	durable(200)
	want("here", 0)
	after(14 * time.Second)
	want("no probe for a moment", 0)
	after(20 * time.Second)
	want("no probe for long", 15)
	s.probed(now, 200)
	want("probed again", 0)

	// The server ends at 900, dies, and comes back from a backup that ends at 300.
	s.probed(now, 900)
	s.broken(pgerr.KindConnect, stream.ErrTick)
	after(30 * time.Second)
	s.streaming(300, 0)
	s.probed(now, 300)
	want("restored", 0)
	if got := s.snapshot().LastLevel; !got.Equal(now) {
		t.Errorf("restored: level at %v, want %v", got.Sub(start), now.Sub(start))
	}
}

// TestSlotLoss plays the reserve of a slot against a clock.
func TestSlotLoss(t *testing.T) {
	start := time.Now()
	s := newState(time.Now, time.Second)
	for _, look := range []struct {
		what   string
		second int
		safe   int64
		want   time.Duration
	}{
		{"the first look", 0, 1 << 30, 0},
		{"too early to say", 5, 1<<30 - 1, 0},
		{"a tenth in a minute", 60, 9 << 30 / 10, 9 * time.Minute},
		{"more than there was", 120, 2 << 30, 0},
		{"the first is too long ago", 60 + 901, 1 << 30, 841 * time.Second},
		{"all used up", 1700, 0, time.Second},
		{"no limit any more", 2000, -1, 0},
		{"a limit again", 2100, 1 << 30, 0},
	} {
		got := s.reserved(start.Add(time.Duration(look.second)*time.Second), look.safe)
		if got.Round(time.Minute/2) != look.want.Round(time.Minute/2) || (got == 0) != (look.want == 0) || s.snapshot().SlotLoss != got {
			t.Errorf("%s: lost in %v, want %v", look.what, got, look.want)
		}
	}
}
