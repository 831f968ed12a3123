package carbonmark

import (
	"slices"
	"strings"
)

// Row is a row of the table carbonmark, without updated_at, which is the
// writer's. Empty texts and nil numbers are NULL.
type Row struct {
	ID          string   `json:"id"` // project key, or the id of one credit
	ProjectID   string   `json:"project_id,omitempty"`
	ProjectName string   `json:"project_name,omitempty"`
	Vintage     *int32   `json:"vintage,omitempty"`
	Amount      *float64 `json:"amount,omitempty"` // tonnes
}

// Row returns the row of a project: one amount over all vintages, and the
// newest vintage.
func (p Project) Row() Row {
	return Row{ID: p.Key, ProjectID: p.Key, ProjectName: p.Name, Vintage: newest(p.Vintages), Amount: p.Supply}
}

// Row returns the row of a project of the subgraph, as Project.Row does for the
// main service, so that the two can stand in for each other.
func (p GraphProject) Row() Row {
	var years []int32
	for _, c := range p.Credits {
		if c.Vintage != nil {
			years = append(years, *c.Vintage)
		}
	}
	slices.Sort(years)
	return Row{ID: p.ID, ProjectID: p.ID, ProjectName: p.Name, Vintage: newest(years), Amount: p.Supply.float()}
}

// CreditRows sums what is for sale by credit, "VCS-934-2013", sorted by id.
// Offers without project or vintage are left out; an offer without supply makes
// the amount of its credit unknown. names gives project names by project id and
// may be nil.
func CreditRows(prices []Price, names map[string]string) []Row {
	byID := make(map[string][]Price)
	for _, p := range prices {
		if id := p.CreditID(); id != "" {
			byID[id] = append(byID[id], p)
		}
	}
	rows := make([]Row, 0, len(byID))
	for id, offers := range byID {
		first := offers[0]
		rows = append(rows, Row{
			ID: id, ProjectID: first.ProjectID, ProjectName: names[first.ProjectID],
			Vintage: first.Vintage, Amount: sumSupply(offers),
		})
	}
	slices.SortFunc(rows, func(a, b Row) int { return strings.Compare(a.ID, b.ID) })
	return rows
}

// sumSupply adds in order of size, so that the same offers give the same last
// bit whatever order they came in.
func sumSupply(offers []Price) *float64 {
	amounts := make([]float64, 0, len(offers))
	for _, o := range offers {
		if o.Supply == nil {
			return nil
		}
		amounts = append(amounts, *o.Supply)
	}
	slices.Sort(amounts)
	var sum float64
	for _, a := range amounts {
		sum += a
	}
	return &sum
}

// newest returns the last of sorted years, nil when there is none.
func newest(years []int32) *int32 {
	if len(years) == 0 {
		return nil
	}
	y := years[len(years)-1]
	return &y
}
