package console

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	g "maragu.dev/gomponents"
	h "maragu.dev/gomponents/html"

	pb "carbond/proto/carbon"
)

const (
	lookFor      = time.Minute // a look at the past is used for so long, however many pages ask
	maxSparks    = 500         // tickers
	sparkPoints  = 48
	historyCalls = 8  // for one page
	shownChanges = 50 // of a project
)

// past remembers what is dear to look up and changes slowly. Whoever asks has been let
// in by another call.
type past struct {
	mu       sync.Mutex // guards what follows
	sparks   map[string]look
	supply   []supplyChange
	supplyAt time.Time
}

type look struct {
	at        time.Time
	values    []float64
	low, high float64
}

// spark returns the prices of a ticker over the last day.
func (c *Console) spark(q *request, ticker string) look {
	c.past.mu.Lock()
	l, ok := c.past.sparks[ticker]
	c.past.mu.Unlock()
	if ok && q.now.Sub(l.at) < lookFor {
		return l
	}
	points, err := c.points(q.ctx, ticker, q.now.Add(-24*time.Hour), pb.PriceBucket_PRICE_BUCKET_1M)
	if err != nil {
		return l // the page goes without
	}
	l = look{at: q.now, low: math.Inf(1), high: math.Inf(-1)}
	for _, p := range points {
		l.low, l.high = min(l.low, p.Low), max(l.high, p.High)
	}
	for i := range min(len(points), sparkPoints) {
		l.values = append(l.values, points[i*len(points)/min(len(points), sparkPoints)].Close)
	}
	c.past.mu.Lock()
	defer c.past.mu.Unlock()
	if c.past.sparks == nil || len(c.past.sparks) >= maxSparks {
		c.past.sparks = map[string]look{}
	}
	c.past.sparks[ticker] = l
	return l
}

// between is the lowest and the highest price of a look.
func (l look) between() g.Node {
	if len(l.values) == 0 {
		return g.Text("\u2013")
	}
	return g.Text(decimal(l.low, 2) + " to " + decimal(l.high, 2))
}

// points returns what the prices of a ticker come to since a time; the zero time is
// that of the first.
func (c *Console) points(ctx context.Context, ticker string, since time.Time, bucket pb.PriceBucket) (out []*pb.PricePoint, err error) {
	m := &pb.GetPriceHistoryRequest{Ticker: ticker, Bucket: bucket}
	if !since.IsZero() {
		m.From = strconv.FormatInt(since.Unix(), 10)
	}
	for range historyCalls {
		a, err := c.carbon.GetPriceHistory(ctx, m)
		if err != nil {
			return nil, err
		}
		out = append(out, a.Items...)
		if m.PageToken = a.NextPageToken; m.PageToken == "" {
			break
		}
	}
	return out, nil
}

// supplyChange is how much the supply of a project changed over the last day.
type supplyChange struct {
	id, name     string
	from, change float64
}

// supplyChanges returns the largest of the last day, as far as the changelog tells them
// in maxScan records.
func (c *Console) supplyChanges(q *request) []supplyChange {
	c.past.mu.Lock()
	defer c.past.mu.Unlock()
	if q.now.Sub(c.past.supplyAt) < lookFor {
		return c.past.supply
	}
	type figures struct {
		Name   string   `json:"project_name"`
		ID     string   `json:"project_id"`
		Supply *float64 `json:"supply"`
	}
	byID, scanned := map[string]*supplyChange{}, 0
	req := &pb.ConsumeRequest{
		Topics: []string{"carbon.public.verra"}, MaxValueBytes: recordBytes,
		Start: &pb.ConsumeRequest_Time{Time: q.now.Add(-24 * time.Hour).UTC().Format(time.RFC3339)},
	}
	ctx, cancel := context.WithCancel(q.ctx)
	defer cancel()
	err := c.opt.Stream(ctx, pb.ChangelogService_Consume_FullMethodName, req, func(m any) error {
		for _, r := range m.(*pb.ConsumeResponse).Records {
			if scanned++; scanned > maxScan {
				return context.Canceled
			}
			var v struct{ Before, After *figures }
			if r.Op != "u" || json.Unmarshal(r.ValueJson, &v) != nil || v.Before == nil || v.After == nil || v.Before.Supply == nil || v.After.Supply == nil {
				continue
			}
			s := byID[v.After.ID]
			if s == nil {
				s = &supplyChange{id: v.After.ID, from: *v.Before.Supply}
				byID[s.id] = s
			}
			s.name, s.change = v.After.Name, *v.After.Supply-s.from
		}
		return nil
	})
	if err != nil && scanned <= maxScan {
		return c.past.supply // the page goes with the last look
	}
	list := slices.SortedFunc(maps.Values(byID), func(a, b *supplyChange) int {
		return cmp.Or(cmp.Compare(math.Abs(b.change), math.Abs(a.change)), strings.Compare(a.id, b.id))
	})
	c.past.supply, c.past.supplyAt = nil, q.now
	for _, s := range list[:min(len(list), shownRows)] {
		if s.change != 0 {
			c.past.supply = append(c.past.supply, *s)
		}
	}
	return c.past.supply
}

func supplyTable(q *request, list []supplyChange) g.Node {
	t := table{id: "supply", caption: "Largest changes of supply in 24 hours, in tonnes", auto: true, columns: []column{{name: "Project"}, {name: "Name", class: "long"}, {name: "Change, t", class: "num"}}}
	for i, s := range list {
		t.rows = append(t.rows, row{strconv.Itoa(i), []g.Node{h.A(h.Href(q.to("/projects/"+url.PathEscape(s.id))), foreign(s.id, 40)), foreign(s.name, 80), signed(s.change, 0)}})
	}
	return t
}

// timeline is what happened to a project as far as the changelog reaches, newest first,
// with a chart of its supply.
func (c *Console) timeline(q *request) (g.Node, error) {
	m := &pb.GetProjectHistoryRequest{ProjectId: q.id}
	var all []*pb.ProjectChange
	for range historyCalls {
		a, err := c.carbon.GetProjectHistory(q.ctx, m)
		if err != nil {
			return nil, err
		}
		all = append(all, a.Items...)
		if m.PageToken = a.NextPageToken; m.PageToken == "" {
			break
		}
	}
	offers, price := listings(q.id, all)
	if m.PageToken != "" { // the last ones are not known
		offers = nil
	}
	var supply []float64
	t := table{id: "change", caption: "Changes, newest first", still: true, columns: []column{{name: "Committed"}, {name: "Table"}, {name: "Change"}, {name: "What changed", class: "long"}, {name: "Offset", class: "num"}}}
	for _, ch := range all {
		var v struct{ Supply *float64 }
		if strings.HasSuffix(ch.Topic, ".verra") && json.Unmarshal(ch.AfterJson, &v) == nil && v.Supply != nil {
			supply = append(supply, *v.Supply)
		}
	}
	slices.Reverse(all)
	for _, ch := range all[:min(len(all), shownChanges)] {
		t.rows = append(t.rows, row{"", []g.Node{
			moment(time.UnixMilli(ch.CommitTimeMs)), g.Text(strings.TrimPrefix(ch.Topic, "carbon.")), g.Text(opWord(ch.Op)),
			difference(ch.Op, columnsOf(ch.BeforeJson), columnsOf(ch.AfterJson), nil), g.Text(strconv.FormatUint(ch.Offset, 10)),
		}})
	}
	more := g.Node(nil)
	if m.PageToken != "" || len(all) > shownChanges {
		more = note(count(len(all)) + " changes were read; " + "the rest is in the changelog.")
	}
	return g.Group{offerTable(offers), section("timeline", "What happened", course("Supply in tonnes", supply, 0), course("Cheapest price at Carbonmark in USD", price, 2), t, more)}, nil
}

// course draws what a figure was, change by change; nil for one that did not change.
func course(name string, values []float64, digits int) g.Node {
	if len(values) < 2 {
		return nil
	}
	return h.Figure(h.FigCaption(g.Text(name+", change by change: from "+decimal(values[0], digits)+" to "+decimal(values[len(values)-1], digits))),
		line("spark wide-spark", 576, 60, values, func(int) bool { return true }))
}

// listings is the rows of Carbonmark that name a project, by their id, as its changes tell
// them, and what the cheapest cost after each change. The state has no more of these rows
// than the views read.
func listings(id string, changes []*pb.ProjectChange) (rows map[string]map[string]any, cheapest []float64) {
	rows = map[string]map[string]any{}
	for _, ch := range changes {
		if !strings.HasSuffix(ch.Topic, ".carbonmark") {
			continue
		}
		after := columnsOf(ch.AfterJson)
		delete(rows, valueText(columnsOf(ch.BeforeJson)["id"]))
		if after["project_id"] == id {
			rows[valueText(after["id"])] = after
		}
		low := math.Inf(1)
		for _, r := range rows {
			n, _ := r["price_usd"].(json.Number)
			if price, err := n.Float64(); err == nil && price > 0 {
				low = min(low, price)
			}
		}
		if !math.IsInf(low, 1) && (len(cheapest) == 0 || low != cheapest[len(cheapest)-1]) {
			cheapest = append(cheapest, low)
		}
	}
	return rows, cheapest
}

func offerTable(rows map[string]map[string]any) g.Node {
	if len(rows) == 0 {
		return nil
	}
	t := table{id: "listing", caption: "As far as the changelog reaches", still: true, columns: []column{{name: "Listing"}}}
	figures := []string{"vintage", "amount", "listed", "price_usd"}
	for _, name := range figures {
		t.columns = append(t.columns, column{name: label(name), class: "num"})
	}
	for _, key := range slices.Sorted(maps.Keys(rows)) {
		cells := []g.Node{foreign(key, 80)}
		for _, name := range figures {
			text := "\u2013"
			if v := rows[key][name]; v != nil {
				text = valueText(v)
			}
			cells = append(cells, foreign(text, 40))
		}
		t.rows = append(t.rows, row{"", cells})
	}
	return section("listings", "At Carbonmark", t)
}
