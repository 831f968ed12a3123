package main

import (
	"path/filepath"
	"strings"
	"testing"

	"carbond/replicate/pgtest"
)

// TestRestoreFromPostgres restores a copy that the slot has not passed, which
// goes on as if nothing had been, and one that it has: the daemon says exactly
// what is missing, and copies the tables again when it may.
func TestRestoreFromPostgres(t *testing.T) {
	url := pgtest.Shared(t).Database(t)
	live := filepath.Join(t.TempDir(), "live")
	env := []string{"CARBOND_POSTGRES_URL=" + url, "CARBOND_POSTGRES_SLOT=cmd_restore"}
	p := start(t, append(env, "CARBOND_DATA_DIR="+live), "serve")
	p.line("serving")
	pgtest.Exec(t, url, "INSERT INTO verra(project_id, country) VALUES ('A', 'Peru'), ('B', 'Peru')")
	must(t, env, "verify", "--addr", p.grpc)
	early := filepath.Join(t.TempDir(), "early.tar")
	must(t, nil, "backup", early, "--addr", p.grpc)
	pgtest.Exec(t, url, "UPDATE verra SET country = 'Chile' WHERE project_id = 'A'", "INSERT INTO verra(project_id) VALUES ('C')")
	must(t, env, "verify", "--addr", p.grpc)
	late := filepath.Join(t.TempDir(), "late.tar")
	must(t, nil, "backup", late, "--addr", p.grpc)
	p.stop()
	pgtest.Exec(t, url, "DELETE FROM verra WHERE project_id = 'B'")

	// The newest copy has what the slot has given away: it goes on.
	dir := filepath.Join(t.TempDir(), "late")
	if out := must(t, env, "restore", late, "--data-dir", dir); !strings.Contains(out, "If slot cmd_restore of database") || !strings.Contains(out, "postgres.on_gap: stop") {
		t.Error(out)
	}
	p = start(t, append(env, "CARBOND_DATA_DIR="+dir), "serve")
	p.line("serving")
	must(t, env, "verify", "--addr", p.grpc)
	if out := must(t, nil, "consume", "verra", "--addr", p.grpc, "--format", "row"); strings.Count(out, `"op":"r"`) != 0 || !strings.Contains(out, `"op":"d"`) {
		t.Error(out)
	}
	p.stop()

	// The older one lacks what the slot has given away.
	dir = filepath.Join(t.TempDir(), "early")
	must(t, env, "restore", early, "--data-dir", dir)
	p = start(t, append(env, "CARBOND_DATA_DIR="+dir), "serve")
	p.until("the reason in /readyz", func() bool {
		code, body := p.get("/readyz?verbose")
		return code == 503 && strings.Contains(body, "cmd_restore") && strings.Contains(body, "older copy")
	})
	if out := must(t, nil, "view", "projects", "--addr", p.grpc, "--format", "csv"); !strings.Contains(out, "A,,,Peru") {
		t.Errorf("the restored data is not served:\n%s", out)
	}
	p.stop()
	again := append(env, "CARBOND_DATA_DIR="+dir, "CARBOND_POSTGRES_ON_GAP=resnapshot")
	if out := must(t, again, "restore", early, "--data-dir", filepath.Join(t.TempDir(), "words")); !strings.Contains(out, "then copies the tables again") {
		t.Error(out)
	}
	p = start(t, again, "serve")
	p.line("serving")
	must(t, env, "verify", "--addr", p.grpc)
	if out := must(t, nil, "consume", "verra", "--addr", p.grpc, "--format", "row"); !strings.Contains(out, `"op":"d"`) {
		t.Errorf("the difference is not in the changelog:\n%s", out)
	}
	p.stop()
	must(t, again, "teardown", "--yes")
}
