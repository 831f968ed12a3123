package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"carbond/replicate/pgtest"
)

// churn writes to every table as fast as it can until ctx ends: inserts,
// updates, deletes, key changes and a TRUNCATE at times, so that every view
// changes between any two moments.
func churn(ctx context.Context, url string, seed uint64, done *atomic.Int64) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	r := rand.New(rand.NewPCG(seed, 0))
	for ctx.Err() == nil {
		id, n := fmt.Sprintf("P%d", r.IntN(400)), r.IntN(1000)
		statements := []string{
			fmt.Sprintf("INSERT INTO verra(project_id, project_name, country, supply, updated_at) VALUES ('%s', 'n%d', 'C%d', %d, now()) ON CONFLICT (project_id) DO UPDATE SET project_name = excluded.project_name, supply = excluded.supply", id, n, n%7, n),
			fmt.Sprintf("DELETE FROM verra WHERE project_id = '%s'", id),
			fmt.Sprintf("INSERT INTO carbonmark(id, project_id, project_name, updated_at) VALUES ('c%d', '%s', 'm%d', now()) ON CONFLICT (id) DO UPDATE SET project_id = excluded.project_id, updated_at = excluded.updated_at", n%50, id, n),
			fmt.Sprintf("INSERT INTO finance(ticker, price, timestamp) VALUES ('T%d', %d, %d) ON CONFLICT DO NOTHING", n%40, n, r.IntN(100_000)),
			fmt.Sprintf("DELETE FROM finance WHERE ticker = 'T%d'", n%40),
			fmt.Sprintf("INSERT INTO news(guid, title, published_at) VALUES ('g%d', 't%d', now()) ON CONFLICT (guid) DO UPDATE SET title = excluded.title, published_at = excluded.published_at", r.IntN(300), n),
			fmt.Sprintf("INSERT INTO vintages(project_id, vintage, issued) VALUES ('%s', %d, %d) ON CONFLICT (project_id, vintage) DO UPDATE SET issued = excluded.issued", id, 2000+n%5, n),
			fmt.Sprintf("UPDATE news SET guid = 'h%d' WHERE guid = 'g%d' AND NOT EXISTS (SELECT FROM news WHERE guid = 'h%d')", n, r.IntN(300), n),
		}
		r.Shuffle(len(statements), func(i, j int) { statements[i], statements[j] = statements[j], statements[i] })
		if r.IntN(500) == 0 {
			statements = []string{"TRUNCATE carbonmark"}
		}
		// A few statements in one transaction: the simple protocol makes it one.
		_, err := conn.Exec(ctx, strings.Join(statements[:1+r.IntN(len(statements))%4], "; "))
		var conflict interface{ SQLState() string }
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.As(err, &conflict) && (conflict.SQLState() == "40P01" || conflict.SQLState() == "23505"):
			// two writers met; both sides see the same outcome
		case err != nil:
			return err
		}
		done.Add(1)
	}
	return nil
}

// TestVerifyUnderWriters verifies while several connections write at full
// speed. An inexact comparison would find differences at once.
func TestVerifyUnderWriters(t *testing.T) {
	url := pgtest.Shared(t).Database(t)
	env := []string{"CARBOND_DATA_DIR=" + filepath.Join(t.TempDir(), "data"), "CARBOND_POSTGRES_URL=" + url, "CARBOND_POSTGRES_SLOT=cmd_verify_writers"}
	p := start(t, env, "serve")
	p.line("serving")
	ctx, stop := context.WithCancel(t.Context())
	var (
		wg   sync.WaitGroup
		done atomic.Int64
	)
	stopWriters := sync.OnceFunc(func() { stop(); wg.Wait() })
	defer stopWriters()
	for i := range 3 {
		wg.Go(func() {
			if err := churn(ctx, url, uint64(i), &done); err != nil {
				t.Error(err)
			}
		})
	}
	runs := 25
	if testing.Short() {
		runs = 5
	}
	for i := 0; i < runs && !t.Failed(); {
		before := done.Load()
		if code, out, errs := command(t, env, "verify", "--addr", p.grpc); code != 0 {
			t.Fatalf("run %d: exit code %d\n%s%s", i, code, out, errs)
		}
		if done.Load() != before {
			i++ // a run that nobody wrote beside does not count
		}
	}
	t.Logf("%d runs beside %d transactions", runs, done.Load())

	// A change that replication does not tell of, in the midst of the others.
	pgtest.Exec(t, url, "INSERT INTO verra(project_id, country, updated_at) VALUES ('VICTIM', 'Peru', now())")
	must(t, env, "verify", "--addr", p.grpc)
	pgtest.Unseen(t, url, "verra")
	pgtest.Vanish(t, url, "verra", "project_id = 'VICTIM'")
	pgtest.Exec(t, url, "INSERT INTO verra_unseen(project_id, country, updated_at) VALUES ('VICTIM', 'Chile', now())")
	stopWriters()
	code, out, errs := command(t, env, "verify", "--addr", p.grpc, "--keys", "1000")
	if code != 1 || !strings.Contains(out, "projects VICTIM\n") || !strings.Contains(out, "Chile") {
		t.Errorf("exit code %d\n%s%s", code, out, errs)
	}
}

// TestVerifyNamesTheKeys makes each sort of difference.
func TestVerifyNamesTheKeys(t *testing.T) {
	url := pgtest.Shared(t).Database(t)
	env := []string{"CARBOND_DATA_DIR=" + filepath.Join(t.TempDir(), "data"), "CARBOND_POSTGRES_URL=" + url, "CARBOND_POSTGRES_SLOT=cmd_verify_keys"}
	p := start(t, env, "serve")
	p.line("serving")
	pgtest.Exec(t, url,
		"INSERT INTO verra(project_id, country) SELECT 'P' || i, 'Peru' FROM generate_series(1, 25000) i", // more than one page
		"INSERT INTO finance(ticker, price, timestamp) VALUES ('KRBN', 1, 1)",
		"INSERT INTO vintages(project_id, vintage, issued) VALUES ('P1', 2020, 7), ('P1', 2021, 'NaN'), ('nobody', 2020, 1)",
		"INSERT INTO news(guid, title, published_at) VALUES ('old', 'a', now()), ('new', 'b', now() + '1 s')")
	if out := must(t, env, "verify", "--addr", p.grpc); !strings.Contains(out, "25000 projects, 2 news, 1 finance rows in SQL and 2 vintages, 0 keys differ") {
		t.Error(out)
	}
	for _, table := range []string{"finance", "news"} {
		pgtest.Unseen(t, url, table)
	}
	pgtest.Vanish(t, url, "verra", "project_id = 'P7'")
	pgtest.Vanish(t, url, "vintages", "vintage = 2020 AND project_id = 'P1'")
	pgtest.Vanish(t, url, "news", "guid = 'new'")
	pgtest.Exec(t, url, "INSERT INTO finance_unseen(ticker, price, timestamp) VALUES ('KEUA', 2, 1)",
		"INSERT INTO news_unseen(guid, title, published_at) VALUES ('new', 'b', now() - interval '1 day')")
	code, out, errs := command(t, env, "verify", "--addr", p.grpc)
	for _, want := range []string{"projects P7\n", "sql:    (no row)", "finance KEUA\n", "daemon: (no row)", "news new\n", "news old\n", "totals by country Peru\n", "vintages P1 2020\n  daemon: 7 <nil> <nil> <nil>\n", "5 keys differ, "} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if code != 1 {
		t.Errorf("exit code %d %s", code, errs)
	}
}

// TestVerifyForeignTypes has tables that somebody made before carbond came, with
// types that print otherwise than the queries of the views cast them.
func TestVerifyForeignTypes(t *testing.T) {
	url := pgtest.Shared(t).Database(t)
	env := []string{"CARBOND_DATA_DIR=" + filepath.Join(t.TempDir(), "data"), "CARBOND_POSTGRES_URL=" + url, "CARBOND_POSTGRES_SLOT=cmd_verify_types"}
	pgtest.Exec(t, url,
		"CREATE TABLE verra(id bigserial, project_id char(8) PRIMARY KEY, project_name varchar(40), project_link text, project_summary text, registry_status char(12), country char(20), vintage numeric(6,1), supply real, updated_at timestamp)",
		"CREATE TABLE carbonmark(id char(4) PRIMARY KEY, project_id char(12), project_name char(30), vintage smallint, amount real, updated_at timestamptz)",
		"CREATE TABLE finance(ticker char(10), price real, volume numeric, market_cap numeric, change_percent real, timestamp int, PRIMARY KEY (ticker, timestamp))",
		"INSERT INTO verra(project_id, project_name, registry_status, country, vintage, supply) VALUES ('A', 'first', 'ok', 'Peru', 2019.5, 0.1), ('B', NULL, NULL, NULL, NULL, NULL)",
		"INSERT INTO carbonmark(id, project_id, project_name) VALUES ('c1', 'A', 'joined')",
		"INSERT INTO finance VALUES ('KRBN', 31.4, 12.5, 0.1, 'NaN', 1), ('KEUA', '-Infinity', 0, 1e30, 3.4e38, 1)")
	p := start(t, env, "serve")
	p.line("serving")
	equal := func(when string) {
		t.Helper()
		if code, out, errs := command(t, env, "verify", "--addr", p.grpc); code != 0 {
			t.Errorf("%s: exit code %d\n%s%s", when, code, out, errs)
		}
	}
	equal("copied")
	pgtest.Exec(t, url,
		"INSERT INTO verra(project_id, country, supply) VALUES ('C', 'Chile', 1e-40), ('D  ', 'Peru', 16777217)",
		"INSERT INTO carbonmark(id, project_id, project_name) VALUES ('c2', 'C', ' padded in front ')",
		"UPDATE finance SET price = 0.3, timestamp = 2 WHERE ticker = 'KRBN'",
		"UPDATE verra SET project_id = 'E' WHERE project_id = 'A'",
		"DELETE FROM verra WHERE project_id = 'B'")
	equal("streamed")
	if out := must(t, nil, "view", "projects", "--addr", p.grpc, "--filter", "Chile", "--format", "jsonl"); !strings.Contains(out, `"C"`) || !strings.Contains(out, `"Chile"`) {
		t.Errorf("filter by country: %s", out)
	}
	for table, column := range map[string]string{"verra": "supply", "finance": "price"} {
		pgtest.Exec(t, url, "ALTER TABLE "+table+" ADD note real")
		pgtest.Exec(t, url, "UPDATE "+table+" SET "+column+" = 0.7, note = 0.1")
	}
	equal("another shape")
}
