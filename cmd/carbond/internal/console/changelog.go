package console

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	g "maragu.dev/gomponents"
	h "maragu.dev/gomponents/html"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "carbond/proto/carbon"
)

const (
	maxScan     = 20_000 // records that one page looks through for a key
	recordValue = 80     // characters of a value
	recordBytes = 64 << 10
)

// changelog browses the records: of a topic or all, from an offset or a time on, or the
// newest, with a key or any.
func (c *Console) changelog(q *request) (g.Node, error) {
	list, err := c.log.ListTopics(q.ctx, &pb.ListTopicsRequest{})
	if err != nil {
		return nil, err
	}
	var names []string
	for _, t := range list.Topics {
		names = append(names, t.Name)
	}
	found, err := c.records(q, list.Topics)
	if err != nil {
		return nil, err
	}
	t := table{id: "record", caption: "Records", still: true, columns: []column{
		{name: "Offset", class: "num"}, {name: "Committed"}, {name: "Topic"}, {name: "Change"}, {name: "Key"}, {name: "What changed", class: "long"},
	}, empty: "no record is like that"}
	for _, r := range found.list {
		t.rows = append(t.rows, row{strconv.FormatUint(r.Offset, 10), recordCells(r)})
	}
	if found.newest {
		t.next = strconv.FormatUint(found.next, 10)
	}
	note := "Newest first."
	if !found.newest {
		note = "In the order of their offsets."
	}
	return g.Group{
		h.Form(h.Method("get"), h.Action("/changelog"), q.choice("topic", "Topic", names),
			q.field("key", "Key has"), q.field("from", "From offset, or time (UTC)", h.Placeholder("the newest")), q.filterButtons("/changelog")),
		h.P(h.Class("quiet"), g.Text(note+" "), g.If(found.scanned >= maxScan, g.Text(count(found.scanned)+" records were looked through. "))),
		t,
		h.Nav(h.Aria("label", "Parts of the list"), h.Class("links"),
			g.If(found.earlier > 0, h.A(h.Href(q.link("from", strconv.FormatUint(found.earlier, 10))), g.Text("Earlier"))), g.Text(" "),
			g.If(!found.newest && found.more, h.A(h.Rel("next"), h.Href(q.link("from", strconv.FormatUint(found.next, 10))), g.Text("Later"))), g.Text(" "),
			g.If(!found.newest, h.A(h.Href(q.link("from", "")), g.Text("Newest")))),
		downloads(q, names, found.list),
	}, nil
}

const downloadRecords = 10_000 // as many as the HTTP API gives at once

// downloads leads to the records of each topic of the page in the HTTP API, from the first
// that is shown, with any key.
func downloads(q *request, topics []string, shown []*pb.ChangeRecord) g.Node {
	if len(shown) == 0 {
		return nil
	}
	from := strconv.FormatUint(min(shown[0].Offset, shown[len(shown)-1].Offset), 10)
	return h.P(h.Class("links"), g.Text("Download from here as JSON: "), g.Map(topics, func(name string) g.Node {
		if t := q.query.Get("topic"); t != "" && t != name {
			return nil
		}
		link := address("/v1/topics/"+url.PathEscape(name), url.Values{"from": {from}, "max": {strconv.Itoa(downloadRecords)}})
		return g.Group{h.A(h.Href(link), h.Download(name+".json"), foreign(strings.TrimPrefix(name, "carbon."), 80)), g.Text(" ")}
	}))
}

// found is what a page shows of the changelog.
type found struct {
	list    []*pb.ChangeRecord
	newest  bool   // the list ends with the newest record, and is turned round
	next    uint64 // offset behind the list
	more    bool   // something may follow
	earlier uint64 // offset of a page before, 0 for none
	scanned int
}

// records reads what the query asks for.
func (c *Console) records(q *request, topics []*pb.Topic) (found, error) {
	var f found
	first, next := uint64(0), uint64(0)
	var wanted []string
	for _, t := range topics {
		if name := q.query.Get("topic"); name != "" && t.Name != name {
			continue
		}
		wanted = append(wanted, t.Name)
		next = max(next, t.Next)
		if first == 0 || t.First < first {
			first = t.First
		}
	}
	if len(wanted) == 0 {
		return f, status.Errorf(codes.NotFound, "there is no topic %.80q", q.query.Get("topic"))
	}
	req := &pb.ConsumeRequest{Topics: wanted, MaxValueBytes: recordBytes}
	from := q.query.Get("from")
	if from != "" {
		if n, err := strconv.ParseUint(from, 10, 64); err == nil {
			n = max(n, first)
			req.Start = &pb.ConsumeRequest_Offset{Offset: n}
			f.earlier = n - min(n-first, pageRows)
			if f.earlier == n {
				f.earlier = 0
			}
		} else if t, err := moments(from); err == nil {
			req.Start = &pb.ConsumeRequest_Time{Time: t.Format(time.RFC3339Nano)}
		} else {
			return f, err
		}
		err := c.scan(q, req, &f, pageRows)
		return f, err
	}
	// The newest are found by reading back ever further: offsets are those of all topics.
	f.newest, f.next = true, next
	for back := uint64(4 * pageRows); next > 0; back *= 8 {
		start := max(first, next-min(next, back))
		f.list, f.scanned = nil, 0
		req.Start = &pb.ConsumeRequest_Offset{Offset: start}
		if err := c.scan(q, req, &f, 0); err != nil {
			return f, err
		}
		if len(f.list) >= pageRows || start == first || back >= maxScan {
			if f.list = f.list[max(0, len(f.list)-pageRows):]; len(f.list) > 0 && f.list[0].Offset > first {
				f.earlier = max(first, f.list[0].Offset-min(f.list[0].Offset, pageRows))
			}
			break
		}
	}
	slices.Reverse(f.list)
	return f, nil
}

// scan reads records that have the key of the query: most of them, 0 for all until the
// end.
func (c *Console) scan(q *request, req *pb.ConsumeRequest, f *found, most int) error {
	ctx, cancel := context.WithCancel(q.ctx)
	defer cancel()
	key, full := []byte(q.query.Get("key")), false
	err := c.opt.Stream(ctx, pb.ChangelogService_Consume_FullMethodName, req, func(m any) error {
		for _, r := range m.(*pb.ConsumeResponse).Records {
			if full = most > 0 && len(f.list) == most || f.scanned == maxScan; full {
				f.more = true
				return context.Canceled
			}
			f.scanned, f.next = f.scanned+1, r.Offset+1
			if len(key) == 0 || bytes.Contains(r.KeyJson, key) {
				f.list = append(f.list, r)
			}
		}
		return nil
	})
	if full {
		return nil // it was ended here
	}
	return err
}

// tail sends records as they come, as rows of the table. What comes faster than
// somebody can read is counted.
func (c *Console) tail(q *request, send func(tailed) error) error {
	next, err := strconv.ParseUint(q.query.Get("next"), 10, 64)
	if err != nil {
		return status.Error(codes.InvalidArgument, "the place to begin is no offset")
	}
	req := &pb.ConsumeRequest{Start: &pb.ConsumeRequest_Offset{Offset: next}, Follow: true, MaxValueBytes: recordBytes}
	if t := q.query.Get("topic"); t != "" {
		req.Topics = []string{t}
	}
	key := []byte(q.query.Get("key"))
	second, sent, passed := time.Time{}, 0, 0
	return c.opt.Stream(q.ctx, pb.ChangelogService_Consume_FullMethodName, req, func(m any) error {
		for _, r := range m.(*pb.ConsumeResponse).Records {
			if len(key) > 0 && !bytes.Contains(r.KeyJson, key) {
				continue
			}
			if now := time.Now(); now.Sub(second) >= time.Second {
				second, sent = now, 0
			}
			if sent++; sent > tailRate {
				passed++
				continue
			}
			var b strings.Builder
			t := table{columns: []column{{class: "num"}, {}, {}, {}, {}, {class: "long"}}}
			if err := h.Tr(t.cells(row{cells: recordCells(r)})).Render(&b); err != nil {
				return err
			}
			if err := send(tailed{b.String(), strconv.FormatUint(r.Offset+1, 10), passed}); err != nil {
				return err
			}
			passed = 0
		}
		return nil
	})
}

const tailRate = 10 // records a second that a live page is told

// tailed is one record for a live page.
type tailed struct {
	Row    string `json:"row"`
	Next   string `json:"next"`             // offset behind it
	Passed int    `json:"passed,omitempty"` // records before it that were left out
}

// recordCells is a record as people read it.
func recordCells(r *pb.ChangeRecord) []g.Node {
	return []g.Node{
		g.Text(strconv.FormatUint(r.Offset, 10)), moment(time.UnixMilli(r.CommitTimeMs)), g.Text(strings.TrimPrefix(r.Topic, "carbon.")), g.Text(opWord(r.Op)),
		foreign(keyText(r.KeyJson), 24), recordDifference(r),
	}
}

// opWord is the kind of a change in a word.
func opWord(op string) string {
	if w := map[string]string{"c": "new", "u": "changed", "d": "gone", "r": "copied", "t": "emptied"}[op]; w != "" {
		return w
	}
	return op
}

// keyText is the values of a key.
func keyText(raw []byte) string {
	var out []string
	k := columnsOf(raw)
	for _, name := range slices.Sorted(maps.Keys(k)) {
		out = append(out, valueText(k[name]))
	}
	return strings.Join(out, " ")
}

// columnsOf reads a JSON object of columns; what is none has none.
func columnsOf(raw []byte) map[string]any {
	var v map[string]any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if d.Decode(&v) != nil {
		return nil
	}
	return v
}

func valueText(v any) string {
	switch v := v.(type) {
	case nil:
		return "NULL"
	case string:
		return v
	case json.Number:
		return v.String()
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}

func recordDifference(r *pb.ChangeRecord) g.Node {
	if r.ValueBytes > 0 {
		return g.Text("a row of " + bytesText(r.ValueBytes))
	}
	v := columnsOf(r.ValueJson)
	before, _ := v["before"].(map[string]any)
	after, _ := v["after"].(map[string]any)
	return difference(r.Op, before, after, columnsOf(r.KeyJson))
}

// difference lists the columns that a change sets, with what they were. Those of the key
// stand elsewhere unless they changed.
func difference(op string, before, after, key map[string]any) g.Node {
	names := map[string]bool{}
	for _, row := range []map[string]any{before, after} {
		for n := range row {
			if _, told := key[n]; !told || op == "u" {
				names[n] = true
			}
		}
	}
	var out g.Group
	for _, n := range slices.Sorted(maps.Keys(names)) {
		was, is := valueText(before[n]), valueText(after[n])
		if before != nil && after != nil && was == is || before == nil && after[n] == nil || after == nil && before[n] == nil {
			continue
		}
		if len(out) > 0 {
			out = append(out, g.Text(", "))
		}
		out = append(out, h.Small(g.Text(n)), g.Text(" "))
		if before != nil {
			out = append(out, h.Del(foreign(was, recordValue)))
		}
		if before != nil && after != nil {
			out = append(out, g.Text(" \u2192 "))
		}
		if after != nil {
			out = append(out, h.Ins(foreign(is, recordValue)))
		}
	}
	return out
}
