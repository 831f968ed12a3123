package text

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// email finds addresses. Feeds carry them in author fields and in free text;
// carbond keeps none.
var email = regexp.MustCompile(`[\pL\pN._%+'-]+@[\pL\pN-]+(?:\.[\pL\pN-]+)+`)

// encoded finds what a second round of unescaping would still turn into
// markup or a character: feeds that escape twice are common.
var encoded = regexp.MustCompile(`</?[a-zA-Z][^<>]*>|&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,30});`)

// Clean returns s as plain text: markup removed (scripts and styles with their
// content), character references resolved, e-mail addresses, control and
// zero-width characters dropped, every run of white space one space, trimmed.
// A result longer than max characters is cut and ends in an ellipsis; max <= 0
// means no limit.
func Clean(s string, max int) string {
	// Unlimited room for the first pass where a second one may follow, so that
	// the cut never falls into an escaped tag.
	out := strip(s, 4*max)
	if encoded.MatchString(out) {
		out = strip(out, 4*max)
	}
	if strings.IndexByte(out, '@') >= 0 {
		out = email.ReplaceAllString(out, "[address removed]")
	}
	return Cut(out, max)
}

// Cut shortens s to at most max characters, the last of which is then an
// ellipsis. It never cuts inside a character or before a combining mark, and
// max <= 0 means no limit.
func Cut(s string, max int) string {
	if max <= 0 || len(s) <= max || utf8.RuneCountInString(s) <= max {
		return s
	}
	end, n := len(s), 0
	for i := range s {
		if n == max-1 {
			end = i
			break
		}
		n++
	}
	for end > 0 {
		r, _ := utf8.DecodeRuneInString(s[end:])
		if !unicode.Is(unicode.M, r) {
			break
		}
		_, size := utf8.DecodeLastRuneInString(s[:end])
		end -= size
	}
	return strings.TrimRight(s[:end], " ") + "…"
}

// strip removes markup and unwanted characters and stops after about limit
// characters; limit <= 0 means all.
func strip(s string, limit int) string {
	w := writer{limit: limit}
	if !strings.ContainsAny(s, "<&") {
		w.text(s)
		return w.String()
	}
	z := html.NewTokenizer(strings.NewReader(s))
	var skip atom.Atom // inside this element nothing is text
	for !w.full() {
		switch z.Next() {
		case html.ErrorToken:
			return w.String()
		case html.TextToken:
			if skip == 0 {
				w.text(string(z.Text()))
			}
		case html.StartTagToken, html.SelfClosingTagToken:
			name, _ := z.TagName()
			a := atom.Lookup(name)
			if skip == 0 && hidden(a) {
				skip = a
			}
			w.tag(a)
		case html.EndTagToken:
			name, _ := z.TagName()
			a := atom.Lookup(name)
			if a == skip {
				skip = 0
			}
			w.tag(a)
		}
	}
	return w.String()
}

// hidden reports whether an element's content is not for readers.
func hidden(a atom.Atom) bool {
	switch a {
	case atom.Script, atom.Style, atom.Iframe, atom.Noscript, atom.Noembed, atom.Noframes, atom.Template:
		return true
	}
	return false
}

// inline reports whether an element joins its neighbours: CO<sub>2</sub> is
// one word, <p>a</p><p>b</p> two.
func inline(a atom.Atom) bool {
	switch a {
	case atom.A, atom.Abbr, atom.B, atom.Bdi, atom.Bdo, atom.Cite, atom.Code, atom.Em, atom.Font, atom.I,
		atom.Ins, atom.Mark, atom.S, atom.Small, atom.Span, atom.Strong, atom.Sub, atom.Sup, atom.U, atom.Wbr:
		return true
	}
	return false
}

// writer collects characters, folding white space.
type writer struct {
	b     strings.Builder
	n     int // characters written
	limit int
	space bool // a space is due before the next character
}

func (w *writer) full() bool { return w.limit > 0 && w.n > w.limit }

func (w *writer) String() string { return w.b.String() }

// tag marks the place of a tag.
func (w *writer) tag(a atom.Atom) {
	if !inline(a) {
		w.space = true
	}
}

func (w *writer) text(s string) {
	for _, r := range s {
		switch {
		case unicode.IsSpace(r):
			w.space = true
			continue
		case unicode.Is(unicode.Cc, r), unicode.Is(unicode.Cf, r), unicode.Is(unicode.Co, r), noncharacter(r):
			continue
		}
		if w.full() {
			return
		}
		if w.space && w.n > 0 {
			w.b.WriteByte(' ')
			w.n++
		}
		w.space = false
		w.b.WriteRune(r) // an invalid byte arrives as U+FFFD
		w.n++
	}
}

// noncharacter reports the code points that Unicode reserves for no character
// and the invisible fillers that are not of class Cf.
func noncharacter(r rune) bool {
	switch {
	case r&0xFFFE == 0xFFFE, r >= 0xFDD0 && r <= 0xFDEF:
		return true
	case r == 0x115F, r == 0x1160, r == 0x3164, r == 0xFFA0, r == 0x034F:
		return true
	}
	return false
}
