package main

import (
	"path/filepath"
	"strings"
	"testing"

	"carbond/replicate/pgtest"
)

func TestPostgresEndToEnd(t *testing.T) {
	url := pgtest.Shared(t).Database(t)
	env := []string{"CARBOND_DATA_DIR=" + filepath.Join(t.TempDir(), "data"), "CARBOND_POSTGRES_URL=" + url, "CARBOND_POSTGRES_SLOT=cmd_e2e"}

	if code, out, _ := command(t, env, "doctor"); code != 1 || !strings.Contains(out, "FAIL") {
		t.Errorf("an empty database: exit code %d\n%s", code, out)
	}
	p := start(t, env, "serve")
	p.line("serving")
	must(t, nil, "healthcheck", "--addr", p.grpc)
	pgtest.Exec(t, url,
		"INSERT INTO verra(project_id, project_name, country, vintage, supply, updated_at) SELECT 'P' || i, 'Name ' || i, CASE WHEN i % 2 = 0 THEN 'Brazil' ELSE 'Kenya' END, 2000 + i % 20, i * 1.5, now() FROM generate_series(1, 3000) i",
		"INSERT INTO carbonmark(id, project_id, project_name, updated_at) VALUES ('c1', 'P7', 'Joined', now())",
		"INSERT INTO finance(ticker, price, timestamp) VALUES ('KRBN', 'NaN', 1), ('KRBN', 31.4, 2)",
		"INSERT INTO news(guid, title, published_at) VALUES ('g1', E'two\\nlines', now())")
	if out := must(t, env, "verify", "--addr", p.grpc); !strings.Contains(out, "3000 projects, 1 news, 1 finance rows in SQL, 0 keys differ") || !strings.HasSuffix(out, "equal\n") {
		t.Error(out)
	}
	if out := must(t, nil, "view", "projects", "--addr", p.grpc, "--format", "csv"); strings.Count(out, "\n") != 3001 || !strings.Contains(out, "P7,Joined,,Kenya,2007,10.5") {
		t.Errorf("%d lines", strings.Count(out, "\n"))
	}
	if out := must(t, nil, "view", "news", "--addr", p.grpc); !strings.Contains(out, "two lines") {
		t.Error(out)
	}
	if out := must(t, env, "doctor"); !strings.Contains(out, "replication can work") {
		t.Error(out)
	}
	selftest := []string{"selftest", "--write", "--addr", p.grpc, "--http-addr", p.http}
	if out := must(t, env, selftest...); !strings.Contains(out, "12 phases: 10 ok, 0 failed, 2 skipped") || !strings.Contains(out, "3000 projects") {
		t.Errorf("selftest:\n%s", out)
	}
	if n := pgtest.Text(t, url, "SELECT count(*) FROM verra"); n[0][0] != "3000" {
		t.Errorf("selftest leaves %s rows", n[0][0])
	}
	if code, _, errs := command(t, env, "fsck"); code != 1 || !strings.Contains(errs, "in use") {
		t.Errorf("fsck of a held directory: %d %s", code, errs)
	}
	if code, _, errs := command(t, env, "teardown", "--yes"); code != 1 || !strings.Contains(errs, "cmd_e2e") {
		t.Errorf("teardown under a daemon: %d %s", code, errs)
	}
	if code, ok := p.stop(); !ok || code != 0 {
		t.Fatalf("exit code %d", code)
	}
	if code, out, _ := command(t, env, append(selftest, "--format", "jsonl")...); code != 1 || !strings.Contains(out, `"name":"Postgres","result":"ok"`) || !strings.Contains(out, `"name":"write","result":"FAILED"`) {
		t.Errorf("selftest without a daemon: exit code %d\n%s", code, out)
	}
	if out := must(t, env, "fsck"); !strings.Contains(out, "no problems") || !strings.Contains(out, "verra        3000 rows") {
		t.Error(out)
	}

	// What was written while the daemon was down arrives after the restart.
	pgtest.Exec(t, url, "DELETE FROM verra WHERE country = 'Brazil'")
	p = start(t, env, "serve")
	p.line("serving")
	if out := must(t, env, "verify", "--addr", p.grpc); !strings.Contains(out, "1500 projects") {
		t.Error(out)
	}
	p.stop()

	// Without the URL the directory would silently become another source's.
	if code, _, errs := command(t, []string{env[0], "CARBOND_GRPC_LISTEN=127.0.0.1:0", "CARBOND_HTTP_LISTEN=127.0.0.1:0"}, "serve"); code != 78 || !strings.Contains(errs, "holds the changelog of database") {
		t.Errorf("embedded over Postgres data: %d %s", code, errs)
	}
	if code, _, errs := command(t, env, "teardown"); code != 64 || !strings.Contains(errs, "--yes") {
		t.Errorf("teardown without a terminal: %d %s", code, errs)
	}
	must(t, env, "teardown", "--yes")
	if n := pgtest.Text(t, url, "SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'cmd_e2e'"); n[0][0] != "0" {
		t.Error("the slot is still there")
	}
	must(t, env, "migrate")
}

func TestVerifyFindsDifferences(t *testing.T) {
	url := pgtest.Shared(t).Database(t)
	env := []string{"CARBOND_DATA_DIR=" + filepath.Join(t.TempDir(), "data"), "CARBOND_POSTGRES_URL=" + url, "CARBOND_POSTGRES_SLOT=cmd_verify"}
	p := start(t, env, "serve")
	p.line("serving")
	pgtest.Exec(t, url, "INSERT INTO verra(project_id, country) VALUES ('A', 'Peru'), ('B', 'Peru')")
	must(t, env, "verify", "--addr", p.grpc)
	// A change that replication does not tell of is what verify must find.
	pgtest.Unseen(t, url, "verra")
	pgtest.Vanish(t, url, "verra", "project_id = 'A'")
	pgtest.Exec(t, url, "INSERT INTO verra_unseen(project_id, country, updated_at) VALUES ('A', 'Chile', now())")
	code, out, errs := command(t, env, "verify", "--addr", p.grpc)
	if code != 1 || !strings.Contains(out, "projects A\n") || strings.Contains(out, "projects B\n") || !strings.Contains(out, "Chile") {
		t.Errorf("%d %s %s", code, out, errs)
	}
}

func TestWrongPassword(t *testing.T) {
	c := pgtest.Shared(t)
	if c.External() {
		t.Skip("needs a private cluster")
	}
	env := []string{"CARBOND_DATA_DIR=" + t.TempDir(), "CARBOND_POSTGRES_URL=" + c.UserURL("carbond_nobody", "hunter2hunter2", "postgres")}
	code, out, errs := command(t, env, "doctor")
	if code != 1 || !strings.Contains(out+errs, "carbond_nobody") || strings.Contains(out+errs, "hunter2") {
		t.Errorf("%d %s%s", code, out, errs)
	}
}
