// Package throttle keeps a repeated message from filling the log.
package throttle

import (
	"sync"
	"time"
)

// Throttle lets one log line through in a while.
type Throttle struct {
	mu         sync.Mutex // guards what follows
	next       time.Time
	suppressed int
}

// pause is the time between two lines.
const pause = 10 * time.Second

// Allow reports whether to log now, and how many were not since the last time.
func (t *Throttle) Allow(now time.Time) (suppressed int, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Before(t.next) {
		t.suppressed++
		return 0, false
	}
	suppressed, t.suppressed, t.next = t.suppressed, 0, now.Add(pause)
	return suppressed, true
}
