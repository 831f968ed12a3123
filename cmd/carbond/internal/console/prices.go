package console

import (
	"maps"
	"math"
	"net/url"
	"strconv"
	"time"

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
		{name: "Ticker"}, {name: "Price", class: "num"}, {name: "Change, %", class: "num"}, {name: "Last 24 hours"}, {name: "Range", class: "num"}, {name: "Volume", class: "num"}, {name: "Market cap", class: "num"}, {name: "As of"},
	}}
	for _, i := range list.Items {
		day := c.spark(q, i.Ticker)
		t.rows = append(t.rows, row{i.Ticker, []g.Node{
			tickerLink(q, i.Ticker), price(i), percent(i.ChangePercent), sparkline(day.values), day.between(), g.Text(count(i.Volume)), marketCap(i.MarketCap), unixAgo(i.Timestamp),
		}})
	}
	return g.Group{t, q.takeAway("/v1/finance")}, nil
}

// marketCap is the worth of a company; 0 is none, as of a fund.
func marketCap(v float64) g.Node {
	if v == 0 {
		return g.Text("\u2013")
	}
	return g.Text(short(v))
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
	rng := ranges[0]
	for _, r := range ranges {
		if r.name == q.query.Get("range") {
			rng = r
		}
	}
	past := g.Node(nil)
	if !q.streamed && q.query.Get(paramAsOf) == "" {
		if past, err = c.priceChart(q, rng); err != nil {
			past = failure(status.Convert(err).Message())
		}
	}
	return g.Group{
		live(h.P, "now", []g.Node{h.Class("figure")}, h.Strong(price(item)), g.Text(" "), percent(item.ChangePercent), g.Text(" % "), h.Small(unixAgo(item.Timestamp))),
		past,
		facts(item, &change.Quotes.ViewDef),
	}, nil
}

// priceRange is a span that a chart shows.
type priceRange struct {
	name   string
	span   time.Duration // 0 = everything
	bucket pb.PriceBucket
	param  string // of the HTTP API, for the bucket
}

// ranges are the spans of a chart. A bucket keeps each to a few thousand points.
var ranges = []priceRange{
	{"1d", 24 * time.Hour, pb.PriceBucket_PRICE_BUCKET_1M, "1m"},
	{"1w", 7 * 24 * time.Hour, pb.PriceBucket_PRICE_BUCKET_1H, "1h"},
	{"1m", 30 * 24 * time.Hour, pb.PriceBucket_PRICE_BUCKET_1H, "1h"},
	{"1y", 365 * 24 * time.Hour, pb.PriceBucket_PRICE_BUCKET_1D, "1d"},
	{"all", 0, pb.PriceBucket_PRICE_BUCKET_1D, "1d"},
}

// priceChart draws a range, and says in words what it shows. The script puts a chart to
// zoom into in its place.
func (c *Console) priceChart(q *request, rng priceRange) (g.Node, error) {
	since, from := time.Time{}, ""
	if rng.span > 0 {
		since = q.now.Add(-rng.span)
		from = strconv.FormatInt(since.Unix(), 10)
	}
	points, err := c.points(q.ctx, q.id, since, rng.bucket)
	if err != nil {
		return nil, err
	}
	words, closes := "There is no price in this range.", make([]float64, 0, len(points))
	low, high := math.Inf(1), math.Inf(-1)
	for _, p := range points {
		closes = append(closes, p.Close)
		low, high = min(low, p.Low), max(high, p.High)
	}
	if len(points) > 0 {
		words = "From " + decimal(points[0].Open, 2) + " to " + decimal(closes[len(closes)-1], 2) + ", between " + decimal(low, 2) + " and " + decimal(high, 2) + "."
	}
	q.chart = true
	api := "/v1/finance/" + url.PathEscape(q.id) + "/history"
	v := url.Values{"bucket": {rng.param}}
	if from != "" {
		v.Set("from", from)
	}
	csv := maps.Clone(v)
	csv.Set("format", "csv")
	return h.Figure(h.ID("chart"), g.Attr("data-history", address(api, v)),
		h.Nav(h.Aria("label", "Range of the chart"), h.Class("links"), g.Map(ranges, func(r priceRange) g.Node {
			return h.A(h.Href(q.link("range", r.name)), g.If(r.name == rng.name, h.Aria("current", "true")), g.Text(r.name))
		}), h.A(h.Href(address(api, csv)), g.Text("CSV"))),
		h.FigCaption(g.Text(words)),
		line("spark wide-spark", 576, 120, closes, func(int) bool { return true })), nil
}
