package carbonmark

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"carbond/feeds/internal/fetch"
	"carbond/feeds/internal/payload"
	"carbond/feeds/internal/poll"
	"carbond/feeds/internal/text"
	"carbond/store/change"
)

// Figures of the Carbonmark feed.
const (
	maxPages = 200 // of a full list; more means that paging does not work
)

// Poller follows the marketplace: the whole list now and then, one
// page a minute in between.
type Poller struct {
	opt     Options
	base    *url.URL
	isLocal bool
	// fullEvery is the pace of full lists. The fallback, which is nobody's own
	// machine, keeps that of the Options.
	fullEvery time.Duration
	mem       memory
	rows      poll.Presence[string]
	offset    int // of the next single page
	// pages are the single pages as last written, by offset. They are never
	// saved: the table may be another one then.
	pages   map[int]pageSeen
	offers  Offers    // of the last reading, nil before
	asked   time.Time // when they were last asked for
	warned  bool
	graphAt time.Time // last use of the fallback
}

// memory is what the feed remembers.
type memory struct {
	FullAt time.Time      `json:"full_at,omitzero"`
	Count  int            `json:"count,omitempty"`  // of the last good list
	Known  []string       `json:"known,omitempty"`  // ids that this feed has written
	Missed map[string]int `json:"missed,omitempty"` // complete lists without the id
	Block  int64          `json:"block,omitempty"`  // last block of the fallback
}

// NewPoller returns the poller of the marketplace.
func NewPoller(opt Options) *Poller {
	base, _ := url.Parse(opt.URL) // checked with the options
	s := &Poller{opt: opt, base: base, isLocal: fetch.LocalName(base.Hostname())}
	s.fullEvery = opt.FullEvery
	if s.isLocal {
		s.fullEvery = min(opt.FullEvery, poll.LocalFull*opt.Interval)
	}
	s.forget()
	return s
}

// Name implements poll.Source.
func (s *Poller) Name() string { return change.Carbonmark }

// Table implements poll.Source.
func (s *Poller) Table() string { return change.Carbonmark }

// Local implements poll.Source.
func (s *Poller) Local() bool { return s.isLocal }

// Volatile implements poll.Source.
func (s *Poller) Volatile() bool { return false }

// Fingerprint implements poll.Source.
func (s *Poller) Fingerprint() string { return fetch.Digest([]byte(s.opt.URL)) }

// Interval implements poll.Source.
func (s *Poller) Interval(time.Time) time.Duration { return s.opt.Interval }

// Save implements poll.Source.
func (s *Poller) Save() any {
	s.mem.Known, s.mem.Missed = s.rows.List(), s.rows.Missed
	return s.mem
}

func (s *Poller) forget() {
	s.mem = memory{}
	s.rows, s.pages, s.offset, s.offers, s.graphAt = poll.NewPresence[string](nil, nil), map[int]pageSeen{}, 0, nil, time.Time{}
	s.asked = time.Time{}
}

// Restore implements poll.Source.
func (s *Poller) Restore(data json.RawMessage) error {
	s.forget()
	var mem memory
	if err := json.Unmarshal(data, &mem); err != nil {
		return fmt.Errorf("read memory of the carbonmark feed: %w", err)
	}
	s.mem, s.rows = mem, poll.NewPresence(mem.Known, mem.Missed)
	return nil
}

// Poll reads the whole list when that is due, else the next page of it. When
// the service fails and a key for the subgraph is configured, that stands in,
// at the pace of the full list.
func (s *Poller) Poll(ctx context.Context, c *poll.Cycle) (poll.Result, error) {
	var res poll.Result
	var err error
	full := c.Now().Sub(s.mem.FullAt) >= s.fullEvery || s.mem.Count == 0
	if c.Now().Sub(s.asked) >= s.fullEvery {
		s.asked = c.Now()
		err = s.prices(ctx, c)
	}
	switch fetch.KindOf(err) {
	case fetch.KindCanceled, fetch.KindRateLimited, fetch.KindPaused: // as the list would be
	default:
		var notes []string
		if err != nil { // projects have a price of their own; what is listed stays as it was
			notes = append(notes, "offers: "+err.Error())
		}
		if full {
			res, err = s.full(ctx, c)
		} else {
			res, err = s.page(ctx, c)
		}
		res.Notes = append(notes, res.Notes...)
	}
	if notice := VersionNotice(s.opt.URL, c.Now()); notice != "" {
		res.Notes = append(res.Notes, notice)
		if !s.warned {
			c.Log.Warn("carbonmark version", "notice", notice)
			s.warned = true
		}
	}
	k := fetch.KindOf(err)
	if err == nil || s.opt.GraphKey == "" || k == fetch.KindCanceled || k == fetch.KindWrite || c.Now().Sub(s.graphAt) < s.opt.FullEvery {
		return res, err
	}
	s.graphAt = c.Now()
	n, gerr := s.graph(ctx, c)
	if gerr != nil {
		c.Log.Warn("subgraph failed as well", "kind", fetch.KindOf(gerr), "error", gerr)
		return res, err
	}
	return poll.Result{Items: n, Notes: append(res.Notes, "read from the subgraph, since "+err.Error())}, nil
}

// pageSeen is a page that was written.
type pageSeen struct {
	digest string
	next   int // offset of the page after it
}

// ask requests one page of the list.
func (s *Poller) ask(ctx context.Context, c *poll.Cycle, offset int) (*fetch.Request, *fetch.Response, error) {
	api := Client{Base: s.opt.URL, Key: s.opt.APIKey}
	return c.Call(ctx, api.Projects(s.opt.PageSize, offset), poll.CallRules{Configured: s.base, Spacing: s.opt.Spacing})
}

// prices reads what is for sale. A list with rows that could not be read says too
// little, so the one before stays.
func (s *Poller) prices(ctx context.Context, c *poll.Cycle) error {
	api := Client{Base: s.opt.URL, Key: s.opt.APIKey}
	req, ans, err := c.Call(ctx, api.Prices(), poll.CallRules{Configured: s.base, Spacing: s.opt.Spacing})
	if err != nil {
		return err
	}
	page, err := ParsePrices(ans.Body, ans.ContentType())
	if err != nil {
		return poll.Parsed(req, err)
	}
	if n := page.Tally.Skipped(); n > 0 {
		return fetch.Fail(fetch.KindInvalid, "read carbonmark offers", "%d of %d cannot be read", n, page.Tally.Elements)
	}
	s.offers = OffersOf(page.Rows)
	clear(s.pages) // their rows have prices
	return nil
}

// page reads the next page between two full lists, for fresher amounts. It
// proves nothing about what is gone.
func (s *Poller) page(ctx context.Context, c *poll.Cycle) (poll.Result, error) {
	req, ans, err := s.ask(ctx, c, s.offset)
	if err != nil {
		return poll.Result{}, err
	}
	sum, seen := fetch.Digest(ans.Body), s.pages[s.offset]
	if sum == seen.digest {
		s.offset = seen.next
		return poll.Result{Items: s.mem.Count, Unchanged: true, Partial: true}, nil
	}
	page, err := ParseProjects(ans.Body, ans.ContentType())
	if err != nil {
		return poll.Result{}, poll.Parsed(req, err)
	}
	// An index that is being rebuilt shows in its total as well.
	if err := payload.CheckCount(announced(page, s.mem.Count), -1, s.mem.Count); err != nil {
		return poll.Result{}, &fetch.Error{Kind: fetch.KindOf(err), Op: "read a page of carbonmark projects", Err: err}
	}
	if err := s.store(ctx, c, page.Rows); err != nil {
		return poll.Result{}, err
	}
	next := s.offset + page.Tally.Elements
	if page.Tally.Elements == 0 || next >= announced(page, s.mem.Count) {
		next = 0
	}
	s.pages[s.offset] = pageSeen{sum, next}
	s.offset = next
	return poll.Result{Items: len(page.Rows), Partial: true}, nil
}

// announced is the number of projects that a page says there are; a bare list
// does not say.
func announced(page Page[Project], last int) int {
	if page.Total < 0 {
		return last
	}
	return page.Total
}

// full reads the whole list and reconciles it with what is stored.
func (s *Poller) full(ctx context.Context, c *poll.Cycle) (poll.Result, error) {
	rows := map[string]Project{}
	offset, got, total := 0, 0, -1
	for n := 0; ; n++ {
		if n == maxPages {
			return poll.Result{}, fetch.Fail(fetch.KindTooLarge, "list carbonmark projects", "more than %d pages", maxPages)
		}
		req, ans, err := s.ask(ctx, c, offset)
		if err != nil {
			return poll.Result{}, err
		}
		page, err := ParseProjects(ans.Body, ans.ContentType())
		if err != nil {
			return poll.Result{}, poll.Parsed(req, err)
		}
		total = max(total, page.Total)
		fresh := 0
		for _, p := range page.Rows {
			if _, ok := rows[p.Key]; !ok {
				fresh++
			}
			rows[p.Key] = p
		}
		got += fresh + page.Tally.Skipped() + page.Tally.Duplicates
		offset += page.Tally.Elements
		// A service that ignores the offset repeats itself and adds nothing.
		if page.Tally.Elements == 0 || fresh == 0 || page.Total >= 0 && offset >= page.Total || page.Total < 0 && page.Tally.Elements != s.opt.PageSize {
			break
		}
	}
	exact := total >= 0 && got >= total
	if err := payload.CheckCount(max(got, total), -1, s.mem.Count); err != nil {
		return poll.Result{}, fetch.Fail(fetch.KindShrunk, "list carbonmark projects", "%w; if upstream really lost them, remove this feed's state file", err)
	}
	list := slices.SortedFunc(maps.Values(rows), func(a, b Project) int { return slices.Compare([]byte(a.Key), []byte(b.Key)) })
	switch {
	case total >= 0 && float64(got) < float64(total)*(1-payload.MaxShrink):
		// What arrived is as good as a single page; the list is not complete.
		if err := s.store(ctx, c, list); err != nil {
			return poll.Result{}, err
		}
		return poll.Result{}, fetch.Fail(fetch.KindTruncated, "list carbonmark projects", "%w: %d of %d arrived", payload.ErrIncomplete, got, total)
	case len(rows) == 0:
		return poll.Result{}, fetch.Fail(fetch.KindEmpty, "list carbonmark projects", "the list is empty")
	}
	// A list that may be short, or says nothing about its length, proves no absence.
	var gone []string
	missed := s.rows.Missed
	if exact {
		gone, missed = s.rows.Gone(func(id string) bool { _, ok := rows[id]; return ok })
	}
	if err := s.store(ctx, c, list, gone...); err != nil {
		return poll.Result{}, err
	}
	clear(s.pages) // offsets may mean other projects now
	s.rows.Forget(gone, missed)
	s.mem.Count, s.mem.FullAt = max(got, total), c.Now()
	return poll.Result{Items: len(rows)}, nil
}

var columns = []string{"id", "project_id", "project_name", "vintage", "amount", "price_usd", "listed"}

// others are the columns of projects that no feed of their own registry brings.
var others = []string{"project_id", "project_name", "project_link", "country", "vintage", "registry", "methodology", "project_type", "region"}

// store writes projects and deletes ids, in one transaction. Projects of registries other
// than Verra become projects of ours, and get what nobody else has filled in: this
// market is no authority on them.
func (s *Poller) store(ctx context.Context, c *poll.Cycle, list []Project, gone ...string) error {
	e := change.Edit{Table: change.Carbonmark, Columns: columns, Stamp: "updated_at"}
	if s.offers == nil {
		e.Columns = columns[:len(columns)-1] // what is listed stays
	}
	projects := change.Edit{Table: change.Verra, Columns: others, Stamp: "updated_at", Merge: change.Missing}
	for _, p := range list {
		r := p.Row(s.offers)
		values := []change.Value{
			change.T(r.ID), poll.Text(r.ProjectID), poll.Text(r.ProjectName), poll.Int(r.Vintage), poll.Float(r.Amount),
			poll.Float(r.PriceUSD), poll.Float(r.Listed),
		}
		e.Rows = append(e.Rows, change.NewRow(values[:len(e.Columns)]...))
		code, _, _ := strings.Cut(p.Key, "-")
		if code == "VCS" {
			continue
		}
		projects.Rows = append(projects.Rows, change.NewRow(
			change.T(r.ID), poll.Text(r.ProjectName), poll.Text(p.URL), poll.Text(p.Country), poll.Int(r.Vintage), change.T(text.Registry(code)),
			poll.Text(strings.Join(p.Methods, "; ")), poll.Text(strings.Join(p.Categories, "; ")), poll.Text(p.Region),
		))
	}
	for _, id := range gone {
		e.Delete = append(e.Delete, change.NewRow(change.T(id)))
	}
	if len(e.Rows)+len(e.Delete) == 0 {
		return nil
	}
	edits := []change.Edit{e}
	if len(projects.Rows) > 0 {
		edits = append(edits, projects)
	}
	if err := c.Write(ctx, edits...); err != nil {
		return err
	}
	for _, p := range list {
		s.rows.Known[p.Key] = true
	}
	return nil
}
