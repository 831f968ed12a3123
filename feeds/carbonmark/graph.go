package carbonmark

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"carbond/feeds/internal/payload"
	"carbond/feeds/internal/text"
)

// Credit is one token contract or token id of one project and vintage.
type Credit struct {
	ID          string  `json:"id"`
	ProjectID   string  `json:"project_id,omitempty"`
	ProjectName string  `json:"project_name,omitempty"`
	Country     string  `json:"country,omitempty"`
	Registry    string  `json:"registry,omitempty"` // as sent, unknown ones too
	Bridge      string  `json:"bridge,omitempty"`   // as sent
	Vintage     *int32  `json:"vintage,omitempty"`
	Supply      *Tonnes `json:"supply,omitempty"`
	Bridged     *Tonnes `json:"bridged,omitempty"`
	Retired     *Tonnes `json:"retired,omitempty"`
}

// GraphProject is one project with its credits. Supply is their exact sum, nil
// when the list or one of its amounts is unknown.
type GraphProject struct {
	ID       string   `json:"id"`
	Name     string   `json:"name,omitempty"`
	Country  string   `json:"country,omitempty"`
	Registry string   `json:"registry,omitempty"`
	Category string   `json:"category,omitempty"`
	Supply   *Tonnes  `json:"supply,omitempty"`
	Credits  []Credit `json:"credits,omitempty"`
}

// Meta says how far the subgraph has read its chain.
type Meta struct {
	Block          int64     `json:"block"`
	Time           time.Time `json:"time,omitzero"`
	Deployment     string    `json:"deployment,omitempty"`
	IndexingErrors bool      `json:"indexing_errors,omitempty"`
}

// GraphPage is one page of a subgraph query. When Tally.Elements equals the
// number asked for there is a next page, after Last; ids that come again on it
// are the same rows.
type GraphPage[T any] struct {
	Page[T]
	Last string `json:"last,omitempty"` // raw id of the last element
	Meta *Meta  `json:"meta,omitempty"` // nil when the answer has none
}

// graphData guards an answer and returns the list called name.
func graphData(name string, body []byte, contentType string) (list json.RawMessage, meta *Meta, err error) {
	var env struct {
		Data   json.RawMessage `json:"data"`
		Errors json.RawMessage `json:"errors"`
	}
	if err := payload.Decode(body, contentType, payload.Object, &env); err != nil {
		return nil, nil, err
	}
	if err := graphErrors(env.Errors, !payload.IsNull(env.Data)); err != nil {
		return nil, nil, err
	}
	if !payload.IsObject(env.Data) {
		return nil, nil, fmt.Errorf("%w: no data", payload.ErrShape)
	}
	var data map[string]json.RawMessage
	if err := payload.Unmarshal(env.Data, &data); err != nil {
		return nil, nil, err
	}
	if payload.IsNull(data[name]) {
		return nil, nil, fmt.Errorf("%w: no %s", payload.ErrShape, name)
	}
	return data[name], graphMeta(data["_meta"]), nil
}

func graphMeta(raw json.RawMessage) *Meta {
	var in struct {
		Block struct {
			Number payload.Number `json:"number"`
			Time   payload.Number `json:"timestamp"`
		} `json:"block"`
		Deployment payload.Text    `json:"deployment"`
		Errors     json.RawMessage `json:"hasIndexingErrors"`
	}
	if !payload.IsObject(raw) || payload.Unmarshal(raw, &in) != nil {
		return nil
	}
	m := &Meta{Deployment: clean(in.Deployment, maxLabel), IndexingErrors: strings.TrimSpace(string(in.Errors)) == "true"}
	if n, ok := in.Block.Number.Int(); ok && n > 0 {
		m.Block = n
	}
	if s, ok := in.Block.Time.Int(); ok && s > 0 && s < 1<<33 {
		m.Time = time.Unix(s, 0).UTC()
	}
	return m
}

type rawCredit struct {
	ID      payload.Text    `json:"id"`
	Bridge  payload.Text    `json:"bridgeProtocol"`
	Vintage payload.Number  `json:"vintage"`
	Supply  payload.Text    `json:"currentSupply"`
	Bridged payload.Text    `json:"bridged"`
	Retired payload.Text    `json:"retired"`
	Project json.RawMessage `json:"project"`
}

type rawGraphProject struct {
	ID       payload.Text    `json:"id"`
	Name     payload.Text    `json:"name"`
	Country  payload.Text    `json:"country"`
	Registry payload.Text    `json:"registry"`
	Category payload.Text    `json:"category"`
	Credits  json.RawMessage `json:"carbonCredits"`
}

// ParseGraphProjects reads a page of carbonProjects. Errors are the named ones of
// this package and of package payload.
func ParseGraphProjects(body []byte, contentType string) (GraphPage[GraphProject], error) {
	return graphPage("carbonProjects", body, contentType, (*rawGraphProject).project, func(p GraphProject) string { return p.ID })
}

func graphPage[R, T any](
	name string, body []byte, contentType string, row func(*R, *payload.Tally) (T, bool), key func(T) string,
) (GraphPage[T], error) {
	list, meta, err := graphData(name, body, contentType)
	if err != nil {
		return GraphPage[T]{}, fmt.Errorf("read subgraph %s: %w", name, err)
	}
	p := GraphPage[T]{Meta: meta}
	p.Page, err = parseRows(list, row, key, func(_, _ T) bool { return false })
	if err != nil {
		return GraphPage[T]{}, fmt.Errorf("read subgraph %s: %w", name, err)
	}
	p.Last = lastID(list)
	return p, nil
}

type rawID struct {
	ID payload.Text `json:"id"`
}

// lastID returns the last raw id of a list, which is where the next page begins
// in the server's own order, whatever the rows were worth.
func lastID(list json.RawMessage) (last string) {
	_ = payload.Each(list, maxRows, func(elem json.RawMessage) error {
		var in rawID
		if payload.IsObject(elem) && payload.Unmarshal(elem, &in) == nil {
			if id := in.ID.String(); id != "" {
				last = id
			}
		}
		return nil
	})
	return last
}

func (r *rawCredit) credit(t *payload.Tally) (Credit, bool) {
	c := Credit{ID: clean(r.ID, maxLabel), Bridge: clean(r.Bridge, maxLabel), Vintage: year(r.Vintage, "vintage", t)}
	if c.ID == "" {
		return Credit{}, false
	}
	c.Supply, c.Bridged, c.Retired = wei(r.Supply, "currentSupply", t), wei(r.Bridged, "bridged", t), wei(r.Retired, "retired", t)
	var p rawGraphProject
	switch {
	case payload.IsNull(r.Project):
	case !payload.IsObject(r.Project) || payload.Unmarshal(r.Project, &p) != nil:
		t.Refuse("project")
	default:
		c.ProjectID, c.ProjectName = projectKey(p.ID), clean(p.Name, maxName)
		c.Country, c.Registry = text.Country(p.Country.String()), clean(p.Registry, maxLabel)
	}
	return c, true
}

func (r *rawGraphProject) project(t *payload.Tally) (GraphProject, bool) {
	p := GraphProject{
		ID: projectKey(r.ID), Name: clean(r.Name, maxName), Country: text.Country(r.Country.String()),
		Registry: clean(r.Registry, maxLabel), Category: clean(r.Category, maxLabel),
	}
	if p.ID == "" {
		return GraphProject{}, false
	}
	if payload.IsNull(r.Credits) {
		return p, true
	}
	page, err := parseRows(r.Credits, (*rawCredit).credit, func(c Credit) string { return c.ID }, func(_, _ Credit) bool { return false })
	if err != nil || page.Tally.Elements >= maxNested { // a full list may have been cut by the server
		t.Refuse("carbonCredits")
		return p, true
	}
	for field, n := range page.Tally.Refused {
		for range n {
			t.Refuse("carbonCredits." + field)
		}
	}
	p.Credits = page.Rows
	for i := range p.Credits {
		c := &p.Credits[i]
		c.ProjectID, c.ProjectName, c.Country, c.Registry = p.ID, p.Name, p.Country, p.Registry
	}
	if page.Tally.Skipped() == 0 {
		p.Supply = sumTonnes(p.Credits)
	}
	return p, true
}
