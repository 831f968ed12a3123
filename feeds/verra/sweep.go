package verra

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"carbond/feeds/internal/fetch"
	"carbond/feeds/internal/poll"
	"carbond/store/change"
)

// sweep reads all projects and all issuances. Projects are written as soon as
// they are complete, so that a fresh install shows them after half a minute;
// vintages and supply follow with the issuances.
func (s *Poller) sweep(ctx context.Context, c *poll.Cycle) error {
	err := s.sweepOnce(ctx, c)
	now := c.Now()
	if err == nil {
		s.failed, s.note = 0, ""
		s.sweepAt = now.Add(fetch.Jitter(s.opt.SweepEvery, 0.1))
		s.mem.SweptAt = now
		return nil
	}
	switch fetch.KindOf(err) {
	case fetch.KindCanceled, fetch.KindPaused, fetch.KindAuth:
		return err // the sweep is still due
	}
	wait := min(sweepRetry<<min(s.failed, 4), time.Hour)
	if s.isLocal {
		wait = fetch.MaxLocalWait
	}
	s.sweepAt = now.Add(wait)
	s.failed++
	s.note = fmt.Sprintf("last full sweep failed (%s): %v", fetch.KindOf(err), err)
	return err
}

func (s *Poller) sweepOnce(ctx context.Context, c *poll.Cycle) error {
	if err := errors.Join(s.readRetired(ctx, c), s.readVintages(ctx, c)); err != nil {
		return err
	}
	projects, total, exact, err := sweepAll(ctx, s, c, Projects, s.mem.ProjectCount, ParseProjects,
		func(p Project) int64 { return p.Number }, NewerProject, nil)
	if err != nil {
		return err
	}
	fresh := make(map[int64]Project, len(projects))
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
	s.mem.ProjectMark = latest(s.mem.ProjectMark, projects, func(p Project) time.Time { return p.Modified })
	return s.sweepIssuances(ctx, c)
}

func (s *Poller) sweepIssuances(ctx context.Context, c *poll.Cycle) error {
	units, total, exact, err := sweepAll(ctx, s, c, Issuances, s.mem.IssuanceCount, ParseIssuances,
		func(u Units) int64 { return u.EntityID }, NewerUnits, vintages(c.Now()))
	if err != nil {
		return err
	}
	ledger := NewLedger()
	ledger.Add(Issuances, units...)
	ledger.SetComplete(Issuances, exact)
	for _, r := range unitBooks {
		if err := s.soften(c, s.readBook(ctx, c, ledger, r)); err != nil {
			return err
		}
	}
	for n, t := range s.mem.Totals {
		setTotals(ledger, n, t)
		if !exact {
			ledger.SetTotal(Issuances, n, &t.Issued)
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
	s.mem.IssuanceMark = latest(s.mem.IssuanceMark, units, func(u Units) time.Time { return u.Modified })
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
func (s *Poller) readRetired(ctx context.Context, c *poll.Cycle) error {
	rows, err := c.Stored(ctx, change.Verra, "project_id", "registry_status")
	if err != nil {
		return err
	}
	s.retired = map[string]bool{}
	for _, r := range rows {
		if r.Value(1).Text == Retired {
			s.retired[r.Value(0).Text] = true
		}
	}
	return nil
}

// writeGone counts the projects that a complete sweep did not have, and deletes
// those that were missing too often.
func (s *Poller) writeGone(ctx context.Context, c *poll.Cycle, fresh map[int64]Project) error {
	gone, missed := s.rows.Gone(func(n int64) bool { _, ok := fresh[n]; return ok })
	if len(gone) > 0 {
		edit, vintages := change.Edit{Table: change.Verra}, change.Edit{Table: change.Vintages}
		for _, n := range gone {
			id := ProjectID(n)
			edit.Delete = append(edit.Delete, change.NewRow(change.T(id)))
			for _, y := range s.vintages[id] {
				vintages.Delete = append(vintages.Delete, change.NewRow(change.T(id), poll.Int(&y)))
			}
			delete(s.vintages, id)
		}
		if err := c.Write(ctx, edit, vintages); err != nil {
			return err
		}
	}
	s.rows.Forget(gone, missed)
	for _, n := range gone {
		delete(s.mem.Totals, n)
		delete(s.projects, n)
	}
	return nil
}

// vintages lists the vintage texts by which issuances can be split: years, then
// the ranges over two years that occur.
func vintages(now time.Time) (out []Filter) {
	for y := now.Year() + 1; y >= firstVintage; y-- {
		out = append(out, ByVintage(strconv.Itoa(y)))
	}
	for y := now.Year() + 1; y > firstVintage; y-- {
		out = append(out, ByVintage(fmt.Sprintf("%d - %d", y-1, y)))
	}
	return out
}

// firstVintage is the oldest vintage that is asked for by itself.
const firstVintage = 1996
