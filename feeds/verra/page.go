package verra

import (
	"encoding/json"
	"fmt"

	"carbond/feeds/internal/payload"
	"carbond/feeds/internal/text"
)

// ErrNoEntities is an answer whose totalEntities is 0. The registry is never
// empty: a wrong standard id answers like this with status 200. Only a search
// that was narrowed by a filter may take it for "none".
var ErrNoEntities = payload.Named("registry answers with no entities: check the standard id", payload.ErrEmpty)

// Limits of what a page may bring.
const (
	maxPageRows = 5000       // the service gives 400
	maxTotal    = 10_000_000 // it has 305,145 retirements
	maxTonnes   = 1e12       // tonnes in one row or sum; all VCUs ever issued are 1.4e9
	maxNumber   = 1e9        // project numbers
	maxName     = 300        // characters
	maxSummary  = 1000
	maxLabel    = 200
)

// Page is one page of a search. Rows are unique by key, the newest copy of each
// kept, in the order of the first copies.
type Page[T any] struct {
	Rows  []T           `json:"rows"`
	Total int           `json:"total"` // totalEntities, over all pages
	Start int           `json:"start"` // as echoed; -1 when not
	Tally payload.Tally `json:"tally"`
}

// parsePage reads the envelope and feeds each object of its list to row, which
// returns the row, or false when it has no key (and counts what it refuses).
// newer tells which of two rows with the same key is kept.
func parsePage[R, T any, K comparable](
	what string, body []byte, contentType string,
	row func(*R, *payload.Tally) (T, K, bool), newer func(a, b T) bool,
) (Page[T], error) {
	fail := func(err error) (Page[T], error) { return Page[T]{}, fmt.Errorf("read verra %s: %w", what, err) }
	var env struct {
		Entities *json.RawMessage `json:"entities"`
		Total    payload.Number   `json:"totalEntities"`
		Start    payload.Number   `json:"start"`
		Status   payload.Number   `json:"status"`
	}
	if err := payload.Decode(body, contentType, payload.Object, &env); err != nil {
		return fail(err)
	}
	total, ok := env.Total.Int()
	switch {
	case env.Entities == nil && !env.Status.Absent():
		return fail(fmt.Errorf("%w: an error answer with status %.5s", payload.ErrShape, env.Status.Text()))
	case env.Entities == nil || payload.IsNull(*env.Entities):
		return fail(fmt.Errorf("%w: no entities", payload.ErrShape))
	case !ok || total < 0 || total > maxTotal:
		return fail(fmt.Errorf("%w: no usable totalEntities", payload.ErrShape))
	}
	p := Page[T]{Total: int(total), Start: -1, Rows: []T{}}
	if start, ok := env.Start.Int(); ok && start >= 0 && start <= maxTotal {
		p.Start = int(start)
	}
	at := make(map[K]int)
	err := payload.Each(*env.Entities, maxPageRows, func(elem json.RawMessage) error {
		addRow(&p, elem, at, row, newer)
		return nil
	})
	switch {
	case err != nil:
		return fail(err)
	case p.Total == 0 && p.Tally.Elements == 0:
		return p, fmt.Errorf("read verra %s: %w", what, ErrNoEntities)
	case p.Total < p.Tally.Elements:
		return fail(fmt.Errorf("%w: totalEntities %d, but %d rows", payload.ErrShape, p.Total, p.Tally.Elements))
	}
	return p, nil
}

// addRow reads one element into the page.
func addRow[R, T any, K comparable](
	p *Page[T], elem json.RawMessage, at map[K]int,
	row func(*R, *payload.Tally) (T, K, bool), newer func(a, b T) bool,
) {
	p.Tally.Elements++
	if payload.IsNull(elem) {
		p.Tally.Nulls++
		return
	}
	var raw R
	if !payload.IsObject(elem) || payload.Unmarshal(elem, &raw) != nil {
		p.Tally.Malformed++
		return
	}
	t, key, ok := row(&raw, &p.Tally)
	if !ok {
		p.Tally.NoKey++
		return
	}
	i, seen := at[key]
	if !seen {
		at[key] = len(p.Rows)
		p.Rows = append(p.Rows, t)
		return
	}
	p.Tally.Duplicates++
	if !newer(p.Rows[i], t) {
		p.Rows[i] = t
	}
}

// ProjectID is the id that all tables use: "VCS-934".
func ProjectID(number int64) string { return fmt.Sprintf("VCS-%d", number) }

// number returns a project number from the first of the values that holds one.
func number(values ...payload.Number) (n int64, ok bool) {
	for _, v := range values {
		if n, ok = v.Int(); ok && n > 0 && n < maxNumber {
			return n, true
		}
	}
	return 0, false
}

// clean makes plain text of at most limit characters.
func clean(t payload.Text, limit int) string { return text.Clean(t.String(), limit) }
