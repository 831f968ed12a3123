package carbonmark_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"carbond/feeds/carbonmark"
	"carbond/feeds/internal/payload"
)

func TestRESTRequests(t *testing.T) {
	t.Parallel()
	c := carbonmark.Client{}
	for want, r := range map[string]carbonmark.Request{
		"GET https://v20.api.carbonmark.com/carbonProjects":                     c.Projects(0, 0),
		"GET https://v20.api.carbonmark.com/carbonProjects?limit=50&offset=100": c.Projects(50, 100),
		"GET https://v20.api.carbonmark.com/prices":                             c.Prices(),
		"GET https://v20.api.carbonmark.com/prices?projectIds=VCS-1%2CGS-2":     c.Prices("VCS-1", "GS-2"),
	} {
		if r.String() != want || r.Body != nil || r.Header["Authorization"] != "" || r.Header["Accept"] != "application/json" {
			t.Errorf("%s, want %s", r, want)
		}
	}
}

func TestGraphRequests(t *testing.T) {
	t.Parallel()
	g := carbonmark.GraphClient{}
	r, err := g.Projects("0x\"1", 5000)
	if err != nil {
		t.Fatal(err)
	}
	var body struct {
		Query     string
		Variables struct {
			First int
			Last  string
		}
	}
	if err := json.Unmarshal(r.Body, &body); err != nil {
		t.Fatal(err)
	}
	if body.Variables.First != carbonmark.MaxFirst || body.Variables.Last != "0x\"1" {
		t.Errorf("%+v", body.Variables)
	}
	for _, part := range []string{"carbonProjects(first: $first, orderBy: id, where: {id_gt: $last})", "_meta { block { number", "hasIndexingErrors"} {
		if !strings.Contains(body.Query, part) {
			t.Errorf("no %q in %s", part, body.Query)
		}
	}
	if strings.Count(body.Query, "{") != strings.Count(body.Query, "}") {
		t.Errorf("braces of %s", body.Query)
	}
	if r.String() != "POST https://gateway.thegraph.com/api/subgraphs/id/"+carbonmark.DefaultGraph {
		t.Error(r)
	}
}

func TestKeysAreSentButNeverShown(t *testing.T) {
	t.Parallel()
	const key = "0123secret"
	c, g := carbonmark.Client{Key: key}, carbonmark.GraphClient{Key: key}
	r, err := g.Projects("", 10)
	if err != nil {
		t.Fatal(err)
	}
	if r.Header["Authorization"] != "Bearer "+key || c.Prices().Header["Authorization"] != "Bearer "+key {
		t.Error("the key is not sent")
	}
	var log strings.Builder
	logger := slog.New(slog.NewJSONHandler(&log, nil))
	logger.Info("x", "request", r)
	encoded, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	shown := log.String() + string(encoded) + fmt.Sprintf("%v %+v %#v %v %+v %#v %v %+v %#v %s", c, c, c, g, g, g, r, r, r, r.Body)
	if strings.Contains(shown, "secret") {
		t.Errorf("the key is shown: %s", shown)
	}
}

// More elements than any real answer has are refused before they fill memory.
func TestTooManyRows(t *testing.T) {
	t.Parallel()
	many := strings.Repeat("1,", 20_000) + "1"
	for name, body := range map[string]string{
		"projects": "[" + many + "]", "prices": "[" + many + "]",
		"graph projects": `{"data":{"carbonProjects":[` + many + `]}}`,
	} {
		_, err := parsers[name]([]byte(body), "")
		if err == nil || !strings.Contains(err.Error(), payload.ErrTooMany.Error()) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
