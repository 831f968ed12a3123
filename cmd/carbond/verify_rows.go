package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc/metadata"

	pb "carbond/proto/carbon"
	"carbond/replicate"
	"carbond/rpc"
	"carbond/store/change"
)

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
		if reason(err) != rpc.ReasonMinLSN || ctx.Err() != nil {
			return err
		}
		if d, ok := ctx.Deadline(); ok && time.Until(d) < time.Second {
			return err
		}
	}
}

// isGone reports whether history does not reach back to what was asked for.
func isGone(err error) bool { return reason(err) == rpc.ReasonCompacted }

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
