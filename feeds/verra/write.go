package verra

import (
	"context"
	"maps"
	"slices"

	"carbond/feeds/internal/poll"
	"carbond/store/change"
)

// columns are written for every project; vintage and supply only where
// they are known, so that a restart or an unfinished sweep takes nothing back.
var columns = []string{"project_id", "project_name", "project_link", "project_summary", "registry_status", "country"}

// writePending writes the rows of pending projects in one transaction.
func (s *Poller) writePending(ctx context.Context, c *poll.Cycle) error {
	edits := s.edits()
	if len(edits) > 0 {
		if err := c.Write(ctx, edits...); err != nil {
			return err
		}
	}
	for n := range s.pending {
		if _, ok := s.projects[n]; ok && !c.Dry {
			s.rows.Known[n] = true
		}
	}
	clear(s.pending)
	return nil
}

func (s *Poller) edits() []change.Edit {
	opts := RowOptions{Status: s.opt.Status, LinkPrefix: s.opt.LinkPrefix}
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
		if f.Supply == nil && !noneIssued(f) && row.RegistryStatus == Active && s.retired[p.ProjectID] {
			row.RegistryStatus = Retired
		}
		e := byShape[known]
		if e == nil {
			e = &change.Edit{Table: change.Verra, Columns: slices.Clone(columns), Stamp: "updated_at"}
			if known[0] {
				e.Columns = append(e.Columns, "vintage")
			}
			if known[1] {
				e.Columns = append(e.Columns, "supply")
			}
			byShape[known] = e
			shapes = append(shapes, known)
		}
		e.Rows = append(e.Rows, tableRow(row, known))
	}
	out := make([]change.Edit, 0, len(shapes))
	for _, k := range shapes {
		out = append(out, *byShape[k])
	}
	return out
}

// noneIssued reports that a project is known to have no units.
func noneIssued(f Facts) bool { return f.Issued != nil && *f.Issued == 0 }

// swept reports whether the issuances were read to the end since the start.
func (s *Poller) swept() bool { return s.ledger.Facts(-1).Issued != nil }

func tableRow(r Row, known [2]bool) change.Row {
	values := []change.Value{
		change.T(r.ProjectID), poll.Text(r.ProjectName), poll.Text(r.ProjectLink), poll.Text(r.ProjectSummary),
		poll.Text(r.RegistryStatus), poll.Text(r.Country),
	}
	if known[0] {
		values = append(values, poll.Int(r.Vintage))
	}
	if known[1] {
		values = append(values, poll.Float(r.Supply))
	}
	return change.NewRow(values...)
}
