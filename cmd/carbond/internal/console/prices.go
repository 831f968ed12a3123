package console

import (
	"net/url"

	g "maragu.dev/gomponents"
	h "maragu.dev/gomponents/html"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "carbond/proto/carbon"
	"carbond/store/change"
)

// prices is the latest figures of each ticker.
func (c *Console) prices(q *request) (g.Node, error) {
	m := &pb.FinanceQuery{}
	if err := q.ask(m); err != nil {
		return nil, err
	}
	list, err := c.carbon.GetFinanceData(q.ctx, m)
	if err != nil {
		return nil, err
	}
	t := table{id: "price", caption: "Prices", columns: []column{
		{name: "Ticker"}, {name: "Price", class: "num"}, {name: "Change, %", class: "num"}, {name: "Volume", class: "num"}, {name: "Market cap", class: "num"}, {name: "As of"},
	}}
	for _, i := range list.Items {
		t.rows = append(t.rows, row{i.Ticker, []g.Node{
			h.A(h.Href(q.to("/prices/"+url.PathEscape(i.Ticker))), foreign(i.Ticker, 40)),
			price(i), percent(i.ChangePercent), g.Text(count(i.Volume)), g.Text(short(i.MarketCap)), unixAgo(i.Timestamp),
		}})
	}
	return g.Group{t, q.takeAway("/v1/finance")}, nil
}

// ticker is the figures of one ticker.
func (c *Console) ticker(q *request) (g.Node, error) {
	m := &pb.FinanceQuery{Ticker: q.id}
	if err := q.setAsOf(m); err != nil {
		return nil, err
	}
	list, err := c.carbon.GetFinanceData(q.ctx, m)
	if err != nil {
		return nil, err
	}
	if len(list.Items) == 0 {
		return nil, status.Errorf(codes.NotFound, "there is no price of %.40q", q.id)
	}
	q.title = clip(q.id, 40)
	item := list.Items[0]
	return g.Group{
		live(h.P, "now", []g.Node{h.Class("figure")}, h.Strong(price(item)), g.Text(" "), percent(item.ChangePercent), g.Text(" % "), h.Small(unixAgo(item.Timestamp))),
		facts(item, &change.Quotes.ViewDef),
	}, nil
}
