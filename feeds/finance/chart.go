package finance

import (
	"encoding/json"
	"fmt"

	"carbond/feeds/internal/payload"
)

// ParseChart reads an answer of ChartURL, which holds one symbol: the fallback
// when spark fails. A symbol that is gone, also the lifeless rest of a delisted
// one that Yahoo still answers with 200, is ErrNotFound.
func ParseChart(body []byte, contentType string, ask Ask) (Result, error) {
	env, err := open(body, contentType)
	if err != nil {
		return Result{}, fmt.Errorf("parse chart: %w", err)
	}
	if env.Chart == nil {
		return Result{}, fmt.Errorf("parse chart: %w: no chart object", payload.ErrShape)
	}
	c := collect(ask)
	err = c.each(env.Chart.Result, func(elem json.RawMessage) {
		var r struct {
			Meta *meta `json:"meta"`
		}
		switch {
		case payload.Unmarshal(elem, &r) != nil:
			c.skip("", ReasonMalformed)
		case r.Meta == nil:
			c.skip("", ReasonNoData)
		case c.known(entry{symbol: r.Meta.Symbol.String()}):
			c.add(r.Meta.entry(r.Meta.Symbol.String()))
			c.session(r.Meta.Symbol.String(), *r.Meta)
		}
	})
	if err != nil {
		return Result{}, fmt.Errorf("parse chart: %w", err)
	}
	res, err := c.finish()
	if err != nil {
		return Result{}, fmt.Errorf("parse chart: %w", err)
	}
	return res, nil
}
