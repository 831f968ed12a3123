package debezium_test

import (
	"strings"
	"testing"

	"carbond/rpc/internal/debezium"
	"carbond/store/change"
)

// TestFurtherTypes pins the types that only tables without a view have.
func TestFurtherTypes(t *testing.T) {
	for _, tt := range []struct {
		oid        uint32
		text, want string
	}{
		{1082, "2024-02-29", "19782"},
		{1082, "1970-01-01", "0"},
		{1082, "1969-12-31", "-1"},
		{1082, "0001-12-31 BC", "-719163"},
		{1082, "infinity", "2147483647"},
		{1082, "-infinity", "-2147483648"},
		{1082, "soon", `"soon"`},
		{1083, "00:00:00", "0"},
		{1083, "12:34:56.789", "45296789000"},
		{1083, "24:00:00", "86400000000"},
		{1083, "25:00:00", `"25:00:00"`},
		{1114, "1970-01-01 00:00:00.000001", "1"},
		{1114, "1969-12-31 23:59:59.999999", "-1"},
		{1114, "2024-02-29 12:34:56", "1709210096000000"},
		{1114, "infinity", "9223372036825200000"},
		{1114, "-infinity", "-9223372036832400000"},
		{17, `\x00ff10`, `"AP8Q"`},
		{17, `\x`, `""`},
		{17, "plain", `"plain"`},
		{26, "4294967295", "4294967295"},
		{1186, "1 day", `"1 day"`},
	} {
		rel := &change.Relation{Schema: "shop", Name: "t", Plain: true, Columns: []change.Column{{Name: "v", Type: tt.oid}}}
		r := change.Record{Change: change.Change{Op: change.Create, Relation: rel, After: change.NewRow(change.T(tt.text))}}
		got := string(debezium.AppendValue(nil, &r, debezium.Source{}, debezium.Place{}))
		if !strings.Contains(got, `"after":{"v":`+tt.want+`}`) {
			t.Errorf("%q of type %d is not %s in %s", tt.text, tt.oid, tt.want, got)
		}
		e, err := debezium.NewEncoder(debezium.Connect)
		if err != nil {
			t.Fatal(err)
		}
		if key := e.AppendKey(nil, &r); len(key) != 0 {
			t.Errorf("a table without a key has the key %s", key)
		}
	}
}
