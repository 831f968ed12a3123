package cache

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
)

// errExited is what waiters get when a load ends its goroutine without
// returning, as a test's FailNow does.
var errExited = errors.New("load ended without an answer")

// PanicError is the error of a load that panicked.
type PanicError struct {
	Value any
	Stack []byte
}

// Error names the panic, without the stack.
func (e *PanicError) Error() string { return fmt.Sprintf("panic while loading: %v", e.Value) }

type flightKey[S comparable] struct {
	key   Key
	stamp S
}

// flight is one load under way.
type flight[V any] struct {
	waiters int // guarded by Cache.mu
	cancel  context.CancelFunc
	done    chan struct{} // closed after item and err are set
	item    Item[V]
	err     error
}

// start begins a load. It runs on its own goroutine and its own context, so
// that the caller who happened to come first may leave. The caller holds mu.
func (c *Cache[S, V]) start(ctx context.Context, fk flightKey[S], load Load[V]) *flight[V] {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	f := &flight[V]{cancel: cancel, done: make(chan struct{}), err: errExited}
	c.flights[fk] = f
	c.loads.Add(1) // before the goroutine, so that Wait cannot miss it
	go c.run(ctx, fk, f, load)
	return f
}

func (c *Cache[S, V]) run(ctx context.Context, fk flightKey[S], f *flight[V], load Load[V]) {
	defer c.loads.Done()
	defer f.cancel()
	// Deferred, so that a load that panics or exits still frees the key.
	defer func() {
		if p := recover(); p != nil {
			f.err = &PanicError{Value: p, Stack: debug.Stack()}
		}
		c.mu.Lock()
		if f.err == nil && f.item.Keep {
			c.store(fk.key, fk.stamp, f.item)
		}
		if c.flights[fk] == f {
			delete(c.flights, fk)
		}
		c.mu.Unlock()
		close(f.done)
	}()
	item, err := load(ctx)
	f.item, f.err = item, err
}

// leave takes one waiter off. The last one ends the load, and later callers
// must not join a load that is ending.
func (c *Cache[S, V]) leave(fk flightKey[S], f *flight[V]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f.waiters--
	if f.waiters == 0 {
		f.cancel()
		if c.flights[fk] == f {
			delete(c.flights, fk)
		}
	}
}
