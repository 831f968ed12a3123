package pagetest_test

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestEventSource follows a view and a topic in Node while the daemon is stopped, killed
// and started again, and rows are written all the time: nothing is lost or comes twice.
func TestEventSource(t *testing.T) {
	p, dir := newPostgres(t), t.TempDir()
	addr := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	run := func() *running {
		return start(t, []string{"serve", "--http-listen", addr}, []string{"CARBOND_DATA_DIR=" + filepath.Join(dir, "data"), "CARBOND_POSTGRES_URL=" + p.url(), "CARBOND_FEEDS_ENABLED=none"})
	}
	d := run()
	const each, all = 40, 200
	write := func(first int) {
		t.Helper()
		p.exec(fmt.Sprintf(`DO $$ BEGIN FOR i IN %d..%d LOOP
  INSERT INTO verra(project_id, supply) VALUES ('P', i), ('Q-' || i, 1) ON CONFLICT (project_id) DO UPDATE SET supply = excluded.supply;
  IF i %% 3 = 0 THEN DELETE FROM verra WHERE project_id = 'Q-' || i - 1; END IF;
  COMMIT; END LOOP; END $$;`, first, first+each-1))
	}
	ready(t, d.url)
	write(0)
	node := script(t, "eventsource@5.1.5", "testdata/eventsource.js", d.url, fmt.Sprint(all-1))
	node.Stderr = os.Stderr
	out, err := node.StdoutPipe()
	must(t, err)
	must(t, node.Start())
	lines := bufio.NewScanner(out)
	last := ""
	connected := func(n int) { // both streams are, the n-th time
		t.Helper()
		for got := 0; got < 2; {
			if !lines.Scan() {
				t.Fatalf("node ends after %q: %v", last, node.Wait())
			}
			if last = lines.Text(); strings.HasSuffix(last, fmt.Sprint(" ", n)) {
				got++
			}
		}
	}
	connected(1)
	write(each)
	d.end(syscall.SIGKILL)
	d = run()
	connected(2)
	write(2 * each)
	d.end(syscall.SIGTERM)
	write(3 * each) // while nobody is there
	run()
	connected(3)
	write(4 * each)
	for lines.Scan() {
		last = lines.Text()
		t.Log(last)
	}
	if err := node.Wait(); err != nil || !strings.HasPrefix(last, fmt.Sprintf("all %d changes", all)) {
		t.Fatalf("%v after %q", err, last)
	}
}

// script is a run of Node with a package that npm brings.
func script(t *testing.T, pkg string, args ...string) *exec.Cmd {
	t.Helper()
	npm, err := exec.LookPath("npm")
	if err != nil {
		absent(t, "npm is not installed")
	}
	dir := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), npm, "install", "--prefix", dir, "--no-save", "--ignore-scripts", "--no-audit", "--no-fund", pkg).CombinedOutput(); err != nil {
		t.Fatalf("npm: %v\n%s", err, out)
	}
	cmd := exec.CommandContext(t.Context(), "node", args...)
	cmd.Env = append(os.Environ(), "NODE_PATH="+filepath.Join(dir, "node_modules"))
	return cmd
}

// ready waits until a daemon serves.
func ready(t *testing.T, url string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		resp, err := http.Get(url + "readyz")
		if err == nil {
			_ = resp.Body.Close()
		}
		if err == nil && resp.StatusCode == http.StatusOK {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the daemon does not become ready")
		}
	}
}

// TestPandas reads lists from their addresses with Debian's pandas.
func TestPandas(t *testing.T) {
	const python = "/usr/bin/python3" // Debian's own
	if exec.Command(python, "-c", "import pandas").Run() != nil {
		absent(t, "python3-pandas is not installed")
	}
	url := demo(t)
	filled(t, browser(t), url)
	if out, err := exec.CommandContext(t.Context(), python, "testdata/readlists.py", url).CombinedOutput(); err != nil || !strings.Contains(string(out), "all cells are right") {
		t.Fatalf("%v\n%s", err, out)
	}
}

// TestDuckDB reads lists with DuckDB's guesses of their types.
func TestDuckDB(t *testing.T) {
	url := demo(t)
	filled(t, browser(t), url)
	if out, err := script(t, "@duckdb/node-api@1.5.6-r.1", "testdata/duckdb.js", url, t.TempDir()).CombinedOutput(); err != nil || !strings.Contains(string(out), "all sums are right") {
		t.Fatalf("%v\n%s", err, out)
	}
}
