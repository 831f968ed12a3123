package hub

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"carbond/store/change"
)

// ErrClosed is returned by Join after Close.
var ErrClosed = errors.New("the hub is closed")

// ErrGone means that the ring does not reach back to an offset.
var ErrGone = errors.New("the ring has passed the offset")

// Options configure a Hub. Follow, Encode and Wrap are required.
type Options struct {
	// Follow starts a follower behind the newest offset.
	Follow func(context.Context) (change.Follower, error)
	// Encode appends an encoded delta, in the form in which messages hold it.
	Encode func([]byte, *change.Delta) []byte
	// Wrap makes a message of encoded deltas, which it may keep.
	Wrap func(Key, Head, []byte) any

	// Split makes a message of each transaction by itself.
	Split bool

	Bytes   int64 // of the ring; default 32 MiB
	Batches int   // of the ring; default 16,384
	// Wakeups bounds how often all watchers together are woken in a second;
	// default 10,000.
	Wakeups int
	// BytesPerSecond bounds what is handed out to all watchers together: beyond
	// it they lag, rather than take the processor from what they watch. Default
	// 128 MiB.
	BytesPerSecond int64
	// Panicked turns a recovered panic of the reading goroutine into an error.
	Panicked func(any) error
}

// minStep is the shortest time between two readings.
const minStep = time.Millisecond

// readAhead bounds the encoded bytes of one reading.
const readAhead = 1 << 20

// Hub hands out feeds. Its methods may be called from any goroutine.
type Hub struct {
	opt Options
	wg  sync.WaitGroup

	txns, deltas atomic.Uint64
	sent         atomic.Int64 // bytes of deltas handed out

	mu     sync.Mutex // guards what follows
	feed   *Feed      // nil while nobody has joined
	closed bool
}

// New returns a hub that runs nothing yet.
func New(opt Options) *Hub {
	if opt.Bytes <= 0 {
		opt.Bytes = 32 << 20
	}
	if opt.Batches <= 0 {
		opt.Batches = 16 << 10
	}
	if opt.Wakeups <= 0 {
		opt.Wakeups = 10_000
	}
	if opt.BytesPerSecond <= 0 {
		opt.BytesPerSecond = 128 << 20
	}
	if opt.Panicked == nil {
		opt.Panicked = func(p any) error { return fmt.Errorf("hub panicked: %v", p) }
	}
	return &Hub{opt: opt}
}

// Join returns the running feed, started if there is none. The caller leaves it
// when done.
func (h *Hub) Join(ctx context.Context) (*Feed, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, ErrClosed
	}
	if h.feed == nil || h.feed.failed() {
		f, err := h.opt.Follow(ctx)
		if err != nil {
			return nil, err
		}
		feed := newFeed(h, f.Offset())
		// The goroutine outlives the call that happened to be the first, and
		// keeps nothing of it.
		rctx, cancel := context.WithCancel(context.Background())
		feed.cancel = cancel
		h.feed = feed
		h.wg.Go(func() { feed.run(rctx, f) })
	}
	h.feed.users.Add(1)
	return h.feed, nil
}

// leave ends a feed that nobody uses any more.
func (h *Hub) leave(f *Feed) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if f.users.Add(-1) > 0 {
		return
	}
	f.cancel()
	if h.feed == f {
		h.feed = nil
	}
}

// Close ends the feed and waits for its goroutine. Watchers that are still there
// get an error.
func (h *Hub) Close() {
	h.mu.Lock()
	h.closed = true
	if h.feed != nil {
		h.feed.cancel()
	}
	h.mu.Unlock()
	h.wg.Wait()
}

// Stats are figures for metrics.
type Stats struct {
	Watchers     int    // that have joined
	Batches      int    // in the ring
	Bytes        int64  // of the ring
	Transactions uint64 // read so far
	Deltas       uint64 // encoded so far
}

// Stats returns the figures.
func (h *Hub) Stats() Stats {
	s := Stats{Transactions: h.txns.Load(), Deltas: h.deltas.Load()}
	h.mu.Lock()
	f := h.feed
	h.mu.Unlock()
	if f != nil {
		s.Watchers = int(f.users.Load())
		f.mu.Lock()
		s.Batches, s.Bytes = len(f.batches), f.bytes
		f.mu.Unlock()
	}
	return s
}

// run reads until ctx ends or the follower fails.
func (f *Feed) run(ctx context.Context, src change.Follower) {
	defer func() {
		if p := recover(); p != nil {
			f.fail(f.hub.opt.Panicked(p))
		}
	}()
	pause := time.NewTimer(0)
	defer pause.Stop()
	sent := f.hub.sent.Load()
	for {
		batches, err := f.read(ctx, src)
		if err != nil {
			f.fail(err)
			return
		}
		f.publish(batches)
		pause.Reset(f.step(&sent))
		select {
		case <-pause.C:
		case <-ctx.Done():
			f.fail(ctx.Err())
			return
		}
	}
}

// maxStep bounds a pause for the bytes that were handed out.
const maxStep = time.Second

// step returns the pause until the next reading. Sent is what was handed out
// until the last pause: while much goes out, the changes wait in the changelog.
func (f *Feed) step(sent *int64) time.Duration {
	now := f.hub.sent.Load()
	out := now - *sent
	*sent = now
	wake := time.Duration(f.users.Load()) * time.Second / time.Duration(f.hub.opt.Wakeups)
	send := time.Duration(float64(out) / float64(f.hub.opt.BytesPerSecond) * float64(time.Second))
	return max(minStep, wake, min(send, maxStep))
}

// read waits for transactions and encodes them and what else is there already.
func (f *Feed) read(ctx context.Context, src change.Follower) ([]*Batch, error) {
	p := packer{opt: &f.hub.opt, sent: &f.hub.sent, from: f.end(), names: f.names}
	for first := true; first || src.Ready() && p.bytes < readAhead; first = false {
		txns, err := src.Next(ctx)
		if err != nil {
			return nil, err
		}
		for i := range txns {
			p.add(&txns[i])
		}
	}
	f.hub.txns.Add(uint64(p.txns))
	f.hub.deltas.Add(uint64(p.deltas))
	return p.done(), nil
}
