package feeds

import (
	"context"
	"errors"
	"net/url"
	"path"
	"slices"
	"strings"

	"carbond/feeds/carbonmark"
	"carbond/store/change"
)

// graphPages bounds the pages of one reading of the subgraph.
const graphPages = 20

// graphClient is the client of the configured subgraph.
func (s *carbonmarkSource) graphClient() carbonmark.GraphClient {
	g := carbonmark.GraphClient{Key: s.opt.GraphKey}
	if u, err := url.Parse(s.opt.GraphURL); err == nil && u.Host != "" {
		g.ID = path.Base(u.Path)
		g.Base = strings.TrimSuffix(strings.TrimRight(s.opt.GraphURL, "/"), "/"+g.ID)
	}
	return g
}

// graph reads all projects from the subgraph and writes their rows. What the
// subgraph does not know (a name before its metadata arrived) keeps the value
// that it has; nothing is deleted for being absent.
func (s *carbonmarkSource) graph(ctx context.Context, c *cycle) (int, error) {
	g := s.graphClient()
	var rows []carbonmark.Row
	last, block := "", s.mem.Block
	for range graphPages {
		page, err := s.askGraph(ctx, c, g, last)
		if err != nil {
			return 0, err
		}
		if m := page.Meta; m != nil {
			if m.IndexingErrors {
				return 0, fail(KindInvalid, "read the subgraph", "it reports indexing errors")
			}
			if m.Block > 0 && m.Block < s.mem.Block {
				return 0, fail(KindInvalid, "read the subgraph", "block %d is older than block %d of the last reading", m.Block, s.mem.Block)
			}
			block = max(block, m.Block)
		}
		for _, p := range page.Rows {
			rows = append(rows, p.Row())
		}
		if page.Tally.Elements < carbonmark.MaxFirst || page.Last <= last {
			break
		}
		last = page.Last
	}
	if len(rows) == 0 {
		return 0, fail(KindEmpty, "read the subgraph", "it has no projects")
	}
	if err := c.write(ctx, graphEdits(rows)...); err != nil {
		return 0, err
	}
	s.mem.Block = block
	for _, r := range rows {
		s.known[r.ID] = true
	}
	return len(rows), nil
}

// askGraph asks for one page, once more after an error that passes.
func (s *carbonmarkSource) askGraph(ctx context.Context, c *cycle, g carbonmark.GraphClient, last string) (carbonmark.GraphPage[carbonmark.GraphProject], error) {
	var page carbonmark.GraphPage[carbonmark.GraphProject]
	for try := 0; ; try++ {
		call, err := g.Projects(last, carbonmark.MaxFirst)
		if err != nil {
			return page, fail(KindInvalid, "ask the subgraph", "%w", err)
		}
		req, res, err := c.call(ctx, call, callRules{spacing: s.opt.GraphGap})
		if err != nil {
			return page, err
		}
		page, err = carbonmark.ParseGraphProjects(res.Body, res.ContentType())
		switch {
		case err == nil:
			return page, nil
		case carbonmark.Transient(err) && try == 0:
			continue
		case errors.Is(err, carbonmark.ErrRate):
			return page, c.client.limited(req, err)
		case errors.Is(err, carbonmark.ErrAuth), errors.Is(err, carbonmark.ErrPayment):
			return page, &Error{Kind: KindAuth, Op: req.Method + " " + shown(req.URL), Err: err}
		}
		return page, parsed(req, err)
	}
}

// graphEdits groups rows by what is known of them.
func graphEdits(rows []carbonmark.Row) []change.Edit {
	var out []change.Edit
	for shape := range 8 {
		e := change.Edit{Table: change.Carbonmark, Columns: []string{"id", "project_id"}, Stamp: "updated_at"}
		optional := []string{"project_name", "vintage", "amount"}
		for i, name := range optional {
			if shape&(1<<i) != 0 {
				e.Columns = append(e.Columns, name)
			}
		}
		for _, r := range rows {
			values := []change.Value{textOf(r.ProjectName), intOf(r.Vintage), floatOf(r.Amount)}
			have := 0
			for i, v := range values {
				if v.Kind == change.Text {
					have |= 1 << i
				}
			}
			if have != shape {
				continue
			}
			values = slices.DeleteFunc(values, func(v change.Value) bool { return v.Kind != change.Text })
			e.Rows = append(e.Rows, change.NewRow(slices.Concat([]change.Value{change.T(r.ID), textOf(r.ProjectID)}, values)...))
		}
		if len(e.Rows) > 0 {
			out = append(out, e)
		}
	}
	return out
}
