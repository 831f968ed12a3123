package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	pb "carbond/proto/carbon"
	"carbond/store/change"
)

// page is how many rows one call fetches: replies stay small whatever the view.
const page = 1000

// A fetcher yields the rows of a view, page by page.
type fetcher func(ctx context.Context, c pb.CarbonServiceClient, filter, token string) (rows [][]any, next string, err error)

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
			p, err := newPrinter(a.out, format, s)
			if err != nil {
				return err
			}
			return c.explain(printView(cmd.Context(), conn, s, filter, p))
		},
	}
	c = addClientFlags(cmd)
	cmd.Flags().StringVarP(&format, "format", "f", "table", "`FORM`: table, jsonl or csv")
	cmd.Flags().BoolVar(&follow, "follow", false, "print every change as it happens")
	cmd.Flags().StringVar(&filter, "filter", "", "only rows of this country (projects), source (news) or ticker (finance)")
	return cmd
}

func printView(ctx context.Context, conn grpc.ClientConnInterface, s shape, filter string, p printer) error {
	api, token := pb.NewCarbonServiceClient(conn), ""
	for {
		rows, next, err := s.fetch(ctx, api, filter, token)
		if err != nil {
			return err
		}
		for _, r := range rows {
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

// outputError is a failure of standard output, not of the daemon.
type outputError struct{ error }

func (e outputError) Unwrap() error { return e.error }

func fetchProjects(ctx context.Context, c pb.CarbonServiceClient, filter, token string) (rows [][]any, next string, err error) {
	r, err := c.GetProjects(ctx, &pb.ProjectQuery{Country: filter, PageSize: page, PageToken: token})
	for _, i := range r.GetItems() {
		rows = append(rows, []any{i.GetProjectId(), i.GetProjectName(), i.GetRegistryStatus(), i.GetCountry(), i.GetVintage(), i.GetSupply()})
	}
	return rows, r.GetNextPageToken(), err
}

func fetchNews(ctx context.Context, c pb.CarbonServiceClient, filter, token string) (rows [][]any, next string, err error) {
	r, err := c.GetNews(ctx, &pb.NewsQuery{Source: filter, PageSize: page, PageToken: token})
	for _, i := range r.GetItems() {
		rows = append(rows, []any{i.GetGuid(), i.GetTitle(), i.GetLink(), i.GetPublished(), i.GetSource(), i.GetSummary()})
	}
	return rows, r.GetNextPageToken(), err
}

func fetchFinance(ctx context.Context, c pb.CarbonServiceClient, filter, token string) (rows [][]any, next string, err error) {
	r, err := c.GetFinanceData(ctx, &pb.FinanceQuery{Ticker: filter, PageSize: page, PageToken: token})
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
