package client_test

import (
	"math"
	"strings"
	"testing"

	"carbond/cmd/carbond/internal/client"
)

func TestPrinters(t *testing.T) {
	s := client.Columns{Names: []string{"id", "n", "f"}, Brief: []int{0, 2}}
	rows := [][]any{{"a\n\x1b[31m\u202eb", int32(7), math.NaN()}, {`q"uo,te`, int32(-1), 1234567.5}, {"é", int32(0), math.Inf(-1)}, {"", int32(1), 1e300}}
	for format, want := range map[string]string{
		"table": "ID         F\na  [31m b  NaN\nq\"uo,te    1234567.5\né          -Infinity\n           1e+300\n",
		"csv":   "id,n,f\n\"a\n\x1b[31m\u202eb\",7,NaN\n\"q\"\"uo,te\",-1,1234567.5\né,0,-Infinity\n,1,1e+300\n",
		"jsonl": `{"id":"a\n\u001b[31m` + "\u202e" + `b","n":7,"f":"NaN"}` + "\n" + `{"id":"q\"uo,te","n":-1,"f":1234567.5}` + "\n" + `{"id":"é","n":0,"f":"-Infinity"}` + "\n" + `{"id":"","n":1,"f":1e+300}` + "\n",
	} {
		var b strings.Builder
		p, err := client.NewPrinter(&b, format, s)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rows {
			if err := p.Row(r); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.End(); err != nil || b.String() != want {
			t.Errorf("%s: %v\n%q\n%q", format, err, b.String(), want)
		}
	}
}
