package e2e_test

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"carbond/cmd/carbond/internal/programtest"
	pb "carbond/proto/carbon"
	"carbond/replicate/pgtest"
	"carbond/store/change"
)

// fixture is a daemon over a database with known rows.
func fixture(t *testing.T) *daemon {
	t.Helper()
	url := pgtest.Shared(t).Database(t)
	env := []string{"CARBOND_DATA_DIR=" + filepath.Join(t.TempDir(), "data"), "CARBOND_POSTGRES_URL=" + url, "CARBOND_POSTGRES_SLOT=e2e_clients"}
	program.Must(t, env, "migrate")
	pgtest.Exec(t, url, `INSERT INTO verra(project_id, project_name, project_link, registry_status, country, vintage, supply, updated_at) VALUES
  ('VCS-1', 'Rio Preto', 'https://example.org/VCS-1', 'ACTIVE', 'Brazil', 2019, 1500.5, now()),
  ('VCS-2', 'Kasigau', NULL, 'ACTIVE', 'Kenya', 2021, 'Infinity', now())`)
	d := serve(t, env)
	// Half of the rows come by the copy, half by the stream.
	pgtest.Exec(t, url, `INSERT INTO verra(project_id, project_name, registry_status, country) VALUES ('VCS-3', 'Floresta ünïcode 🌳', 'RETIRED', 'Brazil')`,
		`INSERT INTO carbonmark(id, project_id, project_name, updated_at) VALUES ('a', 'VCS-1', 'old name', '2024-01-01'), ('b', 'VCS-1', 'Rio Preto (Carbonmark)', '2024-05-01')`,
		`INSERT INTO finance(ticker, price, volume, market_cap, change_percent, timestamp) VALUES
  ('KRBN', 31.42, 123456789012, 2.5e8, -1.25, 1714730400), ('KRBN', 30, 1, 1, 1, 1714730300), ('GRN', 'NaN', NULL, NULL, NULL, 1714730400)`,
		`INSERT INTO news(guid, title, link, published, published_at, source, summary) VALUES
  ('n1', 'Oldest', 'https://example.org/1', 'Wed, 01 May 2024 10:00:00 GMT', '2024-05-01 10:00+00', 'Reuters', 'first'),
  ('n2', 'Between', NULL, NULL, '2024-05-02 10:00+00', 'BBC', NULL),
  ('n3', 'Newest', 'https://example.org/3', 'Fri, 03 May 2024 10:00:00 GMT', '2024-05-03 10:00+00', 'Reuters', NULL)`)
	lsn, err := change.ParseLSN(pgtest.Text(t, url, "SELECT pg_current_wal_flush_lsn()")[0][0])
	if err != nil {
		t.Fatal(err)
	}
	waitLSN(t.Context(), t, pb.NewCarbonServiceClient(d.Dial(t)), lsn)
	return d
}

// TestPythonClient runs a client of the old service, on Debian's packages.
func TestPythonClient(t *testing.T) {
	python := ""
	for _, p := range []string{"/usr/bin/python3", "python3"} {
		if exec.Command(p, "-c", "import grpc, google.protobuf").Run() == nil {
			python = p
			break
		}
	}
	if python == "" {
		missing(t, "python3-grpcio and python3-protobuf are not installed")
	}
	if _, err := exec.LookPath("protoc"); err != nil {
		missing(t, "protobuf-compiler is not installed")
	}
	dir := t.TempDir()
	gen := exec.Command("protoc", "-I", filepath.Join(programtest.Module, "proto/carbon"), "--python_out="+dir, "carbon_service.proto")
	if out, err := gen.CombinedOutput(); err != nil {
		t.Fatalf("protoc: %v\n%s", err, out)
	}
	d := fixture(t)
	out, err := exec.CommandContext(t.Context(), python, "testdata/client.py", d.GRPC, dir).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "all answers are right") {
		t.Fatalf("%v\n%s", err, out)
	}
}

// TestGrpcurl uses the tool without any .proto file: reflection tells all.
func TestGrpcurl(t *testing.T) {
	tool := filepath.Join(t.TempDir(), "grpcurl")
	if err := programtest.Build(tool, "-modfile=packaging/tools/go.mod", "github.com/fullstorydev/grpcurl/cmd/grpcurl"); err != nil {
		t.Fatalf("build grpcurl: %v", err)
	}
	d := fixture(t)
	grpcurl := func(args ...string) (string, error) {
		out, err := exec.CommandContext(t.Context(), tool, append([]string{"-plaintext"}, args...)...).CombinedOutput()
		return string(out), err
	}
	run := func(t *testing.T, args ...string) string {
		t.Helper()
		out, err := grpcurl(args...)
		if err != nil {
			t.Fatalf("grpcurl %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return out
	}
	list := run(t, d.GRPC, "list")
	for _, s := range []string{"carbon.CarbonService", "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"} {
		if !strings.Contains(list, s+"\n") {
			t.Errorf("list lacks %s:\n%s", s, list)
		}
	}
	if out := run(t, d.GRPC, "describe", "carbon.CarbonService"); strings.Count(out, "rpc Get") != 10 {
		t.Errorf("describe:\n%s", out)
	}
	if out := run(t, d.GRPC, "describe", ".carbon.ProjectItem"); !strings.Contains(out, "double supply = 6;") {
		t.Errorf("describe:\n%s", out)
	}
	if out := run(t, d.GRPC, "grpc.health.v1.Health/Check"); !strings.Contains(out, "SERVING") {
		t.Errorf("health: %s", out)
	}
	for name, tc := range map[string]struct {
		call, data string
		want       []string
		items      int
	}{
		"projects":        {"GetProjects", `{}`, []string{`"projectName": "Kasigau"`, `"supply": "Infinity"`}, 3},
		"Brazil":          {"GetProjects", `{"country": "Brazil"}`, []string{"Rio Preto (Carbonmark)", "Floresta ünïcode 🌳"}, 2},
		"Reuters":         {"GetNews", `{"source": "Reuters"}`, []string{`"title": "Newest"`}, 2},
		"KRBN":            {"GetFinanceData", `{"ticker": "KRBN"}`, []string{`"price": 31.42`, `"volume": "123456789012"`, `"count": 1`}, 1},
		"nothing":         {"GetFinanceData", `{"ticker": "nope"}`, nil, 0},
		"detail":          {"GetProjectDetail", `{"project_id": "VCS-1"}`, []string{`"source": "verra+carbonmark"`}, -1},
		"Brazil by SQL":   {"GetNonStreamingProjects", `{"country": "Brazil"}`, []string{"Rio Preto (Carbonmark)"}, 2},
		"news by SQL":     {"GetNonStreamingNews", `{}`, []string{`"guid": "n2"`}, 3},
		"finance by SQL":  {"GetNonStreamingFinanceData", `{}`, []string{`"price": "NaN"`, `"count": 2`}, 2},
		"one page of two": {"GetProjects", `{"page_size": 2}`, []string{`"nextPageToken": "`}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			out := run(t, "-d", tc.data, d.GRPC, "carbon.CarbonService/"+tc.call)
			var reply struct{ Items []json.RawMessage }
			if err := json.Unmarshal([]byte(out), &reply); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if tc.items >= 0 && len(reply.Items) != tc.items {
				t.Errorf("%d items:\n%s", len(reply.Items), out)
			}
			for _, w := range tc.want {
				if !strings.Contains(out, w) {
					t.Errorf("no %s in:\n%s", w, out)
				}
			}
		})
	}
	for data, code := range map[string]string{`{"project_id": "no such"}`: "NotFound", `{}`: "InvalidArgument"} {
		if out, err := grpcurl("-d", data, d.GRPC, "carbon.CarbonService/GetProjectDetail"); err == nil || !strings.Contains(out, "Code: "+code) {
			t.Errorf("detail of %s: %v\n%s", data, err, out)
		}
	}
	out := run(t, "-v", "-H", "cache-control: no-cache", d.GRPC, "carbon.CarbonService/GetNews")
	for _, h := range []string{"carbond-cache: bypass", "carbond-lsn: ", "carbond-offset: ", "carbond-age-ms: "} {
		if !strings.Contains(out, h) {
			t.Errorf("no header %s in:\n%s", h, out)
		}
	}
}

// TestPromtool has the metrics of a daemon at work checked by Prometheus' tool.
func TestPromtool(t *testing.T) {
	tool, err := exec.LookPath("promtool")
	if err != nil {
		missing(t, "promtool (Debian: prometheus) is not installed")
	}
	d := fixture(t)
	api := pb.NewCarbonServiceClient(d.Dial(t))
	if _, err := api.GetProjects(t.Context(), &pb.ProjectQuery{Country: "Brazil"}); err != nil {
		t.Fatal(err)
	}
	if _, err := api.GetNonStreamingNews(t.Context(), &pb.NewsQuery{}); err != nil {
		t.Fatal(err)
	}
	var body []byte
	programtest.Until(t, 2*time.Minute, "the first look at the server's lag", func() bool {
		if body, err = d.get(t.Context(), "/metrics"); err != nil {
			t.Fatal(err)
		}
		_, found := metricSum(string(body), "carbond_replication_lag_seconds")
		return found
	})
	for _, name := range []string{"carbond_replication_lag_seconds", "carbond_replication_changes_total", "carbond_cache_requests_total", "grpc_server_handled_total", "carbond_changelog_durable_lsn_bytes"} {
		if _, found := metricSum(string(body), name); !found {
			t.Errorf("there is no %s", name)
		}
	}
	cmd := exec.CommandContext(t.Context(), tool, "check", "metrics")
	cmd.Stdin = strings.NewReader(string(body))
	if out, err := cmd.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != "" {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}
