package main

import (
	"context"
	"fmt"
	"math"
	"strconv"

	"google.golang.org/grpc/metadata"

	pb "carbond/proto/carbon"
	"carbond/replicate"
	"carbond/rpc"
	"carbond/store/change"
)

// totalsOf are the totals that are compared, with the word of the API for each.
var totalsOf = map[string]pb.TotalsGroup{
	"": pb.TotalsGroup_TOTALS_GROUP_ALL, "country": pb.TotalsGroup_TOTALS_GROUP_COUNTRY, "registry_status": pb.TotalsGroup_TOTALS_GROUP_STATUS,
	"vintage": pb.TotalsGroup_TOTALS_GROUP_VINTAGE, "project_type": pb.TotalsGroup_TOTALS_GROUP_TYPE, "registry": pb.TotalsGroup_TOTALS_GROUP_REGISTRY,
	"methodology": pb.TotalsGroup_TOTALS_GROUP_METHODOLOGY, "source": pb.TotalsGroup_TOTALS_GROUP_SOURCE,
}

// groupTotal is what one group comes to. size bounds how far sums may be apart: SQL
// rounds each value, and the daemon the sum.
type groupTotal struct {
	counts    string
	sum, size float64
}

// String is the total for people.
func (t groupTotal) String() string { return t.counts + ", supply " + exact(t.sum) }

// totalsInSQL adds up in the database, by grouping and group.
func totalsInSQL(ctx context.Context, s *replicate.Exported) (map[string]map[string]groupTotal, error) {
	out := map[string]map[string]groupTotal{}
	for by := range totalsOf {
		sql := rpc.TotalsSQL(by)
		if sql == "" {
			continue
		}
		rows, err := s.Query(ctx, sql)
		if err != nil {
			return nil, fmt.Errorf("add up by %q: %w", by, err)
		}
		out[by] = map[string]groupTotal{}
		for rows.Next() {
			var group, sum, size string
			var n, unknown, nan, infinite int64
			if err := rows.Scan(&group, &n, &sum, &unknown, &nan, &infinite, &size); err != nil {
				rows.Close()
				return nil, err
			}
			t := groupTotal{counts: counts(n, unknown, nan, infinite)}
			t.sum, _ = strconv.ParseFloat(sum, 64) // an infinity beyond the largest, as the daemon has it
			t.size, _ = strconv.ParseFloat(size, 64)
			out[by][group] = t
		}
		rows.Close()
		if err := rows.Err(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func counts(n, unknown, nan, infinite int64) string {
	return fmt.Sprintf("%d rows, supply of %d unknown, %d NaN, %d infinite", n, unknown, nan, infinite)
}

// totalsInDaemon asks for the totals as they were at lsn.
func (v *verifier) totalsInDaemon(ctx context.Context, lsn change.LSN, by string) (map[string]groupTotal, error) {
	ctx = metadata.AppendToOutgoingContext(ctx, rpc.HeaderAtLSN, lsn.String())
	out := map[string]groupTotal{}
	return out, patiently(ctx, func(ctx context.Context) error {
		r, err := v.api.GetTotals(ctx, &pb.GetTotalsRequest{By: totalsOf[by]})
		for _, t := range r.GetItems() {
			out[t.Group] = groupTotal{counts: counts(t.Projects+t.News, t.SupplyUnknown, t.SupplyNan, t.SupplyInfinite), sum: t.Supply}
		}
		return err
	})
}

// compareTotals returns the groups whose totals are not equal.
func compareTotals(daemon, sql map[string]groupTotal) map[string]difference {
	out := map[string]difference{}
	for group, want := range sql {
		got, ok := daemon[group]
		switch {
		case !ok:
			out[group] = difference{"", want.String()}
		case got.counts != want.counts || got.sum != want.sum && !(math.Abs(got.sum-want.sum) <= 1e-9*want.size):
			out[group] = difference{got.String(), want.String()}
		}
	}
	for group, got := range daemon {
		if _, ok := sql[group]; !ok {
			out[group] = difference{got.String(), ""}
		}
	}
	return out
}
