package feeds

import (
	"context"
	"math/rand/v2"
	"net/url"
	"sync"
	"time"
)

// Figures of the host rules.
const (
	breakerAfter  = 5                // consecutive failures that open a host's breaker
	breakerFirst  = time.Minute      // first rest of an open breaker
	breakerMost   = time.Hour        // longest rest
	retryAfterMin = time.Second      // a shorter Retry-After means this
	retryAfterMax = 24 * time.Hour   // a longer one means this
	pauseFirst    = time.Minute      // pause after a 429 without Retry-After, then doubling
	pauseMost     = time.Hour        // up to this
	localPause    = 5 * time.Second  // first pause and rest of the user's own machine
	pauseForget   = 90 * time.Minute // without a 429 for so long after a pause, doubling starts over
)

// group is a set of hosts that rest together and are asked one request at a
// time: usually one host, all of Yahoo's for that provider.
type group struct {
	name  string
	first time.Duration // first pause after a 429 that names no time
	slot  chan struct{} // holds one token: the right to talk to the group

	mu    sync.Mutex // guards all below
	ready time.Time  // no request before this: spacing
	rest  groupRest
}

// groupRest is the part of a group that survives a restart.
type groupRest struct {
	Until    time.Time     `json:"until,omitzero"`     // no request before this
	Pause    time.Duration `json:"pause,omitempty"`    // last pause after a 429, doubled each time
	Failures int           `json:"failures,omitempty"` // consecutive failures
	Rest     time.Duration `json:"rest,omitempty"`     // last rest of the breaker
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
		idle := g.rest.Failures == 0 && g.rest.Until.IsZero() && len(g.slot) == 0
		g.mu.Unlock()
		if idle {
			delete(gs.byKey, k)
		}
	}
}

// save returns what must survive a restart.
func (gs *groups) save() map[string]groupRest {
	now := gs.clock.Now()
	out := map[string]groupRest{}
	gs.mu.Lock()
	defer gs.mu.Unlock()
	for k, g := range gs.byKey {
		g.mu.Lock()
		if g.rest.Until.After(now) || g.rest.Pause > 0 {
			r := g.rest
			r.Until = r.Until.Round(0)
			out[k] = r
		}
		g.mu.Unlock()
	}
	return out
}

// restore takes over what an earlier run saved, distrusting rests that reach
// further than any rule allows (a clock that was wrong).
func (gs *groups) restore(saved map[string]groupRest) {
	now := gs.clock.Now()
	for k, r := range saved {
		if r.Until.After(now.Add(retryAfterMax)) {
			r.Until = now.Add(pauseMost)
		}
		g := gs.of(&url.URL{Host: k}, k, 0)
		g.mu.Lock()
		g.rest = r
		g.mu.Unlock()
	}
}

// enter waits for the group's turn and spacing. It refuses at once, with
// KindPaused, while the group rests. The caller must call leave.
func (g *group) enter(ctx context.Context, clock Clock, op string) error {
	select {
	case g.slot <- struct{}{}:
	case <-ctx.Done():
		return &Error{Kind: transportKind(ctx.Err()), Op: op, Err: ctx.Err()}
	}
	g.mu.Lock()
	now := clock.Now()
	wait := g.ready.Sub(now)
	if left := g.rest.Until.Sub(now); left > 0 {
		g.mu.Unlock()
		<-g.slot
		return &Error{Kind: KindPaused, Op: op, RetryAfter: left, Err: errResting}
	}
	g.mu.Unlock()
	if wait > 0 {
		if err := clock.Sleep(ctx, wait); err != nil {
			<-g.slot
			return &Error{Kind: transportKind(err), Op: op, Err: err}
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
	g.rest.Failures, g.rest.Rest = 0, 0
	if now.After(g.rest.Until.Add(pauseForget)) {
		g.rest.Pause = 0
	}
}

// bad records a failure of the host itself (no answer, 5xx); unreached says that
// it may not even know of the request. From the fifth on
// the group rests, longer each time; the first request after a rest is the
// probe: one more failure opens the breaker again at once.
func (g *group) bad(now time.Time, unreached bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.rest.Failures++
	if g.rest.Failures < breakerAfter {
		return
	}
	first, most := breakerFirst, breakerMost
	if unreached {
		most = offlineMost
	}
	if g.first < first {
		first, most = g.first, localMost
	}
	g.rest.Rest = min(max(first, 2*g.rest.Rest), most)
	g.until(now.Add(jitter(g.rest.Rest, 0.1)))
}

// limited records a 429 and returns how long the group now rests.
func (g *group) limited(now time.Time, retryAfter time.Duration) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	most := max(pauseMost, g.first)
	if g.first < pauseFirst {
		most = localMost
	}
	g.rest.Pause = min(max(g.first, 2*g.rest.Pause), most)
	pause := g.rest.Pause
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
		return g.rest.Pause
	}
	return 0
}

// until extends the rest. Called with g.mu.
func (g *group) until(t time.Time) {
	if t.After(g.rest.Until) {
		g.rest.Until = t
	}
}

// jitter returns d changed by up to ± share of it.
func jitter(d time.Duration, share float64) time.Duration {
	return d + time.Duration((rand.Float64()*2-1)*share*float64(d))
}
