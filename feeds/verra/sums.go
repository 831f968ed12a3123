package verra

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"carbond/feeds/internal/payload"
	"carbond/feeds/internal/text"
)

// ErrUnknownProject is the registry's answer for a project that it does not
// have: status 200 with an empty body. It also matches payload.ErrEmpty.
var ErrUnknownProject = fmt.Errorf("registry does not know the project: %w", payload.ErrEmpty)

type rawSum struct {
	Sum   payload.Number `json:"sum"`
	Total payload.Number `json:"total"`
}

// ParseAggregate reads the sum of a ledger, in tonnes. A missing, negative or
// absurd sum is payload.ErrShape.
func ParseAggregate(body []byte, contentType string) (tonnes float64, err error) {
	var raw rawSum
	if err := payload.Decode(body, contentType, payload.Object, &raw); err != nil {
		return 0, fmt.Errorf("read verra sum: %w", err)
	}
	v, _ := raw.Sum.Between(0, maxTonnes)
	if v == nil {
		return 0, fmt.Errorf("read verra sum: %w: no usable sum", payload.ErrShape)
	}
	return *v, nil
}

// ParseSum reads the number of projects. Zero is ErrNoEntities: the registry is
// never empty.
func ParseSum(body []byte, contentType string) (projects int, err error) {
	var raw rawSum
	if err := payload.Decode(body, contentType, payload.Object, &raw); err != nil {
		return 0, fmt.Errorf("read verra project count: %w", err)
	}
	n, ok := raw.Total.Int()
	switch {
	case !ok || n < 0 || n > maxTotal:
		return 0, fmt.Errorf("read verra project count: %w: no usable total", payload.ErrShape)
	case n == 0:
		return 0, fmt.Errorf("read verra project count: %w", ErrNoEntities)
	}
	return int(n), nil
}

// Statistics are the units of one project by state, in tonnes. nil is unknown:
// the registry leaves out states, and answers an empty list for projects
// without units.
type Statistics struct {
	Issued    *float64      `json:"issued,omitempty"`
	Active    *float64      `json:"active,omitempty"`
	Retired   *float64      `json:"retired,omitempty"`
	Buffer    *float64      `json:"buffer,omitempty"`
	Cancelled *float64      `json:"cancelled,omitempty"`
	Tally     payload.Tally `json:"tally"`
}

// ParseStatistics reads the answer of Client.Statistics.
func ParseStatistics(body []byte, contentType string) (Statistics, error) {
	var raw struct {
		Quantities *struct {
			Issued    payload.Number `json:"Issued"`
			Active    payload.Number `json:"Active"`
			Retired   payload.Number `json:"Retired"`
			Buffer    payload.Number `json:"Buffer"`
			Cancelled payload.Number `json:"Unit_Cancelled"`
		} `json:"quantitiesByStateCode"`
	}
	if err := payload.Decode(body, contentType, payload.Object, &raw); err != nil {
		return Statistics{}, fmt.Errorf("read verra statistics: %w", err)
	}
	q := raw.Quantities
	if q == nil {
		return Statistics{}, fmt.Errorf("read verra statistics: %w: no quantitiesByStateCode", payload.ErrShape)
	}
	var s Statistics
	tonnes := func(n payload.Number, field string) *float64 { return between(n, 0, maxTonnes, field, &s.Tally) }
	s.Issued, s.Active, s.Retired = tonnes(q.Issued, "Issued"), tonnes(q.Active, "Active"), tonnes(q.Retired, "Retired")
	s.Buffer, s.Cancelled = tonnes(q.Buffer, "Buffer"), tonnes(q.Cancelled, "Unit_Cancelled")
	return s, nil
}

// Facts derives supply from the statistics alone; the vintage stays unset.
func (s Statistics) Facts() Facts { return derive(s.Issued, s.Retired, s.Cancelled) }

// Detail is the document of one project. Issued lists its issuances by vintage.
type Detail struct {
	Project Project       `json:"project"`
	Issued  []DetailUnits `json:"issued,omitempty"`
	Tally   payload.Tally `json:"tally"`
}

// DetailUnits is one vintage in a Detail.
type DetailUnits struct {
	Vintage  *int32   `json:"vintage,omitempty"`
	Quantity *float64 `json:"quantity,omitempty"` // tonnes
}

// ParseDetail reads the answer of Client.Detail. An empty body is
// ErrUnknownProject.
func ParseDetail(body []byte, contentType string) (Detail, error) {
	var raw struct {
		EntityID     payload.Number  `json:"project_id"`
		VCSProjectID payload.Number  `json:"vcs_project_id"`
		Name         payload.Text    `json:"project_name"`
		Description  payload.Text    `json:"project_description"`
		Label        payload.Text    `json:"state_name"`
		StateCode    payload.Text    `json:"state_code"`
		Country      payload.Text    `json:"country_name"`
		Units        json.RawMessage `json:"mixedUnitList"`
	}
	err := payload.Decode(body, contentType, payload.Object, &raw)
	switch {
	case errors.Is(err, payload.ErrEmpty):
		return Detail{}, fmt.Errorf("read verra project document: %w", ErrUnknownProject)
	case err != nil:
		return Detail{}, fmt.Errorf("read verra project document: %w", err)
	}
	n, ok := number(raw.VCSProjectID)
	if !ok {
		return Detail{}, fmt.Errorf("read verra project document: %w: no usable vcs_project_id", payload.ErrShape)
	}
	d := Detail{Project: Project{
		EntityID: entityID(raw.EntityID), Number: n, ProjectID: ProjectID(n),
		Name: clean(raw.Name, maxName), Summary: clean(raw.Description, maxSummary),
		StateCode: normalCode(clean(raw.StateCode, maxLabel)), Label: clean(raw.Label, maxLabel),
		Country: text.Country(raw.Country.String()),
	}}
	err = payload.Each(raw.Units, maxPageRows, func(elem json.RawMessage) error {
		d.add(elem)
		return nil
	})
	if err != nil {
		return Detail{}, fmt.Errorf("read verra project document: units: %w", err)
	}
	return d, nil
}

func (d *Detail) add(elem json.RawMessage) {
	d.Tally.Elements++
	var raw struct {
		Vintage  payload.Text   `json:"vintage"`
		Quantity payload.Number `json:"quantity"`
	}
	switch {
	case payload.IsNull(elem):
		d.Tally.Nulls++
		return
	case !payload.IsObject(elem) || payload.Unmarshal(elem, &raw) != nil:
		d.Tally.Malformed++
		return
	}
	u := DetailUnits{Quantity: between(raw.Quantity, 0, maxTonnes, "quantity", &d.Tally)}
	if s := strings.TrimSpace(raw.Vintage.String()); s != "" || raw.Vintage.Bad() {
		if y, ok := Vintage(s); ok {
			u.Vintage = &y
		} else {
			d.Tally.Refuse("vintage")
		}
	}
	d.Issued = append(d.Issued, u)
}
