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
		"GET https://v20.api.carbonmark.com/carbonProjects/VCS-934":             c.Project("VCS-934"),
		"GET https://v20.api.carbonmark.com/carbonProjects/a%2Fb%3F":            c.Project("a/b?"),
		"GET https://v20.api.carbonmark.com/prices":                             c.Prices(),
		"GET https://v20.api.carbonmark.com/prices?projectIds=VCS-1%2CGS-2":     c.Prices("VCS-1", "GS-2"),
		"GET https://v20.api.carbonmark.com/countries":                          c.Countries(),
		"GET https://v20.api.carbonmark.com/vintages":                           c.Vintages(),
		"GET https://v20.api.carbonmark.com/categories":                         c.Categories(),
		"GET http://127.0.0.1:9/x/countries":                                    carbonmark.Client{Base: "http://127.0.0.1:9/x/"}.Countries(),
	} {
		if r.String() != want || r.Body != nil || r.Header["Authorization"] != "" || r.Header["Accept"] != "application/json" {
			t.Errorf("%s, want %s", r, want)
		}
	}
}

func TestGraphRequests(t *testing.T) {
	t.Parallel()
	g := carbonmark.GraphClient{}
	for name, build := range map[string]func(string, int) (carbonmark.Request, error){
		"carbonCredits": g.Credits, "carbonProjects": g.Projects, "carbonOffsets": g.Offsets,
	} {
		r, err := build("0x\"1", 5000)
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
			t.Errorf("%s: %+v", name, body.Variables)
		}
		for _, part := range []string{name + "(first: $first, orderBy: id, where: {id_gt: $last})", "_meta { block { number", "hasIndexingErrors"} {
			if !strings.Contains(body.Query, part) {
				t.Errorf("%s: no %q in %s", name, part, body.Query)
			}
		}
		if strings.Count(body.Query, "{") != strings.Count(body.Query, "}") {
			t.Errorf("%s: braces of %s", name, body.Query)
		}
		if r.String() != "POST https://gateway.thegraph.com/api/subgraphs/id/"+carbonmark.DefaultGraph {
			t.Errorf("%s: %s", name, r)
		}
	}
}

func TestKeysAreSentButNeverShown(t *testing.T) {
	t.Parallel()
	const key = "0123secret"
	c, g := carbonmark.Client{Key: key}, carbonmark.GraphClient{Key: key}
	r, err := g.Credits("", 10)
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
		"projects": "[" + many + "]", "prices": "[" + many + "]", "countries": "[" + many + "]",
		"credits": `{"data":{"carbonCredits":[` + many + `]}}`,
	} {
		_, err := parsers[name]([]byte(body), "")
		if err == nil || !strings.Contains(err.Error(), payload.ErrTooMany.Error()) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
