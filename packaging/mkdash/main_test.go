package main

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"

	"carbond/packaging/internal/exposition"
)

// TestCommitted: the file that Grafana reads is what this program writes.
func TestCommitted(t *testing.T) {
	want, err := os.ReadFile("../grafana/dashboards/carbond.json")
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := write(&got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Error("the committed dashboard is stale: run make dashboard")
	}
}

var (
	label  = regexp.MustCompile(`^grpc_(method|code|service|type)$`)
	window = regexp.MustCompile(`\[[^\]]*\]`)
)

// TestQueries: every series is selected by the variables, and every window is
// Grafana's own, so that no query breaks at another scrape interval.
func TestQueries(t *testing.T) {
	for _, s := range sections() {
		for _, p := range s.panels {
			if p.help == "" || p.unit == "" {
				t.Errorf("panel %s: want a description and a unit", p.title)
			}
			for _, q := range p.queries {
				for _, name := range exposition.References(q.expr) {
					if label.MatchString(name) {
						continue
					}
					if !strings.Contains(q.expr, name+"{"+selector) {
						t.Errorf("panel %s: %s is not selected by job and instance", p.title, name)
					}
				}
				for _, w := range window.FindAllString(q.expr, -1) {
					if w != "[$__rate_interval]" && w != "[.]" {
						t.Errorf("panel %s: window %s", p.title, w)
					}
				}
			}
		}
	}
}

// TestGrid: panels do not overlap and have numbers of their own.
func TestGrid(t *testing.T) {
	type cell struct{ x, y int }
	taken, ids := map[cell]any{}, map[any]bool{}
	list := place(sections())
	for _, p := range list {
		if nested, ok := p["panels"].([]object); ok {
			list = append(list, nested...)
		}
	}
	for _, p := range list {
		if ids[p["id"]] {
			t.Errorf("id %v twice", p["id"])
		}
		ids[p["id"]] = true
		pos := p["gridPos"].(object)
		for x := pos["x"].(int); x < pos["x"].(int)+pos["w"].(int); x++ {
			for y := pos["y"].(int); y < pos["y"].(int)+pos["h"].(int); y++ {
				if x >= gridWidth || taken[cell{x, y}] != nil {
					t.Fatalf("panel %v lies over %v or beyond the grid", p["title"], taken[cell{x, y}])
				}
				taken[cell{x, y}] = p["title"]
			}
		}
	}
}
