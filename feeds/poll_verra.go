package feeds

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"time"

	"carbond/feeds/internal/payload"
	"carbond/feeds/verra"
	"carbond/store/change"
)

// Figures of the registry feed.
const (
	verraNewest   = 50 // rows of an incremental page
	verraMaxPages = 20 // of an incremental poll; more means that a sweep is cheaper
	verraGoneRuns = 3  // complete sweeps without a project before it is deleted
	verraOverlap  = 10 * time.Minute
	sweepRetry    = 5 * time.Minute // after a failed sweep, doubling up to an hour
	totalsRetry   = time.Hour       // after an unusable answer on the totals of one project
)

// verraSource follows the registry: newest changes each minute, everything now
// and then, totals of retirements and cancellations a few projects at a time.
type verraSource struct {
	opt     VerraOptions
	site    *url.URL
	isLocal bool

	api      *verra.Client      // nil until discovered
	env      *verra.Environment // as last read; never saved, its headers are not ours to keep
	mem      verraMemory
	projects map[int64]verra.Project // by number, as far as seen since the start
	ledger   *verra.Ledger
	pending  map[int64]bool      // projects whose rows are to be written
	stale    map[int64]bool      // projects whose totals are to be asked again
	refused  map[int64]time.Time // when the totals of a project were last asked in vain
	retired  map[string]bool     // project ids stored as RETIRED, read before a sweep
	known    map[int64]bool      // mem.Known
	sweepAt  time.Time           // next sweep; zero = now
	failed   int                 // sweeps in a row
	// bodies are fingerprints of the newest page of each resource as last
	// written. They are never saved: the table may be another one then.
	bodies map[verra.Resource]string
	note   string // why the last sweep failed
}

// verraMemory is what the registry feed remembers.
type verraMemory struct {
	ProjectMark   time.Time              `json:"project_mark,omitzero"` // newest modification written
	IssuanceMark  time.Time              `json:"issuance_mark,omitzero"`
	SweptAt       time.Time              `json:"swept_at,omitzero"`
	ProjectCount  int                    `json:"project_count,omitempty"` // of the last good sweep
	IssuanceCount int                    `json:"issuance_count,omitempty"`
	AllRetired    float64                `json:"all_retired,omitempty"` // sums over the whole registry
	AllCancelled  float64                `json:"all_cancelled,omitempty"`
	SumsKnown     bool                   `json:"sums_known,omitempty"` // AllRetired and AllCancelled were read
	Known         []int64                `json:"known,omitempty"`      // projects that this feed has written
	Missed        map[int64]int          `json:"missed,omitempty"`     // complete sweeps without the project
	Totals        map[int64]*verraTotals `json:"totals,omitempty"`
}

// verraTotals are the sums of one project, in tonnes.
type verraTotals struct {
	Issued    float64 `json:"i"`
	Retired   float64 `json:"r"`
	Cancelled float64 `json:"c"`
	At        int64   `json:"at"` // unix seconds
}

func newVerra(opt VerraOptions, local map[string]bool) *verraSource {
	site, _ := url.Parse(opt.URL) // checked by Options.check
	s := &verraSource{opt: opt, site: site, isLocal: local[lowerHost(site)]}
	if s.isLocal {
		s.opt.SweepEvery = min(opt.SweepEvery, localFull*opt.Interval)
	}
	s.forget()
	return s
}

func (s *verraSource) name() string                     { return change.Verra }
func (s *verraSource) table() string                    { return change.Verra }
func (s *verraSource) local() bool                      { return s.isLocal }
func (s *verraSource) volatile() bool                   { return false }
func (s *verraSource) interval(time.Time) time.Duration { return s.opt.Interval }

func (s *verraSource) save() any {
	s.mem.Known = slices.Sorted(maps.Keys(s.known))
	return s.mem
}

func (s *verraSource) forget() {
	s.mem = verraMemory{Missed: map[int64]int{}, Totals: map[int64]*verraTotals{}}
	s.projects, s.pending, s.stale = map[int64]verra.Project{}, map[int64]bool{}, map[int64]bool{}
	s.known, s.bodies, s.refused = map[int64]bool{}, map[verra.Resource]string{}, map[int64]time.Time{}
	s.ledger, s.sweepAt, s.failed, s.note = verra.NewLedger(), time.Time{}, 0, ""
}

func (s *verraSource) restore(data json.RawMessage) error {
	s.forget()
	mem := s.mem
	if err := json.Unmarshal(data, &mem); err != nil {
		return fmt.Errorf("read memory of the registry feed: %w", err)
	}
	if mem.Missed == nil {
		mem.Missed = map[int64]int{}
	}
	if mem.Totals == nil {
		mem.Totals = map[int64]*verraTotals{}
	}
	s.mem = mem
	for _, n := range mem.Known {
		s.known[n] = true
	}
	for n, t := range mem.Totals {
		if t == nil {
			delete(mem.Totals, n)
			continue
		}
		s.ledger.SetTotal(verra.Issuances, n, &t.Issued)
		setTotals(s.ledger, n, t)
	}
	return nil
}

// poll sweeps when a sweep is due, else reads the newest changes; then it asks
// for some totals. On 401 or 403 the configuration document is read again, once.
func (s *verraSource) poll(ctx context.Context, c *cycle) (result, error) {
	res, err := s.round(ctx, c)
	if KindOf(err) == KindAuth && s.api != nil && ctx.Err() == nil {
		s.api = nil
		res, err = s.round(ctx, c)
	}
	switch k := KindOf(err); {
	case errors.Is(err, verra.ErrNoEntities):
		s.correctStandard(ctx, c)
	case err != nil && k != KindPaused && k != KindRateLimited && k != KindCanceled && k != KindWrite:
		s.api = nil // the services may have moved: read the document again next time
	}
	return res, err
}

func (s *verraSource) round(ctx context.Context, c *cycle) (result, error) {
	if err := s.discover(ctx, c); err != nil {
		return result{}, err
	}
	res := result{items: s.mem.ProjectCount}
	if !c.now().Before(s.sweepAt) {
		if err := s.sweep(ctx, c); err != nil {
			return res, err
		}
		res.items = s.mem.ProjectCount
	} else {
		unchanged, err := s.newest(ctx, c)
		if err != nil {
			return res, err
		}
		res.unchanged = unchanged
	}
	if s.note != "" {
		res.notes = append(res.notes, s.note)
	}
	err := s.totals(ctx, c)
	switch k := KindOf(err); {
	case err == nil:
	case k == KindRateLimited, k == KindPaused, k == KindAuth, k == KindCanceled, k == KindWrite:
		return res, err
	default:
		c.log.Warn("registry totals not available", "kind", k, "error", err)
		res.notes = append(res.notes, "totals: "+err.Error())
	}
	return res, nil
}

// newest reads what changed since the last poll and writes it. It reports
// whether the answers were those of the poll before.
func (s *verraSource) newest(ctx context.Context, c *cycle) (unchanged bool, err error) {
	projects, err := newestOf(ctx, s, c, verra.Projects, s.mem.ProjectMark, verra.ParseProjects,
		func(p verra.Project) time.Time { return p.Modified }, s.mem.ProjectCount)
	if err != nil {
		return false, err
	}
	units, err := newestOf(ctx, s, c, verra.Issuances, s.mem.IssuanceMark, verra.ParseIssuances,
		func(u verra.Units) time.Time { return u.Modified }, s.mem.IssuanceCount)
	if err != nil {
		return false, err
	}
	if projects.same && units.same && len(s.pending) == 0 {
		return true, nil
	}
	s.take(projects.rows)
	for _, n := range s.ledger.Add(verra.Issuances, units.rows...) {
		s.pending[n], s.stale[n] = true, true
	}
	if err := s.changedTotals(ctx, c); err != nil {
		return false, err
	}
	if err := s.writePending(ctx, c); err != nil {
		return false, err
	}
	s.mem.ProjectMark, s.mem.IssuanceMark = projects.mark, units.mark
	s.bodies[verra.Projects], s.bodies[verra.Issuances] = projects.body, units.body
	return false, nil
}

// take remembers projects and marks those that differ for writing.
func (s *verraSource) take(projects []verra.Project) {
	for _, p := range projects {
		old, known := s.projects[p.Number]
		if known && verra.NewerProject(old, p) {
			continue
		}
		s.projects[p.Number] = p
		s.pending[p.Number] = true
		if known && !old.Modified.Equal(p.Modified) {
			s.stale[p.Number] = true
		}
	}
}

// newer is what an incremental poll brought of one resource.
type newer[T any] struct {
	rows []T
	mark time.Time // newest modification seen
	body string    // fingerprint of the first page
	same bool      // that page is the one last written: it was not even read
}

// newestOf reads pages of one resource, newest first, back to the mark.
func newestOf[T any](
	ctx context.Context, s *verraSource, c *cycle, r verra.Resource, mark time.Time,
	parse func([]byte, string) (verra.Page[T], error), modified func(T) time.Time, last int,
) (newer[T], error) {
	out := newer[T]{mark: mark}
	start := 0
	for n := range verraMaxPages {
		req, res, err := s.ask(ctx, c, verra.Search{Resource: r, Start: start, Limit: verraNewest, Sort: []verra.Sort{verra.SortChanged()}})
		if err != nil {
			return out, err
		}
		if n == 0 {
			if out.body = digest(res.Body); out.body == s.bodies[r] {
				out.same = true
				return out, nil
			}
		}
		page, err := parse(res.Body, res.ContentType())
		if err != nil {
			return out, parsed(req, err)
		}
		// A total far below the last sweep's is an index that is being rebuilt.
		if err := payload.CheckCount(page.Total, -1, last); err != nil {
			return out, &Error{Kind: KindOf(err), Op: "read newest " + string(r), Err: err}
		}
		out.rows = append(out.rows, page.Rows...)
		start += page.Tally.Elements
		for _, row := range page.Rows {
			out.mark = later(out.mark, modified(row))
		}
		if page.Tally.Elements == 0 || start >= page.Total || reached(page.Rows, modified, mark) {
			return out, nil
		}
	}
	s.sweepAt = time.Time{} // too far behind: sweep at the next poll
	return out, nil
}

// reached reports whether a page goes back to the mark, or whether paging on
// would never get there: without a mark, and where the order is not honoured.
func reached[T any](rows []T, modified func(T) time.Time, mark time.Time) bool {
	if mark.IsZero() {
		return true
	}
	for i, row := range rows {
		at := modified(row)
		if !at.IsZero() && at.Before(mark.Add(-verraOverlap)) || i > 0 && at.After(modified(rows[i-1]).Add(time.Minute)) {
			return true
		}
	}
	return false
}

// ask sends one search.
func (s *verraSource) ask(ctx context.Context, c *cycle, search verra.Search) (*request, *response, error) {
	call, err := s.api.Search(search)
	if err != nil {
		return nil, nil, fail(KindInvalid, "search the registry", "%w", err)
	}
	return c.call(ctx, call, s.rules())
}

func (s *verraSource) rules() callRules {
	return callRules{configured: s.site, spacing: s.opt.Spacing}
}
