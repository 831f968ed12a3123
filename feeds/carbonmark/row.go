package carbonmark

import (
	"cmp"
	"slices"
)

// Row is a row of the table carbonmark, without updated_at, which is the
// writer's. Empty texts and nil numbers are NULL.
type Row struct {
	ID          string   `json:"id"` // project key, or the id of one credit
	ProjectID   string   `json:"project_id,omitempty"`
	ProjectName string   `json:"project_name,omitempty"`
	Vintage     *int32   `json:"vintage,omitempty"`
	Amount      *float64 `json:"amount,omitempty"`    // tonnes
	PriceUSD    *float64 `json:"price_usd,omitempty"` // US dollars a tonne
	Listed      *float64 `json:"listed,omitempty"`    // tonnes for sale
}

// Row returns the row of a project: one amount over all vintages, and the
// newest vintage. The price is the lowest above 0 among the project's own and those
// of its offers; what is listed is not known where the offers are not (nil).
func (p Project) Row(offers Offers) Row {
	r := Row{ID: p.Key, ProjectID: p.Key, ProjectName: p.Name, Vintage: newest(p.Vintages), Amount: p.Supply, PriceUSD: positive(p.Price)}
	if offers == nil {
		return r
	}
	o, ok := offers[p.Key]
	if !ok {
		o.Listed = new(float64)
	}
	r.Listed = o.Listed
	if r.PriceUSD == nil || o.Price != nil && *o.Price < *r.PriceUSD {
		r.PriceUSD = cmp.Or(o.Price, r.PriceUSD)
	}
	return r
}

// Offers are what is for sale, by project.
type Offers map[string]Offer

// Offer sums up the offers of one project.
type Offer struct {
	Price  *float64 // the lowest above 0, US dollars a tonne with fees
	Listed *float64 // tonnes; nil where an offer does not say its own
}

// OffersOf sums up offers by project. Sold out ones, and those of no project, do not count.
func OffersOf(prices []Price) Offers {
	byProject := map[string][]Price{}
	for _, p := range prices {
		if p.ProjectID != "" && (p.Supply == nil || *p.Supply > 0) {
			byProject[p.ProjectID] = append(byProject[p.ProjectID], p)
		}
	}
	out := Offers{}
	for id, list := range byProject {
		o := Offer{Listed: sumSupply(list)}
		for _, p := range list {
			if price := positive(p.Purchase); price != nil && (o.Price == nil || *price < *o.Price) {
				o.Price = price
			}
		}
		out[id] = o
	}
	return out
}

// positive is a price, nil for one of 0.
func positive(price *float64) *float64 {
	if price == nil || *price <= 0 {
		return nil
	}
	return price
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
