package stream

import (
	"context"
	"errors"
	"sync"

	"carbond/replicate/pgerr"
	"carbond/store/change"
)

// Sink is the part of a sink that the pipe calls.
type Sink interface {
	Position() change.Position
	Apply(ctx context.Context, txns []change.Txn) error
	Advance(ctx context.Context, lsn change.LSN) error
}

// Pipe hands transactions from the receiver to the goroutine that calls the
// sink. While the sink is busy, what arrives accumulates and goes over in one
// call: group commit by itself. It is bounded: the receiver asks for room.
type Pipe struct {
	sink    Sink
	limit   int
	applied func([]change.Txn, change.Position) // after a successful call of the sink
	failed  func()                              // once, after an error

	work chan struct{} // wakes run; capacity 1, lossy
	Room chan struct{} // wakes the receiver after a call; capacity 1, lossy
	Done chan struct{} // closed when run has returned

	mu      sync.Mutex // guards all below
	queue   []change.Txn
	costs   []int // of queue, per put
	counts  []int // transactions per put
	queued  int   // cost of queue
	flying  int   // cost of what the sink works on
	busy    bool  // the sink is being called
	advance change.LSN
	err     error
}

// NewPipe makes a pipe that holds about limit bytes. applied is called after each
// call of the sink, failed once after an error.
func NewPipe(sink Sink, limit int, applied func([]change.Txn, change.Position), failed func()) *Pipe {
	return &Pipe{
		sink: sink, limit: limit, applied: applied, failed: failed,
		work: make(chan struct{}, 1), Room: make(chan struct{}, 1), Done: make(chan struct{}),
	}
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Put queues transactions. It never blocks; use full first.
func (p *Pipe) Put(txns []change.Txn, cost int) {
	if len(txns) == 0 {
		return
	}
	p.mu.Lock()
	p.queue = append(p.queue, txns...)
	p.costs = append(p.costs, cost)
	p.counts = append(p.counts, len(txns))
	p.queued += cost
	p.mu.Unlock()
	wake(p.work)
}

// AskAdvance asks the sink to make an idle position durable.
func (p *Pipe) AskAdvance(lsn change.LSN) {
	p.mu.Lock()
	p.advance = lsn
	p.mu.Unlock()
	wake(p.work)
}

// Full reports whether the receiver should wait for room. Nothing queued is
// never full, so one oversized part passes.
func (p *Pipe) Full() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.queued > 0 && p.queued+p.flying >= p.limit
}

// Idle reports whether nothing is queued and the sink is not being called.
func (p *Pipe) Idle() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.queued == 0 && len(p.queue) == 0 && !p.busy && p.advance == 0
}

// Err returns the sink's error.
func (p *Pipe) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// next takes what the sink should do next: about half the limit, so that the
// receiver can fill the other half meanwhile.
func (p *Pipe) next() (txns []change.Txn, advance change.LSN) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n, k := 0, 0
	for k < len(p.costs) && (k == 0 || p.flying+p.costs[k] <= p.limit/2) {
		p.flying += p.costs[k]
		n += p.counts[k]
		k++
	}
	p.queued -= p.flying
	txns = p.queue[:n:n]
	if n == len(p.queue) {
		p.queue, p.costs, p.counts = nil, nil, nil
	} else {
		p.queue, p.costs, p.counts = p.queue[n:], p.costs[k:], p.counts[k:]
	}
	if n == 0 {
		advance = p.advance
	}
	p.advance = 0 // with transactions at hand it is out of date
	p.busy = n > 0 || advance > 0
	return txns, advance
}

// finish notes the end of a call of the sink.
func (p *Pipe) finish(err error) {
	p.mu.Lock()
	p.flying, p.busy = 0, false
	switch {
	case err == nil:
	case errors.Is(err, change.ErrDiverged):
		repair := pgerr.Resnapshot
		if u, ok := errors.AsType[*change.UnfitError](err); ok {
			repair = u.Remedy + "; then " + pgerr.Resnapshot
		}
		p.err = pgerr.New(pgerr.KindDiverged, repair, err, "the changelog cannot apply a change")
	default:
		p.err = pgerr.New(pgerr.KindSink, "", err, "the changelog did not take a transaction")
	}
	p.mu.Unlock()
	wake(p.Room)
}

// Run calls the sink until ctx ends or the sink fails. What is still queued
// then is dropped: it was never confirmed, so Postgres sends it again. sinkCtx
// outlives ctx for a while, so that a commit under way can end well.
func (p *Pipe) Run(ctx, sinkCtx context.Context) {
	defer close(p.Done)
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.work:
		}
		for ctx.Err() == nil {
			txns, advance := p.next()
			var err error
			switch {
			case len(txns) > 0:
				err = p.sink.Apply(sinkCtx, txns)
			case advance > 0:
				err = p.sink.Advance(sinkCtx, advance)
			}
			if err == nil && (len(txns) > 0 || advance > 0) {
				p.applied(txns, p.sink.Position())
			}
			clear(txns) // what is still queued shares their memory
			p.finish(err)
			if err != nil {
				p.failed()
				return
			}
			if len(txns) == 0 && advance == 0 {
				break
			}
		}
	}
}
