package exposition_test

import (
	"slices"
	"testing"

	"carbond/packaging/internal/exposition"
)

const text = `# HELP a_total With {braces} and "quotes".
# TYPE a_total counter
a_total{op="c",table="x,y=\"z\""} 1
a_total{op="d",feed="n"} 1
# HELP d_seconds Duration.
# TYPE d_seconds histogram
d_seconds_bucket{m="x",le="0.1"} 1
d_seconds_sum{m="x"} 1
d_seconds_count{m="x"} 1
`

func TestParse(t *testing.T) {
	got := map[string]*exposition.Family{}
	if err := exposition.Parse(text, got); err != nil {
		t.Fatal(err)
	}
	if f := got["a_total"]; f.Type != "counter" || !slices.Equal(f.Labels, []string{"feed", "op", "table"}) {
		t.Errorf("a_total = %+v", f)
	}
	if f := got["d_seconds"]; !slices.Equal(f.Labels, []string{"m"}) || !slices.Contains(f.Series(), "d_seconds_bucket") {
		t.Errorf("d_seconds = %+v", f)
	}
	if err := exposition.Parse("b 1\n", got); err == nil {
		t.Error("a sample without a family was accepted")
	}
}

func TestReferences(t *testing.T) {
	const expr = `sum by (grpc_method) (rate(grpc_server_handled_total{grpc_service=~"carbon[.].*", job="carbond"}[5m])) / carbond_x > time() - carbond:rec:seconds`
	want := []string{"carbond_x", "grpc_server_handled_total"}
	if got := exposition.References(expr); !slices.Equal(got, want) {
		t.Errorf("References = %v, want %v", got, want)
	}
}
