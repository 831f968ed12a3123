package feeds

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"carbond/feeds/verra"
	"carbond/store/change"
)

// sweep reads all projects and all issuances. Projects are written as soon as
// they are complete, so that a fresh install shows them after half a minute;
// vintages and supply follow with the issuances.
func (s *verraSource) sweep(ctx context.Context, c *cycle) error {
	err := s.sweepOnce(ctx, c)
	now := c.now()
	if err == nil {
		s.failed, s.note = 0, ""
		s.sweepAt = now.Add(jitter(s.opt.SweepEvery, 0.1))
		s.mem.SweptAt = now
		return nil
	}
	switch KindOf(err) {
	case KindCanceled, KindPaused, KindAuth:
		return err // the sweep is still due
	}
	wait := min(sweepRetry<<min(s.failed, 4), time.Hour)
	if s.isLocal {
		wait = localMost
	}
	s.sweepAt = now.Add(wait)
	s.failed++
	s.note = fmt.Sprintf("last full sweep failed (%s): %v", KindOf(err), err)
	return err
}

func (s *verraSource) sweepOnce(ctx context.Context, c *cycle) error {
	if err := s.readRetired(ctx, c); err != nil {
		return err
	}
	projects, total, exact, err := sweepAll(ctx, s, c, verra.Projects, s.mem.ProjectCount, verra.ParseProjects,
		func(p verra.Project) int64 { return p.Number }, verra.NewerProject, nil)
	if err != nil {
		return err
	}
	fresh := make(map[int64]verra.Project, len(projects))
	for _, p := range projects {
		fresh[p.Number] = p
	}
	s.take(projects)
	if err := s.writePending(ctx, c); err != nil {
		return err
	}
	if exact {
		if err := s.writeGone(ctx, c, fresh); err != nil {
			return err
		}
	}
	s.mem.ProjectCount = total
	s.mem.ProjectMark = latest(s.mem.ProjectMark, projects, func(p verra.Project) time.Time { return p.Modified })
	return s.sweepIssuances(ctx, c)
}

func (s *verraSource) sweepIssuances(ctx context.Context, c *cycle) error {
	units, total, exact, err := sweepAll(ctx, s, c, verra.Issuances, s.mem.IssuanceCount, verra.ParseIssuances,
		func(u verra.Units) int64 { return u.EntityID }, verra.NewerUnits, vintages(c.now()))
	if err != nil {
		return err
	}
	ledger := verra.NewLedger()
	ledger.Add(verra.Issuances, units...)
	ledger.SetComplete(verra.Issuances, exact)
	for _, r := range unitBooks {
		if err := s.soften(c, s.readBook(ctx, c, ledger, r)); err != nil {
			return err
		}
	}
	for n, t := range s.mem.Totals {
		setTotals(ledger, n, t)
		if !exact {
			ledger.SetTotal(verra.Issuances, n, &t.Issued)
		}
	}
	for n := range s.projects {
		s.pending[n] = true
		f, t := ledger.Facts(n), s.mem.Totals[n]
		if f.Issued != nil && t != nil && t.Issued != *f.Issued {
			s.stale[n] = true // issued since the totals were taken
		}
	}
	s.ledger = ledger
	if err := s.writePending(ctx, c); err != nil {
		return err
	}
	s.mem.IssuanceCount = total
	s.mem.IssuanceMark = latest(s.mem.IssuanceMark, units, func(u verra.Units) time.Time { return u.Modified })
	return s.readSums(ctx, c)
}

// latest is the newest modification among rows, or mark.
func latest[T any](mark time.Time, rows []T, modified func(T) time.Time) time.Time {
	for _, r := range rows {
		if at := modified(r); at.After(mark) {
			mark = at
		}
	}
	return mark
}

// readRetired reads which projects are stored as RETIRED: while their totals
// are not known yet, that is better knowledge than the registry's own state.
func (s *verraSource) readRetired(ctx context.Context, c *cycle) error {
	rows, err := c.writer.Rows(ctx, change.Verra, []string{"project_id", "registry_status"})
	if err != nil {
		return &Error{Kind: KindWrite, Op: "read stored projects", Err: err}
	}
	s.retired = map[string]bool{}
	for _, r := range rows {
		if r.Value(1).Text == verra.Retired {
			s.retired[r.Value(0).Text] = true
		}
	}
	return nil
}

// writeGone counts the projects that a complete sweep did not have, and deletes
// those that were missing three times in a row. Rows that others wrote are not
// known here and stay.
func (s *verraSource) writeGone(ctx context.Context, c *cycle, fresh map[int64]verra.Project) error {
	edit := change.Edit{Table: change.Verra}
	missed := map[int64]int{}
	var gone []int64
	for n := range s.known {
		if _, ok := fresh[n]; ok {
			continue
		}
		if missed[n] = s.mem.Missed[n] + 1; missed[n] >= verraGoneRuns {
			gone = append(gone, n)
			edit.Delete = append(edit.Delete, change.NewRow(change.T(verra.ProjectID(n))))
		}
	}
	if len(gone) > 0 {
		if err := c.write(ctx, edit); err != nil {
			return err
		}
	}
	for _, n := range gone {
		delete(missed, n)
		delete(s.mem.Totals, n)
		delete(s.projects, n)
		delete(s.known, n)
	}
	s.mem.Missed = missed
	return nil
}

// vintages lists the vintage texts by which issuances can be split: years, then
// the ranges over two years that occur.
func vintages(now time.Time) (out []verra.Filter) {
	for y := now.Year() + 1; y >= firstVintage; y-- {
		out = append(out, verra.ByVintage(strconv.Itoa(y)))
	}
	for y := now.Year() + 1; y > firstVintage; y-- {
		out = append(out, verra.ByVintage(fmt.Sprintf("%d - %d", y-1, y)))
	}
	return out
}

// firstVintage is the oldest vintage that is asked for by itself.
const firstVintage = 1996
