package feeds

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

	"carbond/feeds/news"
	"carbond/store/change"
)

// newsEvery is the interval of public feeds that configure none.
const newsEvery = 15 * time.Minute

// newsSource is one news feed.
type newsSource struct {
	feed    news.Source
	url     *url.URL
	isLocal bool
	every   time.Duration
	spacing time.Duration
	keep    time.Duration // history is pruned at this age; 0 = never
	desk    *desk
	robots  *robotRules // nil = not asked for
	mem     newsMemory
	checked bool // the stories of mem were looked for in the table
}

// newsMemory is what one news feed remembers.
type newsMemory struct {
	Validators validators    `json:"validators"`
	Digest     string        `json:"digest,omitempty"` // of the last written body
	Total      int           `json:"total,omitempty"`  // items of the last good document
	Kept       int           `json:"kept,omitempty"`   // of those, stories that are stored
	Hint       time.Duration `json:"hint,omitempty"`   // interval that the publisher asks for
	Moved      string        `json:"moved,omitempty"`  // where a 301 led
	Own        []string      `json:"own,omitempty"`    // stories of the last document that are this feed's
}

func newsName(feed string) string { return change.News + "/" + feed }

func newNews(f news.Source, o Options, d *desk, robots *robotRules, local map[string]bool) *newsSource {
	u, _ := url.Parse(f.URL) // checked by Options.check
	s := &newsSource{feed: f, url: u, isLocal: local[lowerHost(u)], desk: d, keep: o.KeepNews}
	if !news.OptInOnly(f.URL) { // those were opted in to, knowing what their robots.txt says
		s.robots = robots
	}
	s.every = or(f.Every, o.News.Every)
	switch {
	case s.every == 0 && s.isLocal:
		s.every = o.Interval
	case s.every == 0:
		s.every = newsEvery
	}
	if f.GDELT() {
		s.spacing = o.News.GDELTGap
	}
	return s
}

func (s *newsSource) name() string   { return newsName(s.feed.Feed) }
func (s *newsSource) table() string  { return change.News }
func (s *newsSource) local() bool    { return s.isLocal }
func (s *newsSource) volatile() bool { return true }
func (s *newsSource) save() any      { return s.mem }

func (s *newsSource) restore(data json.RawMessage) error {
	var mem newsMemory
	if err := json.Unmarshal(data, &mem); err != nil {
		return fmt.Errorf("read memory of feed %s: %w", s.feed.Feed, err)
	}
	s.mem = mem
	for _, guid := range mem.Own {
		s.desk.claim(guid, s.feed.Feed, s.feed.Name)
	}
	return nil
}

// interval follows the publisher's hints, except on the user's own machine.
func (s *newsSource) interval(time.Time) time.Duration {
	if s.isLocal {
		return s.every
	}
	return news.Interval(s.every, s.mem.Hint)
}

func (s *newsSource) poll(ctx context.Context, c *cycle) (result, error) {
	if err := s.desk.fill(ctx, c.writer); err != nil {
		return result{}, err
	}
	if !s.checked && !s.desk.holds(s.mem.Own) {
		// The table is not the one that was written: a 304 would leave it so.
		s.mem.Validators, s.mem.Digest = validators{}, ""
	}
	s.checked = true
	if err := s.robots.check(ctx, c, s.url, s.spacing); err != nil {
		return result{}, err
	}
	req := &request{
		Method: http.MethodGet, URL: s.url, MaxBody: maxFeedBody, Validators: s.mem.Validators, Spacing: s.spacing,
		Header: http.Header{"Accept": {"application/rss+xml, application/atom+xml, application/rdf+xml, application/feed+json, application/json;q=0.9, application/xml;q=0.9, text/xml;q=0.9, */*;q=0.5"}},
	}
	res, err := c.get(ctx, req)
	if err != nil {
		return result{}, err
	}
	if res.NotModified {
		return s.result(true), nil
	}
	sum := digest(res.Body)
	if sum == s.mem.Digest {
		s.mem.Validators = res.Validators
		return s.result(true), nil
	}
	feed, err := s.parse(c, req, res)
	if err != nil {
		return result{}, err
	}
	edits, own := s.plan(feed, c.now())
	if len(edits) > 0 {
		if err := c.write(ctx, edits...); err != nil {
			return result{}, err
		}
	}
	if !c.dry {
		s.desk.keep(own)
	}
	// Only now: validators of a document that was not stored would hide it.
	s.mem = newsMemory{
		Validators: res.Validators, Digest: sum, Total: feed.Total, Kept: len(feed.Items), Own: own,
		Hint: max(feed.Every, maxAge(res.Header)),
	}
	if res.Moved != nil {
		s.mem.Moved = shown(res.Moved)
	}
	return s.result(false), nil
}

func (s *newsSource) result(unchanged bool) result {
	r := result{items: s.mem.Kept, unchanged: unchanged}
	if s.mem.Moved != "" {
		r.notes = append(r.notes, "moved permanently to "+s.mem.Moved+": update the configuration")
	}
	return r
}

// parse reads a document and refuses one that lost its items.
func (s *newsSource) parse(c *cycle, req *request, res *response) (*news.Feed, error) {
	feed, err := news.Parse(res.Body, res.ContentType(), s.feed, c.now())
	if err == nil {
		err = news.CheckEmpty(feed.Total, s.mem.Total)
	}
	switch {
	case errors.Is(err, news.ErrRateLimited):
		return nil, c.client.limited(req, err)
	case errors.Is(err, news.ErrShrunk):
		return nil, &Error{Kind: KindShrunk, Op: req.Method + " " + shown(req.URL), Err: err}
	case err != nil:
		return nil, parsed(req, err)
	}
	return feed, nil
}

var (
	newsColumns  = []string{"guid", "title", "link", "source", "summary"}
	newsDateCols = []string{"published", "published_at"}
)

// plan turns a document into edits. A story belongs to the feed that brought it
// first: others that carry it too leave it alone, or the two would overwrite
// each other for ever. An estimated date is written once, with the new row.
func (s *newsSource) plan(feed *news.Feed, now time.Time) (edits []change.Edit, own []string) {
	dated := change.Edit{Table: change.News, Columns: slices.Concat(newsColumns, newsDateCols)}
	bare := change.Edit{Table: change.News, Columns: newsColumns}
	for _, it := range feed.Items {
		if s.keep > 0 && now.Sub(it.PublishedAt) >= s.keep {
			continue // it would be pruned and come again
		}
		known, mine := s.desk.claim(it.GUID, s.feed.Feed, s.feed.Name)
		if !mine {
			continue
		}
		own = append(own, it.GUID)
		values := []change.Value{change.T(it.GUID), textOf(it.Title), textOf(it.Link), textOf(it.Source), textOf(it.Summary)}
		if known && it.DateEstimated {
			bare.Rows = append(bare.Rows, change.NewRow(values...))
			continue
		}
		values = append(values, textOf(it.Published), timeOf(it.PublishedAt))
		dated.Rows = append(dated.Rows, change.NewRow(values...))
	}
	for _, e := range []change.Edit{dated, bare} {
		if len(e.Rows) > 0 {
			edits = append(edits, e)
		}
	}
	return edits, slices.Sorted(maps.Keys(setOf(own)))
}

func setOf(list []string) map[string]bool {
	m := make(map[string]bool, len(list))
	for _, s := range list {
		m[s] = true
	}
	return m
}
