package verra

import (
	"strings"
	"time"

	"carbond/feeds/internal/text"
)

// DefaultLinkPrefix is the address of a project's public page up to its number.
const DefaultLinkPrefix = "https://registry.verra.org/app/projectDetail/VCS/"

// Row is a row of the table verra, without id and updated_at, which are the
// writer's. Empty texts and nil numbers are NULL.
type Row struct {
	ProjectID      string   `json:"project_id"`
	ProjectName    string   `json:"project_name,omitempty"`
	ProjectLink    string   `json:"project_link,omitempty"`
	ProjectSummary string   `json:"project_summary,omitempty"`
	RegistryStatus string   `json:"registry_status"`
	Country        string   `json:"country,omitempty"`
	Vintage        *int32   `json:"vintage,omitempty"`
	Supply         *float64 `json:"supply,omitempty"` // tonnes

	Registry       string    `json:"registry,omitempty"`
	Methodology    string    `json:"methodology,omitempty"`
	ProjectType    string    `json:"project_type,omitempty"`
	Region         string    `json:"region,omitempty"`
	Proponent      string    `json:"proponent,omitempty"`
	CreditingStart time.Time `json:"crediting_start,omitzero"`
	CreditingEnd   time.Time `json:"crediting_end,omitzero"`
	AnnualEstimate *float64  `json:"annual_estimate,omitempty"` // tonnes a year
	Latitude       *float64  `json:"latitude,omitempty"`
	Longitude      *float64  `json:"longitude,omitempty"`
	FirstIssued    time.Time `json:"first_issued,omitzero"`
}

// RowOptions adjust Project.Row. The zero value means the defaults.
type RowOptions struct {
	Status     StatusMap
	LinkPrefix string
	// RetiredFrom lists the statuses that RETIRED may replace once every unit
	// of a project is gone; nil is ACTIVE alone, so that a project on hold or
	// rejected stays visible as such.
	RetiredFrom []string
}

// Row joins a project with the facts of its units. RETIRED is not a state of
// the registry: it is set only when units were issued and all are retired or
// cancelled.
func (p Project) Row(f Facts, o RowOptions) Row {
	status := o.Status.Status(p.StateCode, p.Label)
	if f.AllRetired() && o.replaces(status) {
		status = Retired
	}
	prefix := o.LinkPrefix
	if prefix == "" {
		prefix = DefaultLinkPrefix
	}
	return Row{
		ProjectID: p.ProjectID, ProjectName: p.Name, ProjectLink: prefix + strings.TrimPrefix(p.ProjectID, "VCS-"),
		ProjectSummary: p.Summary, RegistryStatus: status, Country: p.Country, Vintage: f.Vintage, Supply: f.Supply,
		Registry: text.Registry("VCS"), Methodology: p.Methodologies, ProjectType: p.SectoralScope, Region: p.Region, Proponent: p.Proponents,
		CreditingStart: p.CreditStart, CreditingEnd: p.CreditEnd, AnnualEstimate: p.AnnualEstimate,
		Latitude: p.Latitude, Longitude: p.Longitude, FirstIssued: f.FirstIssued,
	}
}

func (o RowOptions) replaces(status string) bool {
	if o.RetiredFrom == nil {
		return status == Active
	}
	for _, s := range o.RetiredFrom {
		if s == status {
			return true
		}
	}
	return false
}
