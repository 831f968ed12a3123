package main

import (
	"path/filepath"
	"strings"
	"testing"

	"carbond/replicate/pgtest"
)

// TestLaterTableOfAnother: a database has a table of the name of one that came later, for
// something else, and keeps it as a topic. Carbond goes without its own one: it is ready, the topic
// goes on, and the log and doctor say what helps.
func TestLaterTableOfAnother(t *testing.T) {
	for name, tt := range map[string]struct{ table, insert string }{
		"other columns": {"CREATE TABLE vintages (id serial PRIMARY KEY, wine text)", "INSERT INTO vintages (wine) VALUES ('Barolo')"},
		"without its key": {
			"CREATE TABLE vintages (project_id text, vintage int, issued float8, retired float8, cancelled float8, available float8, updated_at timestamptz); ALTER TABLE vintages REPLICA IDENTITY FULL",
			"INSERT INTO vintages (project_id, vintage, issued) VALUES ('P', 2020, 7)",
		},
		"one column is a text": {
			"CREATE TABLE vintages (project_id text, vintage int, issued text, retired float8, cancelled float8, available float8, updated_at timestamptz, PRIMARY KEY (project_id, vintage))",
			"INSERT INTO vintages (project_id, vintage, issued) SELECT 'P', 2020 + count(*), 'many' FROM vintages",
		},
	} {
		t.Run(name, func(t *testing.T) {
			url := pgtest.Shared(t).Database(t)
			pgtest.Exec(t, url, tt.table, tt.insert)
			env := []string{
				"CARBOND_DATA_DIR=" + filepath.Join(t.TempDir(), "data"), "CARBOND_POSTGRES_URL=" + url,
				"CARBOND_POSTGRES_SLOT=cmd_later_" + strings.Fields(name)[0], "CARBOND_POSTGRES_TABLES=public.vintages",
			}
			records := func(p *proc) int {
				return strings.Count(must(t, nil, "consume", "carbon.public.vintages", "--addr", p.grpc, "--from", "earliest"), "\n")
			}
			ready := func(p *proc) {
				t.Helper()
				if code, body := p.get("/readyz?verbose"); code != 200 {
					t.Errorf("not ready: %s", body)
				}
				must(t, env, "verify", "--addr", p.grpc)
			}
			p := start(t, env, "serve")
			p.line("serving")
			pgtest.Exec(t, url, "INSERT INTO verra (project_id, updated_at) VALUES ('P', now())", tt.insert)
			ready(p)
			p.until("two records", func() bool { return records(p) == 2 })
			if _, body := p.get("/v1/projects/P"); !strings.Contains(body, `"vintages":[]`) {
				t.Error(body)
			}
			if log := p.stderr.String(); strings.Count(log, "public.vintages is not the table of carbond's") != 1 || !strings.Contains(log, "RENAME TO") {
				t.Errorf("the log says\n%s", log)
			}
			if out := must(t, env, "doctor"); !strings.Contains(out, "public.vintages is not the table of carbond's") || !strings.Contains(out, "RENAME TO") {
				t.Error(out)
			}
			p.stop()

			p = start(t, env, "serve") // and again, with what it remembers
			p.line("serving")
			pgtest.Exec(t, url, tt.insert)
			ready(p)
			p.until("three records", func() bool { return records(p) == 3 })
			p.stop()

			// What helps: the topic goes on with the new table, which the view has.
			pgtest.Exec(t, url, `ALTER TABLE public.vintages RENAME TO other_vintages`)
			p = start(t, env, "serve")
			p.line("serving")
			p.until("the table", func() bool {
				return pgtest.Text(t, url, "SELECT to_regclass('public.vintages') IS NOT NULL")[0][0] == "t"
			})
			pgtest.Exec(t, url, "INSERT INTO vintages VALUES ('P', 2021, 9)")
			p.until("its row", func() bool {
				_, body := p.get("/v1/projects/P")
				return strings.Contains(body, `"vintages":[{"vintage":2021,"issued":9,"retired":null,"cancelled":null,"available":null}]`)
			})
			ready(p)
			if out := must(t, nil, "topics", "--addr", p.grpc, "--format", "json"); !strings.Contains(strings.Join(strings.Fields(out), ""), `"topic":"carbon.public.vintages"`) {
				t.Error(out)
			}
			if n := records(p); n != 4 {
				t.Errorf("%d records in the topic, want those of both tables", n)
			}
		})
	}
}

// TestLaterTableWithoutRights upgrades where the tables were made by another role: the one
// that serves may neither make nor publish what came later.
func TestLaterTableWithoutRights(t *testing.T) {
	c := pgtest.Shared(t)
	if c.External() {
		t.Skip("needs a server with a known password")
	}
	url := c.Database(t)
	name := pgtest.Text(t, url, "SELECT current_database()")[0][0]
	env := []string{"CARBOND_DATA_DIR=" + filepath.Join(t.TempDir(), "data"), "CARBOND_POSTGRES_SLOT=cmd_later_rights"}
	admin := append([]string{"CARBOND_POSTGRES_URL=" + url}, env...)
	must(t, admin, "migrate")
	role := name + "_reader"
	pgtest.Exec(t, url, "DROP TABLE vintages", "CREATE ROLE "+role+" LOGIN REPLICATION PASSWORD 'reader-secret'", "GRANT SELECT ON ALL TABLES IN SCHEMA public TO "+role)
	t.Cleanup(func() { pgtest.Exec(t, url, "DROP OWNED BY "+role, "DROP ROLE "+role) })
	reader := append([]string{"CARBOND_POSTGRES_URL=" + c.UserURL(role, "reader-secret", name)}, env...)
	p := start(t, reader, "serve")
	p.line("serving")
	if code, body := p.get("/readyz?verbose"); code != 200 {
		t.Errorf("not ready: %s", body)
	}
	if log := p.stderr.String(); !strings.Contains(log, "table public.vintages does not exist, and the role may not make it") || !strings.Contains(log, "CREATE TABLE") {
		t.Errorf("the log says\n%s", log)
	}
	p.stop()
	must(t, admin, "migrate")
	pgtest.Exec(t, url, "GRANT SELECT ON vintages TO "+role, "INSERT INTO verra (project_id) VALUES ('P')", "INSERT INTO vintages VALUES ('P', 2021, 9)")
	p = start(t, reader, "serve")
	p.line("serving")
	p.until("its row", func() bool {
		_, body := p.get("/v1/projects/P")
		return strings.Contains(body, `"vintages":[{"vintage":2021,`)
	})
}
