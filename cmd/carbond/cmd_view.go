package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

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
	columns []string
	brief   []int // columns of the table form; the rest is too wide for a terminal
	filter  string
	fetch   fetcher
}

func viewShapes() map[change.View]shape {
	return map[change.View]shape{
		change.ViewProjects: {
			columns: []string{"project_id", "project_name", "registry_status", "country", "vintage", "supply"},
			brief:   []int{0, 1, 2, 3, 4, 5}, filter: "country", fetch: fetchProjects,
		},
		change.ViewNews: {
			columns: []string{"guid", "title", "link", "published", "source", "summary"},
			brief:   []int{3, 4, 1}, filter: "source", fetch: fetchNews,
		},
		change.ViewFinance: {
			columns: []string{"ticker", "price", "volume", "market_cap", "change_percent", "timestamp"},
			brief:   []int{0, 1, 2, 3, 4, 5}, filter: "ticker", fetch: fetchFinance,
		},
	}
}

// stamped is the shape with the columns of a delta.
func (s shape) stamped() shape {
	s.columns = append(s.columns[:len(s.columns):len(s.columns)], "diff", "time")
	return s
}

func (a *app) cmdView() *cobra.Command {
	var (
		c      *client
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
				return usageError{fmt.Errorf("unknown view %q: want projects, news or finance", args[0])}
			}
			if follow && !cmd.Flags().Changed("format") {
				format = "jsonl"
			}
			if follow && format == "table" {
				return usageError{errors.New("--follow has no end, which a table needs: use --format jsonl or csv")}
			}
			conn, err := c.dial()
			if err != nil {
				return err
			}
			defer conn.Close()
			if follow {
				return c.explain(a.followView(cmd.Context(), conn, change.View(args[0]), format, filter))
			}
			stamp := format == "jsonl"
			if stamp {
				s = s.stamped()
			}
			p, err := newPrinter(a.out, format, s)
			if err != nil {
				return err
			}
			return c.explain(printView(cmd.Context(), conn, s, filter, stamp, p))
		},
	}
	c = addClientFlags(cmd)
	cmd.Flags().StringVarP(&format, "format", "f", "table", "`FORM`: table, jsonl or csv")
	cmd.Flags().BoolVar(&follow, "follow", false, "print every change as it happens")
	cmd.Flags().StringVar(&filter, "filter", "", "only rows of this country (projects), source (news) or ticker (finance)")
	return cmd
}

// printView prints the rows of a view as it is, and with stamp behind each one the
// diff 1 and the time, in ms, at which the rows are known to have stood so.
func printView(ctx context.Context, conn grpc.ClientConnInterface, s shape, filter string, stamp bool, p printer) error {
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
			if err := p.row(r); err != nil {
				return outputError{err}
			}
		}
		if next == "" {
			if err := p.end(); err != nil {
				return outputError{err}
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

// outputError is a failure of standard output, not of the daemon.
type outputError struct{ error }

func (e outputError) Unwrap() error { return e.error }

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

// plain makes foreign text safe for a terminal: one line, no control characters.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || (r >= 0x7f && r < 0xa0) || r == 0x2028 || r == 0x2029 || (r >= 0x202a && r <= 0x202e) || (r >= 0x2066 && r <= 0x2069) {
			return ' '
		}
		return r
	}, s)
}
