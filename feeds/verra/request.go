package verra

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"

	"carbond/feeds/internal/payload"
)

// Resource is one of the registry's public ledgers.
type Resource string

// The resources.
const (
	Projects      Resource = "project"
	Issuances     Resource = "issuances"
	Holdings      Resource = "holdings"
	Retirements   Resource = "retirements"
	Cancellations Resource = "cancellations"
)

// Limits of the search service, both measured: beyond them it answers 500.
const (
	MaxLimit = 400    // rows of one page
	MaxStart = 10_000 // first row of a page; larger results must be split by filters
)

// Request is one call of the registry. Its headers carry the values of the
// configuration document.
type Request = payload.Request

// Filter narrows a search to rows whose Field equals Value. Only the two
// comparisons that the service was seen to honour can be built; it ignores any
// other and answers with the whole ledger, so check that TotalEntities shrank.
type Filter struct {
	Field  string
	Value  string
	Number bool // compare as number, for ids
}

// ByProject filters a ledger to one project number: 934 for VCS-934.
func ByProject(number int64) Filter {
	return Filter{Field: "projectId", Value: strconv.FormatInt(number, 10), Number: true}
}

// ByVintage filters issuances to one vintage text as the registry has it, which
// splits the ledger into parts below MaxStart.
func ByVintage(vintage string) Filter { return Filter{Field: "vintage", Value: vintage} }

// Sort orders a search by one field.
type Sort struct {
	Field      string
	Descending bool
}

// SortSweep is the only order under which a full sweep is complete, since the
// service shuffles rows between pages under any other.
func SortSweep() Sort { return Sort{Field: "entityId"} }

// SortChanged brings the rows that changed last first, for incremental polls.
func SortChanged() Sort { return Sort{Field: "modifiedDate", Descending: true} }

// Search is one page of one ledger.
type Search struct {
	Resource Resource
	Start    int // 0 based
	Limit    int // 0 is MaxLimit
	Sort     []Sort
	Filters  []Filter
}

// Client builds the calls to one registry and standard. Extra headers (Origin,
// Referer) are configuration; they never replace the required ones.
type Client struct {
	Env      Environment
	Standard Standard
	Extra    map[string]string
}

// Search builds the call for one page. It refuses a page outside the limits of
// the service.
func (c Client) Search(s Search) (Request, error) {
	if s.Limit == 0 {
		s.Limit = MaxLimit
	}
	if s.Limit < 0 || s.Limit > MaxLimit || s.Start < 0 || s.Start > MaxStart {
		return Request{}, fmt.Errorf("build verra search of %s: start %d, limit %d lie outside 0..%d and 1..%d: split the sweep by filters",
			s.Resource, s.Start, s.Limit, MaxStart, MaxLimit)
	}
	page := pagination{Start: &s.Start, Limit: s.Limit}
	for _, o := range s.Sort {
		dir := "ASC"
		if o.Descending {
			dir = "DESC"
		}
		page.Sort = append(page.Sort, sortOption{Sort: o.Field, Dir: dir})
	}
	return c.post(c.searchURL(s.Resource, "publicReportPageSearch"), searchBody{searchFilter{Pagination: page, FilterModel: filterModel(s.Filters)}})
}

// Aggregate builds the call for the sum of holdingQuantity over a ledger, of
// all rows or those that pass the filters. The answer is for ParseAggregate.
func (c Client) Aggregate(r Resource, filters ...Filter) (Request, error) {
	keys := []string{}
	return c.post(c.searchURL(r, "aggregateResultBySearchFilter"), searchBody{searchFilter{
		FilterModel: filterModel(filters), GroupKeys: &keys, SumBy: "holdingQuantity",
	}})
}

// Standards builds the call for the list of standards, for ParseStandards.
func (c Client) Standards() Request {
	return Request{Method: http.MethodGet, URL: c.sibling(c.Env.CMS, "cms-resources") + "/public/standardsByRegistry/VERRA", Header: c.header()}
}

func (c Client) searchURL(r Resource, call string) string {
	return c.base() + "/" + string(r) + "/" + call
}

func (c Client) base() string {
	if c.Env.Search == "" {
		return DefaultBase
	}
	return c.Env.Search
}

// sibling returns a service base of the configuration document, or the place
// where it stands beside the search service.
func (c Client) sibling(base, path string) string {
	if base != "" {
		return base
	}
	root, _ := strings.CutSuffix(c.base(), "/raas-report-api/es/public")
	return root + "/" + path
}

// header returns the headers of every call. The four registry headers are
// required: without them each call answers a bare 500.
func (c Client) header() map[string]string {
	h := maps.Clone(c.Extra)
	if h == nil {
		h = make(map[string]string, 12)
	}
	maps.Copy(h, c.Env.headers)
	h["registry"] = "VERRA"
	h["standardid"] = c.Standard.ID
	h["standardacronym"] = c.Standard.Acronym
	h["language"] = "en"
	h["Accept"] = "application/json"
	return h
}

func (c Client) post(url string, body any) (Request, error) {
	b, err := json.Marshal(body)
	if err != nil {
		return Request{}, fmt.Errorf("encode verra request: %w", err)
	}
	h := c.header()
	h["Content-Type"] = "application/json"
	return Request{Method: http.MethodPost, URL: url, Body: b, Header: h}, nil
}

// The body of a search, in the words of the service.
type (
	searchBody struct {
		Filter searchFilter `json:"searchFilter"`
	}
	searchFilter struct {
		Pagination  pagination             `json:"pagination"`
		FilterModel map[string]columnModel `json:"filterModel"`
		GroupKeys   *[]string              `json:"groupKeys,omitempty"`
		SumBy       string                 `json:"statsSumByField,omitempty"`
	}
	pagination struct {
		Start *int         `json:"start,omitempty"`
		Limit int          `json:"limit,omitempty"`
		Sort  []sortOption `json:"sortOptions,omitempty"`
	}
	sortOption struct {
		Sort string `json:"sort"`
		Dir  string `json:"dir"`
	}
	columnModel struct {
		Filters []columnFilter `json:"columnFilters"`
	}
	columnFilter struct {
		FilterType string `json:"filterType"`
		Type       string `json:"type"`
		Filter     string `json:"filter"`
	}
)

// filterModel is never nil: the service wants {} rather than null.
func filterModel(filters []Filter) map[string]columnModel {
	m := make(map[string]columnModel, len(filters))
	for _, f := range filters {
		kind := "Text"
		if f.Number {
			kind = "Number"
		}
		col := m[f.Field]
		col.Filters = append(col.Filters, columnFilter{FilterType: kind, Type: "equals", Filter: f.Value})
		m[f.Field] = col
	}
	return m
}
