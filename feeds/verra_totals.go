package feeds

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"carbond/feeds/verra"
)

// unitBooks are the ledgers of units that are gone.
var unitBooks = []verra.Resource{verra.Retirements, verra.Cancellations}

// bookParser is the parser of one of unitBooks.
func bookParser(r verra.Resource) func([]byte, string) (verra.Page[verra.Units], error) {
	if r == verra.Cancellations {
		return verra.ParseCancellations
	}
	return verra.ParseRetirements
}

// readBook reads a whole ledger into l if the service can page it to its end: a
// handful of requests in place of one for each project. The retirements of the
// real registry are too many by far, there the first page says so.
func (s *verraSource) readBook(ctx context.Context, c *cycle, l *verra.Ledger, r verra.Resource) error {
	w := newSweeper(s, c, r, bookParser(r), func(u verra.Units) int64 { return u.EntityID }, verra.NewerUnits)
	if err := w.whole(ctx, 0, true); err != nil {
		return err
	}
	if w.total > verra.MaxStart || !w.full(w.total) || w.skipped > 0 {
		return nil // totals, project by project
	}
	for _, u := range w.rows {
		l.Add(r, u)
	}
	l.SetComplete(r, true)
	return nil
}

// setTotals gives l the sums of a project from ledgers that it does not hold whole.
func setTotals(l *verra.Ledger, number int64, t *verraTotals) {
	if !l.Complete(verra.Retirements) {
		l.SetTotal(verra.Retirements, number, &t.Retired)
	}
	if !l.Complete(verra.Cancellations) {
		l.SetTotal(verra.Cancellations, number, &t.Cancelled)
	}
}

// readSums reads the sums over the whole registry, against which the sums of
// single projects are judged: one that equals the whole ignored its filter.
func (s *verraSource) readSums(ctx context.Context, c *cycle) error {
	for _, r := range unitBooks {
		if s.ledger.Complete(r) {
			continue // nobody asks for sums of it
		}
		sum, err := s.sum(ctx, c, r)
		if err != nil {
			return s.soften(c, err)
		}
		if r == verra.Retirements {
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
func (s *verraSource) soften(c *cycle, err error) error {
	switch KindOf(err) {
	case "":
		return nil
	case KindRateLimited, KindPaused, KindCanceled:
		return err
	}
	c.log.Warn("retired or cancelled units not available, supply may not be updated", "error", err)
	return nil
}

func (s *verraSource) sum(ctx context.Context, c *cycle, r verra.Resource, filters ...verra.Filter) (float64, error) {
	call, err := s.api.Aggregate(r, filters...)
	if err != nil {
		return 0, fail(KindInvalid, "sum "+string(r), "%w", err)
	}
	req, res, err := c.call(ctx, call, s.rules())
	if err != nil {
		return 0, err
	}
	sum, err := verra.ParseAggregate(res.Body, res.ContentType())
	return sum, parsed(req, err)
}

// changedTotals asks for the totals of projects that have just changed, so that
// their new supply is written together with the change.
func (s *verraSource) changedTotals(ctx context.Context, c *cycle) error {
	budget := s.budget()
	for _, n := range slices.Sorted(maps.Keys(s.stale)) {
		if budget == 0 || !s.mem.SumsKnown {
			return nil
		}
		budget--
		if err := s.askTotals(ctx, c, n); err != nil {
			switch KindOf(err) {
			case KindRateLimited, KindPaused, KindAuth, KindCanceled:
				return err
			}
			return nil // the rows are written without new supply; totals reports it
		}
	}
	return nil
}

// totals asks for the totals of some more projects, those never asked first,
// and writes what follows from them.
func (s *verraSource) totals(ctx context.Context, c *cycle) error {
	if !s.mem.SumsKnown || s.opt.TotalsPerPoll < 0 || c.dry && !s.isLocal {
		return nil // a preview is not worth twenty more requests
	}
	var failed error
	for _, n := range s.due(c.now()) {
		if failed = s.askTotals(ctx, c, n); failed != nil {
			s.putOff(n, failed, c.now())
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
func (s *verraSource) putOff(n int64, err error, now time.Time) {
	switch KindOf(err) {
	case KindInvalid, KindHTTPStatus, KindNotFound, KindHTML, KindNotJSON, KindEmpty:
		s.refused[n] = now
	}
}

// budget is the number of projects whose totals one poll may ask for.
func (s *verraSource) budget() int {
	if s.isLocal {
		return 500
	}
	return max(s.opt.TotalsPerPoll, 0)
}

// due lists the projects whose totals are wanted next: changed ones, unknown
// ones, old ones. Projects without issuances need none.
func (s *verraSource) due(now time.Time) []int64 {
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
func (s *verraSource) askTotals(ctx context.Context, c *cycle, n int64) error {
	if !s.swept() {
		issued, err := s.sum(ctx, c, verra.Issuances, verra.ByProject(n))
		if err != nil {
			return err
		}
		s.ledger.SetTotal(verra.Issuances, n, &issued)
	}
	f := s.ledger.Facts(n)
	if f.Issued == nil || *f.Issued == 0 {
		delete(s.stale, n)
		s.pending[n] = true
		return nil
	}
	retired, err := s.gone(ctx, c, verra.Retirements, n, *f.Issued, s.mem.AllRetired)
	if err != nil {
		return err
	}
	cancelled, err := s.gone(ctx, c, verra.Cancellations, n, *f.Issued, s.mem.AllCancelled)
	if err != nil {
		return err
	}
	t := &verraTotals{Issued: *f.Issued, Retired: retired, Cancelled: cancelled, At: c.now().Unix()}
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
func (s *verraSource) gone(ctx context.Context, c *cycle, r verra.Resource, n int64, issued, all float64) (float64, error) {
	if s.ledger.Complete(r) {
		if s.stale[n] {
			if err := s.freshen(ctx, c, r, n); err != nil {
				return 0, err
			}
		}
		f := s.ledger.Facts(n)
		v := f.Retired
		if r == verra.Cancellations {
			v = f.Cancelled
		}
		if v == nil {
			return 0, fail(KindInvalid, "sum of project "+verra.ProjectID(n), "a row of its %s has no quantity", r)
		}
		return *v, nil
	}
	sum, err := s.sum(ctx, c, r, verra.ByProject(n))
	if err == nil && sum >= all && sum > issued {
		err = fail(KindInvalid, "sum of project "+verra.ProjectID(n), "%w", errWholeRegistry)
	}
	return sum, err
}

// freshen adds to a ledger that was read whole what has become of one project
// since. A filter that is ignored does no harm here: rows say whose they are.
func (s *verraSource) freshen(ctx context.Context, c *cycle, r verra.Resource, n int64) error {
	req, res, err := s.ask(ctx, c, verra.Search{
		Resource: r, Sort: []verra.Sort{verra.SortChanged()}, Filters: []verra.Filter{verra.ByProject(n)},
	})
	if err != nil {
		return err
	}
	page, err := bookParser(r)(res.Body, res.ContentType())
	if err != nil && !errors.Is(err, verra.ErrNoEntities) { // the project has none
		return parsed(req, err)
	}
	for _, changed := range s.ledger.Add(r, page.Rows...) {
		s.pending[changed] = true
	}
	return nil
}
