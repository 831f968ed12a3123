package carbonmark

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"time"

	"carbond/feeds/internal/payload"
	"carbond/feeds/internal/text"
)

// Limits of what an answer may bring.
const (
	maxRows    = 20_000 // rows of one answer; all projects together are a few hundred
	maxNested  = 1000   // vintages of one project, credits of one project
	maxTonnes  = 1e12
	maxPrice   = 1e6 // US dollars a tonne
	maxTotal   = 10_000_000
	maxName    = 300 // characters
	maxLabel   = 200
	maxMessage = 200
	minVintage = 1990
	maxVintage = 2100
)

// Project is one project of the marketplace. Empty texts, nil numbers and zero
// times are unset.
type Project struct {
	Key        string    `json:"key"` // "VCS-934", the project id of all tables
	Name       string    `json:"name,omitempty"`
	Country    string    `json:"country,omitempty"` // one spelling per country
	Region     string    `json:"region,omitempty"`
	Registry   string    `json:"registry,omitempty"`   // as sent, unknown ones too
	Vintages   []int32   `json:"vintages,omitempty"`   // sorted
	Price      *float64  `json:"price,omitempty"`      // US dollars a tonne
	HasSupply  *bool     `json:"has_supply,omitempty"` // as sent
	Bridged    *float64  `json:"bridged,omitempty"`    // tonnes
	Retired    *float64  `json:"retired,omitempty"`    // tonnes
	Supply     *float64  `json:"supply,omitempty"`     // tonnes over all vintages
	URL        string    `json:"url,omitempty"`
	Categories []string  `json:"categories,omitempty"` // of its methodologies, sorted
	Methods    []string  `json:"methods,omitempty"`    // codes of its methodologies, sorted
	Updated    time.Time `json:"updated,omitzero"`
}

type rawProject struct {
	Key           payload.Text    `json:"key"`
	Name          payload.Text    `json:"name"`
	Country       payload.Text    `json:"country"`
	Region        payload.Text    `json:"region"`
	Registry      payload.Text    `json:"registry"`
	Vintages      json.RawMessage `json:"vintages"`
	Price         payload.Number  `json:"price"`
	HasSupply     json.RawMessage `json:"hasSupply"`
	Stats         json.RawMessage `json:"stats"`
	URL           payload.Text    `json:"url"`
	Methodologies json.RawMessage `json:"methodologies"`
	Updated       payload.Text    `json:"updatedAt"`
}

// Page is one answer with a list of T. Rows are unique, the newest copy of each
// kept, in the order of the first copies.
type Page[T any] struct {
	Rows  []T           `json:"rows"`
	Total int           `json:"total"` // rows over all pages; -1 when the answer does not say
	Tally payload.Tally `json:"tally"`
}

// ParseProjects reads one page of projects: the envelope {items, itemsCount}
// that the service answers since version 17, or the bare array before it. A
// list of null is payload.ErrShape; an error object is an *APIError, which is
// payload.ErrShape as well.
func ParseProjects(body []byte, contentType string) (Page[Project], error) {
	list, total, err := listOf(body, contentType)
	if err != nil {
		return Page[Project]{}, fmt.Errorf("read carbonmark projects: %w", err)
	}
	p, err := parseRows(list, (*rawProject).project, func(v Project) string { return v.Key },
		func(a, b Project) bool { return a.Updated.After(b.Updated) })
	if err != nil {
		return Page[Project]{}, fmt.Errorf("read carbonmark projects: %w", err)
	}
	p.Total = total
	return p, nil
}

// listOf returns the array of an answer and the total that it announces.
func listOf(body []byte, contentType string) (list json.RawMessage, total int, err error) {
	b, err := payload.JSON(body, contentType, payload.Either)
	if err != nil {
		return nil, 0, err
	}
	if b[0] == '[' {
		return b, -1, nil
	}
	var env struct {
		Items json.RawMessage `json:"items"`
		Count payload.Number  `json:"itemsCount"`
	}
	if err := payload.Unmarshal(b, &env); err != nil {
		return nil, 0, err
	}
	if payload.IsNull(env.Items) {
		if err := apiError(b); err != nil {
			return nil, 0, err
		}
		return nil, 0, fmt.Errorf("%w: no items", payload.ErrShape)
	}
	n, ok := env.Count.Int()
	switch {
	case env.Count.Absent():
		return env.Items, -1, nil
	case !ok || n < 0 || n > maxTotal:
		return nil, 0, fmt.Errorf("%w: unusable itemsCount", payload.ErrShape)
	}
	return env.Items, int(n), nil
}

// parseRows feeds each object of a list to row, which returns false when the
// object has no key. newer tells which of two rows with one key is kept.
func parseRows[R, T any](
	list json.RawMessage, row func(*R, *payload.Tally) (T, bool), key func(T) string, newer func(a, b T) bool,
) (Page[T], error) {
	p := Page[T]{Rows: []T{}, Total: -1}
	at := make(map[string]int)
	err := payload.Each(list, maxRows, func(elem json.RawMessage) error {
		p.Tally.Elements++
		var raw R
		switch {
		case payload.IsNull(elem):
			p.Tally.Nulls++
			return nil
		case !payload.IsObject(elem) || payload.Unmarshal(elem, &raw) != nil:
			p.Tally.Malformed++
			return nil
		}
		v, ok := row(&raw, &p.Tally)
		if !ok {
			p.Tally.NoKey++
			return nil
		}
		i, seen := at[key(v)]
		switch {
		case !seen:
			at[key(v)] = len(p.Rows)
			p.Rows = append(p.Rows, v)
		case newer(p.Rows[i], v):
			p.Tally.Duplicates++
		default:
			p.Tally.Duplicates++
			p.Rows[i] = v
		}
		return nil
	})
	return p, err
}

func (r *rawProject) project(t *payload.Tally) (Project, bool) {
	key := projectKey(r.Key)
	if key == "" {
		return Project{}, false
	}
	p := Project{
		Key: key, Name: clean(r.Name, maxName), Country: text.Country(r.Country.String()),
		Region: clean(r.Region, maxLabel), Registry: clean(r.Registry, maxLabel),
		Price: t.Between(r.Price, 0, maxPrice, "price"), URL: link(r.URL),
		Updated: t.Time(r.Updated, "updatedAt"), Vintages: years(r.Vintages, t),
	}
	p.Methods, p.Categories = methodologies(r.Methodologies)
	var has bool
	if !payload.IsNull(r.HasSupply) && json.Unmarshal(r.HasSupply, &has) == nil {
		p.HasSupply = &has
	}
	var stats struct {
		Bridged payload.Number `json:"totalBridged"`
		Retired payload.Number `json:"totalRetired"`
		Supply  payload.Number `json:"totalSupply"`
	}
	switch {
	case payload.IsNull(r.Stats):
	case !payload.IsObject(r.Stats) || payload.Unmarshal(r.Stats, &stats) != nil:
		t.Refuse("stats")
	default:
		p.Bridged = t.Between(stats.Bridged, 0, maxTonnes, "totalBridged")
		p.Retired = t.Between(stats.Retired, 0, maxTonnes, "totalRetired")
		p.Supply = t.Between(stats.Supply, 0, maxTonnes, "totalSupply")
	}
	return p, true
}

// keyForm is "<registry>-<id>"; new registries come and go, so any is taken.
var keyForm = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]{0,31}-[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// projectKey returns a key without the white space that some carry, or "".
func projectKey(t payload.Text) string {
	if key := clean(t, maxLabel); keyForm.MatchString(key) {
		return key
	}
	return ""
}

// years reads a list of vintages given as strings or numbers.
func years(raw json.RawMessage, t *payload.Tally) []int32 {
	var out []int32
	err := payload.Each(raw, maxNested, func(elem json.RawMessage) error {
		var n payload.Number
		_ = n.UnmarshalJSON(elem)
		if y := year(n, "vintages", t); y != nil {
			out = append(out, *y)
		}
		return nil
	})
	if err != nil {
		t.Refuse("vintages")
		return nil
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// year reads one vintage. The sources say 1970 until they know better, so that
// year is unset without being odd.
func year(n payload.Number, field string, t *payload.Tally) *int32 {
	if n.Absent() {
		return nil
	}
	v, ok := n.Int()
	switch {
	case ok && (v == 1970 || v == 0):
		return nil
	case !ok || v < minVintage || v > maxVintage:
		t.Refuse(field)
		return nil
	}
	y := int32(v)
	return &y
}

// methodologies reads the codes and the categories of a project's methodologies.
func methodologies(raw json.RawMessage) (codes, categories []string) {
	_ = payload.Each(raw, maxNested, func(elem json.RawMessage) error {
		var m struct {
			ID       payload.Text `json:"id"`
			Category payload.Text `json:"category"`
		}
		if payload.IsObject(elem) && payload.Unmarshal(elem, &m) == nil {
			codes, categories = append(codes, clean(m.ID, maxLabel)), append(categories, clean(m.Category, maxLabel))
		}
		return nil
	})
	set := func(list []string) []string {
		slices.Sort(list)
		return slices.DeleteFunc(slices.Compact(list), func(s string) bool { return s == "" })
	}
	return set(codes), set(categories)
}
