package web

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	pb "carbond/proto/carbon"
	"carbond/rpc"
	"carbond/rpc/internal/form"
	"carbond/rpc/rpcerr"
)

const (
	// defaultRecords and maxRecords are how many records one request gets, and
	// maxRecordBytes how much of them, but for a single larger one.
	defaultRecords, maxRecords, maxRecordBytes = 100, 10_000, 8 << 20
	// maxEventBytes is where the event of a transaction is cut in parts.
	maxEventBytes = 512 << 10
)

// topicQuery is what an address of a topic asks for.
type topicQuery struct {
	request pb.ConsumeRequest
	max     int
}

// parseTopic reads the parameters from, max and format of a topic.
func parseTopic(r *http.Request) (*topicQuery, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, rpcerr.BadField("the query of the address", "cannot be read: "+strings.TrimPrefix(err.Error(), "invalid "))
	}
	q := &topicQuery{max: defaultRecords}
	q.request.Topics = []string{r.PathValue("topic")}
	for _, name := range sortedKeys(values) {
		v := values.Get(name)
		switch {
		case len(values[name]) > 1:
			return nil, rpcerr.BadField(name, "is given more than once")
		case name == "from":
			err = q.from(v)
		case name == "max":
			if q.max, err = strconv.Atoi(v); err != nil || q.max < 1 {
				return nil, rpcerr.BadField(name, "is not a number of records")
			}
			q.max = min(q.max, maxRecords)
		case name == paramFormat && (v == "debezium" || v == "row"):
			q.request.Format = v
		case name == paramFormat:
			return nil, rpcerr.BadField(name, "is not debezium or row")
		default:
			return nil, rpcerr.BadField(name, "is not a parameter of this address; those are from, max, format")
		}
		if err != nil {
			return nil, err
		}
	}
	return q, nil
}

// from sets where to begin: earliest, latest, an offset or a time.
func (q *topicQuery) from(text string) error {
	n, err := strconv.ParseUint(text, 10, 64)
	switch {
	case text == "earliest":
		q.request.Start = &pb.ConsumeRequest_Earliest{Earliest: true}
	case text == "latest":
		q.request.Start = &pb.ConsumeRequest_Latest{Latest: true}
	case err == nil:
		q.request.Start = &pb.ConsumeRequest_Offset{Offset: n}
	default:
		if _, err := time.Parse(time.RFC3339Nano, text); err != nil {
			return rpcerr.BadField("from", "is not earliest, latest, an offset or a time like 2024-01-31T12:00:00Z")
		}
		q.request.Start = &pb.ConsumeRequest_Time{Time: text}
	}
	return nil
}

// topic answers with records of a topic, as JSON or lines of JSON.
func (c *call) topic() error {
	q, err := parseTopic(c.r)
	if err != nil {
		return err
	}
	if c.form != form.NDJSON {
		c.form = form.JSON
	}
	var b []byte
	if c.form == form.JSON {
		b = append(b, `{"items":[`...)
	}
	n, next, history, more := 0, uint64(0), "", false
	err = c.api.Stream(c.ctx, pb.ChangelogService_Consume_FullMethodName, &q.request, func(m any) error {
		resp := m.(*pb.ConsumeResponse)
		if resp.History != "" {
			history = resp.History
		}
		for _, r := range resp.Records {
			if n == q.max || n > 0 && len(b) > maxRecordBytes {
				more, next = true, r.Offset
				return context.Canceled // enough
			}
			if n > 0 && c.form == form.JSON {
				b = append(b, ',')
			}
			if b = appendRecord(b, r, q.request.Format); c.form == form.NDJSON {
				b = append(b, '\n')
			}
			n++
		}
		next = resp.NextOffset
		return nil
	})
	if err != nil && !(more && errors.Is(err, context.Canceled)) {
		return err
	}
	if c.form == form.JSON {
		b = append(b, `],"nextOffset":`...)
		b = strconv.AppendUint(b, next, 10)
		b = form.AppendText(append(b, `,"history":`...), history)
		b = append(b, "}\n"...)
	}
	l := rpc.NewListing(b, c.form, c.enc, "", rpc.NewHeaders(nil), c.has)
	c.w.Header().Set("Carbond-Next-Offset", strconv.FormatUint(next, 10))
	if more {
		again := c.r.URL.Query()
		again.Set("from", strconv.FormatUint(next, 10))
		c.w.Header().Set("Link", "<"+(&url.URL{Path: c.r.URL.Path, RawQuery: again.Encode()}).String()+`>; rel="next"`)
	}
	return c.listing(l, nil)
}

// appendRecord appends a record: the plain row, or key and envelope.
func appendRecord(b []byte, r *pb.ChangeRecord, format string) []byte {
	if format == "row" {
		return append(b, r.ValueJson...)
	}
	b = strconv.AppendUint(append(b, `{"offset":`...), r.Offset, 10)
	b = append(b, `,"key":`...)
	if len(r.KeyJson) == 0 {
		b = append(b, "null"...)
	}
	b = append(append(append(b, r.KeyJson...), `,"value":`...), r.ValueJson...)
	return append(b, '}')
}

// watchTopic serves a topic as events: one for each transaction, whose id is the next
// offset with the history that it is of.
func (c *call) watchTopic() error {
	q, err := parseTopic(c.r)
	if err != nil {
		return err
	}
	q.request.Follow = true
	if q.request.Start == nil {
		q.request.Start = &pb.ConsumeRequest_Latest{Latest: true}
	}
	e := &events{call: c, rc: http.NewResponseController(c.w)}
	token := c.r.Header.Get("Last-Event-ID")
	return e.follow(token, func(token string) error {
		if token != "" {
			offset, history, _ := strings.Cut(token, ".")
			n, err := strconv.ParseUint(offset, 10, 64)
			if err != nil {
				return rpcerr.BadField("resume_token", "is none of this stream")
			}
			q.request.Start, q.request.History = &pb.ConsumeRequest_Offset{Offset: n}, history
		} else if c.r.Header.Get("Last-Event-ID") != "" { // which is gone
			q.request.Start, q.request.History = &pb.ConsumeRequest_Earliest{Earliest: true}, ""
		}
		t := transactions{e: e, format: q.request.Format}
		return c.api.Stream(c.ctx, pb.ChangelogService_Consume_FullMethodName, &q.request, t.add)
	})
}

// transactions puts the records of a transaction together.
type transactions struct {
	e       *events
	format  string
	history string
	records []byte
}

func (t *transactions) add(m any) error {
	resp := m.(*pb.ConsumeResponse)
	if resp.History != "" {
		t.history = resp.History
	}
	for _, r := range resp.Records {
		if len(t.records) > 0 {
			t.records = append(t.records, ',')
		}
		t.records = appendRecord(t.records, r, t.format)
		if r.LastInTransaction || len(t.records) > maxEventBytes {
			if err := t.send("changes", r.Offset+1, r.LastInTransaction); err != nil {
				return err
			}
		}
	}
	if len(resp.Records) == 0 && len(t.records) == 0 {
		return t.send("progress", resp.NextOffset, true)
	}
	return nil
}

func (t *transactions) send(name string, next uint64, end bool) error {
	b := append(append([]byte("event: "), name...), '\n')
	if end {
		b = strconv.AppendUint(append(b, "id: "...), next, 10)
		b = append(append(append(b, '.'), t.history...), '\n')
	}
	b = strconv.AppendUint(append(b, `data: {"nextOffset":`...), next, 10)
	if name == "changes" {
		b = append(append(append(b, `,"records":[`...), t.records...), `],"end":`...)
		b = strconv.AppendBool(b, end)
		t.records = t.records[:0]
	}
	return t.e.send(append(b, "}\n\n"...))
}
