package feeds

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"carbond/feeds/internal/fetch"
	"carbond/feeds/internal/poll"
	"carbond/store/change"
)

// pollTimeout bounds a whole poll. A full sweep of the registry takes minutes.
const pollTimeout = 30 * time.Minute

// Runner polls all configured feeds, each in a goroutine of its own.
type Runner struct {
	opt     Options
	writer  Writer
	log     *slog.Logger
	clock   fetch.Clock
	client  *fetch.Client
	metrics *metrics
	entries []*entry
	dirty   chan struct{} // lossy: the state changed and wants saving
	started time.Time
}

// entry is one source with what the Runner knows of it.
type entry struct {
	src  poll.Source
	busy sync.Mutex // held while the source polls or is read

	mu       sync.Mutex // guards state, polling and interval
	state    feedState
	polling  bool
	interval time.Duration // as the source last gave it

	// Of the goroutine that saves, and of Run after all others have ended.
	savedAt time.Time
	saved   string
}

// Errors that callers of the Runner act on.
var (
	// ErrUnknownFeed is returned by Fetch for a name that is not configured.
	ErrUnknownFeed = errors.New("no such feed")
	// ErrOptions is wrapped by every error of New.
	ErrOptions = errors.New("invalid feed options")
)

// Writer stores what the feeds bring: a Postgres (feeds/postgres) or the store.
type Writer = poll.Writer

// Check is the check of New: it does no I/O. Errors wrap ErrOptions and name every
// wrong option.
func Check(opt Options) error {
	if err := opt.withDefaults().check(); err != nil {
		return fmt.Errorf("%w: %w", ErrOptions, err)
	}
	return nil
}

// New checks opt, reads the state file and returns a Runner that writes to w.
// It does no other I/O and starts nothing: call Run. Errors wrap ErrOptions and
// name every wrong option.
func New(opt Options, w Writer) (*Runner, error) {
	if err := Check(opt); err != nil {
		return nil, err
	}
	opt = opt.withDefaults()
	m, err := newMetrics(opt.Metrics)
	if err != nil {
		return nil, fmt.Errorf("register feed metrics: %w", err)
	}
	r := &Runner{opt: opt, writer: w, log: opt.Log, clock: opt.Clock, metrics: m, dirty: make(chan struct{}, 1)}
	r.started = r.clock.Now()
	// The honest name of this program, with whom to ask.
	agent := "carbond/" + poll.Or(opt.Version, "dev")
	if opt.Contact != "" {
		agent += " (" + strings.Trim(opt.Contact, "()") + ")"
	}
	// The configured hosts on private networks.
	local := map[string]bool{}
	for _, up := range opt.enabled() {
		for _, s := range up.Addresses() {
			if u, err := url.Parse(s); err == nil && s != "" && fetch.LocalName(u.Hostname()) {
				local[fetch.LowerHost(u)] = true
			}
		}
	}
	r.client = fetch.New(fetch.Options{
		UserAgent: agent, Timeout: opt.Timeout, Transport: opt.Transport, Local: local, Clock: opt.Clock, Log: opt.Log,
	})
	saved := loadState(opt.StatePath, r.log)
	r.client.Restore(saved.Hosts)
	for _, src := range opt.sources() {
		r.entries = append(r.entries, r.newEntry(src, saved))
	}
	return r, nil
}

// newEntry takes over what the state file knows of a source.
func (r *Runner) newEntry(src poll.Source, saved stateFile) *entry {
	e := &entry{src: src, state: saved.Feeds[src.Name()]}
	key := src.Fingerprint()
	if e.state.URL != key {
		e.state = feedState{URL: key}
	} else if m := saved.loadMemory(r.opt.StatePath, src.Name(), r.log); m != nil {
		if err := src.Restore(m); err != nil {
			r.log.Warn("feed memory unusable, starting without it", "feed", src.Name(), "error", err)
		} else {
			e.saved = string(m) // stays in the state file while the first poll runs
		}
	}
	now := r.clock.Now()
	e.interval = src.Interval(now)
	first := now
	if !src.Local() {
		first = now.Add(startOffset(src.Name(), e.interval))
	}
	if d := e.state.NextDue; d.Before(first) || d.After(now.Add(dueMost)) {
		e.state.NextDue = first
	}
	r.metrics.start(src.Name(), e.state)
	return e
}

// Run polls until ctx ends and returns its cause. All goroutines have ended and
// the state is saved when it returns. A Runner runs once.
func (r *Runner) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, e := range r.entries {
		wg.Go(func() { r.loop(ctx, e) })
	}
	wg.Go(func() { r.pruneLoop(ctx) })
	wg.Go(func() { r.saveLoop(ctx) })
	wg.Wait()
	r.save(true)
	r.client.CloseIdle()
	return context.Cause(ctx)
}

// loop polls one source whenever it is due.
func (r *Runner) loop(ctx context.Context, e *entry) {
	for ctx.Err() == nil {
		if wait := e.wait(r.clock.Now()); wait > 0 {
			// In steps, so that a corrected clock cannot strand a source.
			if r.clock.Sleep(ctx, min(wait, time.Minute)) != nil {
				return
			}
			continue
		}
		_, _ = r.poll(ctx, e) // recorded and logged there
	}
}

// wait is the time until the source is due.
func (e *entry) wait(now time.Time) time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.state.Disabled != "" {
		return time.Hour
	}
	if e.state.NextDue.After(now.Add(dueMost)) {
		e.state.NextDue = now
	}
	return e.state.NextDue.Sub(now)
}

// poll runs one poll of a source and records how it went.
func (r *Runner) poll(ctx context.Context, e *entry) (Report, error) {
	defer r.touch() // after busy is free, or the save would miss this source's memory
	e.busy.Lock()
	defer e.busy.Unlock()
	e.setPolling(true)
	defer e.setPolling(false)
	name := e.src.Name()
	begin := r.clock.Now()
	c := r.newCycle(name, false)
	res, err := safePoll(ctx, e.src, c.Cycle)
	if err != nil && ctx.Err() != nil {
		err = &fetch.Error{Kind: fetch.KindCanceled, Op: "poll " + name, Err: context.Cause(ctx)} // our doing, not the upstream's
	}
	now := r.clock.Now()

	e.mu.Lock()
	before := e.state
	e.state.Polls++
	e.state.LastPoll = begin
	wait := settle(&e.state, e.src, res, err, begin, now)
	after := e.state
	e.interval = e.src.Interval(now)
	e.mu.Unlock()

	r.record(e, c, res, err, now.Sub(begin), wait, after)
	r.logPoll(before, after, name, c.Written, err, wait)
	return c.report(name, res, begin, now), err
}

func (e *entry) setPolling(on bool) {
	e.mu.Lock()
	e.polling = on
	e.mu.Unlock()
}

// countedCycle is a cycle that counts its requests.
type countedCycle struct {
	*poll.Cycle
	sent *atomic.Int64
}

func (r *Runner) newCycle(name string, dry bool) countedCycle {
	sent, requests := new(atomic.Int64), r.metrics.requests.WithLabelValues(name)
	return countedCycle{&poll.Cycle{
		Client: r.client.For(name, func() { sent.Add(1); requests.Inc() }), Clock: r.clock, Log: r.log.With("feed", name), Writer: r.writer, Dry: dry,
	}, sent}
}

// safePoll polls and turns a panic, which only a parser bug could cause, into a
// failed poll: one odd payload must not take the daemon down.
func safePoll(ctx context.Context, src poll.Source, c *poll.Cycle) (res poll.Result, err error) {
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			c.Log.Error("poll panicked", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = fetch.Fail(fetch.KindInvalid, "poll "+src.Name(), "internal error, see the log: %v", p)
		}
	}()
	return src.Poll(ctx, c)
}

// record updates the metrics.
func (r *Runner) record(e *entry, c countedCycle, res poll.Result, err error, took, wait time.Duration, st feedState) {
	name, label := e.src.Name(), "ok"
	if err != nil {
		label = string(fetch.KindOf(err))
	}
	r.metrics.polls.WithLabelValues(name, label).Inc()
	r.metrics.duration.WithLabelValues(name).Observe(took.Seconds())
	if err == nil && res.Unchanged {
		r.metrics.notModified.WithLabelValues(name).Inc()
	}
	r.metrics.wrote(e.src.Table(), c.Written)
	r.metrics.show(name, st, wait)
}

// logPoll says what an operator wants to know once: the first failure, a change
// of its kind, each tenth of a row, recovery, and a feed switched off.
func (r *Runner) logPoll(before, after feedState, name string, n change.Written, err error, wait time.Duration) {
	log := r.log.With("feed", name)
	kind := fetch.KindOf(err)
	switch {
	case kind == fetch.KindCanceled:
	case err == nil && before.Failures > 0:
		log.Info("feed recovered", "failures", before.Failures)
	case err == nil && n.Changed():
		log.Debug("feed polled", "inserted", n.Inserted, "updated", n.Updated, "deleted", n.Deleted)
	case err == nil:
	case after.Disabled != "" && before.Disabled == "":
		log.Error("feed disabled", "reason", after.Disabled)
	case kind == fetch.KindPaused:
		log.Debug("feed waits for its host", "wait", wait)
	case before.Failures == 0 || before.LastErrorKind != kind || after.Failures%10 == 0:
		log.Warn("feed poll failed", "kind", kind, "error", err, "remedy", after.Advice, "failures", after.Failures, "wait", wait.Round(time.Second))
	}
}
