package verra

import (
	"fmt"

	"carbond/feeds/internal/payload"
)

// ParseAggregate reads the sum of a ledger, in tonnes. A missing, negative or
// absurd sum is payload.ErrShape.
func ParseAggregate(body []byte, contentType string) (tonnes float64, err error) {
	var raw struct {
		Sum payload.Number `json:"sum"`
	}
	if err := payload.Decode(body, contentType, payload.Object, &raw); err != nil {
		return 0, fmt.Errorf("read verra sum: %w", err)
	}
	v, _ := raw.Sum.Between(0, maxTonnes)
	if v == nil {
		return 0, fmt.Errorf("read verra sum: %w: no usable sum", payload.ErrShape)
	}
	return *v, nil
}
