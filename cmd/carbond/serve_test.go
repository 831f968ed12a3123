package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"carbond/cmd/carbond/internal/programtest"
)

func embedded(t *testing.T) []string {
	t.Helper()
	return []string{"CARBOND_DATA_DIR=" + filepath.Join(t.TempDir(), "data")}
}

func TestEmbeddedServesAtOnce(t *testing.T) {
	p := start(t, embedded(t), "serve")
	must(t, nil, "healthcheck", "--addr", p.grpc)
	if code, body := p.get("/readyz?verbose"); code != 200 || !strings.Contains(body, `"ready": true`) {
		t.Errorf("%d %s", code, body)
	}
	if out := must(t, nil, "view", "projects", "--addr", p.grpc, "--format", "jsonl"); out != "" {
		t.Errorf("rows from nowhere: %s", out)
	}
	if code, ok := p.stop(); !ok || code != 0 {
		t.Errorf("exit code %d", code)
	}
	if code, _, errs := command(t, nil, "healthcheck", "--addr", p.grpc); code != 1 || !strings.Contains(errs, "is it running?") {
		t.Errorf("%d %s", code, errs)
	}
}

func TestMetricsAreLintClean(t *testing.T) {
	p := start(t, embedded(t), "serve")
	p.line("serving")
	_, body := p.get("/metrics")
	problems, err := promlint.New(strings.NewReader(body)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, pr := range problems {
		t.Errorf("%s: %s", pr.Metric, pr.Text)
	}
	for _, want := range []string{"carbond_build_info{", "carbond_config_last_reload_successful 1", "carbond_serving 1", "carbond_view_staleness_seconds 0", "carbond_changelog_head_offset", "grpc_server_", "go_goroutines", "process_"} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s", want)
		}
	}
}

func TestDemo(t *testing.T) {
	p := start(t, []string{"CARBOND_POSTGRES_URL=postgres://never.invalid/x"}, "demo")
	p.until("welcome", func() bool { return strings.Contains(p.stdout.String(), "Stop with Ctrl-C") })
	if out := p.stdout.String(); strings.Count(out, "SAMPLE DATA") < 1 || !strings.Contains(out, p.grpc) || !strings.Contains(out, p.http) {
		t.Error(out)
	}
	// Everything that the welcome text tells to try has an answer.
	for name, args := range map[string][]string{
		"Brazil": {"projects", "--filter", "Brazil"}, "KRBN": {"finance", "--filter", "KRBN"}, "Verdant Wire": {"news", "--filter", "Verdant Wire"},
	} {
		p.until(name, func() bool {
			return strings.Contains(must(t, nil, append([]string{"view", "--addr", p.grpc, "--format", "jsonl"}, args...)...), `"`+name+`"`)
		})
	}
	for _, view := range []string{"projects", "news"} {
		out := must(t, nil, "view", view, "--addr", p.grpc, "--format", "csv")
		if rows := strings.Count(out, "\n") - 1; rows < 1 || strings.Count(out, "SAMPLE DATA") < rows {
			t.Errorf("%s: not every row says SAMPLE DATA:\n%s", view, out)
		}
	}
	var line struct {
		Ticker string
		Diff   int
		Time   int64
	}
	asked := time.Now().UnixMilli()
	out := must(t, nil, "view", "finance", "--addr", p.grpc, "--format", "jsonl", "--filter", "KRBN")
	if err := json.Unmarshal([]byte(out), &line); err != nil || line.Ticker != "KRBN" || line.Diff != 1 || line.Time < asked || line.Time > time.Now().UnixMilli() {
		t.Errorf("%s%v", out, err)
	}
	if out := must(t, nil, "feeds", "--http-addr", p.http); !strings.Contains(out, "verra") || !strings.Contains(out, "SAMPLE DATA") {
		t.Error(out)
	}
	// The data moves by itself.
	first := must(t, nil, "view", "finance", "--addr", p.grpc, "--format", "csv")
	p.until("moving price", func() bool {
		return must(t, nil, "view", "finance", "--addr", p.grpc, "--format", "csv") != first
	})
	if _, body := p.get("/"); !strings.Contains(body, "SAMPLE DATA") {
		t.Error(body)
	}
	dir := p.line("store opened")["dir"].(string)
	if code, ok := p.stop(); !ok || code != 0 {
		t.Errorf("exit code %d", code)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("%s is left behind: %v", dir, err)
	}
}

// TestSignalWhileOpening ends commands that wait in the kernel for somebody to write
// to a pipe: they do not hear of a signal themselves. A second one waits for nothing.
func TestSignalWhileOpening(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	// The restore that is given up may still make its folder while the test ends.
	dir, err := os.MkdirTemp("", "carbond-restore-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) }) // as far as it can be
	for _, args := range [][]string{{"check-config", "--config", pipe}, {"serve", "--config", pipe}, {"restore", pipe, "--data-dir", filepath.Join(dir, "data")}} {
		signals := make(chan os.Signal, 2)
		var errs programtest.Log
		done := make(chan int, 1)
		go func() {
			done <- run(t.Context(), args, stdio{in: strings.NewReader(""), out: io.Discard, err: &errs, env: []string{"CARBOND_CONFIG=" + emptyConfig(t)}, signals: signals})
		}()
		signals <- syscall.SIGTERM
		signals <- syscall.SIGTERM
		select {
		case code := <-done:
			if code != 1 || !strings.Contains(errs.String(), "stopped by signal: terminated") {
				t.Errorf("%v: exit code %d: %s", args, code, errs.String())
			}
		case <-time.After(patience):
			t.Fatalf("%v: goes on after two signals", args)
		}
		w, err := os.OpenFile(pipe, os.O_WRONLY, 0) // what was given up ends as well
		if err != nil {
			t.Fatal(err)
		}
		_ = w.Close()
	}
}

// TestDemoRemovesDead removes what killed demos left, and nothing else.
func TestDemoRemovesDead(t *testing.T) {
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	tmp := t.TempDir()
	for name, stays := range map[string]bool{
		fmt.Sprintf("carbond-demo-%d-1", gone.Process.Pid): false,
		fmt.Sprintf("carbond-demo-%d-2", os.Getpid()):      true,
		"carbond-demo-x-3": true, "carbond-demo--1-4": true, "other": true,
	} {
		if err := os.MkdirAll(filepath.Join(tmp, name, "data"), 0o700); err != nil {
			t.Fatal(err)
		}
		removeDead(tmp)
		if _, err := os.Stat(filepath.Join(tmp, name)); (err == nil) != stays {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReload(t *testing.T) {
	conf := file(t, "c.yaml", "log:\n  level: info\n  format: json\nfeeds:\n  enabled: none\ngrpc:\n  listen: 127.0.0.1:0\nhttp:\n  listen: 127.0.0.1:0\n")
	p := start(t, append(embedded(t), "CARBOND_LOG_LEVEL=", "CARBOND_GRPC_LISTEN=", "CARBOND_HTTP_LISTEN="), "serve", "--config", conf)
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		p.signals <- syscall.SIGHUP
	}
	write("log:\n  levle: debug\n")
	if l := p.line("reload refused, the old configuration stays in force"); !strings.Contains(l["error"].(string), "c.yaml:2: unknown key \"log.levle\"") {
		t.Error(l)
	}
	if _, body := p.get("/metrics"); !strings.Contains(body, "carbond_config_last_reload_successful 0") {
		t.Error("the gauge says that the reload was good")
	}
	if _, body := p.get("/readyz?verbose"); !strings.Contains(body, "the last reload was refused") {
		t.Error(body)
	}
	write("log:\n  level: debug\ngrpc:\n  listen: 127.0.0.1:1\nhttp:\n  listen: 127.0.0.1:0\n  pprof: true\nfeeds:\n  enabled: none\n")
	if l := p.line("changed keys take effect after a restart only"); !strings.Contains(l["keys"].([]any)[0].(string), "grpc.listen") {
		t.Error(l)
	}
	p.line("configuration reloaded")
	if _, body := p.get("/metrics"); !strings.Contains(body, "carbond_config_last_reload_successful 1") {
		t.Error("the gauge says that the reload was bad")
	}
	if code, _ := p.get("/debug/pprof/cmdline"); code != 200 {
		t.Errorf("profiles answer %d after a reload that turned them on", code)
	}
	p.stop()
	p.line("shutdown step") // a debug line: the level followed the reload
}

func TestProfilesAreOffByDefault(t *testing.T) {
	p := start(t, embedded(t), "serve")
	if code, _ := p.get("/debug/pprof/cmdline"); code != 404 {
		t.Errorf("got %d", code)
	}
}

func TestServiceManagerIsTold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 1000)
	go func() {
		defer close(got)
		buf := make([]byte, 4096)
		for {
			n, err := l.Read(buf)
			if err != nil {
				return
			}
			got <- string(buf[:n])
		}
	}()
	p := start(t, append(embedded(t), "NOTIFY_SOCKET="+path, "WATCHDOG_USEC=300000"), "serve")
	await := func(want string) {
		t.Helper()
		p.until("message "+want, func() bool {
			select {
			case m := <-got:
				return strings.Contains(m, want)
			default:
				return false
			}
		})
	}
	await("READY=1\nSTATUS=")
	await("WATCHDOG=1")
	await("WATCHDOG=1")
	p.signals <- syscall.SIGHUP
	await("RELOADING=1\nMONOTONIC_USEC=")
	await("READY=1")
	p.signals <- syscall.SIGTERM
	await("STOPPING=1")
	p.stop()
	l.Close()
	for range got { // ends when the reader has
	}
}

func TestPostgresUnreachable(t *testing.T) {
	const url = "postgres://carbond:hunter2hunter2@127.0.0.1:1/carbon?connect_timeout=1"
	p := start(t, append(embedded(t), "CARBOND_POSTGRES_URL="+url), "serve")
	p.line("replication interrupted")
	code, body := p.get("/readyz?verbose")
	if code != 503 || !strings.Contains(body, "the first copy of the tables is not complete") || !strings.Contains(body, "127.0.0.1") {
		t.Errorf("%d %s", code, body)
	}
	if code, out, _ := command(t, nil, "healthcheck", "--addr", p.grpc); code != 1 || !strings.Contains(out, "NOT_SERVING") {
		t.Errorf("%d %s", code, out)
	}
	// There is no last good data yet, and no rows would be a wrong answer.
	if code, out, errs := command(t, nil, "view", "projects", "--addr", p.grpc); code != 1 || out != "" ||
		!strings.Contains(errs, "the views are not loaded yet") || strings.Contains(errs, "is it running?") {
		t.Errorf("%d %s%s", code, out, errs)
	}
	if code, ok := p.stop(); !ok || code != 0 {
		t.Errorf("exit code %d", code)
	}
	_, status := 0, p.stderr.String()
	if strings.Contains(status+body, "hunter2") {
		t.Error("the password is shown")
	}
}

// Demos side by side each get a port of their own for Kafka's clients.
func TestDemosSideBySide(t *testing.T) {
	seen := map[string]bool{}
	for range 3 {
		addr, _ := start(t, nil, "demo").line("carbond is up")["kafka"].(string)
		if addr == "" || seen[addr] {
			t.Errorf("Kafka's clients are told %q, others %v", addr, seen)
		}
		seen[addr] = true
	}
}
