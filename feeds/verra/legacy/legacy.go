package legacy

import (
	"encoding/json"
	"fmt"
	"time"

	"carbond/feeds/internal/payload"
	"carbond/feeds/internal/text"
	"carbond/feeds/verra"
)

// Limits of what a file may bring.
const (
	maxRows   = 1_000_000
	maxTonnes = 1e12
	maxNumber = 1e9
	maxName   = 300 // characters
	maxLabel  = 200
)

// Page is the content of one file.
type Page[T any] struct {
	Rows     []T           `json:"rows"`
	Total    int           `json:"total"`              // as announced; -1 when not
	Exceeded bool          `json:"exceeded,omitempty"` // the old server cut the list
	Tally    payload.Tally `json:"tally"`
}

// Units is one row of the old units ledger: a block of units as issued, or the
// part of it that was retired or cancelled.
type Units struct {
	Number    int64     `json:"number"`
	ProjectID string    `json:"project_id"` // "VCS-<number>"
	Vintage   *int32    `json:"vintage,omitempty"`
	Quantity  *float64  `json:"quantity,omitempty"` // tonnes
	Serial    string    `json:"serial,omitempty"`
	Issued    time.Time `json:"issued,omitzero"`
	Gone      bool      `json:"gone,omitempty"`   // retired or cancelled
	GoneOn    time.Time `json:"gone_on,omitzero"` // when
}

// resource is a project in either form.
type resource struct {
	ID          payload.Number `json:"resourceIdentifier"`
	Name        payload.Text   `json:"resourceName"`
	Status      payload.Text   `json:"resourceStatus"`
	Country     payload.Text   `json:"country"`
	Estimate    payload.Number `json:"estAnnualEmissionReductions"`
	Region      payload.Text   `json:"region"`
	Category    payload.Text   `json:"protocolCategories"`
	Protocol    payload.Text   `json:"protocols"`
	CreditStart payload.Text   `json:"creditingPeriodStartDate"`
	CreditEnd   payload.Text   `json:"creditingPeriodEndDate"`
}

// asset is a row of the units ledger in either form.
type asset struct {
	ID           payload.Number  `json:"resourceIdentifier"`
	VintageStart payload.Text    `json:"vintageStart"`
	VintageEnd   payload.Text    `json:"vintageEnd"`
	Quantity     payload.Number  `json:"quantity"`
	Serial       payload.Text    `json:"serialNumbers"`
	Issued       payload.Text    `json:"issuanceDate"`
	Gone         json.RawMessage `json:"retiredCancelled"`
	GoneOn       payload.Text    `json:"retireOrCancelDate"`
}

// ParseResources reads an answer of the old project search. Of a project that
// is listed twice the later row counts.
func ParseResources(body []byte, contentType string) (Page[verra.Project], error) {
	return parse("projects", body, contentType, (*resource).project, func(p verra.Project) string { return p.ProjectID })
}

// ParseAssets reads an answer of the old units search.
func ParseAssets(body []byte, contentType string) (Page[Units], error) {
	return parse("units", body, contentType, (*asset).units, Units.key)
}

func parse[R, T any](what string, body []byte, contentType string, row func(*R, *payload.Tally) (T, bool), key func(T) string) (Page[T], error) {
	fail := func(err error) (Page[T], error) { return Page[T]{}, fmt.Errorf("read old verra %s: %w", what, err) }
	var env struct {
		Value    json.RawMessage `json:"value"`
		Total    payload.Number  `json:"totalCount"`
		Count    payload.Number  `json:"@count"`
		Exceeded json.RawMessage `json:"countExceeded"`
	}
	if err := payload.Decode(body, contentType, payload.Object, &env); err != nil {
		return fail(err)
	}
	if payload.IsNull(env.Value) {
		return fail(fmt.Errorf("%w: no value", payload.ErrShape))
	}
	c := collector[T]{page: Page[T]{Rows: []T{}, Total: -1, Exceeded: string(env.Exceeded) == "true"}, key: key}
	for _, n := range []payload.Number{env.Total, env.Count} {
		if v, ok := n.Int(); ok && v >= 0 && c.page.Total < 0 {
			c.page.Total = int(v)
		}
	}
	err := payload.Each(env.Value, maxRows, func(elem json.RawMessage) error {
		c.page.Tally.Elements++
		var raw R
		switch {
		case payload.IsNull(elem):
			c.page.Tally.Nulls++
		case !payload.IsObject(elem) || payload.Unmarshal(elem, &raw) != nil:
			c.page.Tally.Malformed++
		default:
			c.add(row(&raw, &c.page.Tally))
		}
		return nil
	})
	if err != nil {
		return fail(err)
	}
	return c.page, nil
}

// collector keeps the last of rows with one key.
type collector[T any] struct {
	page Page[T]
	key  func(T) string
	at   map[string]int
}

func (c *collector[T]) add(v T, ok bool) {
	if !ok {
		c.page.Tally.NoKey++
		return
	}
	key := c.key(v)
	if i, seen := c.at[key]; seen && key != "" {
		c.page.Tally.Duplicates++
		c.page.Rows[i] = v
		return
	}
	if c.at == nil {
		c.at = make(map[string]int)
	}
	c.at[key] = len(c.page.Rows)
	c.page.Rows = append(c.page.Rows, v)
}

func (r *resource) project(t *payload.Tally) (verra.Project, bool) {
	n, ok := r.ID.Int()
	if !ok || n <= 0 || n >= maxNumber {
		return verra.Project{}, false
	}
	p := verra.Project{
		Number: n, ProjectID: verra.ProjectID(n),
		Name: text.Clean(r.Name.String(), maxName), Label: text.Clean(r.Status.String(), maxLabel),
		Country: text.Country(r.Country.String()), Region: text.Clean(r.Region.String(), maxLabel),
		SectoralScope: text.Clean(r.Category.String(), maxName), Methodologies: text.Clean(r.Protocol.String(), maxName),
		CreditStart: stamp(r.CreditStart, "creditingPeriodStartDate", t),
		CreditEnd:   stamp(r.CreditEnd, "creditingPeriodEndDate", t),
	}
	v, refused := r.Estimate.Between(0, maxTonnes)
	if refused {
		t.Refuse("estAnnualEmissionReductions")
	}
	p.AnnualEstimate = v
	return p, true
}

func (r *asset) units(t *payload.Tally) (Units, bool) {
	n, ok := r.ID.Int()
	if !ok || n <= 0 || n >= maxNumber {
		return Units{}, false
	}
	u := Units{
		Number: n, ProjectID: verra.ProjectID(n), Serial: text.Clean(r.Serial.String(), maxName),
		Issued: stamp(r.Issued, "issuanceDate", t), GoneOn: stamp(r.GoneOn, "retireOrCancelDate", t),
	}
	u.Gone = string(r.Gone) == "true" || !u.GoneOn.IsZero()
	q, refused := r.Quantity.Between(0, maxTonnes)
	if refused {
		t.Refuse("quantity")
	}
	u.Quantity = q
	end := stamp(r.VintageEnd, "vintageEnd", t)
	if end.IsZero() {
		end = stamp(r.VintageStart, "vintageStart", t)
	}
	if !end.IsZero() {
		if y, ok := verra.Vintage(fmt.Sprint(end.Year())); ok {
			u.Vintage = &y
		} else {
			t.Refuse("vintageEnd")
		}
	}
	return u, true
}

// key tells rows apart: the serial numbers name a block of units, and of one
// block a part may be retired. Rows without serial numbers are never merged.
func (u Units) key() string {
	if u.Serial == "" {
		return ""
	}
	return fmt.Sprintf("%s|%s|%v|%s", u.ProjectID, u.Serial, u.Gone, u.GoneOn.Format(time.DateOnly))
}

func stamp(s payload.Text, field string, t *payload.Tally) time.Time {
	if s.String() == "" && !s.Bad() {
		return time.Time{}
	}
	at, ok := payload.Time(s.String())
	if !ok {
		t.Refuse(field)
	}
	return at
}
