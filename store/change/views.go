package change

import (
	"iter"
	"slices"
)

// NewsLimit is the number of rows that the news view holds for each filter.
const NewsLimit = 100

// Project is a row of the projects view: a Verra project joined with its newest
// Carbonmark row. NULL is "" or 0, and told apart by Null.
type Project struct {
	ProjectID      string
	ProjectName    string
	RegistryStatus string
	Country        string
	Vintage        int32   // the newest one
	Supply         float64 // tonnes of CO2 equivalent, of all vintages
	Registry       string
	Methodology    string
	ProjectType    string
	Region         string
	PriceUSD       float64 // US dollars a tonne
	HasSupply      bool    // the supply is known; NULL where the registry is not

	Null Nulls
}

// Projects defines the projects view.
var Projects = viewOf(ViewDef{
	Name: ViewProjects, Tables: []string{Verra, Carbonmark}, Key: "project_id", Filter: "country", Latest: true,
	From:  "public.verra LEFT JOIN public.carbonmark ON carbonmark.project_id = verra.project_id",
	Order: `verra.updated_at DESC, carbonmark.updated_at DESC NULLS LAST, carbonmark.id COLLATE "C" DESC`,
}, func(p *Project) *Nulls { return &p.Null },
	field("project_id", 1, func(p *Project) any { return &p.ProjectID }, "verra.project_id"),
	field("project_name", 2, func(p *Project) any { return &p.ProjectName }, "carbonmark.project_name", "verra.project_name"),
	field("registry_status", 3, func(p *Project) any { return &p.RegistryStatus }, "verra.registry_status"),
	field("country", 4, func(p *Project) any { return &p.Country }, "verra.country"),
	field("vintage", 5, func(p *Project) any { return &p.Vintage }, "verra.vintage"),
	field("supply", 6, func(p *Project) any { return &p.Supply }, "verra.supply"),
	field("registry", 16, func(p *Project) any { return &p.Registry }, "verra.registry"),
	field("methodology", 17, func(p *Project) any { return &p.Methodology }, "verra.methodology"),
	field("project_type", 18, func(p *Project) any { return &p.ProjectType }, "verra.project_type"),
	field("region", 19, func(p *Project) any { return &p.Region }, "verra.region"),
	nullable("price_usd", 20, func(p *Project) any { return &p.PriceUSD }, "carbonmark.price_usd"),
	known("has_supply", 21, func(p *Project) any { return &p.HasSupply }, "verra.supply", "verra.registry"),
)

// ProjectDetail is all that is known of one project.
type ProjectDetail struct {
	Project
	ProjectLink    string
	ProjectSummary string
	Source         string // "verra" or "verra+carbonmark"
	Proponent      string
	CreditingStart string  // a date, 2006-01-02
	CreditingEnd   string  // a date
	AnnualEstimate float64 // tonnes a year
	Latitude       float64 // degrees north
	Longitude      float64 // degrees east
	Vintages       []VintageSupply
}

// VintageSupply is what became of the credits of one vintage of a project, in tonnes of
// CO2 equivalent.
type VintageSupply struct {
	Vintage   int32
	Issued    float64
	Retired   float64
	Cancelled float64
	Available float64

	Null Nulls
}

// VintageSupplies defines the rows of ProjectDetail.Vintages.
var VintageSupplies = viewOf(ViewDef{Name: "vintages", Tables: []string{Vintages}}, func(v *VintageSupply) *Nulls { return &v.Null },
	field("vintage", 1, func(v *VintageSupply) any { return &v.Vintage }, "vintages.vintage"),
	nullable("issued", 2, func(v *VintageSupply) any { return &v.Issued }, "vintages.issued"),
	nullable("retired", 3, func(v *VintageSupply) any { return &v.Retired }, "vintages.retired"),
	nullable("cancelled", 4, func(v *VintageSupply) any { return &v.Cancelled }, "vintages.cancelled"),
	nullable("available", 5, func(v *VintageSupply) any { return &v.Available }, "vintages.available"),
)

// ProjectDetails defines what GetProjectDetail answers: a row of the projects
// view with more fields.
var ProjectDetails = viewOf(ViewDef{Name: "project", Tables: Projects.Tables, Key: "project_id", Many: []Many{
	{Name: "vintages", Number: 28, View: &VintageSupplies.ViewDef, Rows: func(row any) iter.Seq[any] {
		return pointers(slices.Values(row.(*ProjectDetail).Vintages))
	}},
}}, func(p *ProjectDetail) *Nulls { return &p.Null },
	field("project_id", 1, func(p *ProjectDetail) any { return &p.ProjectID }, "verra.project_id"),
	field("project_name", 2, func(p *ProjectDetail) any { return &p.ProjectName }, "carbonmark.project_name", "verra.project_name"),
	field("project_link", 3, func(p *ProjectDetail) any { return &p.ProjectLink }, "verra.project_link"),
	field("project_summary", 4, func(p *ProjectDetail) any { return &p.ProjectSummary }, "verra.project_summary"),
	field("registry_status", 5, func(p *ProjectDetail) any { return &p.RegistryStatus }, "verra.registry_status"),
	field("country", 6, func(p *ProjectDetail) any { return &p.Country }, "verra.country"),
	field("vintage", 7, func(p *ProjectDetail) any { return &p.Vintage }, "verra.vintage"),
	field("supply", 8, func(p *ProjectDetail) any { return &p.Supply }, "verra.supply"),
	field("source", 9, func(p *ProjectDetail) any { return &p.Source }),
	field("registry", 16, func(p *ProjectDetail) any { return &p.Registry }, "verra.registry"),
	field("methodology", 17, func(p *ProjectDetail) any { return &p.Methodology }, "verra.methodology"),
	field("project_type", 18, func(p *ProjectDetail) any { return &p.ProjectType }, "verra.project_type"),
	field("region", 19, func(p *ProjectDetail) any { return &p.Region }, "verra.region"),
	nullable("price_usd", 20, func(p *ProjectDetail) any { return &p.PriceUSD }, "carbonmark.price_usd"),
	known("has_supply", 21, func(p *ProjectDetail) any { return &p.HasSupply }, "verra.supply", "verra.registry"),
	field("proponent", 22, func(p *ProjectDetail) any { return &p.Proponent }, "verra.proponent"),
	field("crediting_start", 23, func(p *ProjectDetail) any { return &p.CreditingStart }, "verra.crediting_start"),
	field("crediting_end", 24, func(p *ProjectDetail) any { return &p.CreditingEnd }, "verra.crediting_end"),
	nullable("annual_estimate", 25, func(p *ProjectDetail) any { return &p.AnnualEstimate }, "verra.annual_estimate"),
	nullable("latitude", 26, func(p *ProjectDetail) any { return &p.Latitude }, "verra.latitude"),
	nullable("longitude", 27, func(p *ProjectDetail) any { return &p.Longitude }, "verra.longitude"),
)

// NewsItem is a row of the news view.
type NewsItem struct {
	GUID      string
	Title     string
	Link      string
	Published string // RFC 822
	Source    string
	Summary   string
	// PublishedEstimated is set where the item named no readable time.
	PublishedEstimated bool

	Null Nulls
}

// NewsItems defines the news view.
var NewsItems = viewOf(ViewDef{
	Name: ViewNews, Tables: []string{News}, Key: "guid", Filter: "source", Limit: NewsLimit,
	From:  "public.news",
	Order: `news.published_at DESC NULLS LAST, news.guid COLLATE "C"`,
}, func(n *NewsItem) *Nulls { return &n.Null },
	field("guid", 1, func(n *NewsItem) any { return &n.GUID }, "news.guid"),
	field("title", 2, func(n *NewsItem) any { return &n.Title }, "news.title"),
	field("link", 3, func(n *NewsItem) any { return &n.Link }, "news.link"),
	field("published", 4, func(n *NewsItem) any { return &n.Published }, "news.published"),
	field("source", 5, func(n *NewsItem) any { return &n.Source }, "news.source"),
	field("summary", 6, func(n *NewsItem) any { return &n.Summary }, "news.summary"),
	field("published_estimated", 16, func(n *NewsItem) any { return &n.PublishedEstimated }, "news.published_estimated"),
)

// Quote is a row of the finance view: the latest figures of one ticker.
type Quote struct {
	Ticker        string
	Price         float64
	Volume        int64
	MarketCap     float64
	ChangePercent float64
	Timestamp     int64  // unix seconds
	Currency      string // as the upstream names it, "" where it is not known

	Null Nulls
}

// Quotes defines the finance view.
var Quotes = viewOf(ViewDef{
	Name: ViewFinance, Tables: []string{Finance}, Key: "ticker", Filter: "ticker", Latest: true,
	From:  "public.finance",
	Order: `finance."timestamp" DESC`,
}, func(q *Quote) *Nulls { return &q.Null },
	field("ticker", 1, func(q *Quote) any { return &q.Ticker }, "finance.ticker"),
	field("price", 2, func(q *Quote) any { return &q.Price }, "finance.price"),
	field("volume", 3, func(q *Quote) any { return &q.Volume }, "finance.volume"),
	field("market_cap", 4, func(q *Quote) any { return &q.MarketCap }, "finance.market_cap"),
	field("change_percent", 5, func(q *Quote) any { return &q.ChangePercent }, "finance.change_percent"),
	field("timestamp", 6, func(q *Quote) any { return &q.Timestamp }, "finance.timestamp"),
	field("currency", 16, func(q *Quote) any { return &q.Currency }, "finance.currency"),
)
