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

// A fetcher yields the rows of a view, page by page.
type fetcher func(ctx context.Context, c pb.CarbonServiceClient, filter, token string, opt ...grpc.CallOption) (rows [][]any, next string, err error)

// shape says how a view is fetched and shown.
type shape struct {
	client.Columns
	filter string
	fetch  fetcher
}

func viewShapes() map[change.View]shape {
	return map[change.View]shape{
		change.ViewProjects: {
			Columns: client.Columns{Names: []string{"project_id", "project_name", "registry_status", "country", "vintage", "supply"}, Brief: []int{0, 1, 2, 3, 4, 5}},
			filter:  "country", fetch: fetchProjects,
		},
		change.ViewNews: {
			Columns: client.Columns{Names: []string{"guid", "title", "link", "published", "source", "summary"}, Brief: []int{3, 4, 1}},
			filter:  "source", fetch: fetchNews,
		},
		change.ViewFinance: {
			Columns: client.Columns{Names: []string{"ticker", "price", "volume", "market_cap", "change_percent", "timestamp"}, Brief: []int{0, 1, 2, 3, 4, 5}},
			filter:  "ticker", fetch: fetchFinance,
		},
	}
}

// stamped is the shape with the columns of a delta.
func (s shape) stamped() shape {
	s.Names = append(s.Names[:len(s.Names):len(s.Names)], "diff", "time")
	return s
}

func cmdView(a *app) *cobra.Command {
	var (
		c      *client.Client
		format string
		filter string
		follow bool
	)
	cmd := &cobra.Command{
		Use:   "view projects|news|finance",
		Short: "Print a view",
		Long: "Prints a view of the running daemon: all rows, or those that one filter matches exactly.\n\n" +
			"JSON lines have \"diff\" 1 and \"time\", the moment in ms at which the row is known to have stood so.\n" +
			"With --follow every row comes as a JSON line with \"diff\" 1 and \"time\" (of the commit, in ms), and then\n" +
			"every change: -1 for a row that goes, 1 for one that comes, until Ctrl-C and through restarts of the daemon.",
		Example:   "  carbond view projects --filter Brazil\n  carbond view finance --format jsonl | jq .price\n  carbond view news --format csv > news.csv\n  carbond view finance --follow --filter KRBN",
		ValidArgs: []string{"projects", "news", "finance"},
		Args:      oneArg("view (projects, news or finance)"),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, ok := viewShapes()[change.View(args[0])]
			if !ok {
				return client.Usage(fmt.Errorf("unknown view %q: want projects, news or finance", args[0]))
			}
			if follow && !cmd.Flags().Changed("format") {
				format = "jsonl"
			}
			if follow && format == "table" {
				return client.Usage(errors.New("--follow has no end, which a table needs: use --format jsonl or csv"))
			}
			conn, err := c.Dial()
			if err != nil {
				return err
			}
			defer conn.Close()
			if follow {
				return c.Explain(followView(a, cmd.Context(), conn, change.View(args[0]), format, filter))
			}
			stamp := format == "jsonl"
			if stamp {
				s = s.stamped()
			}
			p, err := client.NewPrinter(a.out, format, s.Columns)
			if err != nil {
				return err
			}
			return c.Explain(printView(cmd.Context(), conn, s, filter, stamp, p))
		},
	}
	c = client.Flags(cmd, version)
	cmd.Flags().StringVarP(&format, "format", "f", "table", "`FORM`: table, jsonl or csv")
	cmd.Flags().BoolVar(&follow, "follow", false, "print every change as it happens")
	cmd.Flags().StringVar(&filter, "filter", "", "only rows of this country (projects), source (news) or ticker (finance)")
	return cmd
}

// printView prints the rows of a view as it is, and with stamp behind each one the
// diff 1 and the time, in ms, at which the rows are known to have stood so.
func printView(ctx context.Context, conn grpc.ClientConnInterface, s shape, filter string, stamp bool, p client.Printer) error {
	api, token := pb.NewCarbonServiceClient(conn), ""
	var at int64
	for {
		var header metadata.MD
		asked := time.Now()
		rows, next, err := s.fetch(ctx, api, filter, token, grpc.Header(&header))
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
		token = next
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

func fetchProjects(ctx context.Context, c pb.CarbonServiceClient, filter, token string, opt ...grpc.CallOption) (rows [][]any, next string, err error) {
	r, err := c.GetProjects(ctx, &pb.ProjectQuery{Country: filter, PageSize: page, PageToken: token}, opt...)
	for _, i := range r.GetItems() {
		rows = append(rows, []any{i.GetProjectId(), i.GetProjectName(), i.GetRegistryStatus(), i.GetCountry(), i.GetVintage(), i.GetSupply()})
	}
	return rows, r.GetNextPageToken(), err
}

func fetchNews(ctx context.Context, c pb.CarbonServiceClient, filter, token string, opt ...grpc.CallOption) (rows [][]any, next string, err error) {
	r, err := c.GetNews(ctx, &pb.NewsQuery{Source: filter, PageSize: page, PageToken: token}, opt...)
	for _, i := range r.GetItems() {
		rows = append(rows, []any{i.GetGuid(), i.GetTitle(), i.GetLink(), i.GetPublished(), i.GetSource(), i.GetSummary()})
	}
	return rows, r.GetNextPageToken(), err
}

func fetchFinance(ctx context.Context, c pb.CarbonServiceClient, filter, token string, opt ...grpc.CallOption) (rows [][]any, next string, err error) {
	r, err := c.GetFinanceData(ctx, &pb.FinanceQuery{Ticker: filter, PageSize: page, PageToken: token}, opt...)
	for _, i := range r.GetItems() {
		rows = append(rows, []any{i.GetTicker(), i.GetPrice(), i.GetVolume(), i.GetMarketCap(), i.GetChangePercent(), i.GetTimestamp()})
	}
	return rows, r.GetNextPageToken(), err
}
