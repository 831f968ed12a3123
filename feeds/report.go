package feeds

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"carbond/feeds/internal/fetch"
	"carbond/feeds/internal/poll"
	"carbond/store/change"
)

// Advice says what to do about an error of Fetch, "" for nothing to be done.
func Advice(err error) string { return fetch.Advice(err) }

// Report is what one poll did, or would do.
type Report struct {
	Feed     string
	DryRun   bool
	Items    int            // rows that upstream has
	Written  change.Written // rows changed, or that would be
	Edits    []change.Edit  // of a dry run: the rows that would change
	Requests int            // HTTP requests sent
	Duration time.Duration
	Upstream string // "not modified" when upstream had nothing new
	Notes    []string
	LeftOut  []string // by feed: what of the answer gave no row, and why
}

func (c countedCycle) report(name string, res poll.Result, begin, end time.Time) Report {
	rep := Report{
		Feed: name, DryRun: c.Dry, Items: res.Items, Written: c.Written, Edits: c.Edits,
		Requests: int(c.sent.Load()), Duration: end.Sub(begin), Notes: res.Notes,
	}
	if res.LeftOut != "" {
		rep.LeftOut = []string{name + ": " + res.LeftOut}
	}
	if res.Unchanged {
		rep.Upstream = "not modified"
	}
	return rep
}

// Fetch polls the named feed now, whether due or not, and returns what it did.
// A dry run asks upstream and writes nothing, not even the feed's own memory.
// "news" stands for all news feeds. A host that is paused is not asked: the error
// is then of fetch.KindPaused. An unknown name is ErrUnknownFeed.
func (r *Runner) Fetch(ctx context.Context, name string, dryRun bool) (Report, error) {
	var found []*entry
	for _, e := range r.entries {
		if n := e.src.Name(); n == name || strings.HasPrefix(n, name+"/") {
			found = append(found, e)
		}
	}
	if len(found) == 0 {
		known := make([]string, len(r.entries))
		for i, e := range r.entries {
			known[i] = e.src.Name()
		}
		return Report{}, fmt.Errorf("fetch feed %q: %w; known: %s", name, ErrUnknownFeed, strings.Join(known, ", "))
	}
	total := Report{Feed: name, DryRun: dryRun}
	var errs []error
	for _, e := range found {
		rep, err := r.fetchOne(ctx, e, dryRun)
		total = total.add(rep)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", e.src.Name(), err))
		}
	}
	return total, errors.Join(errs...)
}

func (r *Runner) fetchOne(ctx context.Context, e *entry, dryRun bool) (Report, error) {
	if !dryRun {
		return r.poll(ctx, e)
	}
	e.busy.Lock()
	memory, err := json.Marshal(e.src.Save())
	e.busy.Unlock()
	if err != nil {
		return Report{}, fmt.Errorf("copy memory of feed %s: %w", e.src.Name(), err)
	}
	src := r.opt.source(e.src.Name())
	if err := src.Restore(memory); err != nil {
		return Report{}, fmt.Errorf("copy memory of feed %s: %w", e.src.Name(), err)
	}
	begin := r.clock.Now()
	c := r.newCycle(src.Name(), true)
	res, err := safePoll(ctx, src, c.Cycle)
	c.Edits = poll.Merge(c.Edits)
	if len(c.Edits) > 0 {
		var perr error
		c.Edits, c.Written, perr = r.writer.Preview(ctx, c.Edits)
		err = errors.Join(err, perr)
	}
	return c.report(src.Name(), res, begin, r.clock.Now()), err
}

func (a Report) add(b Report) Report {
	a.Items += b.Items
	a.Written = a.Written.Add(b.Written)
	a.Edits = append(a.Edits, b.Edits...)
	a.Requests += b.Requests
	a.Duration += b.Duration
	a.Notes = append(a.Notes, b.Notes...)
	a.LeftOut = append(a.LeftOut, b.LeftOut...)
	if b.Upstream != "" {
		a.Upstream = b.Upstream
	}
	return a
}
