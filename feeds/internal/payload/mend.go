package payload

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"
)

// Mend rewrites what generators that do not escape get wrong inside of values, so
// that one of them does not cost the others: unknown escapes, control characters
// and bytes that are not UTF-8 in texts, quotes inside texts where it is clear
// that no text ends there, and NaN or Infinity, which become null. The result
// need not be valid.
func Mend(b []byte) []byte {
	out := make([]byte, 0, len(b)+16)
	for i := 0; i < len(b); {
		switch {
		case b[i] == '"':
			out, i = mendText(out, b, i)
		default:
			if n := notNumber(b[i:]); n > 0 {
				out, i = append(out, "null"...), i+n
				continue
			}
			out, i = append(out, b[i]), i+1
		}
	}
	return out
}

// notNumber is the length of a numeric constant that JSON does not have.
func notNumber(b []byte) int {
	for _, word := range []string{"-Infinity", "+Infinity", "Infinity", "-NaN", "NaN", "nan", "-inf", "inf", "undefined"} {
		if bytes.HasPrefix(b, []byte(word)) {
			return len(word)
		}
	}
	return 0
}

// mendText copies the text that begins at b[i] and returns where it ends.
func mendText(out, b []byte, i int) ([]byte, int) {
	out = append(out, '"')
	for i++; i < len(b); {
		switch c := b[i]; {
		case c == '"' && endsText(b[i+1:]):
			return append(out, '"'), i + 1
		case c == '"':
			out, i = append(out, '\\', '"'), i+1
		case c == '\\' && i+1 < len(b) && escaped(b[i+1:]):
			out, i = append(out, c, b[i+1]), i+2
		case c == '\\':
			out, i = append(out, '\\', '\\'), i+1
		case c < ' ':
			out, i = append(out, ' '), i+1
		case c < utf8.RuneSelf:
			out, i = append(out, c), i+1
		default:
			r, n := utf8.DecodeRune(b[i:])
			out, i = utf8.AppendRune(out, r), i+n
		}
	}
	return out, i
}

// escaped reports whether b, behind a backslash, goes on as an escape of JSON.
func escaped(b []byte) bool {
	if b[0] != 'u' {
		return bytes.IndexByte([]byte(`"\/bfnrt`), b[0]) >= 0
	}
	if len(b) < 5 {
		return false
	}
	for _, c := range b[1:5] {
		if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F') {
			return false
		}
	}
	return true
}

// endsText reports whether a quote that is followed by b ends a text: a member's
// value follows, the next member, or the end of what the text is in.
func endsText(b []byte) bool {
	b = bytes.TrimLeft(b, " \t\r\n")
	if len(b) == 0 {
		return true
	}
	switch b[0] {
	case ':', '}', ']':
		return true
	case ',':
		b = bytes.TrimLeft(b[1:], " \t\r\n")
		return len(b) > 0 && bytes.IndexByte([]byte(`"{[-0123456789tfn`), b[0]) >= 0
	}
	return false
}

// Pieces returns the objects of a broken or cut list as a list of those that can
// be read, mended or not. Behind the first broken one, objects that hold objects
// are lost.
func Pieces(list []byte) json.RawMessage {
	out := []byte{'['}
	add := func(elem []byte) {
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(out, elem...)
	}
	d := json.NewDecoder(bytes.NewReader(list))
	if _, err := d.Token(); err != nil {
		return []byte("[]")
	}
	read := d.InputOffset()
	for d.More() {
		var elem json.RawMessage
		if d.Decode(&elem) != nil {
			break
		}
		add(elem)
		read = d.InputOffset()
	}
	for _, piece := range bytes.SplitAfter(list[read:], []byte("}")) {
		at := bytes.IndexByte(piece, '{')
		if at < 0 || !bytes.HasSuffix(piece, []byte("}")) {
			continue
		}
		if piece = piece[at:]; !json.Valid(piece) {
			if piece = Mend(piece); !json.Valid(piece) {
				piece = []byte("null")
			}
		}
		add(piece)
	}
	return append(out, ']')
}
