package carbonmark

import (
	"context"
	"errors"
	"net/url"
	"path"
	"strings"

	"carbond/feeds/internal/fetch"
	"carbond/feeds/internal/poll"
	"carbond/store/change"
)

// maxGraphPages bounds the pages of one reading of the subgraph.
const maxGraphPages = 20

// graphClient is the client of the configured subgraph.
func (s *Poller) graphClient() GraphClient {
	g := GraphClient{Key: s.opt.GraphKey}
	if u, err := url.Parse(s.opt.GraphURL); err == nil && u.Host != "" {
		g.ID = path.Base(u.Path)
		g.Base = strings.TrimSuffix(strings.TrimRight(s.opt.GraphURL, "/"), "/"+g.ID)
	}
	return g
}

// graph reads all projects from the subgraph and writes their rows. What the
// subgraph does not know (a name before its metadata arrived) keeps the value
// that it has; nothing is deleted for being absent.
func (s *Poller) graph(ctx context.Context, c *poll.Cycle) (int, error) {
	g := s.graphClient()
	var rows []Row
	last, block := "", s.mem.Block
	for range maxGraphPages {
		page, err := s.askGraph(ctx, c, g, last)
		if err != nil {
			return 0, err
		}
		if m := page.Meta; m != nil {
			if m.IndexingErrors {
				return 0, fetch.Fail(fetch.KindInvalid, "read the subgraph", "it reports indexing errors")
			}
			if m.Block > 0 && m.Block < s.mem.Block {
				return 0, fetch.Fail(fetch.KindInvalid, "read the subgraph", "block %d is older than block %d of the last reading", m.Block, s.mem.Block)
			}
			block = max(block, m.Block)
		}
		for _, p := range page.Rows {
			rows = append(rows, p.Row())
		}
		if page.Tally.Elements < MaxFirst || page.Last <= last {
			break
		}
		last = page.Last
	}
	if len(rows) == 0 {
		return 0, fetch.Fail(fetch.KindEmpty, "read the subgraph", "it has no projects")
	}
	e := change.Edit{Table: change.Carbonmark, Columns: columns[:5], Stamp: "updated_at", Merge: change.Known}
	for _, r := range rows {
		e.Rows = append(e.Rows, change.NewRow(change.T(r.ID), poll.Text(r.ProjectID), poll.Text(r.ProjectName), poll.Int(r.Vintage), poll.Float(r.Amount)))
	}
	if err := c.Write(ctx, e); err != nil {
		return 0, err
	}
	s.mem.Block = block
	for _, r := range rows {
		s.rows.Known[r.ID] = true
	}
	return len(rows), nil
}

// askGraph asks for one page, once more after an error that passes.
func (s *Poller) askGraph(ctx context.Context, c *poll.Cycle, g GraphClient, last string) (GraphPage[GraphProject], error) {
	var page GraphPage[GraphProject]
	for try := 0; ; try++ {
		call, err := g.Projects(last, MaxFirst)
		if err != nil {
			return page, fetch.Fail(fetch.KindInvalid, "ask the subgraph", "%w", err)
		}
		req, res, err := c.Call(ctx, call, poll.CallRules{Spacing: s.opt.GraphGap})
		if err != nil {
			return page, err
		}
		page, err = ParseGraphProjects(res.Body, res.ContentType())
		switch {
		case err == nil:
			return page, nil
		case Transient(err) && try == 0:
			continue
		case errors.Is(err, ErrRate):
			return page, c.Limited(req, err)
		}
		if advice := graphAdvice(err); advice != "" {
			return page, &fetch.Error{Kind: graphKind(err), Op: req.Method + " " + fetch.Shown(req.URL), Err: err, Advice: advice}
		}
		return page, poll.Parsed(req, err)
	}
}

func graphKind(err error) fetch.Kind {
	if errors.Is(err, ErrAuth) || errors.Is(err, ErrPayment) {
		return fetch.KindAuth
	}
	return fetch.KindOf(err)
}

// graphAdvice says what to do about an error of the subgraph's own.
func graphAdvice(err error) string {
	switch {
	case errors.Is(err, ErrAuth), errors.Is(err, ErrPayment):
		return "check feeds.graph_key, and what its plan allows"
	case errors.Is(err, ErrRemoved), errors.Is(err, ErrNoGraph):
		return "check feeds.graph_url: the subgraph may have moved"
	case errors.Is(err, ErrQuery):
		return "check that feeds.graph_url is that of the subgraph; a newer carbond may ask otherwise"
	case errors.Is(err, ErrIndexers):
		return "the subgraph's indexers fail for the moment; carbond tries again"
	}
	return ""
}
