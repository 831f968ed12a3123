package text

import (
	"regexp"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
	"golang.org/x/text/encoding/charmap"
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
	s = literal(s)
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

// angle is what an HTML reader takes for the beginning of a tag.
var angle = regexp.MustCompile(`<([A-Za-z][^\s<>/]*)([^<>]*)(>?)`)

// elements are the names that are markup.
var elements = sync.OnceValue(func() map[string]bool {
	out := map[string]bool{}
	for name := range strings.FieldsSeq(`a abbr acronym address applet area article aside audio b base basefont bdi bdo big blink blockquote body br
		button canvas caption center cite code col colgroup data datalist dd del details dfn dialog dir div dl dt em embed fieldset figcaption
		figure font footer form frame frameset h1 h2 h3 h4 h5 h6 head header hgroup hr html i iframe img input ins kbd label legend li link
		main map mark marquee menu meta meter nav nobr noembed noframes noscript object ol optgroup option output p param picture pre progress q
		rp rt ruby s samp script section select small source span strike strong style sub summary sup svg path g table tbody td template
		textarea tfoot th thead time title tr track tt u ul var video wbr xmp`) {
		out[name] = true
	}
	return out
})

// literal escapes the angle brackets of s that begin no tag of HTML: "a<b and
// c>d" and "<target>" are text.
func literal(s string) string {
	if strings.IndexByte(s, '<') < 0 {
		return s
	}
	return angle.ReplaceAllStringFunc(s, func(tag string) string {
		m := angle.FindStringSubmatch(tag)
		name, rest, closed := strings.ToLower(m[1]), strings.TrimRight(m[2], " \t\r\n/"), m[3] != ""
		known := elements()[name]
		switch {
		case strings.ContainsAny(name, ":@") || known && strings.Contains(rest, "="):
			return tag
		case known && rest == "":
			return tag
		case known && closed && len(name) > 1 && !inline(atom.Lookup([]byte(name))):
			return tag // <video controls>
		}
		return "&lt;" + tag[1:]
	})
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
	last  rune // written last
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
	for i, r := range s {
		if r >= 0x80 && r <= 0x9f {
			r = charmap.Windows1252.DecodeByte(byte(r)) // a reference such as &#146; that means that charset
		}
		switch {
		case joins(r, w.last, s[i:]):
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
		w.space, w.last = false, r
		w.b.WriteRune(r) // an invalid byte arrives as U+FFFD
		w.n++
	}
}

// joins reports invisible characters that shape the letters or the emoji around
// them, after the character last and at the beginning of s: joiners between
// letters of scripts that need them or between symbols, and the tags of flags.
func joins(r, last rune, s string) bool {
	switch {
	case r == '\u200c' || r == '\u200d':
		_, n := utf8.DecodeRuneInString(s)
		next, _ := utf8.DecodeRuneInString(s[n:])
		return shaped(last) && shaped(next)
	case r >= 0xE0020 && r <= 0xE007F:
		return last == 0x1F3F4 || last >= 0xE0020 && last <= 0xE007F
	}
	return false
}

// shaped reports letters and marks of scripts other than the European ones, and
// symbols.
func shaped(r rune) bool {
	if unicode.In(r, unicode.Latin, unicode.Greek, unicode.Cyrillic) {
		return false
	}
	return unicode.In(r, unicode.L, unicode.M, unicode.S) || r >= 0x1F3FB && r <= 0x1F3FF
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
