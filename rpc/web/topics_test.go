package web_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"carbond/rpc/web"
	"carbond/store/change"
)

// TestTopics reads a topic by requests and by events: each record once, in order.
func TestTopics(t *testing.T) {
	w := newWorld(t, setup{})
	for i := range 10 {
		w.put(t, change.Verra, "project_id supply", row("P1", fmt.Sprint(i)), row("P2", fmt.Sprint(i)))
		w.put(t, change.Finance, "ticker timestamp", row("T", fmt.Sprint(i)))
	}
	if a := w.get(t, "/v1/topics?format=csv"); !strings.Contains(a.body, "carbon.public.verra,") || a.status != 200 {
		t.Errorf("topics: %d %s", a.status, a.body)
	}
	var offsets []uint64
	next, requests := "/v1/topics/carbon.public.verra?max=7", 0
	for next != "" {
		a := w.get(t, next)
		var page struct {
			Items []struct {
				Offset uint64
				Key    map[string]any
				Value  struct{ Op string }
			}
			NextOffset uint64
			History    string
		}
		if err := json.Unmarshal([]byte(a.body), &page); err != nil || page.History != w.History().ID {
			t.Fatalf("%s: %v", a.body, err)
		}
		for _, i := range page.Items {
			if i.Key["project_id"] == nil || i.Value.Op == "" {
				t.Errorf("item %+v", i)
			}
			offsets = append(offsets, i.Offset)
		}
		next, _, _ = strings.Cut(strings.TrimPrefix(a.header.Get("Link"), "<"), ">")
		requests++
		if next == "" && page.NextOffset != uint64(w.Position().Offset)+1 {
			t.Errorf("the end is at %d", page.NextOffset)
		}
	}
	if len(offsets) != 20 || requests != 3 {
		t.Fatalf("%d records in %d requests", len(offsets), requests)
	}
	a := w.get(t, fmt.Sprint("/v1/topics/carbon.public.verra?format=row&max=1&from=", offsets[5]), "Accept: application/x-ndjson")
	if !strings.HasPrefix(a.body, `{"id":`) || !strings.Contains(a.body, fmt.Sprint(`"offset":`, offsets[5], ",")) || strings.Count(a.body, "\n") != 1 {
		t.Errorf("rows: %s", a.body)
	}
	var seen []uint64
	last := ""
	for i := range 10 { // a connection for each event
		s := w.watch(t, "/v1/topics/carbon.public.verra/watch?from=earliest", last)
		e, _ := s.next()
		for e.name == "progress" {
			e, _ = s.next()
		}
		s.close()
		var d struct {
			Records []struct{ Offset uint64 }
			End     bool
		}
		if err := json.Unmarshal([]byte(e.data), &d); err != nil || len(d.Records) != 2 || !d.End {
			t.Fatalf("event %d: %+v, %v", i, e, err)
		}
		for _, r := range d.Records {
			seen = append(seen, r.Offset)
		}
		last = e.id
	}
	if fmt.Sprint(seen) != fmt.Sprint(offsets) {
		t.Errorf("by events %v, by requests %v", seen, offsets)
	}
	s := w.watch(t, "/v1/topics/carbon.public.verra/watch", "5.of-nobody")
	defer s.close()
	if e, _ := s.next(); e.name != "reset" {
		t.Errorf("a place of another history: %+v", e)
	}
	for path, want := range map[string]int{
		"/v1/topics/nothing": 404, "/v1/topics/carbon.public.verra?from=5": 410, "/v1/topics/carbon.public.verra?from=soon": 400, "/v1/topics/carbon.public.verra?max=0": 400,
		"/v1/topics/carbon.public.verra?format=csv": 400, "/v1/topics/carbon.public.verra?form=row": 400, "/v1/topics/nothing/watch": 404,
	} {
		if a := w.get(t, path); a.status != want {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
}

var update = flag.Bool("update", false, "write API.md again")

// TestTable holds the table of addresses in API.md to the handlers.
func TestTable(t *testing.T) {
	var b strings.Builder
	b.WriteString("# The HTTP API\n\nMade of the table of routes by `go test ./rpc/web -run TestTable -update`.\n\n| address | parameters | answer |\n|---|---|---|\n")
	for _, e := range web.Endpoints() {
		fmt.Fprintf(&b, "| `GET %s` | %s | %s |\n", e.Path, strings.Join(e.Parameters, ", "), e.Summary)
	}
	if *update {
		if err := os.WriteFile("API.md", []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if have, err := os.ReadFile("API.md"); err != nil || string(have) != b.String() {
		t.Errorf("API.md is not what the handlers have, %v:\n%s", err, b.String())
	}
}

// TestDescription holds the description to the handlers: each address answers, and each
// parameter of it is read.
func TestDescription(t *testing.T) {
	w := newWorld(t, setup{})
	w.market(t)
	var api struct {
		OpenAPI string
		Paths   map[string]map[string]struct {
			Parameters []struct {
				Name, In, Description string
				Schema                struct {
					Type string
					Enum []string
				}
			}
			Responses map[string]struct{ Content map[string]any }
		}
	}
	if err := json.Unmarshal([]byte(w.get(t, "/v1/openapi.json").body), &api); err != nil {
		t.Fatal(err)
	}
	if api.OpenAPI != "3.1.0" || len(api.Paths) != len(web.Endpoints()) {
		t.Fatalf("version %s, %d paths", api.OpenAPI, len(api.Paths))
	}
	examples := map[string]string{
		"project_id": "VCS-1", "ticker": "KRBN", "topic": "carbon.public.verra", "order": "-supply", "as_of": fmt.Sprint(w.Position().Offset), "page_token": "", "from": "2020-01-01T00:00:00Z",
		"to": "2024-01-01T00:00:00Z", "since": "2020-01-01T00:00:00Z", "until": "2024-01-01T00:00:00Z", "min_lsn": "0/0", "methodology": "", "type": "", "registry": "",
	}
	for path, ops := range api.Paths {
		address := path
		for _, p := range ops["get"].Parameters {
			if p.Description == "" {
				t.Errorf("%s: %s is not described", path, p.Name)
			}
			if p.In == "path" {
				address = strings.ReplaceAll(address, "{"+p.Name+"}", examples[p.Name])
			}
		}
		if _, stream := ops["get"].Responses["200"].Content["text/event-stream"]; stream {
			s := w.watch(t, address, "")
			if e, ok := s.next(); !ok || e.name == "" {
				t.Errorf("%s: no event", path)
			}
			s.close()
			continue
		}
		if a := w.get(t, address); a.status != 200 {
			t.Errorf("%s: %d %s", address, a.status, a.body)
		}
		for _, p := range ops["get"].Parameters {
			value := map[string]string{"integer": "2020", "number": "1"}[p.Schema.Type]
			if v, ok := examples[p.Name]; ok {
				value = v
			} else if len(p.Schema.Enum) > 0 {
				value = p.Schema.Enum[0]
			}
			if p.In != "query" || value == "" && p.Schema.Type == "string" && examples[p.Name] != "" {
				continue
			}
			if a := w.get(t, address+"?"+p.Name+"="+value); a.status != 200 {
				t.Errorf("%s?%s=%s: %d %s", address, p.Name, value, a.status, a.body)
			}
		}
		if a := w.get(t, address+"?no_such_parameter=1"); a.status != 400 {
			t.Errorf("%s reads what is not described: %d", path, a.status)
		}
	}
}
