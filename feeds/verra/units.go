package verra

import (
	"strconv"
	"strings"
	"time"

	"carbond/feeds/internal/payload"
)

// Units is one row of a units ledger: an issuance, a retirement or a
// cancellation. The registry's rows name people and their mail addresses; no
// field of theirs is decoded here.
type Units struct {
	EntityID  int64     `json:"entity_id"`
	Number    int64     `json:"number"`
	ProjectID string    `json:"project_id"`
	Vintage   *int32    `json:"vintage,omitempty"`  // year; the end year of a range
	Quantity  *float64  `json:"quantity,omitempty"` // tonnes; nil means unknown, not 0
	Serial    string    `json:"serial,omitempty"`
	Date      time.Time `json:"date,omitzero"` // of issue, retirement or cancellation
	Modified  time.Time `json:"modified,omitzero"`
}

// rawUnits takes the camel case of issuances and retirements and the snake case
// of cancellations.
type rawUnits struct {
	EntityID   payload.Number `json:"entityId"`
	ID         payload.Number `json:"id"`
	ProjectID  payload.Number `json:"projectId"`
	VCSProject payload.Number `json:"vcsProjectId"`
	Vintage    payload.Text   `json:"vintage"`
	Quantity   payload.Number `json:"holdingQuantity"`
	Modified   payload.Text   `json:"modifiedDate"`
	Serial     payload.Text   `json:"serialNo"`
	SerialNo   payload.Text   `json:"serial_no"`
	Issued     payload.Text   `json:"issueDate"`
	Retired    payload.Text   `json:"retiredDate"`
	Cancelled  payload.Text   `json:"cancellation_date"`
}

// ParseIssuances reads one page of issuances. Errors are those of package
// payload, or ErrNoEntities together with the empty page.
func ParseIssuances(body []byte, contentType string) (Page[Units], error) {
	return parseUnits("issuances", body, contentType)
}

// ParseRetirements reads one page of retirements; see ParseIssuances.
func ParseRetirements(body []byte, contentType string) (Page[Units], error) {
	return parseUnits("retirements", body, contentType)
}

// ParseCancellations reads one page of cancellations; see ParseIssuances.
func ParseCancellations(body []byte, contentType string) (Page[Units], error) {
	return parseUnits("cancellations", body, contentType)
}

func parseUnits(what string, body []byte, contentType string) (Page[Units], error) {
	return parsePage(what, body, contentType, (*rawUnits).units, NewerUnits)
}

// NewerUnits reports whether a is strictly newer than b.
func NewerUnits(a, b Units) bool { return a.Modified.After(b.Modified) }

// units needs an entity id, without which a row that comes again would count
// twice, and a project.
func (r *rawUnits) units(t *payload.Tally) (Units, int64, bool) {
	n, ok := number(r.ProjectID, r.VCSProject)
	id := entityID(r.EntityID, r.ID)
	if !ok || id == 0 {
		return Units{}, 0, false
	}
	u := Units{
		EntityID: id, Number: n, ProjectID: ProjectID(n),
		Quantity: t.Between(r.Quantity, 0, maxTonnes, "holdingQuantity"),
		Serial:   clean(firstText(r.Serial, r.SerialNo), maxName),
		Date:     t.Time(firstText(r.Issued, r.Retired, r.Cancelled), "date"),
		Modified: t.Time(r.Modified, "modifiedDate"),
	}
	if s := strings.TrimSpace(r.Vintage.String()); s != "" || r.Vintage.Bad() {
		if y, ok := Vintage(s); ok {
			u.Vintage = &y
		} else {
			t.Refuse("vintage")
		}
	}
	return u, id, true
}

func firstText(values ...payload.Text) payload.Text {
	for _, v := range values {
		if v.String() != "" || v.Bad() {
			return v
		}
	}
	return payload.Text{}
}

// Years that a vintage may have: the first offsets date from the 1990s, and a
// year far ahead is a typing error.
const (
	minVintage = 1990
	maxVintage = 2100
)

// Vintage reads a vintage: "2024", or a range such as "2003 - 2004", which
// gives its end year. ok is false for anything else.
func Vintage(s string) (year int32, ok bool) {
	s = strings.TrimSpace(s)
	if y, ok := vintageYear(s); ok {
		return y, true
	}
	i := strings.IndexAny(s, "-–—/")
	if i < 0 {
		return 0, false
	}
	from, okFrom := vintageYear(strings.TrimSpace(s[:i]))
	to, okTo := vintageYear(strings.TrimLeft(s[i:], "-–—/ \u00a0"))
	if !okFrom || !okTo || from > to {
		return 0, false
	}
	return to, true
}

func vintageYear(s string) (int32, bool) {
	if len(s) != 4 {
		return 0, false
	}
	y, err := strconv.ParseUint(s, 10, 16)
	if err != nil || y < minVintage || y > maxVintage {
		return 0, false
	}
	return int32(y), true
}
