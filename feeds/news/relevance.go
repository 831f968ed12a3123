package news

import (
	_ "embed"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

//go:embed words.txt
var wordTable string

// Words judge whether a story is about carbon markets: some words are enough,
// others need company, and some phrases mean something else. The built-in ones
// are words.txt.
type Words struct {
	enough, enoughCase, inside   *regexp.Regexp
	ambiguous, general           *regexp.Regexp
	company, inTitle             *regexp.Regexp
	nothing, nothingCase, refuse *regexp.Regexp
}

// NewWords returns the built-in words with those of the configuration: each of
// own is enough for a story, and one of refused in its title is enough against
// it. Words in capitals count in capitals only.
func NewWords(own, refused []string) (*Words, error) {
	kinds := map[string][]string{}
	for line := range strings.Lines(wordTable) {
		kind, form, ok := strings.Cut(strings.TrimSpace(line), " ")
		if ok && kind != "#" {
			if kind != "~" && !strings.HasSuffix(kind, "=") {
				form = foldMarks(form)
			}
			kinds[kind] = append(kinds[kind], form)
		}
	}
	for _, list := range []struct {
		words       []string
		kind, exact string
	}{{own, "+", "+="}, {refused, "!", "!="}} {
		for _, w := range list.words {
			switch plain := foldWords(w); {
			case strings.TrimSpace(plain) == "":
				return nil, fmt.Errorf("news word %q: want a word", w)
			case strings.ToUpper(w) == w && strings.ToLower(w) != w:
				kinds[list.exact] = append(kinds[list.exact], regexp.QuoteMeta(strings.TrimSpace(w)))
			default:
				kinds[list.kind] = append(kinds[list.kind], regexp.QuoteMeta(strings.TrimSpace(plain)))
			}
		}
	}
	const before, after = `(?:^|[^\pL\pM\pN_])`, `(?:$|[^\pL\pM\pN_])`
	whole := func(kind string) *regexp.Regexp {
		if len(kinds[kind]) == 0 {
			return nil
		}
		forms := strings.ReplaceAll(strings.Join(kinds[kind], "|"), `\w*`, `[\pL\pM\pN]*`)
		return regexp.MustCompile(before + `(?:` + strings.ReplaceAll(forms, `\w+`, `[\pL\pM\pN]+`) + `)` + after)
	}
	w := &Words{
		enough: whole("+"), enoughCase: whole("+="), ambiguous: whole("?"), general: whole("%"), company: whole("*"), inTitle: whole("."),
		nothing: whole("-"), nothingCase: whole("-="),
		inside: regexp.MustCompile(strings.ReplaceAll(strings.Join(kinds["~"], "|"), `\w*`, `[\pL\pM\pN]*`)),
	}
	refuse := append(kinds["!"], kinds["!="]...)
	if len(refuse) > 0 {
		w.refuse = regexp.MustCompile(before + `(?:` + strings.Join(refuse, "|") + `)` + after)
	}
	return w, nil
}

var builtIn = sync.OnceValue(func() *Words {
	w, err := NewWords(nil, nil)
	if err != nil {
		panic(err) // a test reads the table
	}
	return w
})

// Match reports whether a story is about carbon markets. Texts are plain: markup
// must be gone, or it would hide words. An expression never spans two of them.
func (w *Words) Match(title string, more ...string) bool {
	if w == nil {
		w = builtIn()
	}
	if w.refuse != nil && (w.refuse.MatchString(foldWords(title)) || w.refuse.MatchString(title)) {
		return false
	}
	ambiguous, general := map[string]bool{}, map[string]bool{}
	company, inTitle := false, false
	for i, text := range append([]string{title}, more...) {
		exact := blank(w.nothingCase, gaps(text))
		plain := blank(w.nothing, foldWords(exact))
		if w.enough.MatchString(plain) || w.enoughCase.MatchString(exact) || w.inside.MatchString(norm.NFKC.String(strings.ToLower(text))) {
			return true
		}
		rest := gather(w.general, gather(w.ambiguous, plain, ambiguous), general)
		company = company || w.company.MatchString(rest)
		inTitle = inTitle || i == 0 && w.inTitle.MatchString(rest)
	}
	switch len(ambiguous) {
	case 0:
		return len(general) > 0 && company
	case 1:
		return company || inTitle || len(general) > 0
	}
	return true
}

// gather adds what re finds to found and returns the rest of the text: no word
// is its own company.
func gather(re *regexp.Regexp, s string, found map[string]bool) string {
	for {
		at := re.FindStringIndex(s)
		if at == nil {
			return s
		}
		found[strings.TrimRight(strings.TrimSpace(s[at[0]:at[1]]), "s")] = true
		s = s[:at[0]] + " | " + s[at[1]:]
	}
}

// blank takes out what means nothing.
func blank(re *regexp.Regexp, s string) string {
	if re == nil {
		return s
	}
	return re.ReplaceAllString(re.ReplaceAllString(s, " | "), " | ")
}

// gaps makes one space of every run of spaces and hyphens.
func gaps(s string) string {
	var b strings.Builder
	b.Grow(len(s))
	gap := false
	for _, r := range s {
		switch {
		case r == '\u00ad' || r == '\ufeff' || r >= '\u200b' && r <= '\u200f': // invisible
		case unicode.IsSpace(r), r == '-', r >= '\u2010' && r <= '\u2012':
			gap = true
		default:
			if gap {
				b.WriteByte(' ')
				gap = false
			}
			b.WriteRune(r)
		}
	}
	return b.String()
}

// foldWords is the form that the table's words are in: lower case, without
// accents, apostrophes as spaces.
func foldWords(s string) string {
	return foldMarks(strings.Map(func(r rune) rune {
		if r == '\'' || r == '’' || r == '‘' || r == '`' {
			return ' '
		}
		return unicode.ToLower(r)
	}, gaps(s)))
}

// foldMarks takes the accents from letters.
func foldMarks(s string) string {
	s = strings.Map(func(r rune) rune {
		if r >= 0x300 && r <= 0x36f {
			return -1
		}
		return r
	}, norm.NFKD.String(s))
	return norm.NFC.String(nameFolds.Replace(s))
}
