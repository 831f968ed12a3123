// Package promtest proves the observability pack against a running daemon and a
// real Prometheus: every metric that a panel or a rule asks for is served, every
// query of the dashboard gives a result, and alerts fire when their condition is
// produced.
package promtest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"carbond/packaging/internal/exposition"
	"carbond/packaging/internal/run"
	"carbond/replicate/pgtest"
)

// absent stops a test that cannot run here, which in CI is a failure.
func absent(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CARBOND_TEST_REQUIRE") == "1" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// query is one expression and where it comes from.
type query struct{ where, expr string }

// dashboard lists the queries of all panels.
func dashboard(t *testing.T) []query {
	t.Helper()
	text, err := os.ReadFile("../grafana/dashboards/carbond.json")
	if err != nil {
		t.Fatal(err)
	}
	type panel struct {
		Title   string
		Targets []struct{ Expr string }
		Panels  []panel // of a collapsed row
	}
	var board panel
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	var out []query
	list := board.Panels
	for _, p := range board.Panels {
		list = append(list, p.Panels...)
	}
	for _, p := range list {
		for _, target := range p.Targets {
			out = append(out, query{"panel " + p.Title, target.Expr})
		}
	}
	if len(out) < 30 {
		t.Fatalf("only %d queries in the dashboard", len(out))
	}
	return out
}

const rulesFile = "../alerts/carbond.rules.yml"

// rules lists the expressions of all rules.
func rules(t *testing.T) []query {
	t.Helper()
	text, err := os.ReadFile(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Rules []struct{ Alert, Record, Expr string }
		}
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	var out []query
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			out = append(out, query{"rule " + r.Alert + r.Record, r.Expr})
		}
	}
	return out
}

// hasty is the rule file with waits and the age of a stale feed cut short, so
// that a test can see what takes hours in life.
func hasty(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	out := regexp.MustCompile(`(?m)^ +for: .*\n`).ReplaceAllString(string(text), "")
	for _, cut := range [][2]string{
		{"carbond_feed_last_success_timestamp_seconds > 6 * 3600", "carbond_feed_last_success_timestamp_seconds > 8"},
		{"carbond_feed_consecutive_failures > 5", "carbond_feed_consecutive_failures > 0"},
		{"carbond:replication_data_age:seconds > 300", "carbond:replication_data_age:seconds > 8"},
	} {
		if !strings.Contains(out, cut[0]) {
			t.Fatalf("rule file has no %q any more", cut[0])
		}
		out = strings.ReplaceAll(out, cut[0], cut[1])
	}
	return out
}

// TestPack needs one daemon in each mode, so its parts share them, in an order
// in which the last ones break things.
func TestPack(t *testing.T) {
	binary := os.Getenv("CARBOND_BINARY")
	if binary == "" {
		absent(t, "CARBOND_BINARY is not set")
	}
	ctx, stop := context.WithTimeout(t.Context(), 5*time.Minute)
	dir := t.TempDir()
	fleet, err := run.StartFleet(ctx, binary, dir, time.Now().Add(24*time.Hour))
	t.Cleanup(func() { stop(); fleet.Wait() })
	if errors.Is(err, pgtest.ErrMissing) {
		absent(t, err.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "prometheus"), 0o700); err != nil {
		t.Fatal(err)
	}
	prom, err := run.StartPrometheus(ctx, filepath.Join(dir, "prometheus"), hasty(t),
		map[string]*run.Daemon{"embedded": fleet.Embedded, "postgres": fleet.Postgres})
	if errors.Is(err, run.ErrNoPrometheus) {
		absent(t, err.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(); prom.Wait() })

	families, err := fleet.Families(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("metrics are served", func(t *testing.T) { served(t, families) })
	t.Run("panels have data", func(t *testing.T) { panels(ctx, t, prom) })
	t.Run("nothing fires for the healthy one", func(t *testing.T) { quiet(ctx, t, prom) })
	t.Run("alerts fire", func(t *testing.T) { alerts(ctx, t, fleet, prom) })
}

// served compares names alone, so it also covers what is empty when all is well.
func served(t *testing.T, families map[string]*exposition.Family) {
	known := map[string]bool{}
	for _, f := range families {
		for _, s := range f.Series() {
			known[s] = true
		}
	}
	for _, q := range append(dashboard(t), rules(t)...) {
		for _, name := range exposition.References(q.expr) {
			if !known[name] {
				t.Errorf("%s asks for %s, which the daemon does not serve", q.where, name)
			}
		}
	}
}

// empty are the panels that show nothing while all is well.
var empty = []string{"panel Interruptions", "panel Failures in a row", "panel Replies from the cache", "panel Calls that did not end in OK"}

func panels(ctx context.Context, t *testing.T, prom *run.Prometheus) {
	fill := strings.NewReplacer("$job", "carbond", "$instance", ".+", "$__rate_interval", "20s")
	for _, q := range dashboard(t) {
		expr := fill.Replace(q.expr)
		err := prom.Until(ctx, 30*time.Second, func(ctx context.Context) error {
			n, err := prom.Query(ctx, expr)
			if err == nil && n == 0 && !slices.Contains(empty, q.where) {
				err = errors.New("no data")
			}
			return err
		})
		if err != nil {
			t.Errorf("%s: %s: %v", q.where, expr, err)
		}
	}
}

// quiet: the embedded daemon is healthy, so nothing may fire for it.
func quiet(ctx context.Context, t *testing.T, prom *run.Prometheus) {
	firing, err := prom.Firing(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for name := range firing {
		// Polls may be further apart than the limit that was cut short.
		if strings.HasSuffix(name, "/embedded") && name != "CarbondFeedStale/embedded" {
			t.Errorf("%s fires for a healthy daemon", name)
		}
	}
}

// alerts produces conditions one after the other.
func alerts(ctx context.Context, t *testing.T, fleet *run.Fleet, prom *run.Prometheus) {
	fires := func(want ...string) {
		t.Helper()
		err := prom.Until(ctx, time.Minute, func(ctx context.Context) error {
			firing, err := prom.Firing(ctx)
			if err != nil {
				return err
			}
			for _, w := range want {
				if !firing[w] {
					return fmt.Errorf("%s does not fire; these do: %v", w, firing)
				}
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	// The certificate is valid for a day; the news feed has nobody to ask,
	// and the view files cannot be written.
	fires("CarbondCertificateExpiresSoon/postgres", "CarbondCertificateExpiresNow/postgres", "CarbondFeedNeverSucceeded/postgres",
		"CarbondViewFilesFail/postgres")

	if err := os.WriteFile(fleet.Config, []byte("no_such_key: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := fleet.Postgres.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	fires("CarbondConfigReloadFailed/postgres")

	fleet.Upstream.Break()
	fires("CarbondFeedStale/embedded")

	fleet.Server.Stop(t, pgtest.Immediate)
	fires("CarbondReplicationDown/postgres", "CarbondViewOld/postgres")

	if err := fleet.Embedded.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	fleet.Embedded.Wait()
	fires("CarbondDown/embedded")
}

// TestCatalogue: the committed list of metrics names what panels and rules use.
func TestCatalogue(t *testing.T) {
	text, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	suffix := regexp.MustCompile(`_(bucket|sum|count)$`)
	for _, q := range append(dashboard(t), rules(t)...) {
		for _, name := range exposition.References(q.expr) {
			if strings.HasPrefix(name, "go_") || strings.HasPrefix(name, "process_") {
				continue
			}
			if !strings.Contains(string(text), "`"+name+"`") && !strings.Contains(string(text), "`"+suffix.ReplaceAllString(name, "")+"`") {
				t.Errorf("%s: %s is not in docs/metrics.md", q.where, name)
			}
		}
	}
}
