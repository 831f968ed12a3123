package payload

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"strings"
)

// named is an error with its own words that also counts as a general one.
type named struct {
	msg  string
	kind error
}

func (n *named) Error() string { return n.msg }
func (n *named) Unwrap() error { return n.kind }

// Named returns an error that says msg and counts as kind, one of the errors
// below, for errors.Is.
func Named(msg string, kind error) error { return &named{msg, kind} }

// Named errors of a body. All of them mean "keep the old data"; the caller
// decides by errors.Is what to tell the operator.
var (
	// ErrEmpty is a body without a single byte besides white space.
	ErrEmpty = errors.New("body is empty")
	// ErrNull is the JSON value null in place of an object or array.
	ErrNull = errors.New("body is the JSON value null")
	// ErrHTML is a web page (or other markup) in place of JSON: a bot wall, a
	// maintenance page, or the shell of a web application.
	ErrHTML = errors.New("body is markup, not JSON")
	// ErrNotJSON is plain text, or JSON that is broken inside.
	ErrNotJSON = errors.New("body is not JSON")
	// ErrTruncated is JSON that ends too early.
	ErrTruncated = errors.New("body is cut off")
	// ErrShape is good JSON of another form than the contract: an array in
	// place of an object, a required key missing, an error object.
	ErrShape = errors.New("body has an unexpected shape")
	// ErrTooMany is a list longer than the parser accepts.
	ErrTooMany = errors.New("body has too many elements")
)

// Named errors of a sweep, see CheckCount.
var (
	// ErrIncomplete is a sweep that brought fewer rows than the upstream said
	// it has.
	ErrIncomplete = errors.New("sweep is incomplete")
	// ErrShrunk is a sweep that is too small against the one before it to be
	// believed.
	ErrShrunk = errors.New("upstream shrank suddenly")
)

// MaxShrink is the part of its rows that an upstream may lose from one sweep to
// the next before the sweep is refused.
const MaxShrink = 0.02

// CheckCount judges a full sweep of an upstream before anything is replaced:
// got rows arrived, the upstream announced that many (negative when it does not
// say), and the last good sweep had last (0 when there was none).
func CheckCount(got, announced, last int) error {
	if announced >= 0 && got < announced {
		return fmt.Errorf("%w: %d of %d rows arrived", ErrIncomplete, got, announced)
	}
	if float64(got) < float64(last)*(1-MaxShrink) {
		return fmt.Errorf("%w: %d rows where the last sweep had %d", ErrShrunk, got, last)
	}
	return nil
}

// Shape is the outermost JSON value that a parser accepts.
type Shape uint8

// The shapes. Either accepts both.
const (
	Object Shape = 1 << iota
	Array
	Either = Object | Array
)

// String names the shape as messages print it.
func (s Shape) String() string {
	switch s {
	case Object:
		return "object"
	case Array:
		return "array"
	case Either:
		return "object or array"
	}
	return "unknown shape"
}

// JSON checks that body holds the start of a JSON value of the wanted shape and
// returns it without byte order mark and surrounding white space. The result
// shares memory with body. contentType is the header value, "" when unknown: it
// only decides between ErrHTML and ErrNotJSON, since real servers label JSON as
// text/plain or text/html and pages as application/json.
func JSON(body []byte, contentType string, want Shape) ([]byte, error) {
	b := bytes.TrimSpace(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")))
	if len(b) == 0 {
		return nil, ErrEmpty
	}
	switch {
	case b[0] == '{' && want&Object != 0, b[0] == '[' && want&Array != 0:
		return b, nil
	case b[0] == '<':
		return nil, ErrHTML
	case bytes.Equal(b, []byte("null")):
		return nil, ErrNull
	case isMarkup(contentType) && b[0] != '{' && b[0] != '[':
		return nil, ErrHTML
	case !json.Valid(b):
		return nil, brokenOrCut(b)
	}
	return nil, fmt.Errorf("%w: %s where the contract has an %s", ErrShape, kind(b), want)
}

// Decode guards body as JSON does and decodes it into v, which should consist
// of tolerant fields (Number, Text, json.RawMessage). Broken values inside are
// mended, see Mend. Anything after the value is ErrNotJSON.
func Decode(body []byte, contentType string, want Shape, v any) error {
	b, err := JSON(body, contentType, want)
	if err != nil {
		return err
	}
	err = Unmarshal(b, v)
	if errors.Is(err, ErrNotJSON) {
		if m := Mend(b); json.Valid(m) {
			return Unmarshal(m, v)
		}
	}
	return err
}

// Unmarshal decodes one guarded value and names what is wrong with it.
func Unmarshal(b []byte, v any) error {
	err := json.Unmarshal(b, v)
	var typ *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &typ):
		return fmt.Errorf("%w: %s at %q", ErrShape, typ.Value, typ.Field)
	}
	return brokenOrCut(b)
}

// Each calls fn with every element of the array in raw, in order, nulls
// included. It stops with ErrTooMany before element max+1 is decoded, and with
// the first error of fn. Absent and null lists are empty; anything else that is
// no array is ErrShape.
func Each(raw json.RawMessage, limit int, fn func(elem json.RawMessage) error) error {
	if IsNull(raw) {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	tok, err := d.Token()
	if err != nil {
		return brokenOrCut(raw)
	}
	if tok != json.Delim('[') {
		return fmt.Errorf("%w: %s where the contract has an array", ErrShape, kind(raw))
	}
	for n := 0; d.More(); n++ {
		if n == limit {
			return fmt.Errorf("%w: more than %d", ErrTooMany, limit)
		}
		var elem json.RawMessage
		if err := d.Decode(&elem); err != nil {
			return brokenOrCut(raw)
		}
		if err := fn(elem); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return brokenOrCut(raw)
	}
	return nil
}

// IsNull reports whether raw is absent or the JSON value null.
func IsNull(raw json.RawMessage) bool {
	b := bytes.TrimSpace(raw)
	return len(b) == 0 || string(b) == "null"
}

// IsObject reports whether raw begins a JSON object.
func IsObject(raw json.RawMessage) bool {
	b := bytes.TrimSpace(raw)
	return len(b) > 0 && b[0] == '{'
}

// brokenOrCut tells a body that ends inside a value from one that is wrong
// before its end: only the first kind is worth an early retry.
func brokenOrCut(b []byte) error {
	d := json.NewDecoder(bytes.NewReader(b))
	var skip json.RawMessage
	err := d.Decode(&skip)
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return ErrTruncated
	case err == nil:
		return fmt.Errorf("%w: text after the value", ErrNotJSON)
	}
	var syn *json.SyntaxError
	if errors.As(err, &syn) {
		return fmt.Errorf("%w: syntax error at byte %d of %d", ErrNotJSON, syn.Offset, len(b))
	}
	return ErrNotJSON
}

// isMarkup reports whether a Content-Type names HTML or XML.
func isMarkup(contentType string) bool {
	t, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		t = strings.ToLower(strings.TrimSpace(contentType))
	}
	return t == "text/html" || strings.HasSuffix(t, "/xml") || strings.HasSuffix(t, "+xml")
}

// kind names a JSON value by its first byte.
func kind(b []byte) string {
	b = bytes.TrimSpace(b)
	if len(b) == 0 {
		return "nothing"
	}
	switch b[0] {
	case '{':
		return "object"
	case '[':
		return "array"
	case '"':
		return "string"
	case 't', 'f':
		return "boolean"
	case 'n':
		return "null"
	}
	return "number"
}
