package verra

import (
	"context"
	"maps"
	"slices"

	"carbond/feeds/internal/poll"
	"carbond/store/change"
)

var columns = []string{
	"project_id", "project_name", "project_link", "project_summary", "registry_status", "country", "vintage", "supply",
	"registry", "methodology", "project_type", "region", "proponent", "crediting_start", "crediting_end",
	"annual_estimate", "latitude", "longitude", "first_issued",
}

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

// edits are the rows of the pending projects. What is not known takes back nothing:
// neither what a restart or an unfinished sweep does not know yet, nor what somebody
// else has filled in.
func (s *Poller) edits() []change.Edit {
	opts := RowOptions{Status: s.opt.Status, LinkPrefix: s.opt.LinkPrefix}
	e := change.Edit{Table: change.Verra, Columns: columns, Stamp: "updated_at", Merge: change.Known}
	v := change.Edit{Table: change.Vintages, Columns: vintageColumns, Stamp: "updated_at", Merge: change.Known}
	for _, n := range slices.Sorted(maps.Keys(s.pending)) {
		p, ok := s.projects[n]
		if !ok {
			continue // an issuance of a project that no page has shown yet
		}
		f := s.ledger.Facts(n)
		row := p.Row(f, opts)
		if f.Supply == nil && !noneIssued(f) && row.RegistryStatus == Active && s.retired[p.ProjectID] {
			row.RegistryStatus = Retired
		}
		if s.stale[n] {
			row.Supply = nil
		}
		e.Rows, v.Rows = append(e.Rows, tableRow(row)), append(v.Rows, s.vintageRows(n)...)
	}
	return slices.DeleteFunc([]change.Edit{e, v}, func(e change.Edit) bool { return len(e.Rows) == 0 })
}

// noneIssued reports that a project is known to have no units.
func noneIssued(f Facts) bool { return f.Issued != nil && *f.Issued == 0 }

// swept reports whether the issuances were read to the end since the start.
func (s *Poller) swept() bool { return s.ledger.Facts(-1).Issued != nil }

func tableRow(r Row) change.Row {
	return change.NewRow(
		change.T(r.ProjectID), poll.Text(r.ProjectName), poll.Text(r.ProjectLink), poll.Text(r.ProjectSummary),
		poll.Text(r.RegistryStatus), poll.Text(r.Country), poll.Int(r.Vintage), poll.Float(r.Supply),
		poll.Text(r.Registry), poll.Text(r.Methodology), poll.Text(r.ProjectType), poll.Text(r.Region), poll.Text(r.Proponent),
		poll.Date(r.CreditingStart), poll.Date(r.CreditingEnd), poll.Float(r.AnnualEstimate), poll.Float(r.Latitude), poll.Float(r.Longitude),
		poll.Date(r.FirstIssued),
	)
}
