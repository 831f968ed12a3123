package verra

import (
	"regexp"
	"time"

	"carbond/feeds/internal/payload"
	"carbond/feeds/internal/text"
)

// Project is one project as the registry describes it. Empty texts, nil numbers
// and zero times are unset. It has no vintage and no supply: those follow from
// issuances, retirements and cancellations, see Ledger.
type Project struct {
	EntityID  int64  `json:"entity_id,omitempty"` // internal id
	Number    int64  `json:"number"`
	ProjectID string `json:"project_id"` // "VCS-<number>"
	Name      string `json:"name,omitempty"`
	Summary   string `json:"summary,omitempty"`
	StateCode string `json:"state_code,omitempty"` // raw, upper case
	Label     string `json:"label,omitempty"`      // raw status label
	Country   string `json:"country,omitempty"`    // one spelling per country

	Modified time.Time `json:"modified,omitzero"`
	Indexed  time.Time `json:"indexed,omitzero"`

	AnnualEstimate *float64  `json:"annual_estimate,omitempty"` // tonnes a year; an estimate, never supply
	CreditStart    time.Time `json:"credit_start,omitzero"`
	CreditEnd      time.Time `json:"credit_end,omitzero"`
	Methodologies  string    `json:"methodologies,omitempty"`
	SectoralScope  string    `json:"sectoral_scope,omitempty"`
	Region         string    `json:"region,omitempty"`
	Proponents     string    `json:"proponents,omitempty"`
	Latitude       *float64  `json:"latitude,omitempty"`
	Longitude      *float64  `json:"longitude,omitempty"`
}

// rawProject has the fields of a project entity that carbond reads. The entity
// has 99 keys; none that carries personal data is decoded.
type rawProject struct {
	EntityID      payload.Number `json:"entityId"`
	ID            payload.Number `json:"id"`
	ProjectID     payload.Number `json:"projectId"`
	VCSProjectID  payload.Number `json:"vcsProjectId"`
	Name          payload.Text   `json:"projectName"`
	Description   payload.Text   `json:"projectDescription"`
	Status        payload.Text   `json:"status"`
	StateCode     payload.Text   `json:"stateCode"`
	Country       payload.Text   `json:"countryName"`
	Modified      payload.Text   `json:"modifiedDate"`
	Indexed       payload.Text   `json:"esUpdatedOn"`
	AnnualVCU     payload.Number `json:"avgAnnualVolVcu"`
	CreditStart   payload.Text   `json:"creditPeriodStartDate"`
	CreditEnd     payload.Text   `json:"creditPeriodEndDate"`
	Methodologies payload.Text   `json:"methodologies"`
	Scope         payload.Text   `json:"sectoralScope"`
	Region        payload.Text   `json:"regionName"`
	Proponents    payload.Text   `json:"proponents"`
	Latitude      payload.Number `json:"latitude"`
	Longitude     payload.Number `json:"longitude"`
}

// ParseProjects reads one page of the project search. Errors are those of
// package payload, or ErrNoEntities together with the empty page.
func ParseProjects(body []byte, contentType string) (Page[Project], error) {
	return parsePage("projects", body, contentType, (*rawProject).project, NewerProject)
}

func (r *rawProject) project(t *payload.Tally) (Project, int64, bool) {
	n, ok := number(r.ProjectID, r.VCSProjectID)
	if !ok {
		return Project{}, 0, false
	}
	p := Project{
		Number: n, ProjectID: ProjectID(n), EntityID: entityID(r.EntityID, r.ID),
		Name: clean(r.Name, maxName), Summary: clean(r.Description, maxSummary),
		StateCode: normalCode(clean(r.StateCode, maxLabel)), Label: clean(r.Status, maxLabel),
		Country:  text.Country(r.Country.String()),
		Modified: t.Time(r.Modified, "modifiedDate"), Indexed: t.Time(r.Indexed, "esUpdatedOn"),
		AnnualEstimate: t.Between(r.AnnualVCU, 0, maxTonnes, "avgAnnualVolVcu"),
		CreditStart:    t.Time(r.CreditStart, "creditPeriodStartDate"),
		CreditEnd:      t.Time(r.CreditEnd, "creditPeriodEndDate"),
		Methodologies:  note.ReplaceAllString(clean(r.Methodologies, maxName), ""), SectoralScope: clean(r.Scope, maxName),
		Region: clean(r.Region, maxLabel), Proponents: note.ReplaceAllString(clean(r.Proponents, maxName), ""),
	}
	lat, long := t.Between(r.Latitude, -90, 90, "latitude"), t.Between(r.Longitude, -180, 180, "longitude")
	if lat != nil && long != nil && (*lat != 0 || *long != 0) { // 0.0 is how the registry says "absent"
		p.Latitude, p.Longitude = lat, long
	}
	return p, n, true
}

// note is what the registry adds to the codes of methodologies, "VM0009 (Version 3.0)",
// and to proponents, "Example Ltd. (PP)".
var note = regexp.MustCompile(`(?i) *\((?:version [^()]*|pp)\)`)

// NewerProject reports whether a is strictly newer than b: by modification, and
// among equals by the time of indexing. Of two rows with equal times the later
// one of a page counts.
func NewerProject(a, b Project) bool {
	if c := a.Modified.Compare(b.Modified); c != 0 {
		return c > 0
	}
	return a.Indexed.After(b.Indexed)
}

// entityID returns the first usable internal id, 0 when there is none.
func entityID(values ...payload.Number) int64 {
	for _, v := range values {
		if n, ok := v.Int(); ok && n > 0 {
			return n
		}
	}
	return 0
}
