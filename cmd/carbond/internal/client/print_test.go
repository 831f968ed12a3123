package client_test

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"time"

	"carbond/cmd/carbond/internal/client"
)

func environ(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

func TestPrinters(t *testing.T) {
	c := client.Columns{Names: []string{"id", "n", "f", "at"}, Brief: []int{0, 2, 3}}
	at := time.Date(2025, 11, 30, 6, 7, 8, 9e6, time.UTC)
	rows := [][]any{
		{"a\n\x1b[31m\u202eb\u009b", int32(7), math.NaN(), at},
		{`=q"uo,te`, int32(-1), 1234567.5, time.Time{}},
		{"é", int32(0), math.Inf(-1), nil},
		{client.Key("-1"), nil, 1e300, nil},
	}
	for format, want := range map[string]string{
		"table": "ID                     F  AT\na  [31m b            NaN  2025-11-30 06:07:08\n=q\"uo,te    1,234,567.50\né              -Infinity\n-1                1e+300\n",
		"csv":   "id,n,f,at\n\"a\n\x1b[31m\u202eb\u009b\",7,NaN,2025-11-30T06:07:08.009Z\n\"'=q\"\"uo,te\",-1,1234567.5,\né,0,-Infinity,\n'-1,,1e+300,\n",
		"jsonl": `{"id":"a\n\u001b[31m\u202eb\u009b","n":7,"f":"NaN","at":"2025-11-30T06:07:08.009Z"}` + "\n" + `{"id":"=q\"uo,te","n":-1,"f":1234567.5,"at":null}` + "\n" + `{"id":"é","n":0,"f":"-Infinity","at":null}` + "\n" + `{"id":"-1","n":null,"f":1e+300,"at":null}` + "\n",
	} {
		if got := printed(t, &client.Form{Format: format, UTC: true, Getenv: environ()}, c, rows); got != want {
			t.Errorf("%s:\n%q\n%q", format, got, want)
		}
	}
	if got := printed(t, &client.Form{Format: "json"}, c, rows[3:]); got != "[\n"+`{"id":"-1","n":null,"f":1e+300,"at":null}`+"\n]\n" {
		t.Errorf("json: %q", got)
	}
	if got := printed(t, &client.Form{Format: "json"}, c, nil); got != "[]\n" {
		t.Errorf("json of nothing: %q", got)
	}
	if got := printed(t, &client.Form{Format: "csv", Raw: true}, c, rows[3:]); !strings.HasSuffix(got, "\n-1,,1e+300,\n") {
		t.Errorf("raw csv: %q", got)
	}
}

func printed(t *testing.T, f *client.Form, c client.Columns, rows [][]any) string {
	t.Helper()
	var b strings.Builder
	p, err := client.NewPrinter(&b, f, c)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		if err := p.Row(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.End(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestTableFits cuts texts, never keys or numbers, and then leaves columns out.
func TestTableFits(t *testing.T) {
	c := client.Columns{Names: []string{"key", "title", "n", "year", "last"}}
	rows := [][]any{
		{client.Key("carbon.public.carbonmark"), strings.Repeat("日本", 20), 1234567, client.Year(2024), client.Unix(1)},
		{client.Key("a"), "e\u0301 short", -5, client.Year(0), client.Unix(0)},
	}
	for width, want := range map[string]string{
		"80": "KEY                       TITLE                     N  YEAR  LAST\ncarbon.public.carbonmark  日本日本日本日…   1,234,567  2024  1970-01-01 00:00:01\na                         e\u0301 short                  -5     0\n",
		"40": "KEY                       TITLE\ncarbon.public.carbonmark  日本日本日本…\na                         e\u0301 short\n",
		"10": "KEY                       TITLE\ncarbon.public.carbonmark  日本日…\na                         e\u0301 short\n",
	} {
		got := printed(t, &client.Form{Format: "table", UTC: true, Getenv: environ("COLUMNS", width)}, c, rows)
		if got != want {
			t.Errorf("%s columns:\n%s\n%s", width, got, want)
		}
	}
}

// TestFractions shows as many digits as tell something, the same in a column.
func TestFractions(t *testing.T) {
	for want, values := range map[string][]any{
		"31.20 1,000,000.00 0.50":      {31.2, 1e6, 0.5},
		"5,000 -1,000 0":               {5000.0, -1000.0, 0.0},
		"0.1200 0.0300 1e-05":          {0.12, 0.03, 0.00001},
		"0 18,446,744,073,709,551,615": {uint64(0), uint64(math.MaxUint64)},
	} {
		rows := make([][]any, len(values))
		for i, v := range values {
			rows[i] = []any{v}
		}
		got := strings.Fields(printed(t, &client.Form{Format: "table", Getenv: environ()}, client.Columns{Names: []string{"f"}}, rows))
		if text := strings.Join(got[1:], " "); text != want {
			t.Errorf("%q, want %q", text, want)
		}
	}
}

// TestGuard: a writer that is no terminal gets every byte.
func TestGuard(t *testing.T) {
	var b bytes.Buffer
	w := client.Guard(&b)
	if w != any(&b) {
		t.Errorf("%T in front of a buffer", w)
	}
	if client.Plain("a\x1bb\u202ec\u200ed\u0085") != "a b c d " || client.Lines("a\x07\nb") != "a \nb" {
		t.Errorf("%q %q", client.Plain("a\x1bb\u202ec\u200ed\u0085"), client.Lines("a\x07\nb"))
	}
}
