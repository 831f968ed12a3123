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
