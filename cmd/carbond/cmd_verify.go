package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	pb "carbond/proto/carbon"
	"carbond/replicate"
	"carbond/rpc"
	"carbond/store/change"
)

// rounds is how often verify looks again at keys that differ. While rows are
// being written, a difference may be a change that one side does not have yet:
// only a key that differs in every round is wrong.
const rounds = 5

func (a *app) cmdVerify() *cobra.Command {
	var (
		c     *client
		limit int
	)
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Compare the daemon's views with SQL in Postgres",
		Long: "Pins a moment of the database to an LSN, waits until the daemon has it, and compares the\n" +
			"three views with their SQL row by row. Where rows change meanwhile, it looks again at the keys\n" +
			"that differ, at later moments. Exit code 0 when everything is equal, 1 with the keys when not.",
		Example: "  carbond verify\n  carbond verify --addr 10.0.0.7:50051 --tls-ca ca.crt --token-file token",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, opt, err := a.postgres()
			if err != nil {
				return err
			}
			conn, err := c.dial()
			if err != nil {
				return err
			}
			defer conn.Close()
			return a.verify(cmd.Context(), &verifier{client: c, api: pb.NewCarbonServiceClient(conn), opt: opt}, limit)
		},
	}
	c = addClientFlags(cmd)
	cmd.Flags().IntVar(&limit, "keys", 20, "print at most `N` differing keys of each view")
	return cmd
}

// verifier compares the views of one daemon with one database.
type verifier struct {
	client *client
	api    pb.CarbonServiceClient
	opt    replicate.Options
}

// difference is one key whose rows are not equal; "" stands for no row.
type difference struct{ daemon, sql string }

// differences is by view and key.
type differences map[change.View]map[string]difference

func (d differences) count() (n int) {
	for _, keys := range d {
		n += len(keys)
	}
	return n
}

func (a *app) verify(ctx context.Context, v *verifier, limit int) error {
	var left differences
	for round := 1; round <= rounds; round++ {
		found, rows, lsn, err := v.round(ctx)
		if err != nil {
			return err
		}
		left = left.still(found, round == 1)
		fmt.Fprintf(a.out, "round %d at LSN %s: %d projects, %d news, %d finance rows in SQL, %d keys differ\n",
			round, lsn, rows[change.ViewProjects], rows[change.ViewNews], rows[change.ViewFinance], left.count())
		if left.count() == 0 {
			_, err := fmt.Fprintln(a.out, "equal")
			return err
		}
	}
	for _, view := range change.Views() {
		for i, key := range slices.Sorted(maps.Keys(left[view])) {
			if i == limit {
				fmt.Fprintf(a.out, "%s: ... and %d more\n", view, len(left[view])-limit)
				break
			}
			d := left[view][key]
			fmt.Fprintf(a.out, "%s %s\n  daemon: %s\n  sql:    %s\n", view, plain(key), shown(d.daemon), shown(d.sql))
		}
	}
	fmt.Fprintf(a.out, "%d keys differ in all of %d rounds\n", left.count(), rounds)
	return errQuiet
}

func shown(row string) string {
	if row == "" {
		return "(no row)"
	}
	return plain(row)
}

// still keeps the keys that differed before and differ now.
func (d differences) still(now differences, first bool) differences {
	if first {
		return now
	}
	out := differences{}
	for view, keys := range d {
		for key := range keys {
			if diff, ok := now[view][key]; ok {
				if out[view] == nil {
					out[view] = map[string]difference{}
				}
				out[view][key] = diff
			}
		}
	}
	return out
}

// round compares once.
func (v *verifier) round(ctx context.Context) (diff differences, rows map[change.View]int, lsn change.LSN, err error) {
	ctx, cancel := context.WithTimeout(ctx, postgresTime)
	defer cancel()
	snap, err := replicate.ExportSnapshot(ctx, v.opt)
	if err != nil {
		return nil, nil, 0, err
	}
	defer func() { err = errors.Join(err, snap.Close(ctx)) }()
	diff, rows = differences{}, map[change.View]int{}
	for _, view := range change.Views() {
		want, err := sqlRows(ctx, snap, view)
		if err != nil {
			return nil, nil, 0, fmt.Errorf("run the SQL of view %s: %w", view, err)
		}
		got, err := v.daemonRows(ctx, view, snap.LSN)
		if err != nil {
			return nil, nil, 0, v.client.explain(err)
		}
		rows[view] = len(want)
		diff[view] = compareRows(got, want)
	}
	return diff, rows, snap.LSN, nil
}

func compareRows(daemon, sql map[string]string) map[string]difference {
	out := map[string]difference{}
	for key, row := range sql {
		if daemon[key] != row {
			out[key] = difference{daemon[key], row}
		}
	}
	for key, row := range daemon {
		if _, ok := sql[key]; !ok {
			out[key] = difference{row, ""}
		}
	}
	return out
}

// sqlRows runs the defining query of a view inside the snapshot. Rows are by
// key, in a printable form in which equal rows have equal texts; news carry
// their rank, since their order is part of the view.
func sqlRows(ctx context.Context, s *replicate.Exported, view change.View) (map[string]string, error) {
	out := map[string]string{}
	switch view {
	case change.ViewProjects:
		return out, eachSQL(ctx, s, rpc.ProjectsSQL, rpc.ScanProject, func(p change.Project) { out[p.ProjectID] = projectText(p) })
	case change.ViewNews:
		return out, eachSQL(ctx, s, rpc.NewsSQL, rpc.ScanNews, func(n change.NewsItem) { out[n.GUID] = newsText(len(out), n) })
	}
	return out, eachSQL(ctx, s, rpc.FinanceSQL, rpc.ScanQuote, func(q change.Quote) { out[q.Ticker] = quoteText(q) })
}

func eachSQL[T any](ctx context.Context, s *replicate.Exported, sql string, scan pgx.RowToFunc[T], use func(T)) error {
	rows, err := s.Query(ctx, sql, "")
	if err != nil {
		return err
	}
	list, err := pgx.CollectRows(rows, scan)
	for _, v := range list {
		use(v)
	}
	return err
}

// daemonRows fetches a whole view in one call, so that it is one version, not
// older than lsn.
func (v *verifier) daemonRows(ctx context.Context, view change.View, lsn change.LSN) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, "carbond-min-lsn", lsn.String())
	out := map[string]string{}
	switch view {
	case change.ViewProjects:
		r, err := v.api.GetProjects(ctx, &pb.ProjectQuery{}, grpc.WaitForReady(false))
		for _, i := range r.GetItems() {
			out[i.GetProjectId()] = projectText(change.Project{
				ProjectID: i.GetProjectId(), ProjectName: i.GetProjectName(), RegistryStatus: i.GetRegistryStatus(),
				Country: i.GetCountry(), Vintage: i.GetVintage(), Supply: i.GetSupply(),
			})
		}
		return out, err
	case change.ViewNews:
		r, err := v.api.GetNews(ctx, &pb.NewsQuery{})
		for rank, i := range r.GetItems() {
			out[i.GetGuid()] = newsText(rank, change.NewsItem{
				GUID: i.GetGuid(), Title: i.GetTitle(), Link: i.GetLink(), Published: i.GetPublished(), Source: i.GetSource(), Summary: i.GetSummary(),
			})
		}
		return out, err
	}
	r, err := v.api.GetFinanceData(ctx, &pb.FinanceQuery{})
	for _, i := range r.GetItems() {
		out[i.GetTicker()] = quoteText(change.Quote{
			Ticker: i.GetTicker(), Price: i.GetPrice(), Volume: i.GetVolume(), MarketCap: i.GetMarketCap(),
			ChangePercent: i.GetChangePercent(), Timestamp: i.GetTimestamp(),
		})
	}
	return out, err
}

func projectText(p change.Project) string {
	return fmt.Sprintf("%q %q %q %d %s", p.ProjectName, p.RegistryStatus, p.Country, p.Vintage, floatText(p.Supply))
}

func newsText(rank int, n change.NewsItem) string {
	return fmt.Sprintf("#%d %q %q %q %q %q", rank+1, n.Title, n.Link, n.Published, n.Source, n.Summary)
}

func quoteText(q change.Quote) string {
	return fmt.Sprintf("%s %d %s %s %d", floatText(q.Price), q.Volume, floatText(q.MarketCap), floatText(q.ChangePercent), q.Timestamp)
}

// floatText is exact: shortest text that reads back as the same number.
func floatText(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }
