package e2e_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"carbond/cmd/carbond/internal/programtest"
	"carbond/replicate/pgtest"
)

// TestImportKills kills what writes an import at random moments: the command, which
// writes by SQL, or the daemon, which writes for it in embedded mode. The rows are
// all there or none.
func TestImportKills(t *testing.T) {
	const rows = 8000
	dir := t.TempDir()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	file := func(round int) string {
		var b bytes.Buffer
		b.WriteString("ID,Vintage End,Quantity Issued,Retirement/Cancellation Date\n") // each a row of two tables
		for i := range rows {
			fmt.Fprintf(&b, "%d,2020-12-31,%d,\n", 100_000*round+i, i)
		}
		path := filepath.Join(dir, fmt.Sprintf("round-%d.csv", round))
		if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	moment := func() { <-time.After(time.Duration(rng.IntN(1500)) * time.Millisecond) }
	var all, none int
	whole := func(how string, n, vintages int) {
		switch n {
		case 0:
			none++
		case rows:
			all++
		default:
			t.Errorf("%s: %d rows of %d", how, n, rows)
		}
		if vintages != n {
			t.Errorf("%s: %d projects and %d vintages", how, n, vintages)
		}
	}

	url := pgtest.Shared(t).Database(t)
	env := []string{"CARBOND_DATA_DIR=" + filepath.Join(dir, "unused"), "CARBOND_POSTGRES_URL=" + url}
	program.Must(t, env, "migrate")
	for round := range 5 {
		var out bytes.Buffer
		p := program.Start(t, env, []string{"import", "--yes", file(round + 1)}, &out, &out, out.String)
		moment()
		_ = p.Cmd.Process.Kill() // it may have ended, which Done says
		<-p.Done
		var n, vintages int
		// The server ends the transaction when it notices, which may take a moment.
		programtest.Until(t, time.Minute, "the end of the transaction", func() bool {
			return pgtest.Text(t, url, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND datname = current_database() AND pid <> pg_backend_pid()")[0][0] == "0"
		})
		_, _ = fmt.Sscan(pgtest.Text(t, url, fmt.Sprintf("SELECT count(*) FROM verra WHERE substr(project_id, 5)::int / 100000 = %d", round+1))[0][0], &n)
		_, _ = fmt.Sscan(pgtest.Text(t, url, fmt.Sprintf("SELECT count(*) FROM vintages WHERE substr(project_id, 5)::int / 100000 = %d", round+1))[0][0], &vintages)
		whole("by SQL: "+out.String(), n, vintages)
	}

	env = []string{"CARBOND_DATA_DIR=" + filepath.Join(dir, "data"), "CARBOND_FEEDS_ENABLED=none"}
	for round := range 5 {
		d := serve(t, env)
		var out bytes.Buffer
		p := program.Start(t, env, []string{"import", "--yes", "--addr", d.GRPC, file(round + 1)}, &out, &out, out.String)
		moment()
		_ = d.Cmd.Process.Kill()
		<-d.Done
		<-p.Done
		d = serve(t, env)
		got := program.Must(t, env, "view", "projects", "--addr", d.GRPC, "--format", "csv")
		log := program.Must(t, env, "consume", "carbon.public.vintages", "--addr", d.GRPC, "--from", "earliest", "--format", "row")
		whole("embedded: "+out.String(), strings.Count(got, fmt.Sprintf("\nVCS-%d", round+1)), strings.Count(log, fmt.Sprintf(`"project_id":"VCS-%d`, round+1)))
		_ = d.Cmd.Process.Kill()
		<-d.Done
	}
	t.Logf("%d imports left all, %d nothing", all, none)
	d := serve(t, env)
	if out := program.Must(t, env, "import", "--yes", "--addr", d.GRPC, file(9)); strings.Count(program.Must(t, env, "view", "projects", "--addr", d.GRPC, "--format", "csv"), "\nVCS-9") != rows {
		t.Errorf("an import that nobody kills leaves something out: %s", out)
	}
}
