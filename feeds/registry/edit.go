package registry

import (
	"context"
	"errors"
	"fmt"
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

// Vintages are the sums of units, as rows of VintageFields, in the order of their keys. There
// are none of a project of which a row could not be read or has no vintage: the sums of the
// others would be too small.
func (s *Set) Vintages() (out []change.Row) {
	for _, id := range slices.Sorted(maps.Keys(s.projects)) {
		p := s.projects[id]
		if p.units[0] != nil || p.broken {
			continue
		}
		k := s.kinds[p.values["registry"]]
		for _, y := range slices.Sorted(maps.Keys(p.units)) {
			u, row := p.units[y], make([]*float64, 4)
			left := u[0] - u[1] - u[2]
			for i := range u {
				if k[blocks] || k[issued+kind(i)] {
					row[i] = tidy(u[i])
				}
			}
			if row[0] != nil && row[1] != nil && row[2] != nil && left >= 0 {
				row[3] = tidy(left)
			}
			if p.untold {
				row[2] = nil // they are among the retired
			}
			out = append(out, change.NewRow(change.T(id), poll.Int(&y), poll.Float(row[0]), poll.Float(row[1]), poll.Float(row[2]), poll.Float(row[3])))
		}
	}
	return out
}

// tidy removes the noise of adding fractions of a tonne.
func tidy(v float64) *float64 {
	v = math.Round(v*1e6) / 1e6
	return &v
}

// Rows are what an import brings: projects as rows of Fields, and their vintages as rows of
// VintageFields.
type Rows struct{ Projects, Vintages []change.Row }

// Rule says what an import may change.
type Rule struct {
	Overwrite bool     // values that are there; else only what is NULL is filled in
	Replace   []string // registries of which the projects that the rows lack are deleted, with their vintages
	Units     []string // registries of which the vintages that the rows lack are deleted
}

// Edits are what makes the tables hold rows. note says what was left out, "" for nothing.
func Edits(ctx context.Context, w poll.Writer, rows Rows, rule Rule) (edits []change.Edit, note string, err error) {
	e := change.Edit{Table: change.Verra, Columns: Fields(), Rows: rows.Projects, Stamp: "updated_at", Merge: change.Missing}
	v := change.Edit{Table: change.Vintages, Columns: VintageFields(), Rows: rows.Vintages, Stamp: "updated_at", Merge: change.Missing}
	if rule.Overwrite {
		e.Merge, v.Merge = change.Known, change.Known
	}
	of, gone := map[string]string{}, map[string]bool{} // registries of projects; projects that go
	if len(rule.Replace)+len(rule.Units) > 0 {
		stored, err := w.Rows(ctx, change.Verra, []string{fieldID, "registry"})
		if err != nil {
			return nil, "", err
		}
		here := map[string]bool{}
		for _, r := range rows.Projects {
			here[r.Value(0).Text] = true
		}
		for _, r := range stored {
			id := r.Value(0).Text
			of[id] = r.Value(1).Text
			if !here[id] && slices.Contains(rule.Replace, of[id]) {
				e.Delete, gone[id] = append(e.Delete, change.NewRow(change.T(id))), true
			}
		}
	}
	if len(rows.Vintages)+len(gone)+len(rule.Units) == 0 {
		return []change.Edit{e}, "", nil // it is about projects alone
	}
	stored, err := w.Rows(ctx, change.Vintages, []string{fieldID, fieldVintage})
	if errors.Is(err, poll.ErrNoTable) {
		if len(rows.Vintages) > 0 {
			note = fmt.Sprintf("%d vintages are left out: %v", len(rows.Vintages), err)
		}
		return []change.Edit{e}, note, nil
	}
	if err != nil {
		return nil, "", err
	}
	type key struct{ id, vintage string }
	here := map[key]bool{}
	for _, r := range rows.Vintages {
		here[key{r.Value(0).Text, r.Value(1).Text}] = true
	}
	for _, r := range stored {
		k := key{r.Value(0).Text, r.Value(1).Text}
		if !here[k] && (gone[k.id] || slices.Contains(rule.Units, of[k.id])) {
			v.Delete = append(v.Delete, change.NewRow(r.Value(0), r.Value(1)))
		}
	}
	return []change.Edit{e, v}, "", nil
}
