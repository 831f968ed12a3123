package console

import (
	"slices"
	"time"

	g "maragu.dev/gomponents"
	h "maragu.dev/gomponents/html"

	pb "carbond/proto/carbon"
)

// news is the newest stories, by source and words.
func (c *Console) news(q *request) (g.Node, error) {
	m, all := &pb.NewsQuery{}, &pb.NewsQuery{}
	if err := q.ask(m); err != nil {
		return nil, err
	}
	if err := q.setAsOf(all); err != nil {
		return nil, err
	}
	if m.Since != "" || m.Until != "" || m.PageToken != "" {
		m.Archive = true
	}
	for _, t := range []*string{&m.Since, &m.Until} {
		if *t == "" {
			continue
		}
		at, err := moments(*t)
		if err != nil {
			return nil, err
		}
		*t = at.Format(time.RFC3339)
	}
	list, err := c.carbon.GetNews(q.ctx, m)
	if err != nil {
		return nil, err
	}
	whole, err := c.carbon.GetNews(q.ctx, all)
	if err != nil {
		return nil, err
	}
	var sources []string
	for _, n := range whole.Items {
		sources = append(sources, n.Source)
	}
	slices.Sort(sources)
	return g.Group{
		h.Form(h.Method("get"), h.Action("/news"), q.choice("source", "Source", slices.Compact(sources)), q.field("q", "Words", h.Type("search")),
			q.field("since", "Since (UTC)", h.Placeholder("2026-01-31")), q.field("until", "Until (UTC)"), q.keep(paramAsOf), q.filterButtons("/news")),
		stories("news", list.Items, false), q.pager(list.NextPageToken), q.takeAway("/v1/news"),
	}, nil
}
