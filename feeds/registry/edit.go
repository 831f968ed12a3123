package registry

import (
	"context"
	"maps"
	"math"
	"slices"
	"strconv"

	"carbond/feeds/internal/poll"
	"carbond/store/change"
)

// Rows are the projects, as rows of Fields, in the order of their ids.
func (s *Set) Rows() []change.Row {
	var out []change.Row
	for _, id := range slices.Sorted(maps.Keys(s.projects)) {
		p := s.projects[id]
		s.sum(p)
		p.values[fieldID] = id
		var b change.RowBuilder
		b.Reset(len(Fields()))
		for _, c := range Fields() {
			b.Value(poll.Text(p.values[c]))
		}
		out = append(out, b.Row())
	}
	return out
}

// sum derives vintage and supply of a project from its units.
func (s *Set) sum(p *project) {
	newest, left := int32(0), 0.0
	for _, y := range slices.Sorted(maps.Keys(p.units)) { // the same rows give the same last bit
		u := p.units[y]
		if u[0] > 0 {
			newest = y
		}
		left += u[0] - u[1] - u[2]
	}
	if newest > 0 {
		p.values[fieldVintage] = strconv.Itoa(int(newest))
	}
	k := s.kinds[p.values["registry"]]
	all := k[blocks] || k[issued] && k[retired] && k[cancelled]
	if left = math.Round(left*1e6) / 1e6; all && len(p.units) > 0 && !p.broken && left >= 0 {
		p.values["supply"] = strconv.FormatFloat(left, 'f', -1, 64)
	}
}

// Rule says what an import may change.
type Rule struct {
	Overwrite bool     // values that are there; else only what is NULL is filled in
	Replace   []string // registries of which the projects that the rows lack are deleted
}

// Edits are what makes the table hold rows of Fields.
func Edits(ctx context.Context, w poll.Writer, rows []change.Row, rule Rule) ([]change.Edit, error) {
	e := change.Edit{Table: change.Verra, Columns: Fields(), Rows: rows, Stamp: "updated_at", Merge: change.Missing}
	if rule.Overwrite {
		e.Merge = change.Known
	}
	if len(rule.Replace) > 0 {
		stored, err := w.Rows(ctx, change.Verra, []string{fieldID, "registry"})
		if err != nil {
			return nil, err
		}
		here := map[string]bool{}
		for _, r := range rows {
			here[r.Value(0).Text] = true
		}
		for _, r := range stored {
			if id := r.Value(0).Text; !here[id] && slices.Contains(rule.Replace, r.Value(1).Text) {
				e.Delete = append(e.Delete, change.NewRow(change.T(id)))
			}
		}
	}
	return []change.Edit{e}, nil
}
