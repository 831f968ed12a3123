package console

import (
	"cmp"
	"errors"
	"math"
	"net/url"
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
	fq, nq := &pb.FinanceQuery{}, &pb.NewsQuery{PageSize: shownRows}
	if err := errors.Join(q.setAsOf(fq), q.setAsOf(nq)); err != nil {
		return nil, err
	}
	quotes, err := c.carbon.GetFinanceData(q.ctx, fq)
	if err != nil {
		return unless(err, out)
	}
	news, err := c.carbon.GetNews(q.ctx, nq)
	if err != nil {
		return unless(err, out)
	}
	country, err := c.totals(q, pb.TotalsGroup_TOTALS_GROUP_COUNTRY, "country", "Country")
	if err != nil {
		return unless(err, out)
	}
	state, err := c.totals(q, pb.TotalsGroup_TOTALS_GROUP_STATUS, "status", "Status")
	if err != nil {
		return unless(err, out)
	}
	return append(out, h.Div(h.Class("columns"),
		h.Div(section("movers", "Movers of the day", movers(q, quotes.Items)), section("supplies", "Supply that changed", supplyTable(q, c.supplyChanges(q)))),
		section("stories", "Newest stories", stories("story", news.Items, true)),
		section("countries", "Projects by country", country),
		section("states", "Projects by status", state),
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

// totals are the groups with the most projects, each with a link to its list.
func (c *Console) totals(q *request, by pb.TotalsGroup, param, name string) (g.Node, error) {
	m := &pb.GetTotalsRequest{By: by}
	if err := q.setAsOf(m); err != nil {
		return nil, err
	}
	a, err := c.carbon.GetTotals(q.ctx, m)
	if err != nil {
		return nil, err
	}
	items := slices.Clone(a.Items)
	slices.SortStableFunc(items, func(a, b *pb.Total) int { return cmp.Compare(b.Projects, a.Projects) })
	t := table{id: "by-" + param, caption: "Number and supply by " + param, auto: true, columns: []column{{name: name}, {name: "Projects", class: "num"}, {name: "Share"}, {name: "Supply, t", class: "num"}}}
	for i, it := range items[:min(len(items), 2*shownRows)] {
		group := g.Node(h.Span(h.Class("quiet"), g.Text("not known")))
		if it.Group != "" {
			group = h.A(h.Href(address("/projects", q.with(param, it.Group))), foreign(it.Group, 60))
		}
		t.rows = append(t.rows, row{strconv.Itoa(i), []g.Node{group, g.Text(count(it.Projects)), bar(float64(it.Projects) / float64(max(1, items[0].Projects))), g.Text(decimal(it.Supply, 0))}})
	}
	if n := len(items) - len(t.rows); n > 0 {
		return g.Group{t, note("And " + count(n) + " more.")}, nil
	}
	return t, nil
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
func movers(q *request, items []*pb.FinanceItem) g.Node {
	items = slices.DeleteFunc(slices.Clone(items), func(i *pb.FinanceItem) bool { return math.IsNaN(i.ChangePercent) })
	slices.SortStableFunc(items, func(a, b *pb.FinanceItem) int {
		return cmp.Compare(math.Abs(b.ChangePercent), math.Abs(a.ChangePercent))
	})
	t := table{id: "mover", caption: "Largest changes, in per cent", auto: true, columns: []column{{name: "Ticker"}, {name: "Price", class: "num"}, {name: "Change, %", class: "num"}, {name: "As of"}}}
	for i, it := range items[:min(len(items), shownRows)] {
		t.rows = append(t.rows, row{strconv.Itoa(i), []g.Node{tickerLink(q, it.Ticker), price(it), percent(it.ChangePercent), unixAgo(it.Timestamp)}})
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
func percent(v float64) g.Node { return signed(v, 2) }

func signed(v float64, digits int) g.Node {
	s, cls := decimal(v, digits), ""
	switch {
	case v > 0:
		s, cls = "+"+s, "up"
	case v < 0:
		s, cls = "\u2212"+decimal(-v, digits), "down"
	}
	return h.Span(class(cls), g.Text(s))
}

func tickerLink(q *request, ticker string) g.Node {
	return h.A(h.Href(q.to("/prices/"+url.PathEscape(ticker))), foreign(ticker, 40))
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
