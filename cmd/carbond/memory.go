package main

import (
	"runtime"
	"runtime/debug"
	rtm "runtime/metrics"
	"sync/atomic"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// limitMemory tells the garbage collector of a container's limit; GOMEMLIMIT
// wins over it.
func (d *daemon) limitMemory() {
	if d.app.getenv("GOMEMLIMIT") != "" {
		return
	}
	limit, err := memlimit.FromCgroup()
	if err != nil || limit == 0 || limit > 1<<50 {
		return // no container, or one without a limit
	}
	debug.SetMemoryLimit(int64(limit / 10 * 9))
	d.log.Debug("memory limit of the control group in force", "bytes", limit)
}

// By itself the collector lets the heap double before it runs. Beside a state
// of gigabytes that is gigabytes of garbage.
const (
	// garbage is how many bytes may pile up beside a large state.
	garbage = 28 << 20
	// leastGOGC keeps the collector's share of the processor in bounds: below
	// it a very large state may have more garbage.
	leastGOGC = 2
)

// gogc returns the collector's percentage for a live heap of so many bytes:
// the usual 100 for a small one, then what amounts to garbage.
func gogc(live uint64) int {
	if live <= garbage {
		return 100
	}
	return max(leastGOGC, int(garbage*100/live))
}

// paceCollector sets the percentage anew after every collection, until stop is
// called. A GOGC of the environment wins over it.
func (a *app) paceCollector() (stop func()) {
	if a.getenv("GOGC") != "" {
		return func() {}
	}
	before := debug.SetGCPercent(100)
	p := &pacer{now: 100}
	p.arm()
	return func() {
		p.over.Store(true)
		debug.SetGCPercent(before)
	}
}

// pacer follows the live heap. The runtime calls it after each collection by
// way of a cleanup, so an idle daemon has no timer for it.
type pacer struct {
	over atomic.Bool
	now  int // used by one cleanup at a time: each arms the next
}

// arm has the next collection call look.
func (p *pacer) arm() { runtime.AddCleanup(new(*byte), (*pacer).look, p) }

func (p *pacer) look() {
	if p.over.Load() {
		return
	}
	live := []rtm.Sample{{Name: "/gc/heap/live:bytes"}}
	rtm.Read(live)
	if want := gogc(live[0].Value.Uint64()); want != p.now {
		p.now = want
		debug.SetGCPercent(want)
	}
	p.arm()
}
