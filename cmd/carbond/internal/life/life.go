// Package life starts the running parts of the daemon and stops them in
// numbered steps.
//
// Invariants
//
//  1. Every part is joined: Stop returns when its Run has returned or its time
//     is up, and says which.
//  2. A part that ends by itself, with or without an error, ends the daemon: a
//     daemon with a dead part would look alive. The first such cause is kept.
//  3. Every step of a shutdown runs, whatever the ones before it returned; a
//     second signal cuts the waits but not the steps.
package life

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"
)

// Parts runs the parts of a daemon. Make it with New.
type Parts struct {
	log  *slog.Logger
	down chan struct{} // closed at the first part that ended by itself

	mu    sync.Mutex // guards cause
	cause error
}

// New returns Parts without any part.
func New(log *slog.Logger) *Parts {
	return &Parts{log: log, down: make(chan struct{})}
}

// Down is closed when a part has ended by itself.
func (p *Parts) Down() <-chan struct{} { return p.down }

// Cause returns why Down was closed, or nil.
func (p *Parts) Cause() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cause
}

// Part is one running part.
type Part struct {
	name   string
	cancel context.CancelFunc
	done   chan struct{}
	err    error // set before done is closed
}

// Start runs a part until Stop or until ctx ends.
func (p *Parts) Start(ctx context.Context, name string, run func(context.Context) error) *Part {
	ctx, cancel := context.WithCancel(ctx)
	part := &Part{name: name, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(part.done)
		defer cancel()
		err := p.guard(name, func() error { return run(ctx) })
		if ctx.Err() != nil {
			if !errors.Is(err, context.Canceled) {
				part.err = err
			}
			return
		}
		if err == nil {
			err = errors.New("ended without being asked to")
		}
		p.end(fmt.Errorf("%s: %w", name, err))
	}()
	return part
}

// guard turns a panic into an error, so that the other parts still stop in
// order and the store is closed.
func (p *Parts) guard(name string, run func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			p.log.Error("part panicked", "part", name, "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return run()
}

func (p *Parts) end(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cause == nil {
		p.cause = err
		close(p.down)
	}
}

// Stop ends the part and waits for it, at most until ctx ends. A nil Part is
// stopped already.
func (p *Part) Stop(ctx context.Context) error {
	if p == nil {
		return nil
	}
	p.cancel()
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
	}
	select {
	case <-p.done: // both were ready
		return p.err
	default:
		return fmt.Errorf("%s did not stop in time", p.name)
	}
}

// Step is one step of a shutdown.
type Step struct {
	Do     string        // what: "stop replication"
	Why    string        // why here
	Within time.Duration // longest wait
	Run    func(context.Context) error
}

// Shutdown runs the steps in order. When hurry is closed, the steps that are
// left get no time to wait. All errors are joined.
func Shutdown(ctx context.Context, log *slog.Logger, hurry <-chan struct{}, steps []Step) error {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	finished := make(chan struct{})
	defer close(finished)
	go func() {
		select {
		case <-hurry:
			cancel()
		case <-finished:
		}
	}()
	var errs []error
	for i, s := range steps {
		began := time.Now()
		limited, stop := context.WithTimeout(ctx, s.Within)
		err := s.Run(limited)
		stop()
		log.Debug("shutdown step", "step", i+1, "do", s.Do, "why", s.Why, "took", time.Since(began).Round(time.Millisecond))
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s.Do, err))
		}
	}
	return errors.Join(errs...)
}
