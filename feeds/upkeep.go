package feeds

import (
	"context"
	"encoding/json"
	"time"

	"carbond/store/change"
)

// Figures of the upkeep.
const (
	saveEvery   = 10 * time.Second // at most this often
	memoryEvery = 10 * time.Minute // large memories at most this often
	pruneEvery  = time.Hour
)

// touch asks for the state to be saved soon.
func (r *Runner) touch() {
	select {
	case r.dirty <- struct{}{}:
	default:
	}
}

// saveLoop saves the state after changes, not more often than it must.
func (r *Runner) saveLoop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.dirty:
		}
		r.save(false)
		if r.clock.Sleep(ctx, saveEvery) != nil {
			return
		}
	}
}

// save writes the state file, and the large memories when they are due or all
// are wanted. A failure is logged: the daemon works on without.
func (r *Runner) save(all bool) {
	path := r.opt.StatePath
	if path == "" {
		return
	}
	now := r.clock.Now()
	s := stateFile{Format: stateFormat, Feeds: map[string]feedState{}, Hosts: r.client.Save(), Memory: map[string]json.RawMessage{}}
	for _, e := range r.entries {
		name := e.src.Name()
		e.mu.Lock()
		if e.state.Polls > 0 || !e.state.LastPoll.IsZero() {
			s.Feeds[name] = e.state
		}
		e.mu.Unlock()
		memory := r.encode(e, all, now)
		if memory != "" && len(memory) <= memoryInline {
			s.Memory[name] = json.RawMessage(memory)
		}
	}
	b, err := json.MarshalIndent(s, "", " ")
	if err == nil {
		err = writeFile(path, append(b, '\n'))
	}
	if err != nil {
		r.log.Warn("feed state not saved", "error", err)
	}
}

// encode returns the memory of a source, and saves it to its own file when it
// is too large for the main one. A source that polls at this moment, or a large
// memory that was saved not long ago, keeps its earlier form unless all is set;
// "" means that there is none yet.
func (r *Runner) encode(e *entry, all bool, now time.Time) string {
	large := len(e.saved) > memoryInline
	if !all && large && now.Sub(e.savedAt) < memoryEvery {
		return e.saved
	}
	if all {
		e.busy.Lock()
	} else if !e.busy.TryLock() {
		return e.saved
	}
	b, err := json.Marshal(e.src.Save())
	e.busy.Unlock()
	if err != nil {
		r.log.Error("feed memory cannot be encoded", "feed", e.src.Name(), "error", err)
		return e.saved
	}
	if len(b) > memoryInline && (string(b) != e.saved || !large) {
		if err := writeFile(memoryPath(r.opt.StatePath, e.src.Name()), b); err != nil {
			r.log.Warn("feed memory not saved", "feed", e.src.Name(), "error", err)
			return e.saved
		}
	}
	e.saved, e.savedAt = string(b), now
	return e.saved
}

// pruneLoop deletes history that is older than configured.
func (r *Runner) pruneLoop(ctx context.Context) {
	for {
		r.prune(ctx, change.Finance, r.opt.Finance.Keep)
		r.prune(ctx, change.News, r.opt.News.Keep)
		if r.clock.Sleep(ctx, pruneEvery) != nil {
			return
		}
	}
}

func (r *Runner) prune(ctx context.Context, table string, keep time.Duration) {
	if keep <= 0 {
		return
	}
	n, err := r.writer.Prune(ctx, table, r.clock.Now().Add(-keep))
	switch {
	case err != nil && ctx.Err() == nil:
		r.log.Warn("history not pruned", "table", table, "error", err)
	case n > 0:
		r.metrics.pruned.WithLabelValues(table).Add(float64(n))
		r.log.Info("history pruned", "table", table, "rows", n)
	}
}
