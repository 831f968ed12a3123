package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"carbond/cmd/carbond/internal/client"
	pb "carbond/proto/carbon"
	"carbond/rpc"
	"carbond/store/change"
)

// page is how many rows one call fetches: replies stay small whatever the view.
const page = 1000

// stamped are the columns of a delta.
func stamped(view *change.ViewDef) client.Columns {
	c := client.ViewColumns(view)
	c.Names = append(c.Names, "diff", "time")
	return c
}

func cmdView(a *app) *cobra.Command {
	var (
		c      *client.Client
		form   *client.Form
		q      client.ViewQuery
		asOf   string
		follow bool
	)
	cmd := &cobra.Command{
		Use:   "view projects|news|finance",
		Short: "Print a view",
		Long: "Prints a view of the running daemon: all rows, or those that one filter matches exactly.\n\n" +
			"JSON lines have \"diff\" 1 and \"time\", the moment in ms at which the row is known to have stood so.\n" +
			"With --follow every row comes as a JSON line with \"diff\" 1 and \"time\" (of the commit, in ms), and then\n" +
			"every change: -1 for a row that goes, 1 for one that comes, until Ctrl-C and through restarts of the daemon.\n" +
			"On a terminal --follow shows a table that changes with the view; --format jsonl prints the lines there too.",
		Example:   "  carbond view projects --filter Brazil\n  carbond view finance --format jsonl | jq .price\n  carbond view news --format csv > news.csv\n  carbond view finance --follow --filter KRBN\n  carbond view projects --as-of 2026-11-01",
		ValidArgs: []string{"projects", "news", "finance"},
		Args:      oneArg("view (projects, news or finance)"),
		RunE: func(cmd *cobra.Command, args []string) error {
			view := change.View(args[0]).Def()
			if view == nil {
				return client.Usage(fmt.Errorf("unknown view %q: want projects, news or finance", args[0]))
			}
			if err := asOfPlace(&q, asOf, follow, time.Now()); err != nil {
				return err
			}
			switch {
			case follow && !cmd.Flags().Changed("format") && !client.Terminal(a.out):
				form.Format = "jsonl"
			case follow && (form.Format == "json" || form.Format == "table" && !client.Terminal(a.out)):
				return client.Usage(fmt.Errorf("--follow has no end, which a %s needs: use --format jsonl or csv", form.Format))
			}
			conn, err := c.Dial()
			if err != nil {
				return err
			}
			defer conn.Close()
			if follow {
				return c.Explain(followView(a, cmd.Context(), conn, view, form, q.Filter))
			}
			columns, stamp := client.ViewColumns(view), form.Format == "jsonl" || form.Format == "json"
			if stamp {
				columns = stamped(view)
			}
			p, err := client.NewPrinter(a.out, form, columns)
			if err != nil {
				return err
			}
			return c.Explain(printView(cmd.Context(), conn, view, q, stamp, p))
		},
	}
	c = client.Flags(cmd, version)
	form = client.FormFlags(cmd, a.getenv)
	cmd.Flags().StringVar(&asOf, "as-of", "", "print the view as it was at an OFFSET, a `TIME` (RFC 3339 or a date) or an age such as -1h")
	cmd.Flags().BoolVar(&follow, "follow", false, "print every change as it happens")
	cmd.Flags().StringVar(&q.Filter, "filter", "", "only rows of this country (projects), source (news) or ticker (finance)")
	return cmd
}

// asOfPlace puts the moment of --as-of into a query.
func asOfPlace(q *client.ViewQuery, asOf string, follow bool, now time.Time) error {
	q.Size = page
	switch {
	case asOf == "":
		return nil
	case follow:
		return client.Usage(errors.New("--as-of and --follow exclude each other: the past has no changes"))
	}
	p, err := parsePlace("--as-of", asOf, now)
	if err != nil {
		return err
	}
	if p.earliest || p.latest || p.time == "" && p.offset == 0 {
		return client.Usage(fmt.Errorf("--as-of %s: give an offset from 1 on, an RFC 3339 time, a date or an age such as -1h", asOf))
	}
	q.AtOffset, q.AtTime = p.offset, p.time
	return nil
}

// printView prints the rows of a view as it is, and with stamp behind each one the
// diff 1 and the time, in ms, at which the rows are known to have stood so.
func printView(ctx context.Context, conn grpc.ClientConnInterface, view *change.ViewDef, q client.ViewQuery, stamp bool, p client.Printer) error {
	api := pb.NewCarbonServiceClient(conn)
	var at int64
	for {
		var header metadata.MD
		asked := time.Now()
		rows, next, err := client.ViewPage(ctx, api, view, q, grpc.Header(&header))
		if err != nil {
			return err
		}
		if at == 0 {
			at = asked.Add(-ageOf(header)).UnixMilli()
		}
		for _, r := range rows {
			if stamp {
				r = append(r, 1, at)
			}
			if err := p.Row(r); err != nil {
				return client.Output(err)
			}
		}
		if next == "" {
			if err := p.End(); err != nil {
				return client.Output(err)
			}
			return nil
		}
		q.Token = next
	}
}

// ageOf is what a reply says of its age.
func ageOf(header metadata.MD) time.Duration {
	ms := header.Get(rpc.HeaderAge)
	if len(ms) == 0 {
		return 0
	}
	n, err := strconv.ParseInt(ms[0], 10, 64)
	if err != nil {
		return 0
	}
	return time.Duration(n) * time.Millisecond
}
