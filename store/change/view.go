package change

// View names one of the three materialised views.
type View string

// The views.
const (
	ViewProjects View = "projects"
	ViewNews     View = "news"
	ViewFinance  View = "finance"
)

// Views lists the views in display order.
func Views() []View { return []View{ViewProjects, ViewNews, ViewFinance} }

// NewsLimit is the number of rows that the news view holds for each filter.
const NewsLimit = 100

// Project is a row of the projects view: a Verra project joined with its newest
// Carbonmark row. NULL is "" or 0.
type Project struct {
	ProjectID      string
	ProjectName    string
	RegistryStatus string
	Country        string
	Vintage        int32
	Supply         float64 // tonnes of CO2 equivalent
}

// ProjectDetail is all that is known of one project.
type ProjectDetail struct {
	Project
	ProjectLink    string
	ProjectSummary string
	Source         string // "verra" or "verra+carbonmark"
}

// NewsItem is a row of the news view.
type NewsItem struct {
	GUID      string
	Title     string
	Link      string
	Published string // RFC 822
	Source    string
	Summary   string
}

// Quote is a row of the finance view: the latest figures of one ticker.
type Quote struct {
	Ticker        string
	Price         float64
	Volume        int64
	MarketCap     float64
	ChangePercent float64
	Timestamp     int64 // unix seconds
}
