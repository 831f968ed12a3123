package verra

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"

	"carbond/feeds/internal/fetch"
	"carbond/feeds/internal/payload"
	"carbond/feeds/internal/poll"
	"carbond/store/change"
)

// Figures of the registry feed.
const (
	newestRows  = 50 // rows of an incremental page
	maxPages    = 20 // of an incremental poll; more means that a sweep is cheaper
	overlap     = 10 * time.Minute
	sweepRetry  = 5 * time.Minute // after a failed sweep, doubling up to an hour
	totalsRetry = time.Hour       // after an unusable answer on the totals of one project
)

// Poller follows the registry: newest changes each minute, everything now
// and then, totals of retirements and cancellations a few projects at a time.
type Poller struct {
	opt     Options
	site    *url.URL
	isLocal bool

	api      *Client      // nil until discovered
	env      *Environment // as last read; never saved, its headers are not ours to keep
	mem      memory
	projects map[int64]Project // by number, as far as seen since the start
	ledger   *Ledger
	pending  map[int64]bool      // projects whose rows are to be written
	stale    map[int64]bool      // projects whose totals are to be asked again
	refused  map[int64]time.Time // when the totals of a project were last asked in vain
	retired  map[string]bool     // project ids stored as RETIRED, read before a sweep
	vintages map[string][]int32  // stored, by project id
	// lacksVintages says that there is no table for them.
	lacksVintages bool
	rows          poll.Presence[int64]
	sweepAt       time.Time // next sweep; zero = now
	failed        int       // sweeps in a row
	// bodies are fingerprints of the newest page of each resource as last
	// written. They are never saved: the table may be another one then.
	bodies map[Resource]string
	note   string // why the last sweep failed
}

// memory is what the registry feed remembers.
type memory struct {
	ProjectMark   time.Time             `json:"project_mark,omitzero"` // newest modification written
	IssuanceMark  time.Time             `json:"issuance_mark,omitzero"`
	SweptAt       time.Time             `json:"swept_at,omitzero"`
	ProjectCount  int                   `json:"project_count,omitempty"` // of the last good sweep
	IssuanceCount int                   `json:"issuance_count,omitempty"`
	AllRetired    float64               `json:"all_retired,omitempty"` // sums over the whole registry
	AllCancelled  float64               `json:"all_cancelled,omitempty"`
	SumsKnown     bool                  `json:"sums_known,omitempty"` // AllRetired and AllCancelled were read
	Known         []int64               `json:"known,omitempty"`      // projects that this feed has written
	Missed        map[int64]int         `json:"missed,omitempty"`     // complete sweeps without the project
	Totals        map[int64]*unitTotals `json:"totals,omitempty"`
}

// unitTotals are the sums of one project, in tonnes.
type unitTotals struct {
	Issued    float64 `json:"i"`
	Retired   float64 `json:"r"`
	Cancelled float64 `json:"c"`
	At        int64   `json:"at"` // unix seconds
}

// NewPoller returns the poller of the registry.
func NewPoller(opt Options) *Poller {
	site, _ := url.Parse(opt.URL) // checked with the options
	s := &Poller{opt: opt, site: site, isLocal: fetch.LocalName(site.Hostname())}
	if s.isLocal {
		s.opt.SweepEvery = min(opt.SweepEvery, poll.LocalFull*opt.Interval)
	}
	s.forget()
	return s
}

// Name implements poll.Source.
func (s *Poller) Name() string { return change.Verra }

// Table implements poll.Source.
func (s *Poller) Table() string { return change.Verra }

// Local implements poll.Source.
func (s *Poller) Local() bool { return s.isLocal }

// Volatile implements poll.Source.
func (s *Poller) Volatile() bool { return false }

// Fingerprint implements poll.Source.
func (s *Poller) Fingerprint() string {
	return fetch.Digest([]byte(s.opt.URL), []byte(s.opt.Base), []byte(s.opt.Standard.ID))
}

// Interval implements poll.Source.
func (s *Poller) Interval(time.Time) time.Duration { return s.opt.Interval }

// Save implements poll.Source.
func (s *Poller) Save() any {
	s.mem.Known, s.mem.Missed = s.rows.List(), s.rows.Missed
	return s.mem
}

func (s *Poller) forget() {
	s.mem = memory{Totals: map[int64]*unitTotals{}}
	s.projects, s.pending, s.stale = map[int64]Project{}, map[int64]bool{}, map[int64]bool{}
	s.rows, s.bodies, s.refused = poll.NewPresence[int64](nil, nil), map[Resource]string{}, map[int64]time.Time{}
	s.vintages = map[string][]int32{}
	s.ledger, s.sweepAt, s.failed, s.note = NewLedger(), time.Time{}, 0, ""
}

// Restore implements poll.Source.
func (s *Poller) Restore(data json.RawMessage) error {
	s.forget()
	mem := s.mem
	if err := json.Unmarshal(data, &mem); err != nil {
		return fmt.Errorf("read memory of the registry feed: %w", err)
	}
	if mem.Totals == nil {
		mem.Totals = map[int64]*unitTotals{}
	}
	s.mem = mem
	s.rows = poll.NewPresence(mem.Known, mem.Missed)
	for n, t := range mem.Totals {
		if t == nil {
			delete(mem.Totals, n)
			continue
		}
		s.ledger.SetTotal(Issuances, n, &t.Issued)
		setTotals(s.ledger, n, t)
	}
	return nil
}

// Poll sweeps when a sweep is due, else reads the newest changes; then it asks
// for some totals. On 401 or 403 the configuration document is read again, once.
func (s *Poller) Poll(ctx context.Context, c *poll.Cycle) (poll.Result, error) {
	res, err := s.round(ctx, c)
	if fetch.KindOf(err) == fetch.KindAuth && s.api != nil && ctx.Err() == nil {
		s.api = nil
		res, err = s.round(ctx, c)
	}
	switch k := fetch.KindOf(err); {
	case errors.Is(err, ErrNoEntities):
		s.correctStandard(ctx, c)
	case err != nil && k != fetch.KindPaused && k != fetch.KindRateLimited && k != fetch.KindCanceled && k != fetch.KindWrite:
		s.api = nil // the services may have moved: read the document again next time
	}
	return res, err
}

func (s *Poller) round(ctx context.Context, c *poll.Cycle) (poll.Result, error) {
	if err := s.discover(ctx, c); err != nil {
		return poll.Result{}, err
	}
	res := poll.Result{Items: s.mem.ProjectCount}
	if !c.Now().Before(s.sweepAt) {
		if err := s.sweep(ctx, c); err != nil {
			return res, err
		}
		res.Items = s.mem.ProjectCount
	} else {
		unchanged, err := s.newest(ctx, c)
		if err != nil {
			return res, err
		}
		res.Unchanged = unchanged
	}
	if s.note != "" {
		res.Notes = append(res.Notes, s.note)
	}
	err := s.totals(ctx, c)
	switch k := fetch.KindOf(err); {
	case err == nil:
	case k == fetch.KindRateLimited, k == fetch.KindPaused, k == fetch.KindAuth, k == fetch.KindCanceled, k == fetch.KindWrite:
		return res, err
	default:
		c.Log.Warn("registry totals not available", "kind", k, "error", err)
		res.Notes = append(res.Notes, "totals: "+err.Error())
	}
	return res, nil
}

// newest reads what changed since the last poll and writes it. It reports
// whether the answers were those of the poll before.
func (s *Poller) newest(ctx context.Context, c *poll.Cycle) (unchanged bool, err error) {
	projects, err := newestOf(ctx, s, c, Projects, s.mem.ProjectMark, ParseProjects,
		func(p Project) time.Time { return p.Modified }, s.mem.ProjectCount)
	if err != nil {
		return false, err
	}
	units, err := newestOf(ctx, s, c, Issuances, s.mem.IssuanceMark, ParseIssuances,
		func(u Units) time.Time { return u.Modified }, s.mem.IssuanceCount)
	if err != nil {
		return false, err
	}
	if projects.same && units.same && len(s.pending) == 0 {
		return true, nil
	}
	s.take(projects.rows)
	for _, n := range s.ledger.Add(Issuances, units.rows...) {
		s.pending[n], s.stale[n] = true, true
	}
	if err := s.changedTotals(ctx, c); err != nil {
		return false, err
	}
	if err := s.writePending(ctx, c); err != nil {
		return false, err
	}
	s.mem.ProjectMark, s.mem.IssuanceMark = projects.mark, units.mark
	s.bodies[Projects], s.bodies[Issuances] = projects.body, units.body
	return false, nil
}

// take remembers projects and marks those that differ for writing.
func (s *Poller) take(projects []Project) {
	for _, p := range projects {
		old, known := s.projects[p.Number]
		if known && NewerProject(old, p) {
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
	ctx context.Context, s *Poller, c *poll.Cycle, r Resource, mark time.Time,
	parse func([]byte, string) (Page[T], error), modified func(T) time.Time, last int,
) (newer[T], error) {
	out := newer[T]{mark: mark}
	start := 0
	for n := range maxPages {
		req, res, err := s.ask(ctx, c, Search{Resource: r, Start: start, Limit: newestRows, Sort: []Sort{SortChanged()}})
		if err != nil {
			return out, err
		}
		if n == 0 {
			if out.body = fetch.Digest(res.Body); out.body == s.bodies[r] {
				out.same = true
				return out, nil
			}
		}
		page, err := parse(res.Body, res.ContentType())
		if err != nil {
			return out, poll.Parsed(req, err)
		}
		// A total far below the last sweep's is an index that is being rebuilt.
		if err := payload.CheckCount(page.Total, -1, last); err != nil {
			return out, &fetch.Error{Kind: fetch.KindOf(err), Op: "read newest " + string(r), Err: err}
		}
		out.rows = append(out.rows, page.Rows...)
		start += page.Tally.Elements
		for _, row := range page.Rows {
			out.mark = poll.Later(out.mark, modified(row))
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
		if !at.IsZero() && at.Before(mark.Add(-overlap)) || i > 0 && at.After(modified(rows[i-1]).Add(time.Minute)) {
			return true
		}
	}
	return false
}

// ask sends one search.
func (s *Poller) ask(ctx context.Context, c *poll.Cycle, search Search) (*fetch.Request, *fetch.Response, error) {
	call, err := s.api.Search(search)
	if err != nil {
		return nil, nil, fetch.Fail(fetch.KindInvalid, "search the registry", "%w", err)
	}
	return c.Call(ctx, call, s.rules())
}

func (s *Poller) rules() poll.CallRules {
	return poll.CallRules{Configured: s.site, Spacing: s.opt.Spacing}
}
