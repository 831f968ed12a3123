package hub

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"carbond/store/change"
)

// Feed is the ring of one run of the reading goroutine. Its methods may be
// called from any goroutine between Join and Leave.
type Feed struct {
	hub    *Hub
	cancel context.CancelFunc
	users  atomic.Int64
	names  *names // used by the reading goroutine only

	mu      sync.Mutex // guards what follows
	batches []*Batch   // oldest first
	bytes   int64
	base    change.Offset // the ring has everything behind it
	newest  change.Offset
	err     error
	woken   chan struct{} // closed at the next change of what is above
}

func newFeed(h *Hub, at change.Offset) *Feed {
	return &Feed{hub: h, names: newNames(), base: at, newest: at, woken: make(chan struct{})}
}

// Leave ends the use of the feed, which ends when nobody uses it any more.
func (f *Feed) Leave() { f.hub.leave(f) }

// Base returns the offset behind which the ring has everything that came since.
func (f *Feed) Base() change.Offset {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.base
}

// After returns the batch with the first transaction behind at. It is nil when
// there is none yet; woken is closed when that may have changed. Errors: ErrGone,
// and that of the follower once everything before it was handed out.
func (f *Feed) After(at change.Offset) (b *Batch, woken <-chan struct{}, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case at < f.base:
		return nil, nil, ErrGone
	case at >= f.newest:
		return nil, f.woken, f.err
	}
	i, _ := slices.BinarySearchFunc(f.batches, at, func(b *Batch, at change.Offset) int {
		if b.End() <= at {
			return -1
		}
		return 1
	})
	return f.batches[i], nil, nil
}

func (f *Feed) end() change.Offset {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.newest
}

func (f *Feed) failed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err != nil
}

// publish appends batches and drops the oldest ones beyond the bounds, though
// never the last.
func (f *Feed) publish(batches []*Batch) {
	if len(batches) == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, b := range batches {
		f.batches = append(f.batches, b)
		f.bytes += b.size
		f.newest = b.End()
	}
	drop := 0
	for left := len(f.batches); left > 1 && (f.bytes > f.hub.opt.Bytes || left > f.hub.opt.Batches); left-- {
		f.base = f.batches[drop].End()
		f.bytes -= f.batches[drop].size
		f.batches[drop] = nil // append moves the rest to a new array before long
		drop++
	}
	f.batches = f.batches[drop:]
	f.wake()
}

func (f *Feed) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
	f.wake()
}

// wake needs f.mu.
func (f *Feed) wake() {
	close(f.woken)
	f.woken = make(chan struct{})
}

// names keeps one copy of each filter value that rows have: a part of a row's
// text would keep the whole row in memory.
type names struct{ known map[string]string }

// maxNames bounds the copies.
const maxNames = 4096

func newNames() *names { return &names{known: map[string]string{}} }

func (n *names) of(s string) string {
	if s == "" {
		return ""
	}
	if k, ok := n.known[s]; ok {
		return k
	}
	if len(n.known) >= maxNames {
		clear(n.known)
	}
	k := string([]byte(s))
	n.known[k] = k
	return k
}
