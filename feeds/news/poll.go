package news

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"time"

	"carbond/feeds/internal/fetch"
	"carbond/feeds/internal/poll"
	"carbond/store/change"
)

// defaultEvery is the interval of public feeds that configure none.
const defaultEvery = 15 * time.Minute

// unconditionalAfter is how many 304 answers in a row are believed: some caches
// say so for ever, and the feed would freeze.
const unconditionalAfter = 24

// Poller is one news feed.
type Poller struct {
	feed    Source
	url     *url.URL
	isLocal bool
	every   time.Duration
	spacing time.Duration
	keep    time.Duration // history is pruned at this age; 0 = never
	owners  *ownership
	robots  *robotRules // nil = not asked for
	mem     memory
	checked bool // the stories of mem were looked for in the table
}

// memory is what one news feed remembers.
type memory struct {
	Validators fetch.Validators `json:"validators"`
	Digest     string           `json:"digest,omitempty"` // of the last written body
	Total      int              `json:"total,omitempty"`  // items of the last good document
	Kept       int              `json:"kept,omitempty"`   // of those, stories that are stored
	Hint       time.Duration    `json:"hint,omitempty"`   // interval that the publisher asks for
	Same       int              `json:"same,omitempty"`   // 304 answers in a row
	Moved      string           `json:"moved,omitempty"`  // where a 301 led
	Own        []string         `json:"own,omitempty"`    // stories of the last document that are this feed's
	Shared     []string         `json:"shared,omitempty"` // see Feed.Shared
}

// NewPollers returns a poller for each feed. They share what is known of stored
// stories and of the sites' robots.txt.
func NewPollers(o Options) []*Poller {
	owners := &ownership{owners: map[string]owner{}}
	var rules *robotRules
	if o.Robots {
		rules = &robotRules{sites: map[string]robotSite{}}
	}
	out := make([]*Poller, 0, len(o.Feeds))
	for _, f := range o.Feeds {
		out = append(out, newPoller(f, o, owners, rules))
	}
	return out
}

func newPoller(f Source, o Options, owners *ownership, robots *robotRules) *Poller {
	u, _ := url.Parse(f.URL) // checked with the options
	s := &Poller{feed: f, url: u, isLocal: fetch.LocalName(u.Hostname()), owners: owners, keep: o.Keep}
	if !OptInOnly(f.URL) { // those were opted in to, knowing what their robots.txt says
		s.robots = robots
	}
	s.every = poll.Or(f.Every, o.Every)
	switch {
	case s.every == 0 && s.isLocal:
		s.every = o.interval
	case s.every == 0:
		s.every = defaultEvery
	}
	if f.GDELT() {
		s.spacing = o.GDELTGap
	}
	return s
}

// Name implements poll.Source.
func (s *Poller) Name() string { return change.News + "/" + s.feed.Feed }

// Table implements poll.Source.
func (s *Poller) Table() string { return change.News }

// Local implements poll.Source.
func (s *Poller) Local() bool { return s.isLocal }

// Volatile implements poll.Source.
func (s *Poller) Volatile() bool { return true }

// Save implements poll.Source.
func (s *Poller) Save() any { return s.mem }

// Fingerprint implements poll.Source.
func (s *Poller) Fingerprint() string { return fetch.Digest([]byte(s.feed.URL), []byte(s.feed.Name)) }

// Restore implements poll.Source.
func (s *Poller) Restore(data json.RawMessage) error {
	var mem memory
	if err := json.Unmarshal(data, &mem); err != nil {
		return fmt.Errorf("read memory of feed %s: %w", s.feed.Feed, err)
	}
	s.mem = mem
	for _, guid := range mem.Own {
		s.owners.claim(guid, s.feed.Feed, s.feed.Name)
	}
	return nil
}

// Interval follows the publisher's hints, except on the user's own machine.
func (s *Poller) Interval(time.Time) time.Duration {
	if s.isLocal {
		return s.every
	}
	return Interval(s.every, s.mem.Hint)
}

// Poll implements poll.Source.
func (s *Poller) Poll(ctx context.Context, c *poll.Cycle) (poll.Result, error) {
	if err := s.owners.fill(ctx, c); err != nil {
		return poll.Result{}, err
	}
	if !s.checked && !s.owners.holds(s.mem.Own) {
		// The table is not the one that was written: a 304 would leave it so.
		s.mem.Validators, s.mem.Digest = fetch.Validators{}, ""
	}
	s.checked = true
	if err := s.robots.check(ctx, c, s.url, s.spacing); err != nil {
		return poll.Result{}, err
	}
	if s.mem.Same >= unconditionalAfter {
		s.mem.Validators, s.mem.Same = fetch.Validators{}, 0
	}
	req := &fetch.Request{
		Method: http.MethodGet, URL: s.url, MaxBody: fetch.MaxFeedBody, Validators: s.mem.Validators, Spacing: s.spacing,
		Header: http.Header{"Accept": {"application/rss+xml, application/atom+xml, application/rdf+xml, application/feed+json, application/json;q=0.9, application/xml;q=0.9, text/xml;q=0.9, */*;q=0.5"}},
	}
	res, err := c.Get(ctx, req)
	if err != nil {
		return poll.Result{}, err
	}
	if res.NotModified {
		s.mem.Same++
		return s.result(true), nil
	}
	sum := fetch.Digest(res.Body)
	if sum == s.mem.Digest {
		s.mem.Validators, s.mem.Same = res.Validators, 0
		return s.result(true), nil
	}
	feed, err := s.parse(c, req, res)
	if err != nil {
		return poll.Result{}, err
	}
	edits, own := s.plan(feed, c.Now())
	if len(edits) > 0 {
		if err := c.Write(ctx, edits...); err != nil {
			return poll.Result{}, err
		}
	}
	if !c.Dry {
		s.owners.keep(own)
	}
	// Only now: validators of a document that was not stored would hide it.
	s.mem = memory{
		Validators: res.Validators, Digest: sum, Total: feed.Total, Kept: len(feed.Items), Own: own, Shared: feed.Shared,
		Hint: max(feed.Every, fetch.MaxAge(res.Header)),
	}
	if feed.Cut {
		s.mem.Validators, s.mem.Digest = fetch.Validators{}, "" // the rest may come with the next answer
	}
	if res.Moved != nil {
		s.mem.Moved = fetch.Shown(res.Moved)
	}
	out := s.result(false)
	out.LeftOut = feed.Dropped.String()
	return out, nil
}

func (s *Poller) result(unchanged bool) poll.Result {
	r := poll.Result{Items: s.mem.Kept, Unchanged: unchanged}
	if s.mem.Moved != "" {
		r.Notes = append(r.Notes, "moved permanently to "+s.mem.Moved+": update the configuration")
	}
	return r
}

// parse reads a document and refuses one that lost its items.
func (s *Poller) parse(c *poll.Cycle, req *fetch.Request, res *fetch.Response) (*Feed, error) {
	feed, err := Parse(res.Body, res.ContentType(), s.feed, c.Now(), s.mem.Shared...)
	if err == nil {
		err = CheckEmpty(feed.Total, s.mem.Total)
	}
	switch {
	case errors.Is(err, ErrRateLimited):
		return nil, c.Limited(req, err)
	case errors.Is(err, ErrShrunk):
		return nil, &fetch.Error{Kind: fetch.KindShrunk, Op: req.Method + " " + fetch.Shown(req.URL), Err: err}
	case err != nil:
		return nil, poll.Parsed(req, err)
	}
	return feed, nil
}

var (
	columns     = []string{"guid", "title", "link", "source", "summary"}
	dateColumns = []string{"published", "published_at", "published_estimated"}
)

// plan turns a document into edits. A story belongs to the feed that brought it
// first: others that carry it too leave it alone, or the two would overwrite
// each other for ever. An estimated date is written once, with the new row.
func (s *Poller) plan(feed *Feed, now time.Time) (edits []change.Edit, own []string) {
	dated := change.Edit{Table: change.News, Columns: slices.Concat(columns, dateColumns)}
	bare := change.Edit{Table: change.News, Columns: columns}
	for _, it := range feed.Items {
		if s.keep > 0 && !it.PublishedAt.IsZero() && now.Sub(it.PublishedAt) >= s.keep {
			continue // it would be pruned and come again
		}
		known, mine := s.owners.claim(it.GUID, s.feed.Feed, s.feed.Name)
		if !mine {
			continue
		}
		own = append(own, it.GUID)
		values := []change.Value{change.T(it.GUID), poll.Text(it.Title), poll.Text(it.Link), poll.Text(it.Source), poll.Text(it.Summary)}
		if known && it.DateEstimated {
			bare.Rows = append(bare.Rows, change.NewRow(values...))
			continue
		}
		values = append(values, poll.Text(it.Published), poll.Time(it.PublishedAt), poll.Bool(it.DateEstimated))
		dated.Rows = append(dated.Rows, change.NewRow(values...))
	}
	for _, e := range []change.Edit{dated, bare} {
		if len(e.Rows) > 0 {
			edits = append(edits, e)
		}
	}
	return edits, slices.Sorted(maps.Keys(poll.Set(own)))
}
