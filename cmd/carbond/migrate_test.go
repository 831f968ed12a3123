package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"carbond/replicate/pgtest"
)

// TestMigratePreparesEverything lets the daemon change nothing by itself.
func TestMigratePreparesEverything(t *testing.T) {
	url := pgtest.Shared(t).Database(t)
	env := []string{
		"CARBOND_DATA_DIR=" + filepath.Join(t.TempDir(), "data"), "CARBOND_POSTGRES_URL=" + url,
		"CARBOND_POSTGRES_SLOT=cmd_migrate", "CARBOND_POSTGRES_MIGRATE=off",
	}
	if out := must(t, env, "migrate"); !strings.Contains(out, `slot "cmd_migrate" waits for the first start`) {
		t.Error(out)
	}
	if out := must(t, env, "migrate"); !strings.Contains(out, `slot "cmd_migrate" exists`) {
		t.Error(out)
	}
	if out := must(t, env, "doctor"); !strings.Contains(out, "replication can work") || !strings.Contains(out, "waits for the first start") {
		t.Error(out)
	}
	pgtest.Exec(t, url, "INSERT INTO news(guid) VALUES ('before')")
	p := start(t, env, "serve")
	p.line("serving")
	pgtest.Exec(t, url, "INSERT INTO news(guid) VALUES ('after')")
	if out := must(t, env, "verify", "--addr", p.grpc); !strings.Contains(out, "2 news") {
		t.Error(out)
	}
	if code, ok := p.stop(); !ok || code != 0 {
		t.Fatalf("exit code %d", code)
	}
	must(t, env, "teardown", "--yes")
}

// TestMigrateWithoutReplication runs it as a role that owns the database but
// may not replicate.
func TestMigrateWithoutReplication(t *testing.T) {
	c := pgtest.Shared(t)
	if c.External() {
		t.Skip("needs a server with a known password")
	}
	url := c.Database(t)
	name := pgtest.Text(t, url, "SELECT current_database()")[0][0]
	pgtest.Exec(t, url, "CREATE ROLE "+name+"_owner LOGIN PASSWORD 'owner-secret'", "GRANT CREATE ON DATABASE "+name+" TO "+name+"_owner", "GRANT CREATE ON SCHEMA public TO "+name+"_owner")
	t.Cleanup(func() { pgtest.Exec(t, url, "DROP OWNED BY "+name+"_owner", "DROP ROLE "+name+"_owner") })
	env := []string{"CARBOND_POSTGRES_URL=" + c.UserURL(name+"_owner", "owner-secret", name), "CARBOND_POSTGRES_SLOT=cmd_owner", "CARBOND_DATA_DIR=" + t.TempDir()}
	if out := must(t, env, "migrate"); !strings.Contains(out, "up to date") || !strings.Contains(out, `slot "cmd_owner" is left to serve`) {
		t.Error(out)
	}
}

// TestServeKnowsItsUnfinishedCopy starts beside a slot that a crashed copy of
// this data directory has left behind.
func TestServeKnowsItsUnfinishedCopy(t *testing.T) {
	url := pgtest.Shared(t).Database(t)
	dir := filepath.Join(t.TempDir(), "data")
	env := []string{"CARBOND_DATA_DIR=" + dir, "CARBOND_POSTGRES_URL=" + url, "CARBOND_POSTGRES_SLOT=cmd_crashed"}
	pgtest.Exec(t, url, "SELECT pg_create_logical_replication_slot('cmd_crashed', 'pgoutput')")
	row := pgtest.Text(t, url, "SELECT (SELECT system_identifier::text FROM pg_control_system()), current_database(), confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = 'cmd_crashed'")[0]
	if err := os.Mkdir(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	note := filepath.Join(dir, "copying.json")
	if err := os.WriteFile(note, fmt.Appendf(nil, `{"system_id":%q,"database":%q,"slot":"cmd_crashed","point":%q}`, row[0], row[1], row[2]), 0o640); err != nil {
		t.Fatal(err)
	}
	p := start(t, env, "serve")
	p.line("serving")
	must(t, env, "verify", "--addr", p.grpc)
	if _, err := os.Stat(note); !os.IsNotExist(err) {
		t.Errorf("the note is still there: %v", err)
	}
	p.stop()
}
