package main

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"carbond/cmd/carbond/internal/client"
	pb "carbond/proto/carbon"
	"carbond/rpc"
	"carbond/store/change"
)

// deltas is one message of a Watch stream.
type deltas struct {
	head *pb.WatchHead
	rows [][]any // columns of the view, then diff
}

// An opener opens a Watch stream and returns what receives from it.
type opener func(ctx context.Context, c pb.CarbonServiceClient, filter, token string) (func() (deltas, error), error)

func openers() map[change.View]opener {
	return map[change.View]opener{
		change.ViewProjects: followProjects,
		change.ViewNews:     followNews,
		change.ViewFinance:  followFinance,
	}
}

func followProjects(ctx context.Context, c pb.CarbonServiceClient, filter, token string) (func() (deltas, error), error) {
	s, err := c.WatchProjects(ctx, &pb.WatchProjectsRequest{Country: filter, ResumeToken: token})
	if err != nil {
		return nil, err
	}
	return func() (deltas, error) {
		m, err := s.Recv()
		d := deltas{head: m.GetHead()}
		for _, x := range m.GetDeltas() {
			i := x.GetItem()
			d.rows = append(d.rows, []any{i.GetProjectId(), i.GetProjectName(), i.GetRegistryStatus(), i.GetCountry(), i.GetVintage(), i.GetSupply(), x.GetDiff()})
		}
		return d, err
	}, nil
}

func followNews(ctx context.Context, c pb.CarbonServiceClient, filter, token string) (func() (deltas, error), error) {
	s, err := c.WatchNews(ctx, &pb.WatchNewsRequest{Source: filter, ResumeToken: token})
	if err != nil {
		return nil, err
	}
	return func() (deltas, error) {
		m, err := s.Recv()
		d := deltas{head: m.GetHead()}
		for _, x := range m.GetDeltas() {
			i := x.GetItem()
			d.rows = append(d.rows, []any{i.GetGuid(), i.GetTitle(), i.GetLink(), i.GetPublished(), i.GetSource(), i.GetSummary(), x.GetDiff()})
		}
		return d, err
	}, nil
}

func followFinance(ctx context.Context, c pb.CarbonServiceClient, filter, token string) (func() (deltas, error), error) {
	s, err := c.WatchFinanceData(ctx, &pb.WatchFinanceDataRequest{Ticker: filter, ResumeToken: token})
	if err != nil {
		return nil, err
	}
	return func() (deltas, error) {
		m, err := s.Recv()
		d := deltas{head: m.GetHead()}
		for _, x := range m.GetDeltas() {
			i := x.GetItem()
			d.rows = append(d.rows, []any{i.GetTicker(), i.GetPrice(), i.GetVolume(), i.GetMarketCap(), i.GetChangePercent(), i.GetTimestamp(), x.GetDiff()})
		}
		return d, err
	}, nil
}

// viewer prints the deltas of a view.
type viewer struct {
	*app
	api    pb.CarbonServiceClient
	open   opener
	filter string
	p      client.Printer

	token string // continues behind what is printed, save since
	since int    // rows printed since the token's message
	skip  int    // rows that a resumed stream brings again
	full  bool   // the first snapshot is printed
}

// run prints the view and its deltas until a signal or a closed pipe. It comes
// back after the daemon did, and behind the last row that was printed.
func (v *viewer) run(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	defer client.WatchPipe(ctx, v.out, func() { stop(errEnough) })()
	show := v.progress()
	for {
		err := v.stream(ctx)
		switch code := status.Code(err); {
		case ctx.Err() != nil:
			return nil // a signal, or head has enough
		case client.IsOutput(err), !v.full:
			return err
		case code == codes.Unavailable, code == codes.ResourceExhausted:
			show.Note(status.Convert(err).Message() + "; going on from there")
			v.skip, v.since = v.since, 0
		case code == codes.OutOfRange && client.Reason(err) == rpc.ReasonOtherHistory:
			return fmt.Errorf("rows that were printed may never have been there: %w", err)
		case code == codes.OutOfRange:
			show.Note("the history since the last row is gone; every row follows once more")
			v.token, v.skip, v.since = "", 0, 0
		default:
			return err
		}
		client.Pause(ctx, comeBack)
	}
}

// stream prints one stream to its end.
func (v *viewer) stream(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	next, err := v.open(ctx, v.api, v.filter, v.token)
	if err != nil {
		return err
	}
	for {
		d, err := next()
		if err != nil {
			return err
		}
		for _, r := range d.rows {
			v.since++
			if v.skip > 0 {
				v.skip--
				continue
			}
			if err := v.p.Row(append(r, d.head.GetCommitTimeMs())); err != nil {
				return client.Output(err)
			}
		}
		if err := v.p.End(); err != nil {
			return client.Output(err)
		}
		if t := d.head.GetResumeToken(); t != "" {
			v.token, v.since, v.skip, v.full = t, 0, 0, true
		}
	}
}

// followView is `carbond view --follow`.
func followView(a *app, ctx context.Context, conn grpc.ClientConnInterface, name change.View, format, filter string) error {
	s := viewShapes()[name].stamped()
	p, err := client.NewPrinter(a.out, format, s.Columns)
	if err != nil {
		return client.Output(err)
	}
	v := &viewer{app: a, api: pb.NewCarbonServiceClient(conn), open: openers()[name], filter: filter, p: p}
	return v.run(ctx)
}
