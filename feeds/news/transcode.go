package news

import (
	"bytes"
	"mime"
	"regexp"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/html/charset"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/htmlindex"
)

// declaration finds the XML declaration, also behind the blank lines and
// comments that some servers put before it.
var declaration = regexp.MustCompile(`<\?xml\s[^>]*\?>`)

// declared finds the encoding inside a declaration.
var declared = regexp.MustCompile(`\sencoding\s*=\s*["']([A-Za-z0-9._:-]{1,40})["']`)

// headBytes is how far a declaration is searched for.
const headBytes = 1024

// Transcode returns body as valid UTF-8 without byte order mark and without the
// control characters that XML forbids, its declaration rewritten to match.
//
// A byte order mark decides; then the charset of the Content-Type header, then
// the XML declaration, then UTF-8. Servers lie, so a label that the bytes
// contradict is passed over: single-byte charsets lose to text that is plainly
// UTF-8, and bytes that are not UTF-8 are read as windows-1252, in both cases run
// of text by run of text.
func Transcode(body []byte, contentType string) []byte {
	b := undeclare(decode(body, contentType))
	if bytes.IndexFunc(b, forbidden) < 0 {
		return b
	}
	return bytes.Map(func(r rune) rune {
		if forbidden(r) {
			return -1
		}
		return r
	}, b)
}

// forbidden reports the control characters that no XML document may hold.
func forbidden(r rune) bool {
	return r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == '\ufffe' || r == '\uffff'
}

func decode(body []byte, contentType string) []byte {
	for _, mark := range marks {
		if rest, ok := bytes.CutPrefix(body, []byte(mark.bytes)); ok {
			for bytes.HasPrefix(rest, []byte(mark.bytes)) { // twice: two programs added one
				rest = rest[len(mark.bytes):]
			}
			return convert(rest, mark.charset)
		}
	}
	if name := wide(body); name != "" {
		return convert(body, name)
	}
	plain := utf8.Valid(body)
	if plain && !ascii(body) {
		return body // no other charset forms valid UTF-8 by accident
	}
	for _, name := range labels(body, contentType) {
		switch name {
		case "", "utf-8", "utf-16le", "utf-16be":
			continue // contradicted by the bytes, or nothing to do
		}
		return convert(body, name)
	}
	if plain {
		return body
	}
	return mixed(body, charmap.Windows1252)
}

// mixed decodes a document in which items of several origins stand, each in the
// charset of its own: runs of text that are UTF-8 stay, others are read by the
// single-byte charset.
func mixed(body []byte, single *charmap.Charmap) []byte {
	out := make([]byte, 0, len(body)+len(body)/8)
	for len(body) > 0 {
		n := bytes.IndexAny(body[1:], "<>") + 1
		if n == 0 {
			n = len(body)
		}
		run := body[:n]
		body = body[n:]
		if utf8.Valid(run) {
			out = append(out, run...)
			continue
		}
		out = append(out, repair(run, single)...)
	}
	return out
}

// marks are the byte order marks. The charsets that use none never begin so.
var marks = []struct{ bytes, charset string }{
	{"\xef\xbb\xbf", "utf-8"},
	{"\xff\xfe", "utf-16le"},
	{"\xfe\xff", "utf-16be"},
}

// wide recognises UTF-16 without a byte order mark by its first "<".
func wide(b []byte) string {
	switch {
	case len(b) < 4:
		return ""
	case b[0] == '<' && b[1] == 0 && b[3] == 0:
		return "utf-16le"
	case b[0] == 0 && b[1] == '<' && b[2] == 0:
		return "utf-16be"
	}
	return ""
}

// labels returns the canonical names of the charsets that header and
// declaration give, in that order.
func labels(body []byte, contentType string) []string {
	var out []string
	add := func(label string) {
		if _, name := charset.Lookup(label); name != "" {
			out = append(out, name)
		}
	}
	if _, params, err := mime.ParseMediaType(contentType); err == nil {
		add(params["charset"])
	}
	if m := declared.FindSubmatch(declaration.Find(body[:min(len(body), headBytes)])); m != nil {
		add(string(m[1]))
	}
	return out
}

// convert decodes body from a charset; what cannot be decoded becomes U+FFFD.
func convert(body []byte, name string) []byte {
	if name == "utf-8" {
		if utf8.Valid(body) {
			return body
		}
		return mixed(body, charmap.Windows1252)
	}
	enc, _ := htmlindex.Get(name)
	if single, ok := enc.(*charmap.Charmap); ok {
		return mixed(body, single)
	}
	if enc == nil {
		return mixed(body, charmap.Windows1252)
	}
	out, err := enc.NewDecoder().Bytes(body)
	if err != nil {
		return mixed(body, charmap.Windows1252)
	}
	return bytes.ToValidUTF8(out, []byte("\ufffd"))
}

// repair reads a run of text that is not UTF-8 by a single-byte charset, unless
// it is UTF-8 with a few damaged places, which a change of charset would only
// make worse.
func repair(run []byte, single *charmap.Charmap) []byte {
	good, bad := 0, 0
	for b := run; len(b) > 0; {
		r, n := utf8.DecodeRune(b)
		switch {
		case r == utf8.RuneError && n == 1:
			bad++
		case n > 1:
			good++
		}
		b = b[n:]
	}
	if good > bad {
		return bytes.ToValidUTF8(run, []byte("\ufffd"))
	}
	out, err := single.NewDecoder().Bytes(run)
	if err != nil {
		return bytes.ToValidUTF8(run, []byte("\ufffd"))
	}
	return out
}

func ascii(b []byte) bool {
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// undeclare makes the declaration say UTF-8, since the body now is.
func undeclare(b []byte) []byte {
	head := b[:min(len(b), headBytes)]
	at := declaration.FindIndex(head)
	if at == nil {
		return b
	}
	m := declared.FindSubmatchIndex(head[at[0]:at[1]])
	if m == nil || strings.EqualFold(string(head[at[0]+m[2]:at[0]+m[3]]), "utf-8") {
		return b
	}
	out := make([]byte, 0, len(b))
	out = append(out, b[:at[0]+m[2]]...)
	out = append(out, "UTF-8"...)
	return append(out, b[at[0]+m[3]:]...)
}
