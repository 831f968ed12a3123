package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"carbond/cmd/carbond/internal/client"
	pb "carbond/proto/carbon"
	"carbond/rpc/rpcerr"
	"carbond/store/change"
)

// viewer prints the deltas of a view.
type viewer struct {
	*app
	api    pb.CarbonServiceClient
	view   *change.ViewDef
	filter string
	p      client.Printer

	token string // continues behind what is printed, save since
	since int    // rows printed since the token's message
	skip  int    // rows that a resumed stream brings again
	full  bool   // the first snapshot is printed
	back  client.Back
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
		case client.Passing(err), code == codes.ResourceExhausted:
			show.Note(status.Convert(err).Message() + "; going on from there")
			v.skip, v.since = v.since, 0
		case code == codes.OutOfRange && client.Reason(err) == rpcerr.ReasonOtherHistory:
			return fmt.Errorf("rows that were printed may never have been there: %w", err)
		case code == codes.OutOfRange:
			show.Note("the history since the last row is gone; every row follows once more")
			v.token, v.skip, v.since = "", 0, 0
			if live, ok := v.p.(*client.Live); ok {
				live.Reset()
			}
		default:
			return err
		}
		client.Pause(ctx, v.back.Next())
	}
}

// stream prints one stream to its end.
func (v *viewer) stream(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(client.Silence, func() { cancel(client.ErrSilent) })
	defer silence.Stop()
	next, err := client.WatchView(ctx, v.api, v.view, v.filter, v.token)
	if err != nil {
		return err
	}
	for {
		d, err := next()
		if errors.Is(context.Cause(ctx), client.ErrSilent) {
			return client.ErrSilent
		}
		if err != nil {
			return err
		}
		silence.Reset(client.Silence)
		v.back.Heard()
		for _, r := range d.Rows {
			v.since++
			if v.skip > 0 {
				v.skip--
				continue
			}
			if err := v.p.Row(append(r, d.Head.GetCommitTimeMs())); err != nil {
				return client.Output(err)
			}
		}
		if err := v.p.End(); err != nil {
			return client.Output(err)
		}
		if t := d.Head.GetResumeToken(); t != "" {
			v.token, v.since, v.skip, v.full = t, 0, 0, true
		}
	}
}

// followView is `carbond view --follow`.
func followView(a *app, ctx context.Context, conn grpc.ClientConnInterface, view *change.ViewDef, form *client.Form, filter string) error {
	var p client.Printer
	if form.Format == "table" {
		live := client.NewLive(a.out, form, view)
		defer live.Stop()
		p = live
	} else {
		var err error
		if p, err = client.NewPrinter(a.out, form, stamped(view)); err != nil {
			return client.Output(err)
		}
	}
	v := &viewer{app: a, api: pb.NewCarbonServiceClient(conn), view: view, filter: filter, p: p}
	return v.run(ctx)
}
