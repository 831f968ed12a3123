package main

import (
	"strconv"
	"strings"
	"testing"

	"carbond/replicate/pgtest"
)

// advised returns what doctor prints below each problem: the SQL one by one,
// and whether a restart is asked for.
func advised(t *testing.T, out string) (sql []string, restart bool) {
	t.Helper()
	for line := range strings.Lines(out) {
		text, indented := strings.CutPrefix(line, "      ")
		text = strings.TrimSpace(text)
		switch {
		case !indented || text == "":
		case strings.HasPrefix(text, "-- "):
			restart = restart || strings.Contains(text, "restart Postgres")
		case strings.HasSuffix(text, ";"):
			sql = append(sql, text)
		default:
			t.Errorf("neither SQL nor a comment: %q", text)
		}
	}
	return sql, restart
}

// TestDoctorHeals breaks a database, runs exactly the SQL that doctor prints as
// superuser, once, and expects that doctor then finds nothing more, and that
// serve works.
func TestDoctorHeals(t *testing.T) {
	c := pgtest.Shared(t)
	if c.External() {
		t.Skip("needs a server with a known password")
	}
	for name, tt := range map[string]struct {
		empty  bool     // no migration before
		breaks []string // $role stands for the role
		finds  []string
	}{
		"nothing there":       {true, nil, []string{"tables", "publication"}},
		"no replication":      {false, []string{"ALTER ROLE $role NOREPLICATION"}, []string{"replication_right"}},
		"no rights":           {false, []string{"REVOKE SELECT ON ALL TABLES IN SCHEMA public FROM $role", "REVOKE USAGE ON SCHEMA public FROM PUBLIC, $role"}, []string{"select_right"}},
		"identity nothing":    {false, []string{"ALTER TABLE verra REPLICA IDENTITY NOTHING", "ALTER TABLE finance REPLICA IDENTITY NOTHING"}, []string{"replica_identity"}},
		"no primary key":      {false, []string{"ALTER TABLE verra DROP CONSTRAINT verra_pkey", "ALTER TABLE finance DROP CONSTRAINT finance_pkey", "ALTER TABLE finance REPLICA IDENTITY NOTHING"}, []string{"replica_identity"}},
		"another primary key": {false, []string{"ALTER TABLE verra DROP CONSTRAINT verra_pkey", "ALTER TABLE verra ADD PRIMARY KEY (id)"}, []string{"replica_identity"}},
		"no column":           {false, []string{"ALTER TABLE verra DROP id, DROP country", "ALTER TABLE news DROP published_at"}, []string{"columns"}},
		"no key column":       {false, []string{"ALTER TABLE finance DROP timestamp"}, []string{"columns", "replica_identity"}},
		"types":               {false, []string{"DROP INDEX carbond_news_latest, carbond_news_source", "ALTER TABLE news ALTER guid TYPE uuid USING guid::uuid, ALTER published_at TYPE text", "ALTER TABLE finance ALTER timestamp TYPE timestamptz USING now(), ALTER price TYPE text"}, []string{"column_types"}},
		"unlogged":            {false, []string{"ALTER PUBLICATION carbond DROP TABLE news", "ALTER TABLE news SET UNLOGGED"}, []string{"tables", "publication_tables"}},
		"row security":        {false, []string{"ALTER TABLE news ENABLE ROW LEVEL SECURITY"}, []string{"row_security"}},
		"a table is missing":  {false, []string{"DROP TABLE carbonmark"}, []string{"tables", "publication_tables"}},
		"no publication":      {false, []string{"DROP PUBLICATION carbond"}, []string{"publication"}},
		"half a publication":  {false, []string{"ALTER PUBLICATION carbond SET (publish = 'insert')", "ALTER PUBLICATION carbond DROP TABLE news"}, []string{"publication_ops", "publication_tables"}},
		"a filter":            {false, []string{"ALTER PUBLICATION carbond SET TABLE verra WHERE (project_id = 'x'), carbonmark, finance, news (guid)"}, []string{"publication_tables"}},
		"everything at once": {false, []string{
			"ALTER ROLE $role NOREPLICATION", "DROP PUBLICATION carbond", "DROP TABLE carbonmark", "ALTER TABLE verra REPLICA IDENTITY NOTHING",
			"ALTER TABLE news DROP title", "ALTER TABLE finance ENABLE ROW LEVEL SECURITY", "REVOKE SELECT ON news FROM $role",
		}, []string{"replication_right", "publication", "tables", "replica_identity", "columns", "row_security", "select_right"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := c.Database(t)
			db := pgtest.Text(t, url, "SELECT current_database()")[0][0]
			role := db + "_doctor"
			pgtest.Exec(t, url, "CREATE ROLE "+role+" LOGIN REPLICATION PASSWORD 'doctor-secret'")
			t.Cleanup(func() { pgtest.Exec(t, url, "DROP OWNED BY "+role, "DROP ROLE "+role) })
			if !tt.empty {
				must(t, []string{"CARBOND_POSTGRES_URL=" + url, "CARBOND_POSTGRES_SLOT=" + db, "CARBOND_DATA_DIR=" + t.TempDir()}, "migrate")
				pgtest.Exec(t, url, "GRANT SELECT ON ALL TABLES IN SCHEMA public TO "+role)
			}
			for _, sql := range tt.breaks {
				pgtest.Exec(t, url, strings.ReplaceAll(sql, "$role", role))
			}
			env := []string{
				"CARBOND_POSTGRES_URL=" + c.UserURL(role, "doctor-secret", db), "CARBOND_POSTGRES_SLOT=" + db, "CARBOND_POSTGRES_MIGRATE=off",
				"CARBOND_DATA_DIR=" + t.TempDir(), "CARBOND_FEEDS_ENABLED=none",
			}
			_, out, _ := command(t, env, "doctor")
			for _, find := range tt.finds {
				if !strings.Contains(out, "FAIL  "+find+" ") && !strings.Contains(out, "warn  "+find+" ") {
					t.Errorf("%s is not found:\n%s", find, out)
				}
			}
			sql, _ := advised(t, out)
			pgtest.Exec(t, url, sql...)
			if code, out, errs := command(t, env, "doctor"); code != 0 || strings.Contains(out, "warn") {
				t.Fatalf("after\n%s\nexit code %d\n%s%s", strings.Join(sql, "\n"), code, out, errs)
			}
			p := start(t, env, "serve")
			p.line("serving")
			must(t, env, "verify", "--addr", p.grpc)
			p.stop()
		})
	}
}

// TestDoctorHealsTheServer starts with a cluster that cannot replicate at all.
func TestDoctorHealsTheServer(t *testing.T) {
	c := pgtest.Start(t, "wal_level=replica", "max_replication_slots=0", "max_wal_senders=0")
	url := c.Database(t)
	env := []string{"CARBOND_POSTGRES_URL=" + url, "CARBOND_DATA_DIR=" + t.TempDir()}
	code, out, _ := command(t, env, "doctor")
	if code != 1 || !strings.Contains(out, "FAIL  wal_level ") || strings.Count(out, "FAIL  capacity ") < 2 {
		t.Errorf("%d\n%s", code, out)
	}
	sql, restart := advised(t, out)
	if !restart {
		t.Errorf("no word of a restart:\n%s", out)
	}
	pgtest.Exec(t, url, sql...)
	c.Restart(t)
	if code, out, errs := command(t, env, "doctor"); code != 0 || strings.Contains(out, "warn") {
		t.Errorf("after\n%s\nexit code %d\n%s%s", strings.Join(sql, "\n"), code, out, errs)
	}
}

// TestDoctorComparesTheDirectory: doctor says what a start would, and what the
// daemon says that has the directory open.
func TestDoctorComparesTheDirectory(t *testing.T) {
	c := pgtest.Shared(t)
	url, dir := c.Database(t), t.TempDir()
	port, err := pgtest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	env := []string{
		"CARBOND_POSTGRES_URL=" + url, "CARBOND_POSTGRES_SLOT=cmd_doctor", "CARBOND_DATA_DIR=" + dir, "CARBOND_FEEDS_ENABLED=none",
		"CARBOND_HTTP_LISTEN=127.0.0.1:" + strconv.Itoa(port),
	}
	says := func(code int, wants ...string) {
		t.Helper()
		got, out, errs := command(t, env, "doctor")
		for _, want := range wants {
			if got != code || !strings.Contains(out, want) {
				t.Errorf("exit code %d, want %d and %q:\n%s%s", got, code, want, out, errs)
			}
		}
	}
	p := start(t, env, "serve")
	p.line("serving")
	must(t, env, "verify", "--addr", p.grpc)
	says(0, "ok    daemon")
	p.stop()
	says(0, "ok    position")
	pgtest.Exec(t, url, "INSERT INTO news (guid) VALUES ('lost')", "SELECT pg_replication_slot_advance('cmd_doctor', pg_current_wal_flush_lsn())")
	says(1, "FAIL  slot_ahead", "ahead of the durable position")
	env = append(env, "CARBOND_POSTGRES_ON_GAP=resnapshot")
	says(0, "warn  slot_ahead", "copies the tables again")
	env = env[:len(env)-1]

	p = start(t, env, "serve")
	p.until("the gap", func() bool {
		code, body := p.get("/readyz?verbose")
		return code == 503 && strings.Contains(body, "ahead")
	})
	says(1, "FAIL  daemon", "ahead of the durable position")
	p.stop()

	env[0] = "CARBOND_POSTGRES_URL=" + c.URL("postgres")
	says(1, "FAIL  other_cluster", "postgres.adopt")
	pgtest.Exec(t, url, "SELECT pg_drop_replication_slot('cmd_doctor')")
}
