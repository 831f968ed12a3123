package feeds

import (
	"context"
	"maps"
	"slices"
	"time"

	"carbond/feeds/verra"
	"carbond/store/change"
)

// readSums reads the sums over the whole registry, against which the sums of
// single projects are judged: one that equals the whole ignored its filter.
func (s *verraSource) readSums(ctx context.Context, c *cycle) error {
	retired, err := s.sum(ctx, c, verra.Retirements)
	if err != nil {
		return s.soften(c, err)
	}
	cancelled, err := s.sum(ctx, c, verra.Cancellations)
	if err != nil {
		return s.soften(c, err)
	}
	s.mem.AllRetired, s.mem.AllCancelled, s.mem.SumsKnown = retired, cancelled, true
	return nil
}

// soften keeps a sweep good when only the sums failed: without them no totals
// are asked, and supply stays as it is.
func (s *verraSource) soften(c *cycle, err error) error {
	switch KindOf(err) {
	case KindRateLimited, KindPaused, KindCanceled:
		return err
	}
	c.log.Warn("registry sums not available, supply is not updated", "error", err)
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
	retired, err := s.sum(ctx, c, verra.Retirements, verra.ByProject(n))
	if err != nil {
		return err
	}
	cancelled, err := s.sum(ctx, c, verra.Cancellations, verra.ByProject(n))
	if err != nil {
		return err
	}
	if retired >= s.mem.AllRetired && retired > *f.Issued || s.mem.AllCancelled > 0 && cancelled >= s.mem.AllCancelled && cancelled > *f.Issued {
		return fail(KindInvalid, "sum of project "+verra.ProjectID(n), "the filter was ignored: the sum is that of the whole registry")
	}
	t := &verraTotals{Issued: *f.Issued, Retired: retired, Cancelled: cancelled, At: c.now().Unix()}
	s.mem.Totals[n] = t
	s.setTotals(s.ledger, n, t)
	s.pending[n] = true
	delete(s.stale, n)
	return nil
}

// verraColumns are written for every project; vintage and supply only where
// they are known, so that a restart or an unfinished sweep takes nothing back.
var verraColumns = []string{"project_id", "project_name", "project_link", "project_summary", "registry_status", "country"}

// writePending writes the rows of pending projects in one transaction.
func (s *verraSource) writePending(ctx context.Context, c *cycle) error {
	edits := s.edits()
	if len(edits) > 0 {
		if err := c.write(ctx, edits...); err != nil {
			return err
		}
	}
	for n := range s.pending {
		if _, ok := s.projects[n]; ok && !c.dry {
			s.known[n] = true
		}
	}
	clear(s.pending)
	return nil
}

func (s *verraSource) edits() []change.Edit {
	opts := verra.RowOptions{Status: s.opt.Status, LinkPrefix: s.opt.LinkPrefix}
	byShape := map[[2]bool]*change.Edit{}
	var shapes [][2]bool
	for _, n := range slices.Sorted(maps.Keys(s.pending)) {
		p, ok := s.projects[n]
		if !ok {
			continue // an issuance of a project that no page has shown yet
		}
		f := s.ledger.Facts(n)
		row := p.Row(f, opts)
		known := [2]bool{f.Vintage != nil || s.swept(), f.Supply != nil && !s.stale[n]}
		if f.Supply == nil && !noneIssued(f) && row.RegistryStatus == verra.Active && s.retired[p.ProjectID] {
			row.RegistryStatus = verra.Retired
		}
		e := byShape[known]
		if e == nil {
			e = &change.Edit{Table: change.Verra, Columns: slices.Clone(verraColumns), Stamp: "updated_at"}
			if known[0] {
				e.Columns = append(e.Columns, "vintage")
			}
			if known[1] {
				e.Columns = append(e.Columns, "supply")
			}
			byShape[known] = e
			shapes = append(shapes, known)
		}
		e.Rows = append(e.Rows, verraRow(row, known))
	}
	out := make([]change.Edit, 0, len(shapes))
	for _, k := range shapes {
		out = append(out, *byShape[k])
	}
	return out
}

// noneIssued reports that a project is known to have no units.
func noneIssued(f verra.Facts) bool { return f.Issued != nil && *f.Issued == 0 }

// swept reports whether the issuances were read to the end since the start.
func (s *verraSource) swept() bool { return s.ledger.Facts(-1).Issued != nil }

func verraRow(r verra.Row, known [2]bool) change.Row {
	values := []change.Value{
		change.T(r.ProjectID), textOf(r.ProjectName), textOf(r.ProjectLink), textOf(r.ProjectSummary),
		textOf(r.RegistryStatus), textOf(r.Country),
	}
	if known[0] {
		values = append(values, intOf(r.Vintage))
	}
	if known[1] {
		values = append(values, floatOf(r.Supply))
	}
	return change.NewRow(values...)
}
