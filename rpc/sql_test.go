package rpc_test

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	pb "carbond/proto/carbon"
	"carbond/replicate/pgtest"
	"carbond/rpc"
	"carbond/rpc/rpcerr"
	"carbond/store/change"
)

// The tables of the contract, in a database whose own text order is not that of
// bytes.
var schema = []string{
	`CREATE TABLE verra(id bigserial, project_id text COLLATE "en-x-icu" PRIMARY KEY, project_name text, project_link text, project_summary text, registry_status text, country text, vintage int, supply double precision, updated_at timestamptz)`,
	`CREATE TABLE carbonmark(id text COLLATE "en-x-icu" PRIMARY KEY, project_id text, project_name text, vintage int, amount double precision, updated_at timestamptz)`,
	`CREATE TABLE finance(ticker text COLLATE "en-x-icu", price double precision, volume bigint, market_cap double precision, change_percent double precision, "timestamp" bigint, PRIMARY KEY (ticker, "timestamp"))`,
	`CREATE TABLE news(guid text COLLATE "en-x-icu" PRIMARY KEY, title text, link text, published text, published_at timestamptz, source text, summary text)`,
}

func database(t *testing.T, sql ...string) (string, *pgxpool.Pool) {
	t.Helper()
	url := pgtest.Shared(t).Database(t)
	pgtest.Exec(t, url, append(slices.Clone(schema), sql...)...)
	pool, err := pgxpool.New(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return url, pool
}

func TestSQL(t *testing.T) {
	url, pool := database(t,
		// Byte order: "B" < "a" < "ä"; a linguistic order has a, ä, B.
		`INSERT INTO verra(project_id, project_name, registry_status, country, vintage, supply, updated_at) VALUES
		  ('a', 'a verra', 'ACTIVE', 'Brazil', 2020, 1.5, now()), ('B', 'B verra', 'RETIRED', 'Brazil', 2021, 'NaN', now()),
		  ('ä', 'ä verra', 'odd word', 'brazil', -1, 'Infinity', now()), ('', NULL, NULL, NULL, NULL, NULL, NULL)`,
		`INSERT INTO carbonmark(id, project_id, project_name, updated_at) VALUES
		  ('c1', 'a', 'older', '2024-01-01'), ('c2', 'a', 'newest', '2025-01-01'), ('c3', 'a', 'no time', NULL),
		  ('d', 'B', 'tie d', '2024-01-01'), ('E', 'B', 'tie E', '2024-01-01'), ('D', 'B', 'tie D', '2024-01-01'),
		  ('n', 'ä', NULL, '2024-01-01'), ('x', 'none', 'orphan', '2024-01-01')`,
		`INSERT INTO finance VALUES ('b', 1, 2, 3, 4, 10), ('b', 9, NULL, NULL, NULL, 20), ('B', NULL, NULL, NULL, NULL, 5), ('ä', 'NaN', 9223372036854775807, 1e300, -1, 1)`,
		`INSERT INTO news(guid, title, published_at, source) VALUES ('old', 'o', '2020-01-01', 'Reuters'), ('none', NULL, NULL, NULL), ('NONE', NULL, NULL, 'Reuters'),
		  ('tie', 't', '2024-01-01', 'BBC'), ('Tie', 'T', '2024-01-01', 'Reuters'), ('new', 'n', '2025-01-01', 'Reuters')`,
	)
	r := newReader(&data{base: 1, offset: 3})
	c, _ := serve(t, r, rpc.Options{Pool: pool})
	get := func(country string) *pb.ProjectResponse {
		t.Helper()
		m, err := c.GetNonStreamingProjects(t.Context(), &pb.ProjectQuery{Country: country})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	all := get("")
	var names []string
	for _, p := range all.Items {
		names = append(names, p.ProjectId+"="+p.ProjectName)
	}
	if want := []string{"=", "B=tie d", "a=newest", "ä=ä verra"}; !slices.Equal(names, want) {
		t.Fatalf("projects %q, want %q", names, want)
	}
	if p := all.Items[0]; p.RegistryStatus != "" || p.Vintage != 0 || p.Supply != 0 {
		t.Errorf("NULLs: %v", p)
	}
	if p := all.Items[3]; p.RegistryStatus != "odd word" || p.Vintage != -1 || p.Country != "brazil" {
		t.Errorf("foreign words and numbers: %v", p)
	}
	if n := len(get("Brazil").Items); n != 2 {
		t.Errorf("%d projects in Brazil", n)
	}
	for size := int32(1); size < 5; size++ {
		ids, _ := pages(t, size, projectPages(t, c, "", true))
		if want := []string{"", "B", "a", "ä"}; !slices.Equal(ids, want) {
			t.Errorf("projects by %d: %q, want %q", size, ids, want)
		}
		tickers, _ := pages(t, size, financePages(t, c, true))
		if want := []string{"B", "b", "ä"}; !slices.Equal(tickers, want) {
			t.Errorf("tickers by %d: %q, want %q", size, tickers, want)
		}
		guids, _ := pages(t, size, newsPages(t, c, "", true))
		if want := []string{"new", "Tie", "tie", "old", "NONE", "none"}; !slices.Equal(guids, want) {
			t.Errorf("news by %d: %q, want %q", size, guids, want)
		}
	}
	guids, _ := pages(t, 2, newsPages(t, c, "Reuters", true))
	if want := []string{"new", "Tie", "old", "NONE"}; !slices.Equal(guids, want) {
		t.Errorf("Reuters: %q, want %q", guids, want)
	}
	q, err := c.GetNonStreamingFinanceData(t.Context(), &pb.FinanceQuery{Ticker: "b"})
	if err != nil || q.Count != 1 || q.Items[0].Price != 9 || q.Items[0].Volume != 0 || q.Items[0].Timestamp != 20 {
		t.Errorf("quote of b: %v %v", q, err)
	}

	// The exported text is for verify.
	rows, err := pool.Query(t.Context(), rpc.ViewSQL(change.ViewProjects.Def()), "Brazil")
	if err != nil {
		t.Fatal(err)
	}
	if ps, err := pgx.CollectRows(rows, pgx.RowToMap); err != nil || len(ps) != 2 || ps[1]["project_name"] != "newest" {
		t.Errorf("ViewSQL: %v %v", ps, err)
	}

	// Cached until the store has seen a change of the tables.
	pgtest.Exec(t, url, `INSERT INTO verra(project_id, country) VALUES ('c', 'Brazil')`)
	if n := len(get("Brazil").Items); n != 2 {
		t.Errorf("%d projects before the store saw the change: not cached", n)
	}
	var h metadata.MD
	m, err := c.GetNonStreamingProjects(metadata.AppendToOutgoingContext(t.Context(), "cache-control", "no-cache"), &pb.ProjectQuery{Country: "Brazil"}, grpc.Header(&h))
	if err != nil || len(m.Items) != 3 || h.Get(rpc.HeaderCache)[0] != "bypass" {
		t.Errorf("no-cache: %v %v %v", m, err, h)
	}
	r.set(&data{base: 2, offset: 4})
	if n := len(get("Brazil").Items); n != 3 {
		t.Errorf("%d projects after the store saw the change", n)
	}
}

// TestSQLOfLaterColumns runs the queries on tables of before a column came, and on
// those that have it.
func TestSQLOfLaterColumns(t *testing.T) {
	rows := []string{
		"INSERT INTO finance (ticker, timestamp, price) VALUES ('A', 1, 2)", "INSERT INTO news (guid, title) VALUES ('g', 't')",
		"INSERT INTO verra (project_id) VALUES ('a'), ('b')", "INSERT INTO carbonmark (id, project_id) VALUES ('c', 'a')",
	}
	columns := []string{
		"ALTER TABLE verra ADD registry text, ADD methodology text, ADD project_type text, ADD region text, ADD proponent text, ADD crediting_start date, ADD crediting_end date, ADD annual_estimate float8, ADD latitude float8, ADD longitude float8",
		"ALTER TABLE carbonmark ADD price_usd numeric", "ALTER TABLE finance ADD currency varchar(3)", "ALTER TABLE news ADD published_estimated boolean",
	}
	price := func(f float64) *float64 { return &f }
	for name, tt := range map[string]struct {
		sql       []string
		currency  string
		estimated bool
		project   *pb.ProjectItem
	}{
		"without": {rows, "", false, &pb.ProjectItem{ProjectId: "a"}},
		"NULL":    {slices.Concat(rows, columns), "", false, &pb.ProjectItem{ProjectId: "a"}},
		"with": {
			slices.Concat(rows, columns, []string{
				"UPDATE finance SET currency = 'GBp'", "UPDATE news SET published_estimated = true",
				"UPDATE verra SET registry = 'Verra', supply = 0, crediting_start = '2015-01-31' WHERE project_id = 'a'", "UPDATE carbonmark SET price_usd = 0",
			}),
			"GBp", true,
			&pb.ProjectItem{ProjectId: "a", Registry: known("Verra"), PriceUsd: price(0), HasSupply: known(true)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, pool := database(t, tt.sql...)
			c, _ := serve(t, newReader(&data{base: 1, offset: 3}), rpc.Options{Pool: pool})
			q, err := c.GetNonStreamingFinanceData(t.Context(), &pb.FinanceQuery{PageSize: 1})
			if err != nil || len(q.Items) != 1 || q.Items[0].Price != 2 || q.Items[0].GetCurrency() != tt.currency {
				t.Errorf("finance: %v %v", q, err)
			}
			n, err := c.GetNonStreamingNews(t.Context(), new(pb.NewsQuery))
			if err != nil || len(n.Items) != 1 || n.Items[0].Title != "t" || n.Items[0].GetPublishedEstimated() != tt.estimated {
				t.Errorf("news: %v %v", n, err)
			}
			p, err := c.GetNonStreamingProjects(t.Context(), new(pb.ProjectQuery))
			if err != nil {
				t.Fatal(err)
			}
			same(t, p, &pb.ProjectResponse{Items: []*pb.ProjectItem{tt.project, {ProjectId: "b"}}})
			// However the column is looked for, nothing of it is left in the plan.
			for _, v := range change.Views() {
				plan, err := pool.Query(t.Context(), "EXPLAIN "+strings.ReplaceAll(rpc.ViewSQL(v.Def()), "$1", "'x'"))
				if err != nil {
					t.Fatal(err)
				}
				lines, err := pgx.CollectRows(plan, pgx.RowTo[string])
				text := strings.Join(lines, "\n")
				if err != nil || strings.Contains(text, "SubPlan") || strings.Contains(text, "Subquery") || strings.Contains(text, "Nested Loop") && v != change.ViewProjects {
					t.Errorf("%s: %v\n%s", v, err, text)
				}
			}
		})
	}
}

func TestSQLFailures(t *testing.T) {
	url, pool := database(t)
	var log bytes.Buffer
	opt := rpc.Options{Pool: pool, Log: slog.New(slog.NewTextHandler(&log, nil))}
	c, _ := serve(t, newReader(&data{base: 1}), opt)
	call := func(c pb.CarbonServiceClient) error {
		_, err := c.GetNonStreamingProjects(t.Context(), new(pb.ProjectQuery))
		return err
	}
	// Only the query that cannot end has so little time: on a busy machine a good
	// one needs longer.
	opt.QueryTimeout = 200 * time.Millisecond
	hasty, _ := serve(t, newReader(&data{base: 1}), opt)
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(t.Context(), `BEGIN; LOCK TABLE verra IN ACCESS EXCLUSIVE MODE`); err != nil {
		t.Fatal(err)
	}
	err = call(hasty)
	wantStatus(t, err, codes.Unavailable, rpcerr.ReasonSQL)
	if !strings.Contains(err.Error(), "200ms") || retryInfo(err) <= 0 {
		t.Errorf("timeout: %v", err)
	}
	if _, err := conn.Exec(t.Context(), `DROP TABLE verra; COMMIT`); err != nil {
		t.Fatal(err)
	}
	err = call(c)
	wantStatus(t, err, codes.Unavailable, rpcerr.ReasonSQL)
	if !strings.Contains(err.Error(), "42P01") {
		t.Errorf("missing table: %v", err)
	}
	pgtest.Exec(t, url, schema[0])
	if err := call(c); err != nil {
		t.Errorf("an error was remembered: %v", err)
	}
	eventually(t, "answer after a timeout", func() bool { return call(hasty) == nil })
}

func TestSQLSecrets(t *testing.T) {
	c, _ := serve(t, newReader(&data{base: 1}), rpc.Options{Pool: noSQL{}})
	_, err := c.GetNonStreamingNews(t.Context(), new(pb.NewsQuery))
	wantStatus(t, err, codes.Unavailable, rpcerr.ReasonSQL)
	for _, secret := range []string{"hunter2", "10.0.0.1", "user="} {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("the caller is told %q: %v", secret, err)
		}
	}
	// The streaming calls do not need it.
	if _, err := c.GetNews(t.Context(), new(pb.NewsQuery)); err != nil {
		t.Fatal(err)
	}
}

func TestTypedNilPool(t *testing.T) {
	var pool *pgxpool.Pool
	d := sample()
	c, _ := serve(t, newReader(d), rpc.Options{Pool: pool})
	m, err := c.GetNonStreamingProjects(t.Context(), new(pb.ProjectQuery))
	if err != nil {
		t.Fatal(err)
	}
	same(t, m, wantProjects(d, ""))
}
