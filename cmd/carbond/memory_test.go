package main

import (
	"runtime"
	rtm "runtime/metrics"
	"testing"
)

func TestGOGC(t *testing.T) {
	for name, tc := range map[string]struct {
		live uint64
		want int
	}{
		"nothing":              {0, 100},
		"small":                {garbage, 100},
		"a hundred thousand":   {2 * garbage, 50},
		"a million":            {10 * garbage, 10},
		"rounded down":         {3 * garbage, 33},
		"the floor":            {50 * garbage, leastGOGC},
		"beyond, in bounds":    {51 * garbage, leastGOGC},
		"more than any memory": {1 << 60, leastGOGC},
	} {
		t.Run(name, func(t *testing.T) {
			if got := gogc(tc.live); got != tc.want {
				t.Errorf("gogc(%d) = %d, want %d", tc.live, got, tc.want)
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
	pace := (&app{}).paceCollector()
	large := make([]byte, 8*garbage)
	until("the least of a start beside a large heap", func(p uint64) bool { return p == openingGOGC })
	pace.opened()
	until("at most 12 beside a large heap", func(p uint64) bool { return p <= 12 })
	runtime.KeepAlive(large)
	until("more when it is gone", func(p uint64) bool { return p > 12 })
	pace.stop()
	if got := gogcNow(); got != before {
		t.Errorf("GOGC is %d after the stop, was %d", got, before)
	}

	pace = (&app{stdio: stdio{env: []string{"GOGC=400"}}}).paceCollector()
	defer pace.stop()
	pace.opened()
	if got := gogcNow(); got != before {
		t.Errorf("GOGC is %d, though the environment has one", got)
	}
}
