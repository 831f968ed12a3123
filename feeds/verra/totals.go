package verra

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"carbond/feeds/internal/fetch"
	"carbond/feeds/internal/poll"
)

// unitBooks are the ledgers of units that are gone.
var unitBooks = []Resource{Retirements, Cancellations}

// bookParser is the parser of one of unitBooks.
func bookParser(r Resource) func([]byte, string) (Page[Units], error) {
	if r == Cancellations {
		return ParseCancellations
	}
	return ParseRetirements
}

// readBook reads a whole ledger into l if the service can page it to its end: a
// handful of requests in place of one for each project. The retirements of the
// real registry are too many by far, there the first page says so.
func (s *Poller) readBook(ctx context.Context, c *poll.Cycle, l *Ledger, r Resource) error {
	w := newSweeper(s, c, r, bookParser(r), func(u Units) int64 { return u.EntityID }, NewerUnits)
	if err := w.whole(ctx, 0, true); err != nil {
		return err
	}
	if w.total > MaxStart || !w.full(w.total) || w.skipped > 0 {
		return nil // totals, project by project
	}
	for _, u := range w.rows {
		l.Add(r, u)
	}
	l.SetComplete(r, true)
	return nil
}

// setTotals gives l the sums of a project from ledgers that it does not hold whole.
func setTotals(l *Ledger, number int64, t *unitTotals) {
	if !l.Complete(Retirements) {
		l.SetTotal(Retirements, number, &t.Retired)
	}
	if !l.Complete(Cancellations) {
		l.SetTotal(Cancellations, number, &t.Cancelled)
	}
}

// readSums reads the sums over the whole registry, against which the sums of
// single projects are judged: one that equals the whole ignored its filter.
func (s *Poller) readSums(ctx context.Context, c *poll.Cycle) error {
	for _, r := range unitBooks {
		if s.ledger.Complete(r) {
			continue // nobody asks for sums of it
		}
		sum, err := s.sum(ctx, c, r)
		if err != nil {
			return s.soften(c, err)
		}
		if r == Retirements {
			s.mem.AllRetired = sum
		} else {
			s.mem.AllCancelled = sum
		}
	}
	s.mem.SumsKnown = true
	return nil
}

// soften keeps a sweep good when only the units that are gone could not be read:
// supply stays as it is then.
func (s *Poller) soften(c *poll.Cycle, err error) error {
	switch fetch.KindOf(err) {
	case "":
		return nil
	case fetch.KindRateLimited, fetch.KindPaused, fetch.KindCanceled:
		return err
	}
	c.Log.Warn("retired or cancelled units not available, supply may not be updated", "error", err)
	return nil
}

func (s *Poller) sum(ctx context.Context, c *poll.Cycle, r Resource, filters ...Filter) (float64, error) {
	call, err := s.api.Aggregate(r, filters...)
	if err != nil {
		return 0, fetch.Fail(fetch.KindInvalid, "sum "+string(r), "%w", err)
	}
	req, res, err := c.Call(ctx, call, s.rules())
	if err != nil {
		return 0, err
	}
	sum, err := ParseAggregate(res.Body, res.ContentType())
	return sum, poll.Parsed(req, err)
}

// changedTotals asks for the totals of projects that have just changed, so that
// their new supply is written together with the change.
func (s *Poller) changedTotals(ctx context.Context, c *poll.Cycle) error {
	budget := s.budget()
	for _, n := range slices.Sorted(maps.Keys(s.stale)) {
		if budget == 0 || !s.mem.SumsKnown {
			return nil
		}
		budget--
		if err := s.askTotals(ctx, c, n); err != nil {
			switch fetch.KindOf(err) {
			case fetch.KindRateLimited, fetch.KindPaused, fetch.KindAuth, fetch.KindCanceled:
				return err
			}
			return nil // the rows are written without new supply; totals reports it
		}
	}
	return nil
}

// totals asks for the totals of some more projects, those never asked first,
// and writes what follows from them.
func (s *Poller) totals(ctx context.Context, c *poll.Cycle) error {
	if !s.mem.SumsKnown || s.opt.TotalsPerPoll < 0 || c.Dry && !s.isLocal {
		return nil // a preview is not worth twenty more requests
	}
	var failed error
	for _, n := range s.due(c.Now()) {
		if failed = s.askTotals(ctx, c, n); failed != nil {
			s.putOff(n, failed, c.Now())
			break
		}
	}
	if len(s.pending) > 0 {
		if err := s.writePending(ctx, c); err != nil {
			return err
		}
	}
	return failed
}

// putOff lets a project wait for which the service has no usable answer, so that
// it does not keep all others from theirs.
func (s *Poller) putOff(n int64, err error, now time.Time) {
	switch fetch.KindOf(err) {
	case fetch.KindInvalid, fetch.KindHTTPStatus, fetch.KindNotFound, fetch.KindHTML, fetch.KindNotJSON, fetch.KindEmpty:
		s.refused[n] = now
	}
}

// budget is the number of projects whose totals one poll may ask for.
func (s *Poller) budget() int {
	if s.isLocal {
		return 500
	}
	return max(s.opt.TotalsPerPoll, 0)
}

// due lists the projects whose totals are wanted next: changed ones, unknown
// ones, old ones. Projects without issuances need none.
func (s *Poller) due(now time.Time) []int64 {
	old := now.Add(-s.opt.TotalsEvery).Unix()
	var out []int64
	age := func(n int64) int64 {
		t := s.mem.Totals[n]
		switch {
		case s.stale[n]:
			return -1
		case t == nil:
			return 0
		}
		return t.At
	}
	for n := range s.projects {
		if at, ok := s.refused[n]; ok && now.Sub(at) < totalsRetry {
			continue
		}
		f := s.ledger.Facts(n)
		if f.Issued != nil && *f.Issued == 0 || f.Issued == nil && s.swept() {
			delete(s.stale, n)
			continue
		}
		if a := age(n); a < old {
			out = append(out, n)
		}
	}
	slices.SortFunc(out, func(a, b int64) int {
		if x, y := age(a), age(b); x != y {
			return int(min(max(x-y, -1), 1))
		}
		return int(min(max(a-b, -1), 1))
	})
	return out[:min(len(out), s.budget())]
}

// askTotals asks for the retired and cancelled tonnes of one project, and for
// the issued ones where the issuances could not be read to the end.
func (s *Poller) askTotals(ctx context.Context, c *poll.Cycle, n int64) error {
	if !s.swept() {
		issued, err := s.sum(ctx, c, Issuances, ByProject(n))
		if err != nil {
			return err
		}
		s.ledger.SetTotal(Issuances, n, &issued)
	}
	f := s.ledger.Facts(n)
	if f.Issued == nil || *f.Issued == 0 {
		delete(s.stale, n)
		s.pending[n] = true
		return nil
	}
	retired, err := s.gone(ctx, c, Retirements, n, *f.Issued, s.mem.AllRetired)
	if err != nil {
		return err
	}
	cancelled, err := s.gone(ctx, c, Cancellations, n, *f.Issued, s.mem.AllCancelled)
	if err != nil {
		return err
	}
	t := &unitTotals{Issued: *f.Issued, Retired: retired, Cancelled: cancelled, At: c.Now().Unix()}
	s.mem.Totals[n] = t
	setTotals(s.ledger, n, t)
	s.pending[n] = true
	delete(s.stale, n)
	delete(s.refused, n)
	return nil
}

// errWholeRegistry is a sum that ignored its filter.
var errWholeRegistry = errors.New("the filter was ignored: the sum is that of the whole registry")

// gone is how much of a project a ledger holds: out of the ledger itself where
// that is at hand, else as the service sums it up. all is the sum over all
// projects.
func (s *Poller) gone(ctx context.Context, c *poll.Cycle, r Resource, n int64, issued, all float64) (float64, error) {
	if s.ledger.Complete(r) {
		if s.stale[n] {
			if err := s.freshen(ctx, c, r, n); err != nil {
				return 0, err
			}
		}
		f := s.ledger.Facts(n)
		v := f.Retired
		if r == Cancellations {
			v = f.Cancelled
		}
		if v == nil {
			return 0, fetch.Fail(fetch.KindInvalid, "sum of project "+ProjectID(n), "a row of its %s has no quantity", r)
		}
		return *v, nil
	}
	sum, err := s.sum(ctx, c, r, ByProject(n))
	if err == nil && sum >= all && sum > issued {
		err = fetch.Fail(fetch.KindInvalid, "sum of project "+ProjectID(n), "%w", errWholeRegistry)
	}
	return sum, err
}

// freshen adds to a ledger that was read whole what has become of one project
// since. A filter that is ignored does no harm here: rows say whose they are.
func (s *Poller) freshen(ctx context.Context, c *poll.Cycle, r Resource, n int64) error {
	req, res, err := s.ask(ctx, c, Search{
		Resource: r, Sort: []Sort{SortChanged()}, Filters: []Filter{ByProject(n)},
	})
	if err != nil {
		return err
	}
	page, err := bookParser(r)(res.Body, res.ContentType())
	if err != nil && !errors.Is(err, ErrNoEntities) { // the project has none
		return poll.Parsed(req, err)
	}
	for _, changed := range s.ledger.Add(r, page.Rows...) {
		s.pending[changed] = true
	}
	return nil
}
