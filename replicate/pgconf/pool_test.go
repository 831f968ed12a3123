package pgconf_test

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"carbond/replicate/pgconf"
	"carbond/replicate/pgtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(pgtest.Wrap(m)) }

// TestPoolSettings looks at a pool, with and without a pooler in between, under a
// role that would have everything otherwise.
func TestPoolSettings(t *testing.T) {
	url := pgtest.Shared(t).Database(t)
	db := pgtest.Text(t, url, "SELECT current_database()")[0][0]
	want := map[string]string{
		"search_path": "pg_catalog, pg_temp", "statement_timeout": "0", "array_nulls": "on",
		"transaction_read_only": "off", "transaction_isolation": "read committed",
	}
	modern := len(pgtest.Text(t, url, "SELECT FROM pg_settings WHERE name = 'transaction_timeout'")) > 0
	if modern {
		want["transaction_timeout"] = "0"
		pgtest.Exec(t, url, "ALTER DATABASE "+db+" SET transaction_timeout = '1s'")
	}
	pgtest.Exec(t, url, "CREATE TABLE t (n int)",
		"ALTER DATABASE "+db+" SET search_path = public, pg_catalog", "ALTER DATABASE "+db+" SET statement_timeout = 77",
		"ALTER DATABASE "+db+" SET array_nulls = off", "ALTER DATABASE "+db+" SET default_transaction_read_only = on",
		"ALTER DATABASE "+db+" SET default_transaction_isolation = serializable")
	for name, pooler := range map[string]bool{"direct": false, "pooler": true} {
		t.Run(name, func(t *testing.T) {
			pool, err := pgconf.NewPool(t.Context(), pgconf.Source{URL: url}, 2, pooler)
			if err != nil {
				t.Fatal(err)
			}
			defer pool.Close()
			if _, err := pool.Exec(t.Context(), "INSERT INTO public.t VALUES ($1)", 1); err != nil {
				t.Error(err)
			}
			err = pgx.BeginTxFunc(t.Context(), pool, pgx.TxOptions{}, func(tx pgx.Tx) error {
				for name, value := range want {
					var got string
					if err := tx.QueryRow(t.Context(), "SELECT current_setting($1)", name).Scan(&got); err != nil || got != value {
						t.Errorf("%s is %q, want %q (%v)", name, got, value, err)
					}
				}
				if modern {
					_, err := tx.Exec(t.Context(), "SELECT pg_sleep(1.2)")
					return err
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
			for range 5 { // more than there are connections: each comes back
				rows, err := pool.Query(t.Context(), "SELECT current_setting('search_path')")
				if err != nil {
					t.Fatal(err)
				}
				got, err := pgx.CollectOneRow(rows, pgx.RowTo[string])
				if err != nil || got != want["search_path"] {
					t.Errorf("search_path of a query is %q, %v", got, err)
				}
				rows, err = pool.Query(t.Context(), "SELECT 1/0")
				if err == nil {
					rows.Close()
					err = rows.Err()
				}
				if err == nil {
					t.Error("no error")
				}
			}
			err = pgx.BeginTxFunc(t.Context(), pool, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
				_, err := tx.Exec(t.Context(), "INSERT INTO public.t VALUES (1)")
				return err
			})
			if err == nil || !strings.Contains(err.Error(), "read-only") {
				t.Errorf("a read-only transaction: %v", err)
			}
		})
	}
}

// TestFreshLogin changes the password and the user of later connections.
func TestFreshLogin(t *testing.T) {
	c := pgtest.Shared(t)
	if c.External() {
		t.Skip("needs a server with a known password")
	}
	url := c.Database(t)
	db := pgtest.Text(t, url, "SELECT current_database()")[0][0]
	pgtest.Exec(t, url, "CREATE ROLE "+db+"_a LOGIN PASSWORD 'one'", "CREATE ROLE "+db+"_b LOGIN PASSWORD 'two'")
	t.Cleanup(func() { pgtest.Exec(t, url, "DROP ROLE "+db+"_a", "DROP ROLE "+db+"_b") })
	now := c.UserURL(db+"_a", "one", db)
	pool, err := pgconf.NewPool(t.Context(), pgconf.Source{URL: now, Fresh: func() string { return now }}, 1, false)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	user := func() (name string, err error) {
		pool.Reset()
		rows, err := pool.Query(t.Context(), "SELECT current_user::text")
		if err != nil {
			return "", err
		}
		return pgx.CollectOneRow(rows, pgx.RowTo[string])
	}
	if got, err := user(); err != nil || got != db+"_a" {
		t.Fatalf("%q, %v", got, err)
	}
	pgtest.Exec(t, url, "ALTER ROLE "+db+"_a PASSWORD 'three'")
	if _, err := user(); err == nil {
		t.Error("the old password goes on to be good")
	}
	now = c.UserURL(db+"_a", "three", db)
	if got, err := user(); err != nil || got != db+"_a" {
		t.Errorf("after the rotation: %q, %v", got, err)
	}
	now = c.UserURL(db+"_b", "two", db)
	if got, err := user(); err != nil || got != db+"_b" {
		t.Errorf("with another user: %q, %v", got, err)
	}
	now = "postgres://%zz"
	if _, err := user(); err == nil || errors.Is(err, pgx.ErrNoRows) {
		t.Errorf("with an unusable URL: %v", err)
	}
}

// TestPooler sends queries and transactions through pgbouncer, which has one
// connection for all and refuses settings that it does not know.
func TestPooler(t *testing.T) {
	c := pgtest.Shared(t)
	url := c.Database(t)
	db := pgtest.Text(t, url, "SELECT current_database()")[0][0]
	pgtest.Exec(t, url, "CREATE TABLE t (n int)", "ALTER DATABASE "+db+" SET search_path = public, pg_catalog", "ALTER DATABASE "+db+" SET default_transaction_read_only = on")
	pooled := c.Pooler(t, db)
	direct, err := pgconf.NewPool(t.Context(), pgconf.Source{URL: pooled}, 2, false)
	if err != nil {
		t.Fatal(err)
	}
	defer direct.Close()
	if _, err := direct.Exec(t.Context(), "SELECT 1"); err == nil || !strings.Contains(err.Error(), "startup parameter") {
		t.Errorf("without being told of the pooler: %v", err)
	}
	pool, err := pgconf.NewPool(t.Context(), pgconf.Source{URL: pooled}, 4, true)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 5 {
				if _, err := pool.Exec(t.Context(), "INSERT INTO public.t VALUES ($1)", i); err != nil {
					t.Error(err)
				}
				rows, err := pool.Query(t.Context(), "SELECT current_setting('search_path') FROM public.t WHERE n = $1 LIMIT 1", i)
				if err != nil {
					t.Error(err)
					continue
				}
				if got, err := pgx.CollectOneRow(rows, pgx.RowTo[string]); err != nil || got != "pg_catalog, pg_temp" {
					t.Errorf("%q, %v", got, err)
				}
			}
		})
	}
	wg.Wait()
	if got := pgtest.Text(t, url, "SELECT count(*) FROM public.t"); got[0][0] != "40" {
		t.Errorf("%v rows arrived", got)
	}
}
