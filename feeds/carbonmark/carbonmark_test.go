package carbonmark_test

import (
	"errors"
	"strings"
	"testing"

	"carbond/feeds/carbonmark"
	"carbond/feeds/internal/payload"
	"carbond/feeds/internal/payload/golden"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const jsonType = "application/json; charset=utf-8"

// withRows puts the table rows beside what a parser returned.
type withRows struct {
	Parsed any `json:"parsed"`
	Rows   any `json:"table_rows"`
}

func rowsOf[T any](list []T, row func(T) carbonmark.Row) []carbonmark.Row {
	rows := []carbonmark.Row{}
	for _, v := range list {
		rows = append(rows, row(v))
	}
	return rows
}

// parsers name each way to read a body, for the golden and the fuzz tests.
var parsers = map[string]func([]byte, string) (any, error){
	"projects": func(b []byte, ct string) (any, error) {
		p, err := carbonmark.ParseProjects(b, ct)
		return withRows{p, rowsOf(p.Rows, func(p carbonmark.Project) carbonmark.Row { return p.Row(nil) })}, err
	},
	"prices": func(b []byte, ct string) (any, error) {
		p, err := carbonmark.ParsePrices(b, ct)
		return withRows{p, carbonmark.OffersOf(p.Rows)}, err
	},
	"graph projects": func(b []byte, ct string) (any, error) {
		p, err := carbonmark.ParseGraphProjects(b, ct)
		return withRows{p, rowsOf(p.Rows, carbonmark.GraphProject.Row)}, err
	},
}

// fixtures says by which parser each file is read, and which named error it
// must give.
var fixtures = map[string]struct {
	parser string
	err    error
}{
	"v20_carbonProjects_page1.json":              {parser: "projects"},
	"v20_carbonProjects_page2.json":              {parser: "projects"},
	"v20_carbonProjects_page_past_end.json":      {parser: "projects"},
	"v20_carbonProjects_empty.json":              {parser: "projects"},
	"v20_carbonProjects_nasty.json":              {parser: "projects"},
	"v16_carbonProjects_bare_array.json":         {parser: "projects"},
	"v20_carbonProjects_items_null.json":         {"projects", payload.ErrShape},
	"v20_prices.json":                            {parser: "prices"},
	"v20_prices_empty.json":                      {parser: "prices"},
	"error_400.json":                             {"projects", payload.ErrShape},
	"error_401.json":                             {"projects", payload.ErrShape},
	"error_404.json":                             {"projects", payload.ErrShape},
	"error_429.http":                             {"projects", payload.ErrShape},
	"error_500.json":                             {"projects", payload.ErrShape},
	"html_200_instead_of_json.html":              {"projects", payload.ErrHTML},
	"html_502.html":                              {"projects", payload.ErrHTML},
	"truncated.json":                             {"projects", payload.ErrTruncated},
	"subgraph/carbonProjects_page1.json":         {parser: "graph projects"},
	"subgraph/carbonProjects_page2.json":         {parser: "graph projects"},
	"subgraph/carbonProjects_nasty.json":         {parser: "graph projects"},
	"subgraph/empty.json":                        {parser: "graph projects"},
	"subgraph/data_null_200.json":                {"graph projects", payload.ErrShape},
	"subgraph/error_429.http":                    {"graph projects", carbonmark.ErrRate},
	"subgraph/error_auth_invalid_200.json":       {"graph projects", carbonmark.ErrAuth},
	"subgraph/error_auth_missing_200.json":       {"graph projects", carbonmark.ErrAuth},
	"subgraph/error_bad_indexers_200.json":       {"graph projects", carbonmark.ErrIndexers},
	"subgraph/error_endpoint_removed_200.json":   {"graph projects", carbonmark.ErrRemoved},
	"subgraph/error_first_too_big_200.json":      {"graph projects", carbonmark.ErrQuery},
	"subgraph/error_payment_200.json":            {"graph projects", carbonmark.ErrPayment},
	"subgraph/error_query_200.json":              {"graph projects", carbonmark.ErrQuery},
	"subgraph/error_subgraph_not_found_200.json": {"graph projects", carbonmark.ErrNoGraph},
	"subgraph/error_timeout_200.json":            {"graph projects", carbonmark.ErrIndexers},
	"subgraph/html_502.html":                     {"graph projects", payload.ErrHTML},
	"subgraph/partial_data_with_errors_200.json": {"graph projects", carbonmark.ErrPartial},
	"subgraph/truncated.json":                    {"graph projects", payload.ErrTruncated},
}

func TestGolden(t *testing.T) {
	t.Parallel()
	for _, name := range golden.Fixtures(t) {
		f, ok := fixtures[name]
		if !ok {
			t.Errorf("%s: no test reads this fixture", name)
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body, _, _ := golden.Body(t, name)
			v, err := parsers[f.parser](body, jsonType)
			if !errors.Is(err, f.err) {
				t.Fatalf("error %v, want %v", err, f.err)
			}
			if err != nil {
				v = nil // a failed call has no result
			}
			golden.Check(t, name, v, err)
		})
	}
}

func TestForeignBodiesGiveNamedErrors(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]error{
		"html_502.html": payload.ErrHTML, "html_200_instead_of_json.html": payload.ErrHTML, "truncated.json": payload.ErrTruncated,
	} {
		for name, parse := range parsers {
			if _, err := parse(golden.Read(t, file), jsonType); !errors.Is(err, want) {
				t.Errorf("%s of %s: %v, want %v", name, file, err, want)
			}
		}
	}
	for body, want := range map[string]error{
		"": payload.ErrEmpty, " \n": payload.ErrEmpty, "null": payload.ErrNull, "Too Many Requests\r\n": payload.ErrNotJSON,
		`"text"`: payload.ErrShape, "17": payload.ErrShape, "{}": payload.ErrShape, `{"statusCode":503}`: payload.ErrShape,
	} {
		for name, parse := range parsers {
			if _, err := parse([]byte(body), "text/plain"); !errors.Is(err, want) {
				t.Errorf("%s of %q: %v, want %v", name, body, err, want)
			}
		}
	}
}

// A parser that wanted data names the error object that it got.
func TestErrorObjectsInPlaceOfData(t *testing.T) {
	t.Parallel()
	for file, status := range map[string]int{"error_400.json": 400, "error_401.json": 401, "error_404.json": 404, "error_500.json": 0} {
		for _, parser := range []string{"projects", "prices"} {
			_, err := parsers[parser](golden.Read(t, file), jsonType)
			var e *carbonmark.APIError
			if !errors.As(err, &e) || e.Status != status || e.Message == "" || !errors.Is(err, payload.ErrShape) {
				t.Errorf("%s of %s: %v", parser, file, err)
			}
		}
	}
}

func TestTransientErrors(t *testing.T) {
	t.Parallel()
	for name, f := range fixtures {
		if !strings.HasPrefix(name, "subgraph/") || f.err == nil {
			continue
		}
		body, _, _ := golden.Body(t, name)
		_, err := parsers[f.parser](body, jsonType)
		want := errors.Is(f.err, carbonmark.ErrIndexers) || errors.Is(f.err, carbonmark.ErrPartial)
		if carbonmark.Transient(err) != want {
			t.Errorf("%s: transient %v: %v", name, !want, err)
		}
	}
}

// An answer that repeats the key it was given must not bring it into a log.
func TestKeyErrorsAreNotRepeated(t *testing.T) {
	t.Parallel()
	for _, message := range []string{"auth error: malformed API key: 0123secret", "payment required for 0123secret"} {
		_, err := carbonmark.ParseGraphProjects([]byte(`{"errors":[{"message":"`+message+`"}]}`), jsonType)
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", message, err)
		}
	}
}
