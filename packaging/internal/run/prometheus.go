package run

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// ErrNoPrometheus means that prometheus is not installed here.
var ErrNoPrometheus = errors.New("prometheus is not installed")

// Prometheus is a private server that scrapes and evaluates every second.
type Prometheus struct {
	*Process
	base string
}

// StartPrometheus scrapes the daemons under the job carbond; each is an instance
// with the name that it has in targets. rules is the text of a rule file.
func StartPrometheus(ctx context.Context, dir, rules string, targets map[string]*Daemon) (*Prometheus, error) {
	binary, err := exec.LookPath("prometheus")
	if err != nil {
		return nil, errors.Join(ErrNoPrometheus, err)
	}
	var conf strings.Builder
	conf.WriteString("global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\n" +
		"rule_files: [rules.yml]\nscrape_configs:\n- job_name: carbond\n  tls_config: {insecure_skip_verify: true}\n  static_configs:\n")
	for name, d := range targets {
		scheme, address, _ := strings.Cut(d.HTTP, "://")
		fmt.Fprintf(&conf, "  - {targets: [%q], labels: {instance: %q, __scheme__: %q}}\n", address, name, scheme)
	}
	err = errors.Join(
		os.WriteFile(filepath.Join(dir, "prometheus.yml"), []byte(conf.String()), 0o600),
		os.WriteFile(filepath.Join(dir, "rules.yml"), []byte(rules), 0o600),
	)
	if err != nil {
		return nil, err
	}
	number, err := port()
	if err != nil {
		return nil, err
	}
	p := &Prometheus{base: "http://127.0.0.1:" + number}
	p.Process, err = start(ctx, nil, binary, "--config.file="+filepath.Join(dir, "prometheus.yml"),
		"--storage.tsdb.path="+filepath.Join(dir, "tsdb"), "--web.listen-address=127.0.0.1:"+number, "--log.level=warn")
	if err != nil {
		return nil, err
	}
	return p, p.Until(ctx, 30*time.Second, func(ctx context.Context) error {
		_, err := Get(ctx, p.base+"/-/ready")
		return err
	})
}

// Query runs an instant query and returns how many samples it has.
func (p *Prometheus) Query(ctx context.Context, expr string) (int, error) {
	body, err := Get(ctx, p.base+"/api/v1/query?query="+url.QueryEscape(expr))
	if err != nil {
		return 0, err
	}
	var reply struct {
		Data struct{ Result []json.RawMessage }
	}
	if err := json.Unmarshal(body, &reply); err != nil {
		return 0, err
	}
	return len(reply.Data.Result), nil
}

// Firing lists the alerts that fire, as name/instance.
func (p *Prometheus) Firing(ctx context.Context) (map[string]bool, error) {
	body, err := Get(ctx, p.base+"/api/v1/alerts")
	if err != nil {
		return nil, err
	}
	var reply struct {
		Data struct {
			Alerts []struct {
				State  string
				Labels map[string]string
			}
		}
	}
	if err := json.Unmarshal(body, &reply); err != nil {
		return nil, err
	}
	firing := map[string]bool{}
	for _, a := range reply.Data.Alerts {
		if a.State == "firing" {
			firing[a.Labels["alertname"]+"/"+a.Labels["instance"]] = true
		}
	}
	return firing, nil
}
