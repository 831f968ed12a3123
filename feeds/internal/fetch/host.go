package fetch

import (
	"context"
	"math/rand/v2"
	"net/url"
	"sync"
	"time"
)

// Figures of the host rules.
const (
	circuitAfter = 5           // consecutive failures that open a host's circuit
	circuitFirst = time.Minute // how long a circuit first stays open
	circuitMost  = time.Hour   // and how long at most
	// MaxOfflineWait is the longest wait where nobody was reached: the fault is
	// likely here, and nobody is burdened.
	MaxOfflineWait = 10 * time.Minute
	// MaxLocalWait is the longest wait for the user's own machine, unless its
	// interval is longer or it asks for more.
	MaxLocalWait  = 5 * time.Second
	retryAfterMin = time.Second      // a shorter Retry-After means this
	MaxRetryAfter = 24 * time.Hour   // a longer one means this
	pauseFirst    = time.Minute      // pause after a 429 without Retry-After, then doubling
	pauseMost     = time.Hour        // up to this
	localPause    = 5 * time.Second  // first pause and first open circuit of the user's own machine
	pauseForget   = 90 * time.Minute // without a 429 for so long after a pause, doubling starts over
)

// group is a set of hosts that are paused together and asked one request at a
// time: usually one host, all of Yahoo's for that provider.
type group struct {
	name  string
	first time.Duration // first pause after a 429 that names no time
	slot  chan struct{} // holds one token: the right to talk to the group

	mu    sync.Mutex // guards all below
	ready time.Time  // no request before this: spacing
	state HostState
}

// HostState is the part of a group that survives a restart.
type HostState struct {
	Until    time.Time     `json:"until,omitzero"`     // no request before this
	Pause    time.Duration `json:"pause,omitempty"`    // last pause after a 429, doubled each time
	Failures int           `json:"failures,omitempty"` // consecutive failures
	Open     time.Duration `json:"rest,omitempty"`     // how long the circuit was last open
}

// groups holds the state of every host that was talked to.
type groups struct {
	clock Clock
	mu    sync.Mutex // guards byKey
	byKey map[string]*group
}

func newGroups(clock Clock) *groups { return &groups{clock: clock, byKey: map[string]*group{}} }

// maxGroups bounds the memory of hosts seen only through redirects.
const maxGroups = 1000

// of returns the group of u, or the named group when name is not empty.
func (gs *groups) of(u *url.URL, name string, first time.Duration) *group {
	key := name
	if key == "" {
		key = u.Host
	}
	if first <= 0 {
		first = pauseFirst
	}
	gs.mu.Lock()
	defer gs.mu.Unlock()
	g := gs.byKey[key]
	if g == nil {
		if len(gs.byKey) >= maxGroups {
			gs.dropIdle()
		}
		g = &group{name: key, first: first, slot: make(chan struct{}, 1)}
		gs.byKey[key] = g
	}
	return g
}

// dropIdle forgets groups that hold nothing worth keeping. Called with gs.mu.
func (gs *groups) dropIdle() {
	for k, g := range gs.byKey {
		g.mu.Lock()
		idle := g.state.Failures == 0 && g.state.Until.IsZero() && len(g.slot) == 0
		g.mu.Unlock()
		if idle {
			delete(gs.byKey, k)
		}
	}
}

// save returns what must survive a restart.
func (gs *groups) save() map[string]HostState {
	now := gs.clock.Now()
	out := map[string]HostState{}
	gs.mu.Lock()
	defer gs.mu.Unlock()
	for k, g := range gs.byKey {
		g.mu.Lock()
		if g.state.Until.After(now) || g.state.Pause > 0 {
			r := g.state
			r.Until = r.Until.Round(0)
			out[k] = r
		}
		g.mu.Unlock()
	}
	return out
}

// restore takes over what an earlier run saved, distrusting pauses that reach
// further than any rule allows (a clock that was wrong).
func (gs *groups) restore(saved map[string]HostState) {
	now := gs.clock.Now()
	for k, r := range saved {
		if r.Until.After(now.Add(MaxRetryAfter)) {
			r.Until = now.Add(pauseMost)
		}
		g := gs.of(&url.URL{Host: k}, k, 0)
		g.mu.Lock()
		g.state = r
		g.mu.Unlock()
	}
}

// enter waits for the group's turn and spacing. It refuses at once, with
// KindPaused, while the group is paused. The caller must call leave.
func (g *group) enter(ctx context.Context, clock Clock, op string) error {
	select {
	case g.slot <- struct{}{}:
	case <-ctx.Done():
		return &Error{Kind: TransportKind(ctx.Err()), Op: op, Err: ctx.Err()}
	}
	g.mu.Lock()
	now := clock.Now()
	wait := g.ready.Sub(now)
	if left := g.state.Until.Sub(now); left > 0 {
		g.mu.Unlock()
		<-g.slot
		return &Error{Kind: KindPaused, Op: op, RetryAfter: left, Err: errPaused}
	}
	g.mu.Unlock()
	if wait > 0 {
		if err := clock.Sleep(ctx, wait); err != nil {
			<-g.slot
			return &Error{Kind: TransportKind(err), Op: op, Err: err}
		}
	}
	return nil
}

// leave ends the turn; the next request starts no earlier than spacing later.
func (g *group) leave(clock Clock, spacing time.Duration) {
	g.mu.Lock()
	g.ready = clock.Now().Add(spacing)
	g.mu.Unlock()
	<-g.slot
}

// good records an answer that shows the host alive.
func (g *group) good(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.state.Failures, g.state.Open = 0, 0
	if now.After(g.state.Until.Add(pauseForget)) {
		g.state.Pause = 0
	}
}

// bad records a failure of the host itself (no answer, 5xx); unreached says that
// it may not even know of the request. From the fifth on
// the circuit is open, longer each time; the first request after that is the
// probe: one more failure opens it again at once.
func (g *group) bad(now time.Time, unreached bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.state.Failures++
	if g.state.Failures < circuitAfter {
		return
	}
	first, most := circuitFirst, circuitMost
	if unreached {
		most = MaxOfflineWait
	}
	if g.first < first {
		first, most = g.first, MaxLocalWait
	}
	g.state.Open = min(max(first, 2*g.state.Open), most)
	g.until(now.Add(Jitter(g.state.Open, 0.1)))
}

// limited records a 429 and returns how long the group is now paused.
func (g *group) limited(now time.Time, retryAfter time.Duration) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	most := max(pauseMost, g.first)
	if g.first < pauseFirst {
		most = MaxLocalWait
	}
	g.state.Pause = min(max(g.first, 2*g.state.Pause), most)
	pause := g.state.Pause
	if retryAfter > 0 {
		pause = max(retryAfter, minPause(g))
	}
	g.until(now.Add(pause))
	return pause
}

// minPause is the shortest pause of groups that set their own first pause: a
// provider that blocks by address does not always say how long it means.
func minPause(g *group) time.Duration {
	if g.first > pauseFirst {
		return g.state.Pause
	}
	return 0
}

// until extends the pause. Called with g.mu.
func (g *group) until(t time.Time) {
	if t.After(g.state.Until) {
		g.state.Until = t
	}
}

// Jitter returns d changed by up to ± share of it.
func Jitter(d time.Duration, share float64) time.Duration {
	return d + time.Duration((rand.Float64()*2-1)*share*float64(d))
}
