package payload_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"carbond/feeds/internal/payload"
)

func TestDecodeNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		body, contentType string
		want              payload.Shape
		err               error
	}{
		"object":                    {body: ` {"a":1} `, want: payload.Object},
		"object behind a BOM":       {body: "\xef\xbb\xbf{\"a\":1}", want: payload.Object},
		"object labelled text/html": {body: `{"a":1}`, contentType: "text/html; charset=utf-8", want: payload.Object},
		"array where both fit":      {body: `[1]`, want: payload.Either},
		"nothing":                   {body: "", want: payload.Object, err: payload.ErrEmpty},
		"white space":               {body: " \r\n\t", want: payload.Object, err: payload.ErrEmpty},
		"only a BOM":                {body: "\xef\xbb\xbf", want: payload.Object, err: payload.ErrEmpty},
		"null":                      {body: "null\n", want: payload.Either, err: payload.ErrNull},
		"page":                      {body: "\n<!doctype html><p>", want: payload.Object, err: payload.ErrHTML},
		"page labelled JSON":        {body: "<html>", contentType: "application/json", want: payload.Object, err: payload.ErrHTML},
		"text labelled html":        {body: "Just a moment", contentType: "text/html", want: payload.Object, err: payload.ErrHTML},
		"plain text":                {body: "Too Many Requests\r\n", want: payload.Object, err: payload.ErrNotJSON},
		"string":                    {body: `"oops"`, want: payload.Object, err: payload.ErrShape},
		"array for object":          {body: `[]`, want: payload.Object, err: payload.ErrShape},
		"object for array":          {body: `{}`, want: payload.Array, err: payload.ErrShape},
		"cut in a string":           {body: `{"a":"b`, want: payload.Object, err: payload.ErrTruncated},
		"cut after a comma":         {body: `{"a":[1,`, want: payload.Object, err: payload.ErrTruncated},
		"cut array for object":      {body: `[1,`, want: payload.Object, err: payload.ErrTruncated},
		"broken inside":             {body: `{"a":1,}`, want: payload.Object, err: payload.ErrNotJSON},
		"trailing text":             {body: `{"a":1} {"a":2}`, want: payload.Object, err: payload.ErrNotJSON},
		"concatenated page":         {body: `{"a":1}<html>`, want: payload.Object, err: payload.ErrNotJSON},
		"nested beyond reason":      {body: strings.Repeat(`[`, 20_000), want: payload.Array, err: payload.ErrNotJSON},
		"utf-16":                    {body: "\xff\xfe{\x00}\x00", want: payload.Object, err: payload.ErrNotJSON},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var v any
			err := payload.Decode([]byte(c.body), c.contentType, c.want, &v)
			if !errors.Is(err, c.err) {
				t.Fatalf("Decode: %v, want %v", err, c.err)
			}
		})
	}
}

func TestUnmarshalTypeMismatchIsShape(t *testing.T) {
	t.Parallel()
	var v struct{ A struct{ B []int } }
	if err := payload.Unmarshal([]byte(`{"A":{"B":7}}`), &v); !errors.Is(err, payload.ErrShape) {
		t.Fatalf("got %v", err)
	}
}

func TestErrorsCarryNoBody(t *testing.T) {
	t.Parallel()
	for _, body := range []string{`{"m":"someone@example.org"`, `someone@example.org`, `{"m":"someone@example.org",}`, `"someone@example.org"`} {
		var v any
		err := payload.Decode([]byte(body), "", payload.Object, &v)
		if err == nil || strings.Contains(err.Error(), "example") {
			t.Errorf("%s: error %v repeats the body", body, err)
		}
	}
}

func TestNumber(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		json        string
		text        string
		absent, bad bool
	}{
		"number":            {json: `12.5`, text: "12.5"},
		"string":            {json: `" 12.5 "`, text: "12.5"},
		"commas":            {json: `"1,234,567"`, text: "1234567"},
		"commas, fraction":  {json: `"25,922.899"`, text: "25922.899"},
		"sign":              {json: `"-5"`, text: "-5"},
		"plus":              {json: `"+5"`, text: "5"},
		"exponent":          {json: `1E+5`, text: "1e+5"},
		"many digits":       {json: `"115792089237316195423570985008687907853269984665640564039457584007913129639935"`, text: "115792089237316195423570985008687907853269984665640564039457584007913129639935"},
		"null":              {json: `null`, absent: true},
		"empty":             {json: `""`, absent: true},
		"dash":              {json: `"-"`, absent: true},
		"decimal comma":     {json: `"1,5"`, bad: true},
		"leading comma":     {json: `",500"`, bad: true},
		"word":              {json: `"FY21"`, bad: true},
		"infinity":          {json: `"Infinity"`, bad: true},
		"hexadecimal":       {json: `"0x10"`, bad: true},
		"underscore":        {json: `"1_000"`, bad: true},
		"two exponents":     {json: `"1e2e3"`, bad: true},
		"bare exponent":     {json: `"1e"`, bad: true},
		"signs in exponent": {json: `"1e+-3"`, bad: true},
		"sign alone":        {json: `"+"`, bad: true},
		"boolean":           {json: `true`, bad: true},
		"object":            {json: `{"raw":1}`, bad: true},
		"array":             {json: `[1]`, bad: true},
		"endless":           {json: `"` + strings.Repeat("9", 5000) + `"`, bad: true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var n payload.Number
			if err := json.Unmarshal([]byte(c.json), &n); err != nil {
				t.Fatal(err)
			}
			if n.Text() != c.text || n.Absent() != c.absent || n.Bad() != c.bad {
				t.Fatalf("text %q absent %v bad %v", n.Text(), n.Absent(), n.Bad())
			}
		})
	}
}

func TestNumberBetween(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]struct {
		v       float64
		set     bool
		refused bool
	}{
		"0": {set: true}, "-0": {set: true}, "7.5": {v: 7.5, set: true}, "10": {v: 10, set: true},
		"": {}, "-1": {refused: true}, "10.1": {refused: true}, "1e999": {refused: true}, "x": {refused: true},
	} {
		v, refused := payload.ParseNumber(in).Between(0, 10)
		if refused != want.refused || (v != nil) != want.set || v != nil && *v != want.v {
			t.Errorf("%q: %v %v", in, v, refused)
		}
	}
}

func TestNumberInt(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]int64{"934": 934, "934.0": 934, "-3": -3, "1,000": 1000, "110200000671397": 110200000671397, "9007199254740993": 9007199254740993} {
		if v, ok := payload.ParseNumber(in).Int(); !ok || v != want {
			t.Errorf("%q: %d %v", in, v, ok)
		}
	}
	for _, in := range []string{"", "9.5", "1e300", "x", "99999999999999999999", "1e16"} {
		if v, ok := payload.ParseNumber(in).Int(); ok {
			t.Errorf("%q: accepted as %d", in, v)
		}
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{`"a\u00e9"`: "aé", `934`: "934", `-1.5`: "-1.5", `null`: "", `{}`: "", `true`: ""} {
		var x payload.Text
		if err := json.Unmarshal([]byte(in), &x); err != nil {
			t.Fatal(err)
		}
		if x.String() != want || x.Bad() != (in == "{}" || in == "true") {
			t.Errorf("%s: %q bad=%v", in, x, x.Bad())
		}
	}
}

func TestEach(t *testing.T) {
	t.Parallel()
	collect := func(raw string, limit int) (string, error) {
		var got []string
		err := payload.Each(json.RawMessage(raw), limit, func(e json.RawMessage) error {
			got = append(got, string(e))
			return nil
		})
		return strings.Join(got, "|"), err
	}
	if got, err := collect(`[1, null,{"a":[2]}]`, 3); err != nil || got != `1|null|{"a":[2]}` {
		t.Errorf("%s %v", got, err)
	}
	for _, empty := range []string{"", "null", "[]"} {
		if got, err := collect(empty, 0); err != nil || got != "" {
			t.Errorf("%q: %s %v", empty, got, err)
		}
	}
	for raw, want := range map[string]error{
		`[1,2,3,4]`: payload.ErrTooMany, `{"a":1}`: payload.ErrShape, `"x"`: payload.ErrShape, `[1,`: payload.ErrTruncated, `[1`: payload.ErrTruncated, `[1}`: payload.ErrNotJSON,
	} {
		if _, err := collect(raw, 3); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", raw, err, want)
		}
	}
}

func TestTime(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"2026-05-22T22:24:55":           "2026-05-22T22:24:55Z",
		"2026-11-05T20:22:40.111258143": "2026-11-05T20:22:40.111258143Z",
		"2026-11-04T08:00:00Z":          "2026-11-04T08:00:00Z",
		"2026-11-04T08:00:00+02:00":     "2026-11-04T06:00:00Z",
		"2026-11-23T10:00:00.000+0000":  "2026-11-23T10:00:00Z",
		"2020-01-08":                    "2020-01-08T00:00:00Z",
	} {
		if got, ok := payload.Time(in); !ok || got.Format("2006-01-02T15:04:05.999999999Z07:00") != want {
			t.Errorf("%s: %v %v", in, got, ok)
		}
	}
	for _, in := range []string{"", "yesterday", "not-a-date", "1970-01-01", "9999-01-01", strings.Repeat("2", 100)} {
		if got, ok := payload.Time(in); ok {
			t.Errorf("%s: accepted as %v", in, got)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"n":"1,234","t":5,"l":[1,null]}`), "application/json")
	f.Add([]byte("<html>"), "text/html")
	f.Fuzz(func(t *testing.T, body []byte, contentType string) {
		var v struct {
			N payload.Number
			T payload.Text
			L json.RawMessage
		}
		err := payload.Decode(body, contentType, payload.Either, &v)
		named := false
		for _, want := range []error{nil, payload.ErrEmpty, payload.ErrNull, payload.ErrHTML, payload.ErrNotJSON, payload.ErrTruncated, payload.ErrShape} {
			named = named || errors.Is(err, want)
		}
		if !named {
			t.Fatalf("unnamed error %v", err)
		}
		if x := v.N.Text(); x != "" {
			if again := payload.ParseNumber(x); again.Text() != x {
				t.Fatalf("number %q reads back as %q", x, again.Text())
			}
		}
		_ = payload.Each(v.L, 100, func(json.RawMessage) error { return nil })
	})
}

func TestCheckCount(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		got, announced, last int
		err                  error
	}{
		"first sweep":           {20, 20, 0, nil},
		"grew while sweeping":   {21, 20, 19, nil},
		"lost two of a hundred": {98, 98, 100, nil},
		"not announced":         {12, -1, 12, nil},
		"pages missing":         {12, 20, 0, payload.ErrIncomplete},
		"shrank":                {2, 2, 20, payload.ErrShrunk},
		"shrank by three":       {97, 97, 100, payload.ErrShrunk},
	}
	for name, c := range cases {
		if err := payload.CheckCount(c.got, c.announced, c.last); !errors.Is(err, c.err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
