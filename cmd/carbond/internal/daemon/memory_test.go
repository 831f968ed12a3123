package daemon

import (
	"math"
	"runtime"
	rtm "runtime/metrics"
	"testing"
	"time"
)

func TestGOGC(t *testing.T) {
	const g = leastGarbage
	for name, tc := range map[string]struct {
		live, garbage uint64
		want          int
	}{
		"nothing":              {0, g, 100},
		"small":                {g, g, 100},
		"a hundred thousand":   {2 * g, g, 50},
		"a million":            {10 * g, g, 10},
		"a million, busy":      {10 * g, 5 * g, 50},
		"rounded down":         {3 * g, g, 33},
		"more than any memory": {1 << 60, g, 1},
	} {
		t.Run(name, func(t *testing.T) {
			if got := gogc(tc.live, tc.garbage); got != tc.want {
				t.Errorf("gogc(%d, %d) = %d, want %d", tc.live, tc.garbage, got, tc.want)
			}
		})
	}
}

// TestNextGarbage: what is allowed follows the collector's share, within the live
// heap and the limit of a container.
func TestNextGarbage(t *testing.T) {
	const g, none = leastGarbage, math.MaxInt64
	for name, tc := range map[string]struct {
		now, live, limit uint64
		share            float64
		want             uint64
	}{
		"busy":                     {g, 12 * g, none, .5, 2 * g},
		"busy, up to half of live": {4 * g, 12 * g, none, .5, 6 * g},
		"at ease":                  {2 * g, 12 * g, none, .10, 2 * g},
		"idle":                     {4 * g, 12 * g, none, .01, 2 * g},
		"idle, the least":          {g, 12 * g, none, 0, g},
		"a limit is near":          {4 * g, 12 * g, 16 * g, .5, 2 * g},
		"over the limit":           {4 * g, 12 * g, 11 * g, .5, g},
		"at the limit":             {4 * g, 12 * g, 12*g + 1, .5, g},
		"a small heap":             {g, g / 4, none, .9, g},
	} {
		t.Run(name, func(t *testing.T) {
			if got := nextGarbage(tc.now, tc.live, tc.limit, tc.share); got != tc.want {
				t.Errorf("got %d MiB, want %d MiB", got>>20, tc.want>>20)
			}
		})
	}
}

// TestUntidiness: a heap that stays large is given back, one that is large for a
// moment is not, and a busy one not all the time.
func TestUntidiness(t *testing.T) {
	const mb = 1 << 20
	type look struct {
		after time.Duration
		heap  uint64
		want  bool
	}
	for name, looks := range map[string][]look{
		"small":       {{0, 10 * mb, false}, {time.Minute, 60 * mb, false}},
		"a huge row":  {{0, 10 * mb, false}, {time.Second, 900 * mb, false}, {9 * time.Second, 900 * mb, false}, {time.Second, 900 * mb, true}},
		"soon gone":   {{0, 900 * mb, false}, {9 * time.Second, 10 * mb, false}, {time.Second, 900 * mb, false}},
		"again, soon": {{0, 900 * mb, false}, {10 * time.Second, 900 * mb, true}, {time.Second, 900 * mb, false}, {30 * time.Second, 900 * mb, false}, {29 * time.Second, 900 * mb, true}},
	} {
		t.Run(name, func(t *testing.T) {
			now := time.Unix(1e9, 0)
			var u untidiness
			for i, l := range looks {
				now = now.Add(l.after)
				if got := u.lasts(now, l.heap); got != l.want {
					t.Errorf("look %d: got %t", i, got)
				}
			}
		})
	}
}

// TestPaceCollector: the percentage follows the live heap, up and down, and is
// what it was once the daemon has stopped.
func TestPaceCollector(t *testing.T) {
	gogcNow := func() uint64 {
		s := []rtm.Sample{{Name: "/gc/gogc:percent"}}
		rtm.Read(s)
		return s[0].Value.Uint64()
	}
	until := func(what string, ok func(uint64) bool) {
		t.Helper()
		ctx := deadline(t)
		for !ok(gogcNow()) {
			runtime.GC()
			if err := poll(ctx); err != nil {
				t.Fatalf("GOGC stays at %d, want %s", gogcNow(), what)
			}
		}
	}
	before := gogcNow()
	pace := paceCollector(func(string) string { return "" })
	large := make([]byte, 8*leastGarbage)
	until("the least of a start beside a large heap", func(p uint64) bool { return p == openingGOGC })
	pace.opened()
	until("at most half of a large heap", func(p uint64) bool { return p <= 50 })
	runtime.KeepAlive(large)
	until("100 when it is gone", func(p uint64) bool { return p == 100 })
	pace.stop()
	if got := gogcNow(); got != before {
		t.Errorf("GOGC is %d after the stop, was %d", got, before)
	}

	pace = paceCollector(func(string) string { return "400" })
	defer pace.stop()
	pace.opened()
	if got := gogcNow(); got != before {
		t.Errorf("GOGC is %d, though the environment has one", got)
	}
}
