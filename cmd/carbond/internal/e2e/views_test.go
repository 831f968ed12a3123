package e2e_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "carbond/proto/carbon"
	"carbond/store/change"
)

// The views as they are defined, with text in byte
// order. They are written here once more on purpose.
const (
	projectsSQL = `SELECT DISTINCT ON (v.project_id COLLATE "C") v.project_id, COALESCE(c.project_name, v.project_name), v.registry_status, v.country, v.vintage, v.supply,
v.registry, v.methodology, v.project_type, v.region, c.price_usd, CASE WHEN v.registry IS NOT NULL THEN v.supply IS NOT NULL END
FROM verra v LEFT JOIN carbonmark c ON c.project_id = v.project_id WHERE ($1 = '' OR v.country = $1)
ORDER BY v.project_id COLLATE "C", v.updated_at DESC, c.updated_at DESC NULLS LAST, c.id COLLATE "C" DESC`
	newsSQL = `SELECT guid, title, link, published, source, summary, published_estimated FROM news
WHERE ($1 = '' OR source = $1) ORDER BY published_at DESC NULLS LAST, guid COLLATE "C" LIMIT 100`
	financeSQL = `SELECT DISTINCT ON (ticker COLLATE "C") ticker, price, volume, market_cap, change_percent, timestamp, currency FROM finance
WHERE ($1 = '' OR ticker = $1) ORDER BY ticker COLLATE "C", timestamp DESC`
	detailSQL = `SELECT DISTINCT ON (v.project_id COLLATE "C") v.project_id, COALESCE(c.project_name, v.project_name), v.project_link, v.project_summary, v.registry_status, v.country, v.vintage, v.supply,
CASE WHEN c.id IS NULL THEN 'verra' ELSE 'verra+carbonmark' END,
v.registry, v.methodology, v.project_type, v.region, c.price_usd, CASE WHEN v.registry IS NOT NULL THEN v.supply IS NOT NULL END,
v.proponent, v.crediting_start, v.crediting_end, v.annual_estimate, v.latitude, v.longitude,
(SELECT string_agg(concat_ws(' ', x.vintage, COALESCE(float8send(x.issued)::text, '-'), COALESCE(float8send(x.retired)::text, '-'), COALESCE(float8send(x.cancelled)::text, '-'), COALESCE(float8send(x.available)::text, '-')), ', ' ORDER BY x.vintage)
 FROM vintages x WHERE x.project_id = v.project_id)
FROM verra v LEFT JOIN carbonmark c ON c.project_id = v.project_id WHERE v.project_id = $1
ORDER BY v.project_id COLLATE "C", v.updated_at DESC, c.updated_at DESC NULLS LAST, c.id COLLATE "C" DESC`
)

// viewSpec is how one view is asked for and compared. Rows have a text form in
// which equal rows have equal texts.
type viewSpec struct {
	name    string
	sql     string
	filters string // SQL of the filter values that occur
	kinds   string // of the columns: t text, i integer, f float, n float that may be absent, b boolean, o boolean that may be absent
	fetch   func(ctx context.Context, api pb.CarbonServiceClient, nonStreaming bool, filter string, size int32, token string, opts ...grpc.CallOption) (rows []string, next string, err error)
}

func viewSpecs() []viewSpec {
	return []viewSpec{
		{"projects", projectsSQL, "SELECT DISTINCT country FROM verra WHERE country <> ''", "ttttifttttno", fetchProjects},
		{"news", newsSQL, "SELECT DISTINCT source FROM news WHERE source <> ''", "ttttttb", fetchNews},
		{"finance", financeSQL, "SELECT DISTINCT ticker FROM finance WHERE ticker <> ''", "tfiffit", fetchFinance},
	}
}

func number(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }

// optional is a number that may be absent.
func optional(f *float64) string {
	if f == nil {
		return ""
	}
	return number(*f)
}

// optionalBool is a truth value that may be absent.
func optionalBool(b *bool) string {
	if b == nil {
		return ""
	}
	return strconv.FormatBool(*b)
}

func fetchProjects(ctx context.Context, api pb.CarbonServiceClient, nonStreaming bool, filter string, size int32, token string, opts ...grpc.CallOption) (rows []string, next string, err error) {
	call := api.GetProjects
	if nonStreaming {
		call = api.GetNonStreamingProjects
	}
	r, err := call(ctx, &pb.ProjectQuery{Country: filter, PageSize: size, PageToken: token}, opts...)
	for _, i := range r.GetItems() {
		rows = append(rows, fmt.Sprintf("%q %q %q %q %q %q %q %q %q %q %q %q", i.ProjectId, i.ProjectName, i.RegistryStatus, i.Country, strconv.Itoa(int(i.Vintage)), number(i.Supply),
			i.GetRegistry(), i.GetMethodology(), i.GetProjectType(), i.GetRegion(), optional(i.PriceUsd), optionalBool(i.HasSupply)))
	}
	return rows, r.GetNextPageToken(), err
}

func fetchNews(ctx context.Context, api pb.CarbonServiceClient, nonStreaming bool, filter string, size int32, token string, opts ...grpc.CallOption) (rows []string, next string, err error) {
	call := api.GetNews
	if nonStreaming {
		call = api.GetNonStreamingNews
	}
	r, err := call(ctx, &pb.NewsQuery{Source: filter, PageSize: size, PageToken: token}, opts...)
	for _, i := range r.GetItems() {
		rows = append(rows, fmt.Sprintf("%q %q %q %q %q %q %q", i.Guid, i.Title, i.Link, i.Published, i.Source, i.Summary, strconv.FormatBool(i.GetPublishedEstimated())))
	}
	return rows, r.GetNextPageToken(), err
}

func fetchFinance(ctx context.Context, api pb.CarbonServiceClient, nonStreaming bool, filter string, size int32, token string, opts ...grpc.CallOption) (rows []string, next string, err error) {
	call := api.GetFinanceData
	if nonStreaming {
		call = api.GetNonStreamingFinanceData
	}
	r, err := call(ctx, &pb.FinanceQuery{Ticker: filter, PageSize: size, PageToken: token}, opts...)
	for _, i := range r.GetItems() {
		rows = append(rows, fmt.Sprintf("%q %q %q %q %q %q %q", i.Ticker, number(i.Price), strconv.FormatInt(i.Volume, 10), number(i.MarketCap), number(i.ChangePercent), strconv.FormatInt(i.Timestamp, 10), i.GetCurrency()))
	}
	if err == nil && int(r.GetCount()) != len(rows) {
		err = fmt.Errorf("count is %d for %d items", r.GetCount(), len(rows))
	}
	return rows, r.GetNextPageToken(), err
}

// sqlRows runs a query in Postgres and gives its rows the same text form.
func sqlRows(ctx context.Context, conn *pgx.Conn, sql, kinds string, args ...any) ([]string, error) {
	rows, err := conn.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		line := ""
		for i, v := range rows.RawValues() {
			if i > 0 {
				line += " "
			}
			line += strconv.Quote(canonical(kinds[i], v))
		}
		out = append(out, line)
	}
	return out, rows.Err()
}

// canonical gives a value of a column one form: NULL as on the wire, a float as
// the shortest text that reads back as the same number.
func canonical(kind byte, v []byte) string {
	switch {
	case kind == 't':
		return string(v)
	case v == nil && (kind == 'n' || kind == 'o'):
		return ""
	case kind == 'b' || kind == 'o':
		return strconv.FormatBool(string(v) == "t")
	case v == nil:
		return "0"
	case kind == 'i':
		return string(v)
	}
	f, err := strconv.ParseFloat(string(v), 64)
	if err != nil && !math.IsInf(f, 0) {
		return err.Error()
	}
	return number(f)
}

// firstDifference describes where two lists part.
func firstDifference(got, want []string) string {
	for i := range max(len(got), len(want)) {
		g, w := "(no row)", "(no row)"
		if i < len(got) {
			g = got[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if g != w {
			return fmt.Sprintf("%d and %d rows, the first that differs is number %d:\n daemon %.600s\n sql    %.600s", len(got), len(want), i+1, g, w)
		}
	}
	return ""
}

// compareViews asks the daemon for everything and compares it with SQL. Nobody
// writes meanwhile; lsn is where the last transaction ends at the latest.
// without names a view whose NonStreaming calls a column's type does not allow.
func compareViews(ctx context.Context, t testing.TB, r *rand.Rand, conn *pgx.Conn, api pb.CarbonServiceClient, lsn change.LSN, without string) (rows int) {
	t.Helper()
	waitLSN(ctx, t, api, lsn)
	ctx = metadata.AppendToOutgoingContext(ctx, "carbond-min-lsn", lsn.String())
	for _, v := range viewSpecs() {
		filters, err := sqlRows(ctx, conn, v.filters, "t")
		if err != nil {
			t.Fatalf("%s: %v", v.filters, err)
		}
		all := []string{"", "Nowhere"}
		for _, f := range filters {
			f, _ = strconv.Unquote(f)
			all = append(all, f)
		}
		for _, f := range all {
			want, err := sqlRows(ctx, conn, v.sql, v.kinds, f)
			if err != nil {
				t.Fatalf("%s: %v", v.sql, err)
			}
			rows += len(want)
			compareView(ctx, t, r, v, api, f, want, lsn, v.name != without)
		}
	}
	compareDetails(ctx, t, r, conn, api)
	return rows
}

// sameViews compares the whole views once and describes the first difference.
func sameViews(ctx context.Context, t testing.TB, conn *pgx.Conn, api pb.CarbonServiceClient) string {
	t.Helper()
	for _, v := range viewSpecs() {
		want, err := sqlRows(ctx, conn, v.sql, v.kinds, "")
		if err != nil {
			t.Fatalf("%s: %v", v.sql, err)
		}
		got, _, err := v.fetch(ctx, api, false, "", 0, "")
		if err != nil {
			return err.Error()
		}
		if d := firstDifference(got, want); d != "" {
			return v.name + ": " + d
		}
	}
	return ""
}

// compareView compares one view under one filter: whole, by SQL through the
// daemon, and in pages.
func compareView(ctx context.Context, t testing.TB, r *rand.Rand, v viewSpec, api pb.CarbonServiceClient, filter string, want []string, lsn change.LSN, direct bool) {
	t.Helper()
	for _, nonStreaming := range []bool{false, true}[:1+map[bool]int{true: 1}[direct]] {
		var head metadata.MD
		got, _, err := v.fetch(ctx, api, nonStreaming, filter, 0, "", grpc.Header(&head))
		for again := 0; nonStreaming && status.Code(err) == codes.Unavailable && again < 10; again++ {
			// A pooled connection may be of before a cut; the code says: try again.
			pause(ctx, 50*time.Millisecond)
			got, _, err = v.fetch(ctx, api, nonStreaming, filter, 0, "", grpc.Header(&head))
		}
		if err != nil {
			t.Fatalf("%s %q (NonStreaming %t): %v", v.name, filter, nonStreaming, err)
		}
		if d := firstDifference(got, want); d != "" {
			t.Fatalf("%s %q (NonStreaming %t): %s", v.name, filter, nonStreaming, d)
		}
		if at, err := change.ParseLSN(fmt.Sprint(head.Get("carbond-lsn")[0])); err != nil || at < lsn {
			t.Fatalf("%s %q: carbond-lsn is %v for a request of at least %s", v.name, filter, head, lsn)
		}
	}
	size := int32(1 + r.IntN(len(want)+2))
	size = max(size, int32(len(want)/20))
	var got []string
	for token := ""; ; {
		page, next, err := v.fetch(ctx, api, false, filter, size, token)
		if err != nil {
			t.Fatalf("%s %q in pages of %d: %v", v.name, filter, size, err)
		}
		got = append(got, page...)
		if token = next; token == "" {
			break
		}
		if len(got) > 2*len(want)+200 {
			t.Fatalf("%s %q in pages of %d: there is no end: %q", v.name, filter, size, got[len(got)-3:])
		}
	}
	if d := firstDifference(got, want); d != "" {
		t.Fatalf("%s %q in pages of %d: %s", v.name, filter, size, d)
	}
}

func compareDetails(ctx context.Context, t testing.TB, r *rand.Rand, conn *pgx.Conn, api pb.CarbonServiceClient) {
	t.Helper()
	for range 10 {
		id := projectIDs[r.IntN(len(projectIDs))]
		if id == "" {
			continue
		}
		want, err := sqlRows(ctx, conn, detailSQL, "ttttttiftttttnotttnnnt", id)
		if err != nil {
			t.Fatalf("%s: %v", detailSQL, err)
		}
		var got []string
		resp, err := api.GetProjectDetail(ctx, &pb.ProjectDetailQuery{ProjectId: id})
		if p := resp.GetProject(); err == nil {
			got = append(got, fmt.Sprintf("%q %q %q %q %q %q %q %q %q %q %q %q %q %q %q %q %q %q %q %q %q %q", p.ProjectId, p.ProjectName, p.ProjectLink, p.ProjectSummary,
				p.RegistryStatus, p.Country, strconv.Itoa(int(p.Vintage)), number(p.Supply), p.Source,
				p.GetRegistry(), p.GetMethodology(), p.GetProjectType(), p.GetRegion(), optional(p.PriceUsd), optionalBool(p.HasSupply),
				p.GetProponent(), p.GetCreditingStart(), p.GetCreditingEnd(), optional(p.AnnualEstimate), optional(p.Latitude), optional(p.Longitude), vintagesOf(p)))
		} else if status.Code(err) != codes.NotFound {
			t.Fatalf("detail of %q: %v", id, err)
		}
		if d := firstDifference(got, want); d != "" {
			t.Fatalf("detail of %q: %s", id, d)
		}
	}
}

// vintagesOf is the supply by vintage as detailSQL has it.
func vintagesOf(p *pb.ProjectDetail) string {
	var out []string
	for _, v := range p.GetVintages() {
		text := strconv.Itoa(int(v.Vintage))
		for _, n := range []*float64{v.Issued, v.Retired, v.Cancelled, v.Available} {
			switch {
			case n == nil:
				text += " -"
			case math.IsNaN(*n):
				text += ` \x7ff8000000000000` // that of Postgres
			default:
				text += fmt.Sprintf(` \x%016x`, math.Float64bits(*n))
			}
		}
		out = append(out, text)
	}
	return strings.Join(out, ", ")
}

// waitLSN waits until the daemon has everything up to lsn.
func waitLSN(ctx context.Context, t testing.TB, api pb.CarbonServiceClient, lsn change.LSN) {
	t.Helper()
	ctx = metadata.AppendToOutgoingContext(ctx, "carbond-min-lsn", lsn.String())
	var err error
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); {
		call, cancel := context.WithTimeout(ctx, 5*time.Second)
		_, err = api.GetProjectDetail(call, &pb.ProjectDetailQuery{ProjectId: "nobody"}, grpc.WaitForReady(true))
		cancel()
		if status.Code(err) == codes.NotFound {
			return
		}
		pause(ctx, 50*time.Millisecond)
	}
	t.Fatalf("the daemon does not reach %s: %v", lsn, err)
}
