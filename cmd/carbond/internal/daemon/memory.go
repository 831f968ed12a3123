package daemon

import (
	"runtime"
	"runtime/debug"
	rtm "runtime/metrics"
	"sync"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// limitMemory gives the garbage collector a container's limit; GOMEMLIMIT
// wins over it.
func limitMemory(getenv func(string) string) {
	if getenv("GOMEMLIMIT") != "" {
		return
	}
	limit, err := memlimit.FromCgroup()
	if err != nil || limit == 0 || limit > 1<<50 {
		return // no container, or one without a limit
	}
	debug.SetMemoryLimit(int64(limit / 10 * 9))
}

// By itself the collector lets the heap double before it runs. Beside a state of
// gigabytes that is gigabytes of garbage; a fixed amount of garbage, on the other
// hand, makes it run so often beside a large state that it takes most of the
// processor, since each run walks every row. So the amount follows the share of
// the processor that the collector takes.
const (
	// leastGarbage is how many bytes may always pile up beside a large state.
	leastGarbage = 28 << 20
	// above highShare the allowed garbage doubles, below lowShare it halves.
	highShare, lowShare = 0.15, 0.05
	// openingGOGC is the least while the state is loaded. All that is allocated
	// then stays, so a collection finds little and costs the start time.
	openingGOGC = 50
)

// nextGarbage returns how many bytes of garbage to allow beside a live heap after
// a collection, when the collector has taken the given share of the processor
// since the one before. It is at most half of the live heap, and of what a memory
// limit leaves.
func nextGarbage(now, live, limit uint64, share float64) uint64 {
	switch {
	case share > highShare:
		now *= 2
	case share < lowShare:
		now /= 2
	}
	room := uint64(0)
	if limit > live {
		room = (limit - live) / 2
	}
	return max(min(now, live/2, room), leastGarbage)
}

// gogc returns the collector's percentage for so much garbage beside a live heap:
// the usual 100 for a small one.
func gogc(live, garbage uint64) int {
	if live <= garbage {
		return 100
	}
	return max(1, int(garbage*100/live))
}

// paceCollector sets the percentage again after every collection, until stop is
// called. A GOGC of the environment wins over it.
func paceCollector(getenv func(string) string) *pacer {
	p := &pacer{garbage: leastGarbage}
	if getenv("GOGC") != "" {
		p.over = true
		return p
	}
	p.before = debug.SetGCPercent(100)
	p.now, p.least = 100, openingGOGC
	p.arm()
	return p
}

// pacer follows the live heap and the collector's share of the processor. The
// runtime calls it after each collection by way of a cleanup, so an idle daemon
// has no timer for it.
type pacer struct {
	before int // what stop goes back to

	mu        sync.Mutex // guards what follows
	now       int
	least     int
	over      bool
	garbage   uint64  // allowed beside a large live heap
	collector float64 // seconds of processor time at the last look: of the collector,
	processor float64 // and of all processors, idle time included
}

// opened says that the state is loaded.
func (p *pacer) opened() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.least = 1
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
	// The runtime brings the processor's classes up to date at each collection.
	s := []rtm.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/cpu/classes/gc/total:cpu-seconds"}, {Name: "/cpu/classes/total:cpu-seconds"}}
	rtm.Read(s)
	live, collector, processor := s[0].Value.Uint64(), s[1].Value.Float64(), s[2].Value.Float64()
	if all := processor - p.processor; all > 0 {
		p.garbage = nextGarbage(p.garbage, live, uint64(debug.SetMemoryLimit(-1)), (collector-p.collector)/all)
		p.collector, p.processor = collector, processor
	}
	if want := max(p.least, gogc(live, p.garbage)); want != p.now {
		p.now = want
		debug.SetGCPercent(want)
	}
}

const (
	// untidyAbove is how far the heap may be above what is known to be needed, and
	// untidyFor for how long, before it is given back, every tidyEvery at most: a
	// busy daemon needs its garbage again.
	untidyAbove = 64 << 20
	untidyFor   = 10 * time.Second
	tidyEvery   = time.Minute
)

// tidy gives memory back behind something huge, until the returned function is
// called. The collector runs when new memory is asked for: after one huge row
// nothing asks, and the runtime keeps what it took for the next one.
func (p *pacer) tidy() (stop func()) {
	if p.over {
		return func() {}
	}
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		t := time.NewTicker(time.Second)
		defer t.Stop()
		var u untidiness
		for {
			select {
			case <-quit:
				return
			case now := <-t.C:
				if u.lasts(now, residentHeap()) {
					debug.FreeOSMemory()
					u.known = residentHeap()
				}
			}
		}
	}()
	return func() {
		close(quit)
		<-done
	}
}

// residentHeap returns the bytes of the heap that the system has not got back.
func residentHeap() (n uint64) {
	s := []rtm.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/unused:bytes"}, {Name: "/memory/classes/heap/free:bytes"}}
	rtm.Read(s)
	for i := range s {
		n += s[i].Value.Uint64()
	}
	return n
}

// untidiness watches the size of the heap.
type untidiness struct {
	known uint64    // the least since the heap was last given back
	since time.Time // it is far above that, zero when it is not
	last  time.Time // when lasts was last true
}

// lasts reports whether the heap has been far above what is known to be needed
// for long enough.
func (u *untidiness) lasts(now time.Time, heap uint64) bool {
	u.known = min(u.known, heap)
	switch {
	case heap <= u.known+untidyAbove:
		u.since = time.Time{}
		return false
	case u.since.IsZero():
		u.since = now
	}
	if now.Sub(u.since) < untidyFor || now.Sub(u.last) < tidyEvery {
		return false
	}
	u.since, u.last = time.Time{}, now
	return true
}
