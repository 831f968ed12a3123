package sample

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Limits of the registry's search, beyond which it answers 500.
const (
	maxPage  = 400
	maxStart = 10_000
)

// query is the body of a search or an aggregate.
type query struct {
	Filter struct {
		Pagination struct {
			Start int `json:"start"`
			Limit int `json:"limit"`
			Sort  []struct {
				Field string `json:"sort"`
				Dir   string `json:"dir"`
			} `json:"sortOptions"`
		} `json:"pagination"`
		Model     map[string]json.RawMessage `json:"filterModel"`
		GroupKeys []string                   `json:"groupKeys"`
		SumBy     string                     `json:"statsSumByField"`
	} `json:"searchFilter"`
}

// search answers one page of a ledger.
func (w *World) search(rw http.ResponseWriter, r *http.Request) {
	var q query
	if !admitted(rw, r) || !read(rw, r, &q) {
		return
	}
	rows, ok := w.filtered(r, q)
	p := q.Filter.Pagination
	if !ok || p.Limit < 0 || p.Limit > maxPage || p.Start < 0 || p.Start > maxStart {
		reply(rw, http.StatusInternalServerError, object{"status": 500, "error": "Internal Server Error"})
		return
	}
	limit := p.Limit
	if limit == 0 {
		limit = 50
	}
	for i := len(p.Sort) - 1; i >= 0; i-- {
		field, down := p.Sort[i].Field, strings.EqualFold(p.Sort[i].Dir, "DESC")
		slices.SortStableFunc(rows, func(a, b object) int {
			c := compare(a[field], b[field])
			if down {
				return -c
			}
			return c
		})
	}
	page := rows[min(p.Start, len(rows)):min(p.Start+limit, len(rows))]
	reply(rw, http.StatusOK, object{
		"entities": page, "totalPages": (len(rows) + limit - 1) / limit, "totalEntities": len(rows),
		"start": p.Start, "limit": limit, "numberOfElements": len(page), "first": false, "last": false,
		"pageStats": nil, "searchAfter": nil, "pitId": nil,
	})
}

// aggregate answers the sum of a ledger.
func (w *World) aggregate(rw http.ResponseWriter, r *http.Request) {
	var q query
	if !admitted(rw, r) || !read(rw, r, &q) {
		return
	}
	rows, ok := w.filtered(r, q)
	if !ok || len(q.Filter.GroupKeys) > 0 {
		reply(rw, http.StatusInternalServerError, object{"status": 500, "error": "Internal Server Error"})
		return
	}
	sum := 0.0
	for _, row := range rows {
		if n, ok := row[q.Filter.SumBy].(json.Number); ok {
			v, _ := n.Float64()
			sum += v
		}
	}
	reply(rw, http.StatusOK, object{"average": 0, "sum": sum, "total": 0, "additionalTotals": nil})
}

// filtered returns the rows of the request's ledger that pass its filters. Of a
// standard that the registry does not have there are none.
func (w *World) filtered(r *http.Request, q query) (rows []object, ok bool) {
	w.look(func() { rows, ok = w.entities(r.PathValue("resource")) })
	if !ok || r.Header.Get("standardid") != standardID {
		return []object{}, ok
	}
	for field, raw := range q.Filter.Model {
		want, known := values(raw)
		if !known || len(rows) > 0 && rows[0][field] == nil {
			continue // the registry ignores what it does not understand
		}
		rows = slices.DeleteFunc(rows, func(row object) bool { return !slices.Contains(want, fmt.Sprint(row[field])) })
	}
	return rows, true
}

// values reads a column filter: equals and in are all that the registry honours.
func values(raw json.RawMessage) (want []string, known bool) {
	type one struct {
		FilterType string          `json:"filterType"`
		Type       string          `json:"type"`
		Filter     json.RawMessage `json:"filter"`
	}
	var col struct {
		Filters []one `json:"columnFilters"`
		one
	}
	if json.Unmarshal(raw, &col) != nil {
		return nil, false
	}
	if len(col.Filters) == 0 {
		col.Filters = []one{col.one}
	}
	for _, f := range col.Filters {
		text := strings.EqualFold(f.FilterType, "Text")
		if f.Type != "equals" && (f.Type != "in" || !text) || !text && !strings.EqualFold(f.FilterType, "Number") {
			return nil, false
		}
		var list []any
		if json.Unmarshal(f.Filter, &list) != nil {
			list = []any{strings.Trim(string(f.Filter), `"`)}
		}
		for _, v := range list {
			want = append(want, fmt.Sprint(v))
		}
	}
	return want, true
}

// compare orders two values of one column.
func compare(a, b any) int {
	if s, ok := a.(string); ok {
		if t, ok := b.(string); ok {
			return strings.Compare(s, t)
		}
	}
	x, xok := number(a)
	y, yok := number(b)
	if xok && yok {
		return cmp.Compare(x, y)
	}
	return strings.Compare(fmt.Sprint(a), fmt.Sprint(b))
}

func number(v any) (float64, bool) {
	switch n := v.(type) {
	case int64:
		return float64(n), true
	case int:
		return float64(n), true
	case json.Number:
		f, err := strconv.ParseFloat(n.String(), 64)
		return f, err == nil
	}
	return 0, false
}
