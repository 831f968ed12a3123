package debezium_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"carbond/rpc/internal/debezium"
	"carbond/store/change"
)

var update = flag.Bool("update", false, "write the golden file again")

// wide has a column of every type that has a form of its own.
func wide() *change.Relation {
	col := func(name string, oid uint32) change.Column { return change.Column{Name: name, Type: oid} }
	return &change.Relation{Schema: "public", Name: "verra", Columns: []change.Column{
		{Name: "project_id", Type: change.OIDText, Key: true},
		col("int2", 21), col("int4", 23), col("int8", 20), col("float4", 700), col("float8", 701),
		col("numeric", 1700), col("bool", 16), col("timestamptz", 1184), col("text", 25),
		col("jsonb", 3802), col("unknown", 0), col("op", 25),
	}}
}

func wideRow(values ...string) change.Row {
	var b change.RowBuilder
	b.Reset(len(values))
	for _, v := range values {
		if v == "NULL" {
			b.Null()
		} else {
			b.Text(v)
		}
	}
	return b.Row()
}

var commit = time.Date(2024, 5, 1, 12, 0, 0, 123456000, time.UTC)

func record(op change.Op, before, after change.Row) change.Record {
	return change.Record{
		Change: change.Change{Op: op, Relation: change.Standard(change.Carbonmark), Before: before, After: after, LSN: 0x16B374D848},
		Offset: 42, XID: 571, CommitLSN: 0x16B374D900, EndLSN: 0x16B374D930, Previous: 0x16B374D800, CommitTime: commit, Order: 3,
	}
}

func market(id, name string) change.Row {
	return wideRow(id, "VCS-1", name, "2019", "12.5", "2024-05-01 11:59:59.5+00", "4.25", "100")
}

// TestGolden pins each operation and type.
func TestGolden(t *testing.T) {
	types := func(values ...string) change.Record {
		r := record(change.Create, "", wideRow(values...))
		r.Relation = wide()
		return r
	}
	with := func(r change.Record, f func(*change.Record)) change.Record { f(&r); return r }
	src := debezium.Source{Version: "1.0.0", Database: "market"}
	var out strings.Builder
	for _, c := range []struct {
		name string
		r    change.Record
		src  debezium.Source
		last bool
	}{
		{"create", record(change.Create, "", market("a", "one")), src, false},
		{"update", record(change.Update, market("a", "one"), market("a", "two")), src, true},
		{"delete", record(change.Delete, market("a", "two"), ""), src, true},
		{"initial copy", with(record(change.Read, "", market("a", "one")), func(r *change.Record) { r.Snapshot = true }), src, false},
		{"initial copy, last", with(record(change.Read, "", market("a", "one")), func(r *change.Record) { r.Snapshot = true }), src, true},
		{"initial copy, first", with(record(change.Read, "", market("a", "one")), func(r *change.Record) { r.Snapshot, r.Order = true, 1 }), src, false},
		{"initial copy, alone", with(record(change.Read, "", market("a", "one")), func(r *change.Record) { r.Snapshot, r.Order = true, 1 }), src, true},
		{"of an earlier log", with(record(change.Create, "", market("a", "one")), func(r *change.Record) { r.Previous = 0 }), src, true},
		{"older than the commit before", with(record(change.Create, "", market("a", "one")), func(r *change.Record) { r.Previous = r.LSN + 1 }), src, true},
		{"whole double", record(change.Create, "", wideRow("a", "VCS-1", "one", "2019", "2", "NULL")), src, true},
		{"truncate", record(change.Truncate, "", ""), src, true},
		{"embedded", with(record(change.Create, "", market("a", "one")), func(r *change.Record) { r.XID, r.LSN, r.CommitLSN, r.EndLSN, r.Previous = 0, 0, 0, 0, 0 }), debezium.Source{Version: "1.0.0"}, true},
		{"no commit time", with(record(change.Delete, market("a", "two"), ""), func(r *change.Record) { r.CommitTime = time.Time{} }), src, true},
		{"key of two columns", with(record(change.Create, "", wideRow("KRBN", "1", "NULL", "NULL", "NULL", "1700000000")), func(r *change.Record) { r.Relation = change.Standard(change.Finance) }), src, true},
		{"types", types("VCS-1", "-7", "42", "9007199254740993", "1.5", "1e+20", "12345678901234567890.10", "t", "2024-05-01 12:00:00.123456+00", "plain", `{"a": 1}`, "x", "column"), src, true},
		{"null", types("VCS-1", "NULL", "NULL", "NULL", "NULL", "NULL", "NULL", "NULL", "NULL", "NULL", "NULL", "NULL", "NULL"), src, true},
		{"not a number", types("VCS-1", "7 ", "", "0x1", "NaN", "Infinity", "NaN", "f", "infinity", "", "", "", ""), src, true},
		{"odd numbers", types("VCS-1", "-0", "007", "-", "-Infinity", "5e-324", "NaN", "true", "-infinity", "", "", "", ""), src, true},
		{"zones", types("VCS-1", "1", "1", "1", "1.", ".5", "0", "t", "2024-05-01 17:30:00+05:30", "", "", "", ""), src, true},
		{"years", types("VCS-1", "1", "1", "1", "1e", "1e+", "0", "t", "0044-03-15 12:00:00+00 BC", "", "", "", ""), src, true},
		{"text", types("VCS-\"1\"\\", "1", "1", "1", "1", "1", "1", "t", "NULL", "a\n\r\t\x00\x1f\x7f<&>\u2028ü\xffz", "", "", ""), src, true},
	} {
		at := debezium.Place{TableOrder: 2, Last: c.last}
		fmt.Fprintf(&out, "== %s\nkey   %s\nvalue %s\nrow   %s\n", c.name,
			bareKey(t, &c.r), debezium.AppendValue(nil, &c.r, c.src, at), debezium.AppendRecord(nil, &c.r))
		check(t, c.name, &c.r)
	}
	path := filepath.Join("testdata", "golden.txt")
	if *update {
		if err := os.WriteFile(path, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if out.String() != string(want) {
		t.Errorf("differs from %s (-update writes it again):\n%s", path, out.String())
	}
}

// bareKey is the key in the format without schemas.
func bareKey(t *testing.T, r *change.Record) []byte {
	t.Helper()
	e, err := debezium.NewEncoder("")
	if err != nil {
		t.Fatal(err)
	}
	return e.AppendKey(nil, r)
}

// check wants one line of valid JSON and the fields that Debezium's consumers
// need.
func check(t *testing.T, name string, r *change.Record) {
	t.Helper()
	for form, b := range map[string][]byte{
		"key":   bareKey(t, r),
		"value": debezium.AppendValue(nil, r, debezium.Source{Version: "1", Database: "d"}, debezium.Place{TableOrder: 1}),
		"row":   debezium.AppendRecord(nil, r),
	} {
		if len(b) == 0 && form == "key" && r.Op == change.Truncate {
			continue
		}
		if !json.Valid(b) || !utf8.Valid(b) || bytes.ContainsAny(b, "\n\r") {
			t.Errorf("%s: %s is not one line of JSON: %q", name, form, b)
		}
	}
}

// TestEnvelope reads an envelope as a consumer in Go does.
func TestEnvelope(t *testing.T) {
	r := record(change.Update, market("a", "one"), market("a", "two"))
	var e struct {
		Before, After map[string]any
		Op            string
		TS            int64 `json:"ts_ms"`
		Source        struct {
			Connector, Name, DB, Schema, Table, Snapshot, Sequence string
			TxID                                                   int64 `json:"txId"`
			LSN                                                    int64
		}
		Transaction struct {
			ID         string
			Total      int64 `json:"total_order"`
			Collection int64 `json:"data_collection_order"`
		}
	}
	if err := json.Unmarshal(debezium.AppendValue(nil, &r, debezium.Source{Database: "market"}, debezium.Place{TableOrder: 2}), &e); err != nil {
		t.Fatal(err)
	}
	var seq []string
	if err := json.Unmarshal([]byte(e.Source.Sequence), &seq); err != nil || len(seq) != 2 {
		t.Errorf("sequence %q: %v", e.Source.Sequence, err)
	}
	if e.Before["project_name"] != "one" || e.After["project_name"] != "two" || e.Op != "u" || e.TS != commit.UnixMilli() ||
		e.Source.Connector != "postgresql" || e.Source.Table != "carbonmark" || e.Source.TxID != 571 || e.Transaction.Total != 3 || e.Transaction.Collection != 2 {
		t.Errorf("%+v", e)
	}
}

// FuzzValue writes one valid line whatever the value.
func FuzzValue(f *testing.F) {
	for _, s := range []string{"", "1e5", "-0.0", "NaN", "\xff", "2024-05-01 12:00:00+00", "9999-12-31 23:59:59.999999-12", "a\"b\\c\u2028"} {
		f.Add(s, uint32(701))
		f.Add(s, uint32(1184))
		f.Add(s, uint32(25))
	}
	f.Fuzz(func(t *testing.T, s string, oid uint32) {
		r := record(change.Update, wideRow(s, s), wideRow(s, s))
		r.Relation = &change.Relation{Schema: "public", Name: s, Columns: []change.Column{{Name: s + "k", Type: oid, Key: true}, {Name: "v", Type: oid}}}
		check(t, "fuzz", &r)
		var e struct{ After map[string]any }
		b := debezium.AppendValue(nil, &r, debezium.Source{}, debezium.Place{})
		if err := json.Unmarshal(b, &e); err != nil {
			t.Fatal(err)
		}
		if got, ok := e.After["v"].(string); ok && oid == change.OIDText && s != "NULL" && utf8.ValidString(s) && got != s {
			t.Errorf("text %q came back as %q", s, got)
		}
	})
}

func BenchmarkValue(b *testing.B) {
	r := record(change.Update, market("a", "one"), market("a", "two"))
	src, at := debezium.Source{Version: "1", Database: "market"}, debezium.Place{TableOrder: 1}
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = debezium.AppendValue(buf[:0], &r, src, at)
	}
	b.SetBytes(int64(len(buf)))
}
