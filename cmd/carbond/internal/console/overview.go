package console

import (
	"cmp"
	"math"
	"slices"
	"strconv"

	g "maragu.dev/gomponents"
	h "maragu.dev/gomponents/html"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"carbond/cmd/carbond/internal/admin"
	pb "carbond/proto/carbon"
)

const shownRows = 8 // of each short table

// overview says whether all is well, and what the market does.
func (c *Console) overview(q *request) (g.Node, error) {
	out := g.Group{health(q.status), h.Div(h.Class("figures"), g.Map(q.status.Views, figure))}
	quotes, err := c.carbon.GetFinanceData(q.ctx, &pb.FinanceQuery{})
	if err != nil {
		return unless(err, out)
	}
	news, err := c.carbon.GetNews(q.ctx, &pb.NewsQuery{PageSize: shownRows})
	if err != nil {
		return unless(err, out)
	}
	return append(out, h.Div(h.Class("columns"),
		section("movers", "Movers of the day", movers(quotes.Items)),
		section("stories", "Newest stories", stories("story", news.Items, true)),
	)), nil
}

// unless shows what there is beside a call that failed, but not to somebody who may
// not see it.
func unless(err error, rest g.Group) (g.Node, error) {
	if c := status.Code(err); c == codes.Unauthenticated || c == codes.PermissionDenied {
		return nil, err
	}
	return append(rest, failure(status.Convert(err).Message())), nil
}

// figure is one large number with what it counts.
func figure(v admin.View) g.Node {
	changed := g.Node(g.Text("no change yet"))
	if v.ChangedAt != nil {
		changed = g.Group{g.Text("changed "), ago(*v.ChangedAt)}
	}
	names := map[string]string{"projects": "projects", "news": "newest stories", "finance": "tickers"}
	return live(h.P, "figure-"+v.Name, []g.Node{h.Class("figure")},
		h.Strong(g.Text(count(v.Rows))), g.Text(" "+names[v.Name]), h.Small(changed))
}

// movers are the prices that changed the most, in per cent.
func movers(items []*pb.FinanceItem) g.Node {
	items = slices.DeleteFunc(slices.Clone(items), func(i *pb.FinanceItem) bool { return math.IsNaN(i.ChangePercent) })
	slices.SortStableFunc(items, func(a, b *pb.FinanceItem) int {
		return cmp.Compare(math.Abs(b.ChangePercent), math.Abs(a.ChangePercent))
	})
	t := table{id: "mover", caption: "Largest changes, in per cent", auto: true, columns: []column{{name: "Ticker"}, {name: "Price", class: "num"}, {name: "Change, %", class: "num"}, {name: "As of"}}}
	for i, it := range items[:min(len(items), shownRows)] {
		t.rows = append(t.rows, row{strconv.Itoa(i), []g.Node{foreign(it.Ticker, 40), price(it), percent(it.ChangePercent), unixAgo(it.Timestamp)}})
	}
	return t
}

// price is a price with its currency, where that is known.
func price(i *pb.FinanceItem) g.Node {
	out := g.Group{g.Text(decimal(i.Price, 2))}
	if i.Currency != nil {
		out = append(out, g.Text(" "), h.Small(foreign(*i.Currency, 8)))
	}
	return out
}

// percent is a change with its sign, and coloured by it.
func percent(v float64) g.Node {
	s, cls := decimal(v, 2), ""
	switch {
	case v > 0:
		s, cls = "+"+s, "up"
	case v < 0:
		s, cls = "\u2212"+decimal(-v, 2), "down"
	}
	return h.Span(class(cls), g.Text(s))
}

// stories lists news; brief leaves out what an overview has no room for.
func stories(id string, items []*pb.NewsItem, brief bool) g.Node {
	t := table{id: id, caption: "Stories, newest first", auto: brief, columns: []column{{name: "Title", class: "long"}, {name: "Source"}, {name: "Published"}}}
	for i, n := range items {
		key := n.Guid
		if brief {
			key = strconv.Itoa(i)
		}
		title := outward(n.Link, foreign(n.Title, 200))
		if !brief && n.Summary != "" {
			title = g.Group{title, h.P(h.Class("quiet"), foreign(n.Summary, 300))}
		}
		t.rows = append(t.rows, row{key, []g.Node{title, foreign(n.Source, 40), published(n)}})
	}
	return t
}
