package feeds

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"time"

	"carbond/feeds/carbonmark"
	"carbond/feeds/internal/payload"
	"carbond/store/change"
)

// Figures of the Carbonmark feed.
const (
	carbonmarkPages    = 200 // of a full list; more means that paging does not work
	carbonmarkGoneRuns = 3   // complete lists without a project before it is deleted
)

// carbonmarkSource follows the marketplace: the whole list now and then, one
// page a minute in between.
type carbonmarkSource struct {
	opt     CarbonmarkOptions
	base    *url.URL
	isLocal bool
	// fullEvery is the pace of full lists. The fallback, which is nobody's own
	// machine, keeps that of the Options.
	fullEvery time.Duration
	mem       carbonmarkMemory
	known     map[string]bool // mem.Known
	offset    int             // of the next single page
	// pages are the single pages as last written, by offset. They are never
	// saved: the table may be another one then.
	pages   map[int]pageSeen
	warned  bool
	graphAt time.Time // last use of the fallback
}

// carbonmarkMemory is what the feed remembers.
type carbonmarkMemory struct {
	FullAt time.Time      `json:"full_at,omitzero"`
	Count  int            `json:"count,omitempty"`  // of the last good list
	Known  []string       `json:"known,omitempty"`  // ids that this feed has written
	Missed map[string]int `json:"missed,omitempty"` // complete lists without the id
	Block  int64          `json:"block,omitempty"`  // last block of the fallback
}

func newCarbonmark(opt CarbonmarkOptions, local map[string]bool) *carbonmarkSource {
	base, _ := url.Parse(opt.URL) // checked by Options.check
	s := &carbonmarkSource{opt: opt, base: base, isLocal: local[lowerHost(base)]}
	s.fullEvery = opt.FullEvery
	if s.isLocal {
		s.fullEvery = min(opt.FullEvery, localFull*opt.Interval)
	}
	s.forget()
	return s
}

func (s *carbonmarkSource) name() string                     { return change.Carbonmark }
func (s *carbonmarkSource) table() string                    { return change.Carbonmark }
func (s *carbonmarkSource) local() bool                      { return s.isLocal }
func (s *carbonmarkSource) volatile() bool                   { return false }
func (s *carbonmarkSource) interval(time.Time) time.Duration { return s.opt.Interval }

func (s *carbonmarkSource) save() any {
	s.mem.Known = slices.Sorted(maps.Keys(s.known))
	return s.mem
}

func (s *carbonmarkSource) forget() {
	s.mem = carbonmarkMemory{Missed: map[string]int{}}
	s.known, s.pages, s.offset, s.graphAt = map[string]bool{}, map[int]pageSeen{}, 0, time.Time{}
}

func (s *carbonmarkSource) restore(data json.RawMessage) error {
	s.forget()
	var mem carbonmarkMemory
	if err := json.Unmarshal(data, &mem); err != nil {
		return fmt.Errorf("read memory of the carbonmark feed: %w", err)
	}
	if mem.Missed == nil {
		mem.Missed = map[string]int{}
	}
	s.mem, s.known = mem, setOf(mem.Known)
	return nil
}

// poll reads the whole list when that is due, else the next page of it. When
// the service fails and a key for the subgraph is configured, that stands in,
// at the pace of the full list.
func (s *carbonmarkSource) poll(ctx context.Context, c *cycle) (result, error) {
	var res result
	var err error
	if full := c.now().Sub(s.mem.FullAt) >= s.fullEvery || s.mem.Count == 0; full {
		res, err = s.full(ctx, c)
	} else {
		res, err = s.page(ctx, c)
	}
	if notice := carbonmark.VersionNotice(s.opt.URL, c.now()); notice != "" {
		res.notes = append(res.notes, notice)
		if !s.warned {
			c.log.Warn("carbonmark version", "notice", notice)
			s.warned = true
		}
	}
	k := KindOf(err)
	if err == nil || s.opt.GraphKey == "" || k == KindCanceled || k == KindWrite || c.now().Sub(s.graphAt) < s.opt.FullEvery {
		return res, err
	}
	s.graphAt = c.now()
	n, gerr := s.graph(ctx, c)
	if gerr != nil {
		c.log.Warn("subgraph failed as well", "kind", KindOf(gerr), "error", gerr)
		return res, err
	}
	return result{items: n, notes: append(res.notes, "read from the subgraph, since "+err.Error())}, nil
}

// pageSeen is a page that was written.
type pageSeen struct {
	digest string
	next   int // offset of the page after it
}

// ask requests one page of the list.
func (s *carbonmarkSource) ask(ctx context.Context, c *cycle, offset int) (*request, *response, error) {
	api := carbonmark.Client{Base: s.opt.URL, Key: s.opt.APIKey}
	return c.call(ctx, api.Projects(s.opt.PageSize, offset), callRules{configured: s.base, spacing: s.opt.Spacing})
}

// page reads the next page between two full lists, for fresher amounts. It
// proves nothing about what is gone.
func (s *carbonmarkSource) page(ctx context.Context, c *cycle) (result, error) {
	req, ans, err := s.ask(ctx, c, s.offset)
	if err != nil {
		return result{}, err
	}
	sum, seen := digest(ans.Body), s.pages[s.offset]
	if sum == seen.digest {
		s.offset = seen.next
		return result{items: s.mem.Count, unchanged: true, partial: true}, nil
	}
	page, err := carbonmark.ParseProjects(ans.Body, ans.ContentType())
	if err != nil {
		return result{}, parsed(req, err)
	}
	// An index that is being rebuilt shows in its total as well.
	if err := payload.CheckCount(announced(page, s.mem.Count), -1, s.mem.Count); err != nil {
		return result{}, &Error{Kind: KindOf(err), Op: "read a page of carbonmark projects", Err: err}
	}
	if err := s.store(ctx, c, page.Rows); err != nil {
		return result{}, err
	}
	next := s.offset + page.Tally.Elements
	if page.Tally.Elements == 0 || next >= announced(page, s.mem.Count) {
		next = 0
	}
	s.pages[s.offset] = pageSeen{sum, next}
	s.offset = next
	return result{items: len(page.Rows), partial: true}, nil
}

// announced is the number of projects that a page says there are; a bare list
// does not say.
func announced(page carbonmark.Page[carbonmark.Project], last int) int {
	if page.Total < 0 {
		return last
	}
	return page.Total
}

// full reads the whole list and reconciles it with what is stored.
func (s *carbonmarkSource) full(ctx context.Context, c *cycle) (result, error) {
	rows := map[string]carbonmark.Project{}
	offset, got, total := 0, 0, -1
	for n := 0; ; n++ {
		if n == carbonmarkPages {
			return result{}, fail(KindTooLarge, "list carbonmark projects", "more than %d pages", carbonmarkPages)
		}
		req, ans, err := s.ask(ctx, c, offset)
		if err != nil {
			return result{}, err
		}
		page, err := carbonmark.ParseProjects(ans.Body, ans.ContentType())
		if err != nil {
			return result{}, parsed(req, err)
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
		return result{}, fail(KindShrunk, "list carbonmark projects", "%w; if upstream really lost them, remove this feed's state file", err)
	}
	list := slices.SortedFunc(maps.Values(rows), func(a, b carbonmark.Project) int { return slices.Compare([]byte(a.Key), []byte(b.Key)) })
	switch {
	case total >= 0 && float64(got) < float64(total)*(1-payload.MaxShrink):
		// What arrived is as good as a single page; the list is not complete.
		if err := s.store(ctx, c, list); err != nil {
			return result{}, err
		}
		return result{}, fail(KindTruncated, "list carbonmark projects", "%w: %d of %d arrived", payload.ErrIncomplete, got, total)
	case len(rows) == 0:
		return result{}, fail(KindEmpty, "list carbonmark projects", "the list is empty")
	}
	gone := s.gone(rows, exact)
	if err := s.store(ctx, c, list, gone.ids...); err != nil {
		return result{}, err
	}
	clear(s.pages) // offsets may mean other projects now
	s.mem.Missed = gone.missed
	for _, id := range gone.ids {
		delete(s.known, id)
	}
	s.mem.Count, s.mem.FullAt = max(got, total), c.now()
	return result{items: len(rows)}, nil
}

// absent is what a complete list lacks.
type absent struct {
	ids    []string // missing for the third time
	missed map[string]int
}

// gone counts the known projects that a list does not have. A list that may be
// short, or says nothing about its length, counts for nothing.
func (s *carbonmarkSource) gone(rows map[string]carbonmark.Project, exact bool) absent {
	if !exact {
		return absent{missed: s.mem.Missed}
	}
	out := absent{missed: map[string]int{}}
	for id := range s.known {
		if _, ok := rows[id]; ok {
			continue
		}
		if n := s.mem.Missed[id] + 1; n < carbonmarkGoneRuns {
			out.missed[id] = n
		} else {
			out.ids = append(out.ids, id)
		}
	}
	slices.Sort(out.ids)
	return out
}

var carbonmarkColumns = []string{"id", "project_id", "project_name", "vintage", "amount"}

// store writes projects and deletes ids, in one transaction.
func (s *carbonmarkSource) store(ctx context.Context, c *cycle, list []carbonmark.Project, gone ...string) error {
	e := change.Edit{Table: change.Carbonmark, Columns: carbonmarkColumns, Stamp: "updated_at"}
	for _, p := range list {
		r := p.Row()
		e.Rows = append(e.Rows, change.NewRow(
			change.T(r.ID), textOf(r.ProjectID), textOf(r.ProjectName), intOf(r.Vintage), floatOf(r.Amount),
		))
	}
	for _, id := range gone {
		e.Delete = append(e.Delete, change.NewRow(change.T(id)))
	}
	if len(e.Rows)+len(e.Delete) == 0 {
		return nil
	}
	if err := c.write(ctx, e); err != nil {
		return err
	}
	for _, p := range list {
		s.known[p.Key] = true
	}
	return nil
}
