package compose_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// project is the part of a compose file that this one may use; an unknown key
// is a mistake.
type project struct {
	Name     string
	Services map[string]service
	Volumes  map[string]any
}

type service struct {
	Image           string
	Build           struct{ Context, Dockerfile string }
	Command         []string
	DependsOn       any `yaml:"depends_on"`
	Environment     map[string]string
	Ports           []string
	Volumes         []string
	Healthcheck     map[string]any
	Restart         string
	ReadOnly        bool     `yaml:"read_only"`
	CapDrop         []string `yaml:"cap_drop"`
	SecurityOpt     []string `yaml:"security_opt"`
	StopGracePeriod string   `yaml:"stop_grace_period"`
}

// strict reads YAML and refuses keys that the target does not have.
func strict(t *testing.T, name string, into any) {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

func load(t *testing.T) project {
	t.Helper()
	var p project
	strict(t, "compose.yaml", &p)
	return p
}

func TestServices(t *testing.T) {
	p := load(t)
	for _, name := range []string{"postgres", "carbond", "prometheus", "grafana"} {
		s, ok := p.Services[name]
		if !ok {
			t.Fatalf("service %s is missing", name)
		}
		for _, port := range s.Ports {
			if !strings.HasPrefix(port, "127.0.0.1:") {
				t.Errorf("%s publishes %s beyond loopback", name, port)
			}
		}
		if _, tag, ok := strings.Cut(s.Image, ":"); !ok || tag == "latest" {
			t.Errorf("%s: image %q has no version", name, s.Image)
		}
	}
	if s := p.Services["postgres"]; !slices.Contains(s.Command, "wal_level=logical") {
		t.Error("postgres: wal_level is not logical")
	}
	if s := p.Services["carbond"]; !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) {
		t.Error("carbond: want a read-only root and no capabilities")
	}
}

// TestMounts: every file that is mounted is there, every volume is declared.
func TestMounts(t *testing.T) {
	p := load(t)
	for name, s := range p.Services {
		for _, v := range s.Volumes {
			from, _, _ := strings.Cut(v, ":")
			if !strings.HasPrefix(from, ".") {
				if _, ok := p.Volumes[from]; !ok {
					t.Errorf("%s: volume %s is not declared", name, from)
				}
				continue
			}
			if _, err := os.Stat(from); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	b := p.Services["carbond"].Build
	if _, err := os.Stat(filepath.Join(b.Context, b.Dockerfile)); err != nil {
		t.Errorf("carbond: %v", err)
	}
}

// TestGrafana: the provisioned dashboard asks for a data source by variable,
// and the provisioned data source is a Prometheus.
func TestGrafana(t *testing.T) {
	var sources struct {
		APIVersion  int `yaml:"apiVersion"`
		Datasources []struct {
			Name, UID, Type, Access, URL string
			IsDefault                    bool           `yaml:"isDefault"`
			JSONData                     map[string]any `yaml:"jsonData"`
		}
	}
	strict(t, "grafana/provisioning/datasources/prometheus.yaml", &sources)
	if len(sources.Datasources) != 1 || sources.Datasources[0].Type != "prometheus" {
		t.Fatalf("data sources: %+v", sources.Datasources)
	}
	text, err := os.ReadFile("../grafana/dashboards/carbond.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct{ UID string }
	if err := json.Unmarshal(text, &board); err != nil || board.UID == "" {
		t.Fatalf("dashboard: uid %q, %v", board.UID, err)
	}
}

// TestPrometheus asks promtool, which Debian has in the package prometheus.
func TestPrometheus(t *testing.T) {
	tool, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("CARBOND_TEST_REQUIRE") == "1" {
			t.Fatal(err)
		}
		t.Skip("promtool is not installed")
	}
	out, err := exec.Command(tool, "check", "config", "--syntax-only", "prometheus/prometheus.yml").CombinedOutput()
	if err != nil {
		t.Errorf("promtool: %v\n%s", err, out)
	}
}

// TestDaemonAccepts gives the environment of the compose file to the program.
func TestDaemonAccepts(t *testing.T) {
	binary := os.Getenv("CARBOND_BINARY")
	if binary == "" {
		if os.Getenv("CARBOND_TEST_REQUIRE") == "1" {
			t.Fatal("CARBOND_BINARY is not set")
		}
		t.Skip("CARBOND_BINARY is not set")
	}
	cmd := exec.Command(binary, "check-config", "--config", os.DevNull)
	for key, value := range load(t).Services["carbond"].Environment {
		cmd.Env = append(cmd.Env, key+"="+value)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("check-config: %v\n%s", err, out)
	}
}
