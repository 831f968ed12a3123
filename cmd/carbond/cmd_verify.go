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
	"google.golang.org/grpc/metadata"

	"carbond/cmd/carbond/internal/client"
	pb "carbond/proto/carbon"
	"carbond/replicate"
	"carbond/rpc"
	"carbond/store/change"
)

func cmdVerify(a *app) *cobra.Command {
	var (
		c     *client.Client
		limit int
	)
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Compare the daemon's views with SQL in Postgres at the same LSN",
		Long: "Pins a moment of the database to an LSN, runs the SQL of the three views in it, and compares\n" +
			"every row with what the daemon's views were at exactly that LSN. Writers may go on meanwhile:\n" +
			"the comparison is exact. While the SQL runs, the tables are locked against TRUNCATE and ALTER.\n" +
			"Exit code 0 when everything is equal, 1 with the keys when not.",
		Example: "  carbond verify\n  carbond verify --addr 10.0.0.7:50051 --tls-ca ca.crt --token-file token",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, opt, err := loadDatabase(a)
			if err != nil {
				return err
			}
			conn, err := c.Dial()
			if err != nil {
				return err
			}
			defer conn.Close()
			ctx, cancel := context.WithTimeout(cmd.Context(), verifyTime)
			defer cancel()
			return verify(a, ctx, &verifier{client: c, api: pb.NewCarbonServiceClient(conn), opt: opt}, limit)
		},
	}
	c = client.Flags(cmd, version)
	cmd.Flags().IntVar(&limit, "keys", 20, "print at most `N` differing keys of each view")
	return cmd
}

const (
	verifyTime = 10 * time.Minute
	// moments is how many moments are tried when retention passes each one
	// before the daemon was asked about it.
	moments = 3
)

// verifier compares the views of one daemon with one database.
type verifier struct {
	client *client.Client
	api    pb.CarbonServiceClient
	opt    replicate.Options
}

// difference is one key whose rows are not equal; "" stands for no row.
type difference struct{ daemon, sql string }

// rowsByView are rows by key in a printable form, in which equal rows have
// equal texts.
type rowsByView map[change.View]map[string]string

func verify(a *app, ctx context.Context, v *verifier, limit int) error {
	// History begins with the first copy: an earlier moment would be empty.
	if err := v.waitCopied(ctx); err != nil {
		return v.client.Explain(err)
	}
	var (
		lsn       change.LSN
		want, got rowsByView
		err       error
	)
	for attempt := 1; ; attempt++ {
		if lsn, want, err = v.inSQL(ctx); err != nil {
			return err
		}
		got, err = v.inDaemon(ctx, lsn)
		if err == nil {
			break
		}
		if !isGone(err) || attempt == moments {
			return v.client.Explain(err)
		}
	}
	differ := 0
	for _, view := range change.Views() {
		diff := compareRows(got[view], want[view])
		differ += len(diff)
		printDifferences(a, view, diff, limit)
	}
	fmt.Fprintf(a.out, "at LSN %s: %d projects, %d news, %d finance rows in SQL, %d keys differ\n",
		lsn, len(want[change.ViewProjects]), len(want[change.ViewNews]), len(want[change.ViewFinance]), differ)
	if differ > 0 {
		return errQuiet
	}
	_, err = fmt.Fprintln(a.out, "equal")
	return err
}

func printDifferences(a *app, view change.View, diff map[string]difference, limit int) {
	for i, key := range slices.Sorted(maps.Keys(diff)) {
		if i == limit {
			fmt.Fprintf(a.out, "%s: ... and %d more\n", view, len(diff)-limit)
			return
		}
		d := diff[key]
		fmt.Fprintf(a.out, "%s %s\n  daemon: %s\n  sql:    %s\n", view, client.Plain(key), shown(d.daemon), shown(d.sql))
	}
}

func shown(row string) string {
	if row == "" {
		return "(no row)"
	}
	return client.Plain(row)
}

// inSQL runs the SQL of the views in one moment of the database and says which.
// The locks of that moment end with the call.
func (v *verifier) inSQL(ctx context.Context) (lsn change.LSN, rows rowsByView, err error) {
	ctx, cancel := context.WithTimeout(ctx, postgresTime)
	defer cancel()
	snap, err := replicate.ExportSnapshot(ctx, v.opt)
	if err != nil {
		return 0, nil, err
	}
	defer func() { err = errors.Join(err, snap.Close(ctx)) }()
	rows = rowsByView{}
	for _, view := range change.Views() {
		if rows[view], err = sqlRows(ctx, snap, view); err != nil {
			return 0, nil, fmt.Errorf("run the SQL of view %s: %w", view, err)
		}
	}
	return snap.LSN, rows, nil
}

// inDaemon fetches the views as they were at lsn.
func (v *verifier) inDaemon(ctx context.Context, lsn change.LSN) (rowsByView, error) {
	rows := rowsByView{}
	for _, view := range change.Views() {
		var err error
		if rows[view], err = v.daemonRows(ctx, view, lsn); err != nil {
			return nil, err
		}
	}
	return rows, nil
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

// verifyPage is the number of rows asked for at once: the daemon keeps the
// version for the pages that follow.
const verifyPage = 10_000

// daemonRows fetches a whole view as it was at lsn.
func (v *verifier) daemonRows(ctx context.Context, view change.View, lsn change.LSN) (map[string]string, error) {
	ctx = metadata.AppendToOutgoingContext(ctx, rpc.HeaderAtLSN, lsn.String())
	out := map[string]string{}
	for token := ""; ; {
		next := ""
		err := patiently(ctx, func(ctx context.Context) (err error) {
			next, err = v.page(ctx, view, token, out)
			return err
		})
		if token = next; err != nil || token == "" {
			return out, err
		}
	}
}

// page adds one page of a view to out and returns the token of the next one.
func (v *verifier) page(ctx context.Context, view change.View, token string, out map[string]string) (string, error) {
	switch view {
	case change.ViewProjects:
		r, err := v.api.GetProjects(ctx, &pb.ProjectQuery{PageSize: verifyPage, PageToken: token})
		for _, i := range r.GetItems() {
			out[i.GetProjectId()] = projectText(change.Project{
				ProjectID: i.GetProjectId(), ProjectName: i.GetProjectName(), RegistryStatus: i.GetRegistryStatus(),
				Country: i.GetCountry(), Vintage: i.GetVintage(), Supply: i.GetSupply(),
			})
		}
		return r.GetNextPageToken(), err
	case change.ViewNews:
		r, err := v.api.GetNews(ctx, &pb.NewsQuery{PageSize: verifyPage, PageToken: token})
		for _, i := range r.GetItems() {
			out[i.GetGuid()] = newsText(len(out), change.NewsItem{
				GUID: i.GetGuid(), Title: i.GetTitle(), Link: i.GetLink(), Published: i.GetPublished(), Source: i.GetSource(), Summary: i.GetSummary(),
			})
		}
		return r.GetNextPageToken(), err
	}
	r, err := v.api.GetFinanceData(ctx, &pb.FinanceQuery{PageSize: verifyPage, PageToken: token})
	for _, i := range r.GetItems() {
		out[i.GetTicker()] = quoteText(change.Quote{
			Ticker: i.GetTicker(), Price: i.GetPrice(), Volume: i.GetVolume(), MarketCap: i.GetMarketCap(),
			ChangePercent: i.GetChangePercent(), Timestamp: i.GetTimestamp(),
		})
	}
	return r.GetNextPageToken(), err
}

// waitCopied waits for the first copy, which gives the first position.
func (v *verifier) waitCopied(ctx context.Context) error {
	ctx = metadata.AppendToOutgoingContext(ctx, rpc.HeaderMinLSN, change.LSN(1).String())
	return patiently(ctx, func(ctx context.Context) error {
		_, err := v.api.GetFinanceData(ctx, &pb.FinanceQuery{PageSize: 1})
		return err
	})
}

// patiently calls again while the daemon has not reached a position, for as
// long as a command waits for Postgres.
func patiently(ctx context.Context, call func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, postgresTime)
	defer cancel()
	for {
		err := call(ctx)
		if client.Reason(err) != rpc.ReasonMinLSN || ctx.Err() != nil {
			return err
		}
		if d, ok := ctx.Deadline(); ok && time.Until(d) < time.Second {
			return err
		}
	}
}

// isGone reports whether history does not reach back to what was asked for.
func isGone(err error) bool { return client.Reason(err) == rpc.ReasonCompacted }

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
