package client

import (
	"context"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	pb "carbond/proto/carbon"
	"carbond/store/change"
)

// ViewColumns says how the rows of a view are shown.
func ViewColumns(view *change.ViewDef) Columns {
	c := Columns{Names: view.Names()}
	short := c.Names
	if view.Name == change.ViewNews {
		short = []string{"published", "source", "title"}
	}
	for _, name := range short {
		c.Brief = append(c.Brief, slices.Index(c.Names, name))
	}
	for _, name := range c.Names {
		c.Show = append(c.Show, shown(view, name))
	}
	return c
}

// shown says what a field means to people where its type does not.
func shown(view *change.ViewDef, name string) func(any) any {
	switch name {
	case view.Key:
		return func(v any) any { return Key(v.(string)) }
	case "vintage":
		return func(v any) any { return Year(v.(int32)) }
	case "timestamp":
		return func(v any) any { return Unix(v.(int64)) }
	case "published":
		return func(v any) any { return Mail(v.(string)) }
	}
	return nil
}

// ViewQuery says which rows of a view are wanted.
type ViewQuery struct {
	Filter   string // "" for all
	Size     int32  // rows of a page
	Token    string // of the page, "" for the first
	AtOffset uint64 // as the view was then, 0 for now
	AtTime   string // or at a time, RFC 3339
}

// ViewPage fetches one page of a view, and the token of the next one. Each row is
// the values of the view's fields.
func ViewPage(ctx context.Context, api pb.CarbonServiceClient, view *change.ViewDef, q ViewQuery, opt ...grpc.CallOption) (rows [][]any, next string, err error) {
	switch view.Name {
	case change.ViewProjects:
		r, err := api.GetProjects(ctx, &pb.ProjectQuery{Country: q.Filter, PageSize: q.Size, PageToken: q.Token, AsOfOffset: q.AtOffset, AsOfTime: q.AtTime}, opt...)
		return valuesOf(view, r.GetItems()), r.GetNextPageToken(), err
	case change.ViewNews:
		r, err := api.GetNews(ctx, &pb.NewsQuery{Source: q.Filter, PageSize: q.Size, PageToken: q.Token, AsOfOffset: q.AtOffset, AsOfTime: q.AtTime}, opt...)
		return valuesOf(view, r.GetItems()), r.GetNextPageToken(), err
	}
	r, err := api.GetFinanceData(ctx, &pb.FinanceQuery{Ticker: q.Filter, PageSize: q.Size, PageToken: q.Token, AsOfOffset: q.AtOffset, AsOfTime: q.AtTime}, opt...)
	return valuesOf(view, r.GetItems()), r.GetNextPageToken(), err
}

// Deltas is one message of a Watch stream.
type Deltas struct {
	Head *pb.WatchHead
	Rows [][]any // values of the view's fields, then diff
}

// WatchView opens a Watch stream and returns what receives from it.
func WatchView(ctx context.Context, api pb.CarbonServiceClient, view *change.ViewDef, filter, token string) (func() (Deltas, error), error) {
	switch view.Name {
	case change.ViewProjects:
		s, err := api.WatchProjects(ctx, &pb.WatchProjectsRequest{Country: filter, ResumeToken: token})
		if err != nil {
			return nil, err
		}
		return receiver(view, s.Recv), nil
	case change.ViewNews:
		s, err := api.WatchNews(ctx, &pb.WatchNewsRequest{Source: filter, ResumeToken: token})
		if err != nil {
			return nil, err
		}
		return receiver(view, s.Recv), nil
	}
	s, err := api.WatchFinanceData(ctx, &pb.WatchFinanceDataRequest{Ticker: filter, ResumeToken: token})
	if err != nil {
		return nil, err
	}
	return receiver(view, s.Recv), nil
}

// watchMessage is a message of a Watch stream, watchDelta one of its deltas.
type (
	watchMessage[D any] interface {
		GetHead() *pb.WatchHead
		GetDeltas() []D
	}
	watchDelta[I proto.Message] interface {
		GetDiff() int32
		GetItem() I
	}
)

func receiver[M watchMessage[D], D watchDelta[I], I proto.Message](view *change.ViewDef, recv func() (M, error)) func() (Deltas, error) {
	return func() (Deltas, error) {
		m, err := recv()
		d := Deltas{Head: m.GetHead()}
		for _, x := range m.GetDeltas() {
			d.Rows = append(d.Rows, append(values(view, x.GetItem()), x.GetDiff()))
		}
		return d, err
	}
}

func valuesOf[M proto.Message](view *change.ViewDef, items []M) [][]any {
	rows := make([][]any, len(items))
	for i, m := range items {
		rows[i] = values(view, m)
	}
	return rows
}

// values reads the fields of a message that is a row of a view.
func values(view *change.ViewDef, item proto.Message) []any {
	m := item.ProtoReflect()
	fields := m.Descriptor().Fields()
	row := make([]any, len(view.Fields), len(view.Fields)+2) // room for diff and time
	for i, f := range view.Fields {
		if field := fields.ByNumber(protoreflect.FieldNumber(f.Number)); !f.Null || m.Has(field) {
			row[i] = m.Get(field).Interface()
		}
	}
	return row
}
