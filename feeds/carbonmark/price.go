package carbonmark

import (
	"encoding/json"
	"fmt"

	"carbond/feeds/internal/payload"
)

// Price is one offer: what can be bought of one credit from one source.
type Price struct {
	SourceID  string   `json:"source_id"` // unique, "listing-137-0x…"
	Type      string   `json:"type,omitempty"`
	ProjectID string   `json:"project_id,omitempty"`
	Vintage   *int32   `json:"vintage,omitempty"`
	Purchase  *float64 `json:"purchase,omitempty"` // US dollars a tonne, with fees
	Base      *float64 `json:"base,omitempty"`     // US dollars a tonne
	Supply    *float64 `json:"supply,omitempty"`   // tonnes
	Liquid    *float64 `json:"liquid,omitempty"`   // tonnes
	MinFill   *float64 `json:"min_fill,omitempty"` // tonnes
}

type rawPrice struct {
	SourceID payload.Text    `json:"sourceId"`
	Type     payload.Text    `json:"type"`
	Purchase payload.Number  `json:"purchasePrice"`
	Base     payload.Number  `json:"baseUnitPrice"`
	Supply   payload.Number  `json:"supply"`
	Liquid   payload.Number  `json:"liquidSupply"`
	MinFill  payload.Number  `json:"minFillAmount"`
	Listing  json.RawMessage `json:"listing"`
	Protocol json.RawMessage `json:"klimaprotocol"`
}

// ParsePrices reads the list of offers. Seller addresses are not read.
func ParsePrices(body []byte, contentType string) (Page[Price], error) {
	list, total, err := listOf(body, contentType)
	if err != nil {
		return Page[Price]{}, fmt.Errorf("read carbonmark prices: %w", err)
	}
	p, err := parseRows(list, (*rawPrice).price, func(v Price) string { return v.SourceID },
		func(_, _ Price) bool { return false })
	if err != nil {
		return Page[Price]{}, fmt.Errorf("read carbonmark prices: %w", err)
	}
	p.Total = total
	return p, nil
}

func (r *rawPrice) price(t *payload.Tally) (Price, bool) {
	p := Price{SourceID: clean(r.SourceID, maxName), Type: clean(r.Type, maxLabel)}
	if p.SourceID == "" {
		return Price{}, false
	}
	p.Purchase = t.Between(r.Purchase, 0, maxPrice, "purchasePrice")
	p.Base = t.Between(r.Base, 0, maxPrice, "baseUnitPrice")
	p.Supply = t.Between(r.Supply, 0, maxTonnes, "supply")
	p.Liquid = t.Between(r.Liquid, 0, maxTonnes, "liquidSupply")
	p.MinFill = t.Between(r.MinFill, 0, maxTonnes, "minFillAmount")
	source := r.Listing
	if payload.IsNull(source) {
		source = r.Protocol
	}
	var in struct {
		Credit struct {
			Vintage   payload.Number `json:"vintage"`
			ProjectID payload.Text   `json:"projectId"`
		} `json:"creditId"`
	}
	switch {
	case payload.IsNull(source):
	case payload.Unmarshal(source, &in) != nil:
		t.Refuse("creditId")
	default:
		p.ProjectID = projectKey(in.Credit.ProjectID)
		p.Vintage = year(in.Credit.Vintage, "vintage", t)
	}
	return p, true
}
