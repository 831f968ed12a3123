package main

import (
	"runtime"
	"runtime/debug"
	rtm "runtime/metrics"
	"sync"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// limitMemory tells the garbage collector of a container's limit; GOMEMLIMIT
// wins over it.
func (a *app) limitMemory() {
	if a.getenv("GOMEMLIMIT") != "" {
		return
	}
	limit, err := memlimit.FromCgroup()
	if err != nil || limit == 0 || limit > 1<<50 {
		return // no container, or one without a limit
	}
	debug.SetMemoryLimit(int64(limit / 10 * 9))
}

// By itself the collector lets the heap double before it runs. Beside a state
// of gigabytes that is gigabytes of garbage.
const (
	// garbage is how many bytes may pile up beside a large state.
	garbage = 28 << 20
	// leastGOGC keeps the collector's share of the processor in bounds: below
	// it a very large state may have more garbage.
	leastGOGC = 2
	// openingGOGC is the least while the state is loaded. All that is allocated
	// then stays, so a collection finds little and costs the start time.
	openingGOGC = 50
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
func (a *app) paceCollector() *pacer {
	p := &pacer{}
	if a.getenv("GOGC") != "" {
		p.over = true
		return p
	}
	p.before = debug.SetGCPercent(100)
	p.now, p.least = 100, openingGOGC
	p.arm()
	return p
}

// pacer follows the live heap. The runtime calls it after each collection by
// way of a cleanup, so an idle daemon has no timer for it.
type pacer struct {
	before int // what stop goes back to

	mu    sync.Mutex // guards what follows
	now   int
	least int
	over  bool
}

// opened says that the state is loaded.
func (p *pacer) opened() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.least = leastGOGC
	p.set()
}

func (p *pacer) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.over {
		p.over = true
		debug.SetGCPercent(p.before)
	}
}

// arm has the next collection call look.
func (p *pacer) arm() { runtime.AddCleanup(new(*byte), (*pacer).look, p) }

func (p *pacer) look() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.over {
		p.set()
		p.arm()
	}
}

// set follows the live heap. The caller holds mu.
func (p *pacer) set() {
	if p.over {
		return
	}
	live := []rtm.Sample{{Name: "/gc/heap/live:bytes"}}
	rtm.Read(live)
	if want := max(p.least, gogc(live[0].Value.Uint64())); want != p.now {
		p.now = want
		debug.SetGCPercent(want)
	}
}
