package debezium_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"carbond/rpc/internal/debezium"
	"carbond/store/change"
)

// schema is a schema as Kafka Connect's JSON converter reads it.
type schema struct {
	Type     string
	Optional bool
	Name     string
	Field    string
	Version  int
	Fields   []schema
}

// conform reports where a payload is not what its schema says. The converter
// wants each field of a struct and knows no other.
func conform(s schema, v any, at string) error {
	if v == nil {
		if !s.Optional {
			return fmt.Errorf("%s is null", at)
		}
		return nil
	}
	ok := false
	switch s.Type {
	case "struct":
		m, isObject := v.(map[string]any)
		if !isObject || len(m) != len(s.Fields) {
			return fmt.Errorf("%s has members %v, want %d", at, v, len(s.Fields))
		}
		for _, f := range s.Fields {
			if _, there := m[f.Field]; !there {
				return fmt.Errorf("%s has no %s", at, f.Field)
			}
			if err := conform(f, m[f.Field], at+"."+f.Field); err != nil {
				return err
			}
		}
		return nil
	case "string":
		_, ok = v.(string)
	case "boolean":
		_, ok = v.(bool)
	case "int16", "int32", "int64":
		var n json.Number
		if n, ok = v.(json.Number); ok {
			_, err := n.Int64()
			ok = err == nil
		}
	case "float", "double":
		if n, number := v.(json.Number); number {
			ok = strings.ContainsAny(n.String(), ".eE")
		} else { // as Kafka Connect writes what JSON has no number for
			ok = v == "NaN" || v == "Infinity" || v == "-Infinity"
		}
	}
	if !ok {
		return fmt.Errorf("%s is %v, not %s", at, v, s.Type)
	}
	return nil
}

func decode(t *testing.T, b []byte, into any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(into); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
}

// TestFormats checks that the schema of the form connect describes its payload,
// that the forms differ in nothing else, and pins the schemas of the four tables.
func TestFormats(t *testing.T) {
	wideRecord := record(change.Update, wideRow("VCS-1", "-7", "42", "9007199254740993", "1", "-0", "10", "t", "2024-05-01 12:00:00.123456+00", "plain", `{}`, "x", "o"),
		wideRow("VCS-1", "NULL", "NULL", "NULL", "NaN", "-Infinity", "NULL", "NULL", "infinity", "NULL", "NULL", "NULL", "NULL"))
	wideRecord.Relation = wide()
	records := []change.Record{
		record(change.Create, "", market("a", "one")), record(change.Update, market("a", "one"), market("a", "two")),
		record(change.Delete, market("a", "two"), ""), record(change.Read, "", market("a", "one")), record(change.Truncate, "", ""), wideRecord,
	}
	src, at := debezium.Source{Version: "1", Database: "market"}, debezium.Place{TableOrder: 1}
	encode := func(format string, r *change.Record) (key, value []byte) {
		e, err := debezium.NewEncoder(format)
		if err != nil {
			t.Fatal(err)
		}
		e.Source = src
		return e.AppendKey(nil, r), e.AppendValue(nil, r, at)
	}
	for i := range records {
		r := &records[i]
		bareKey, bare := encode("debezium", r)
		if _, got := encode("row", r); !bytes.Equal(got, debezium.AppendRecord(nil, r)) {
			t.Errorf("row: %s", got)
		}
		if _, got := encode("", r); !bytes.Equal(got, bare) {
			t.Errorf("no format: %s", got)
		}
		for _, format := range []string{"connect", "payload"} {
			key, value := encode(format, r)
			for what, pair := range map[string][2][]byte{"key": {key, bareKey}, "value": {value, bare}} {
				if len(pair[1]) == 0 {
					if len(pair[0]) > 0 {
						t.Errorf("%s: a TRUNCATE has the key %s", format, pair[0])
					}
					continue
				}
				var got struct {
					Schema  *schema
					Payload json.RawMessage
				}
				decode(t, pair[0], &got)
				if !bytes.Equal(got.Payload, pair[1]) {
					t.Errorf("%s: payload of the %s is %s, want %s", format, what, got.Payload, pair[1])
				}
				if format == "payload" {
					if got.Schema != nil || !bytes.HasPrefix(pair[0], []byte(`{"schema":null,"payload":`)) {
						t.Errorf("the %s has a schema: %s", what, pair[0])
					}
					continue
				}
				var payload any
				decode(t, got.Payload, &payload)
				if err := conform(*got.Schema, payload, what); err != nil {
					t.Errorf("%s of %s: %v", what, r.Op, err)
				}
			}
		}
	}
	if _, err := debezium.NewEncoder("avro"); err == nil || !strings.Contains(err.Error(), "connect, payload, debezium, row") {
		t.Errorf("avro: %v", err)
	}
	var out strings.Builder
	for _, table := range change.Tables() {
		r := change.Record{Change: change.Change{Op: change.Create, Relation: change.Standard(table)}, Order: 1}
		r.After = change.NewRow(make([]change.Value, len(r.Relation.Columns))...)
		key, value := encode("connect", &r)
		for _, b := range [][]byte{key, value} {
			schema, _, _ := bytes.Cut(b, []byte(`,"payload":`))
			fmt.Fprintf(&out, "%s}\n", schema)
		}
	}
	path := filepath.Join("testdata", "schemas.txt")
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

// BenchmarkEncode writes key and value of an update in each format.
func BenchmarkEncode(b *testing.B) {
	r := record(change.Update, market("a", "one"), market("a", "two"))
	for _, format := range debezium.Formats() {
		b.Run(format, func(b *testing.B) {
			e, err := debezium.NewEncoder(format)
			if err != nil {
				b.Fatal(err)
			}
			var buf []byte
			b.ReportAllocs()
			for b.Loop() {
				buf = e.AppendValue(e.AppendKey(buf[:0], &r), &r, debezium.Place{TableOrder: 1})
			}
			b.SetBytes(int64(len(buf)))
		})
	}
}

// TestTimes: a time keeps its meaning in every zone, and on the last days of a month.
func TestTimes(t *testing.T) {
	e, err := debezium.NewEncoder(debezium.Row)
	if err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	rel := &change.Relation{Schema: "public", Name: "t", Columns: []change.Column{{Name: "at", Type: change.OIDTimestamptz}}}
	for range 20_000 {
		at := time.Unix(r.Int64N(4e9)-2e9, r.Int64N(1e6)*1000).Round([]time.Duration{1, 1000, 1e6, 1e8, 1e9}[r.IntN(5)])
		zone := time.FixedZone("", []int{0, 0, 0, 3600, -12600, 20700}[r.IntN(6)])
		text := at.In(zone).Format("2006-01-02 15:04:05.999999-07:00")
		text = strings.TrimSuffix(text, ":00")
		if r.IntN(8) == 0 { // not what Postgres sends
			b := []byte(text)
			b[r.IntN(len(b))] = byte(r.IntN(128))
			text = string(b)
		}
		want := text
		for _, layout := range []string{"2006-01-02 15:04:05.999999-07", "2006-01-02 15:04:05.999999-07:00"} {
			if t, err := time.Parse(layout, text); err == nil && t.UTC().Year() >= 1 && t.UTC().Year() <= 9999 {
				want = t.UTC().Format("2006-01-02T15:04:05.999999Z")
			}
		}
		var b change.RowBuilder
		b.Reset(1)
		b.Text(text)
		var got struct{ At string }
		if err := json.Unmarshal(e.AppendValue(nil, &change.Record{Change: change.Change{Relation: rel, After: b.Row()}}, debezium.Place{}), &got); err != nil || got.At != want {
			t.Fatalf("seed %d: %q is sent as %q (%v), want %q", seed, text, got.At, err, want)
		}
	}
}
