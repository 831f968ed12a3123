package console

import (
	"slices"

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
	form := g.Group{h.Method("get"), h.Action("/news"), q.choice("source", "Source", slices.Compact(sources))}
	if m.ProtoReflect().Descriptor().Fields().ByName("q") != nil {
		form = append(form, q.field("q", "Words", h.Type("search")))
	}
	return g.Group{
		h.Form(append(form, q.keep(paramAsOf), q.filterButtons("/news"))...),
		stories("news", list.Items, false), q.pager(list.NextPageToken), q.takeAway("/v1/news"),
	}, nil
}
