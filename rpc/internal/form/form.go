// Package form writes rows of a view as text: JSON, lines of JSON, CSV. It knows
// rows by the definition of their view alone.
package form

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"carbond/store/change"
)

// Form is how rows are written.
type Form uint8

// The forms.
const (
	Proto  Form = iota // protobuf, which rpc/internal/wire writes
	JSON               // {"items":[...],"nextPageToken":"..."}
	NDJSON             // an object on each line
	CSV                // RFC 4180; a text that a spreadsheet would take for a formula begins with '
	RawCSV             // the same without that
)

// String names the form, for keys.
func (f Form) String() string { return [...]string{"proto", "json", "ndjson", "csv", "rawcsv"}[f] }

// ContentType returns the media type of the form.
func (f Form) ContentType() string {
	switch f {
	case NDJSON:
		return "application/x-ndjson"
	case CSV, RawCSV:
		return "text/csv; charset=utf-8"
	}
	return "application/json"
}

// AppendHead appends what comes before the first row.
func (f Form) AppendHead(b []byte, fields []change.ViewField) []byte {
	switch f {
	case JSON:
		return append(b, `{"items":[`...)
	case CSV, RawCSV:
		for i := range fields {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, fields[i].Name...) // of letters and _
		}
		return append(b, "\r\n"...)
	}
	return b
}

// AppendRow appends a row of a view, a pointer, as row number n from 0. CSV has no place
// for what a row has many of.
func (f Form) AppendRow(b []byte, v *change.ViewDef, row any, n int) []byte {
	switch f {
	case JSON:
		if n > 0 {
			b = append(b, ',')
		}
		return AppendObject(b, v, row)
	case NDJSON:
		return append(AppendObject(b, v, row), '\n')
	}
	null := v.Null(row)
	for i := range v.Fields {
		if i > 0 {
			b = append(b, ',')
		}
		if !null.Has(i) {
			b = AppendCell(b, v.Value(row, i), f == CSV)
		}
	}
	return append(b, "\r\n"...)
}

// AppendTail appends what comes behind the last row. Forms of rows alone have no
// place for the token of the next page.
func (f Form) AppendTail(b []byte, next string) []byte {
	if f != JSON {
		return b
	}
	b = append(b, ']')
	if next != "" {
		b = AppendText(append(b, `,"nextPageToken":`...), next)
	}
	return append(b, "}\n"...)
}

// AppendObject appends a row as a JSON object, with null for NULL.
func AppendObject(b []byte, v *change.ViewDef, row any) []byte {
	null := v.Null(row)
	b = append(b, '{')
	for i := range v.Fields {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendName(b, v.Fields[i].Name)
		if null.Has(i) {
			b = append(b, "null"...)
			continue
		}
		switch x := v.Value(row, i).(type) {
		case *string:
			b = AppendText(b, *x)
		case *float64:
			b = AppendNumber(b, *x)
		case *int32:
			b = strconv.AppendInt(b, int64(*x), 10)
		case *int64:
			b = strconv.AppendInt(b, *x, 10)
		case *bool:
			b = strconv.AppendBool(b, *x)
		}
	}
	for _, m := range v.Many {
		b = append(appendName(append(b, ','), m.Name), '[')
		n := 0
		for part := range m.Rows(row) {
			b = JSON.AppendRow(b, m.View, part, n)
			n++
		}
		b = append(b, ']')
	}
	return append(b, '}')
}

// appendName appends the name of a field in the words of JSON, and its colon.
func appendName(b []byte, name string) []byte {
	b = append(b, '"')
	b = append(b, CamelCase(name)...)
	return append(b, `":`...)
}

// CamelCase is the JSON name of a column or field: project_id is projectId.
func CamelCase(name string) string {
	head, rest, ok := strings.Cut(name, "_")
	for ok {
		var word string
		word, rest, ok = strings.Cut(rest, "_")
		if word != "" {
			head += strings.ToUpper(word[:1]) + word[1:]
		}
	}
	return head
}

// AppendText appends a text as a JSON string. Bytes that are not UTF-8 are
// replaced. What HTML gives a meaning to is escaped, for answers that a browser
// takes for something else.
func AppendText(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= utf8.RuneSelf || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			q, _ := json.Marshal(s) // a string has no error
			return append(b, q...)
		}
	}
	b = append(append(b, '"'), s...)
	return append(b, '"')
}

// AppendNumber appends a number, and what JSON has no number for as the text that
// protobuf's JSON has.
func AppendNumber(b []byte, f float64) []byte {
	switch {
	case math.IsNaN(f), math.IsInf(f, 0):
		b = appendSpecial(append(b, '"'), f)
		return append(b, '"')
	}
	return appendFinite(b, f)
}

func appendSpecial(b []byte, f float64) []byte {
	switch {
	case math.IsNaN(f):
		return append(b, "NaN"...)
	case f > 0:
		return append(b, "Infinity"...)
	}
	return append(b, "-Infinity"...)
}

// appendFinite appends the shortest text that reads back as the same number.
func appendFinite(b []byte, f float64) []byte {
	if a := math.Abs(f); a != 0 && (a < 1e-6 || a >= 1e21) {
		return strconv.AppendFloat(b, f, 'e', -1, 64)
	}
	return strconv.AppendFloat(b, f, 'f', -1, 64)
}

// AppendCell appends a value that is not NULL as a cell of CSV. An empty text is "", which tells it
// from NULL.
func AppendCell(b []byte, v any, guard bool) []byte {
	switch x := v.(type) {
	case *string:
		return appendQuoted(b, *x, guard)
	case *float64:
		if math.IsNaN(*x) || math.IsInf(*x, 0) {
			return appendSpecial(b, *x)
		}
		return appendFinite(b, *x)
	case *int32:
		return strconv.AppendInt(b, int64(*x), 10)
	case *int64:
		return strconv.AppendInt(b, *x, 10)
	case *bool:
		return strconv.AppendBool(b, *x)
	}
	return b
}

func appendQuoted(b []byte, s string, guard bool) []byte {
	s = strings.ToValidUTF8(s, "\uFFFD")
	guard = guard && formula(s)
	if !guard && s != "" && !strings.ContainsAny(s, "\",\r\n") && s[0] != ' ' && s[len(s)-1] != ' ' {
		return append(b, s...)
	}
	b = append(b, '"')
	if guard {
		b = append(b, '\'')
	}
	for {
		part, rest, more := strings.Cut(s, `"`)
		b = append(b, part...)
		if !more {
			return append(b, '"')
		}
		b, s = append(b, `""`...), rest
	}
}

// formula reports whether a spreadsheet may take a text for a formula. OWASP names
// these first characters; some programs pass over blanks, and take the wide forms
// of East Asian keyboards for the same.
func formula(s string) bool {
	s = strings.TrimLeft(s, " \u00a0\u3000")
	return strings.IndexAny(s, "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20") == 0
}
