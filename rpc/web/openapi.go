package web

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	pb "carbond/proto/carbon"
	"carbond/rpc"
	"carbond/rpc/internal/form"
)

// parameterDocs say what the parameters mean, wherever they are.
var parameterDocs = map[string]string{
	"project_id":  "Id of a project.",
	"ticker":      "Ticker, exact.",
	"topic":       "Name of a topic, such as carbon.public.verra.",
	"country":     "Country, exact.",
	"source":      "Source of news, exact.",
	"status":      "Status, exact.",
	"vintage":     "Vintage, exact.",
	"vintage_min": "Vintages from this one on.",
	"vintage_max": "Vintages up to this one.",
	"methodology": "Methodology, exact.",
	"type":        "Project type, exact.",
	"registry":    "Registry, exact.",
	"min_supply":  "At least so many tonnes.",
	"q":           "Words, each of which must occur, without regard to case and accents.",
	"order":       "Name of a column to sort by, with - in front for the largest first.",
	"since":       "Published at this time or later, RFC 3339.",
	"until":       "Published before this time, RFC 3339.",
	"by":          "What totals are by.",
	"from":        "Where to begin: a time or Unix seconds of prices; earliest, latest, an offset or a time of a topic.",
	"to":          "Before this time, RFC 3339 or Unix seconds.",
	"bucket":      "Span of time that rows are put together in.",
	"page_size":   "Largest number of items.",
	"page_token":  "nextPageToken of the answer before.",
	"max":         "Largest number of records, 100 unless given, at most 10,000.",
	paramFormat:   "Form of the answer, in place of the header Accept.",
	paramGuard:    "0 leaves texts of CSV as they are; otherwise those that a spreadsheet would run begin with '.",
	paramAsOf:     "Answer as of an offset of the changelog, or a time, RFC 3339.",
	paramMinLSN:   "Wait until the answer reflects this position of the WAL, such as 16/B374D848.",
}

// Endpoint describes one address of the API, for documents.
type Endpoint struct {
	Path       string
	Parameters []string
	Summary    string
}

// Endpoints lists the addresses.
func Endpoints() (out []Endpoint) {
	for _, rt := range routes() {
		out = append(out, Endpoint{rt.path, rt.parameters(), rt.summary})
	}
	return out
}

// parameters lists what the query of a route may have.
func (rt *route) parameters() []string {
	if rt.request == nil {
		return rt.extra
	}
	return slices.DeleteFunc(parameters(rt.request(), rt.extra), func(n string) bool { return slices.Contains(rt.inPath, n) })
}

// schemaOf is the type of a parameter.
func (rt *route) schemaOf(name string) map[string]any {
	switch {
	case name == paramFormat && strings.HasPrefix(rt.path, "/v1/topics/"):
		return map[string]any{"type": "string", "enum": []string{"debezium", "row"}}
	case name == paramFormat:
		return map[string]any{"type": "string", "enum": []string{"json", "ndjson", "csv"}}
	case name == paramGuard:
		return map[string]any{"type": "string", "enum": []string{"0", "1"}}
	case name == "max":
		return map[string]any{"type": "integer", "minimum": 1, "maximum": maxRecords}
	case rt.request == nil || !isField(rt.request(), name):
		return map[string]any{"type": "string"}
	}
	f := rt.request().ProtoReflect().Descriptor().Fields().ByName(protoreflect.Name(name))
	switch f.Kind() {
	case protoreflect.EnumKind:
		return map[string]any{"type": "string", "enum": enumWords(f.Enum())}
	case protoreflect.DoubleKind:
		return map[string]any{"type": "number"}
	case protoreflect.Int32Kind, protoreflect.Int64Kind, protoreflect.Uint64Kind:
		return map[string]any{"type": "integer"}
	}
	return map[string]any{"type": "string"}
}

// Description is the API in the words of OpenAPI 3.1, made of the table of routes.
func Description() []byte {
	paths := map[string]any{}
	for _, rt := range routes() {
		params := []any{}
		for _, n := range rt.inPath {
			params = append(params, map[string]any{"name": n, "in": "path", "required": true, "description": parameterDocs[n], "schema": rt.schemaOf(n)})
		}
		for _, n := range rt.parameters() {
			params = append(params, map[string]any{"name": n, "in": "query", "description": parameterDocs[n], "schema": rt.schemaOf(n)})
		}
		problem := map[string]any{"$ref": "#/components/responses/Problem"}
		paths[rt.path] = map[string]any{"get": map[string]any{
			"summary": rt.summary, "operationId": operationID(rt.path), "parameters": params,
			"responses": map[string]any{"200": map[string]any{"description": "The answer.", "content": rt.content()}, "304": map[string]any{"description": "The ETag of If-None-Match is still right."}, "default": problem},
		}}
	}
	b, err := json.MarshalIndent(map[string]any{
		"openapi":  "3.1.0",
		"info":     map[string]any{"title": "carbond", "version": "1", "description": "Carbon-market projects, news and prices, and the changelog behind them."},
		"paths":    paths,
		"security": []any{map[string]any{}, map[string]any{"bearer": []any{}}},
		"components": map[string]any{
			"securitySchemes": map[string]any{"bearer": map[string]any{"type": "http", "scheme": "bearer"}},
			"responses": map[string]any{"Problem": map[string]any{"description": "What is wrong, and what helps.", "content": map[string]any{
				"application/problem+json": map[string]any{"schema": map[string]any{"type": "object", "properties": map[string]any{
					"status": map[string]any{"type": "integer"}, "detail": text, "code": text, "reason": text, "remedy": text, "field": text, "requestId": text,
				}}},
			}}},
		},
	}, "", "  ")
	if err != nil {
		panic(fmt.Sprintf("web: describe the API: %v", err)) // of maps and texts
	}
	return append(b, '\n')
}

var text = map[string]any{"type": "string"}

// content lists the media types of an answer.
func (rt *route) content() map[string]any {
	switch {
	case rt.stream():
		return map[string]any{"text/event-stream": map[string]any{}}
	case rt.path == "/v1/openapi.json":
		return map[string]any{"application/json": map[string]any{}}
	case strings.HasPrefix(rt.path, "/v1/topics/"):
		return map[string]any{"application/json": map[string]any{}, "application/x-ndjson": map[string]any{}}
	}
	return map[string]any{"application/json": map[string]any{}, "application/x-ndjson": map[string]any{}, "text/csv": map[string]any{}}
}

// stream reports whether a route answers with events.
func (rt *route) stream() bool { return strings.HasSuffix(rt.path, "/watch") }

// operationID names a route: /v1/projects/{project_id}/history is projectsProjectIdHistory.
func operationID(path string) string {
	return form.CamelCase(strings.NewReplacer("/", "_", "{", "", "}", "", ".", "_").Replace(strings.TrimPrefix(path, "/v1/")))
}

func (c *call) openAPI() error {
	// It asks for nothing; that it is let in, a call that does says.
	if err := c.api.Local().Invoke(c.ctx, pb.ChangelogService_ListTopics_FullMethodName, &pb.ListTopicsRequest{}, &pb.ListTopicsResponse{}); err != nil {
		return err
	}
	c.form = form.JSON
	return c.listing(rpc.NewListing(Description(), form.JSON, c.enc, "", rpc.NewHeaders(nil), c.has), nil)
}
