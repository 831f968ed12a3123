package text

import (
	"slices"
	"strings"
	"sync"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// MaxCountry is the longest country label that is kept, in characters.
const MaxCountry = 100

// Country returns the one spelling that carbond uses for a country: the ISO
// 3166 short name, with inverted names put straight and shortened
// ("Tanzania, United Republic of" is "Tanzania"). Case, accents, punctuation,
// word order and the words "the", "of" and "and" do not matter. A label that
// the table does not know ("Multiple Countries") comes back cleaned but
// otherwise as it was; empty stays empty.
func Country(s string) string {
	s = Clean(s, MaxCountry)
	if name, ok := countries()[countryKey(s)]; ok {
		return name
	}
	return s
}

// countries maps the keys of all names and aliases to the name. It is built on
// first use and never changes.
var countries = sync.OnceValue(func() map[string]string {
	m := make(map[string]string, 800)
	for line := range strings.Lines(countryTable) {
		names := strings.Split(strings.TrimSpace(line), "|")
		for _, n := range names {
			m[countryKey(n)] = names[0]
		}
	}
	return m
})

// countryKey reduces a name to its significant words, sorted, so that
// "Korea, Republic of" and "Republic of Korea" are the same.
func countryKey(s string) string {
	var b strings.Builder
	for _, r := range norm.NFKD.String(strings.ToLower(s)) {
		switch {
		case unicode.Is(unicode.Mn, r), r == '.', r == '\'', r == '’', r == '‘', r == '`', r == '´', r == 'ʼ':
		case r == 'ı':
			b.WriteByte('i')
		case unicode.IsLetter(r), unicode.IsDigit(r):
			b.WriteRune(r)
		default:
			b.WriteByte(' ')
		}
	}
	words := slices.DeleteFunc(strings.Fields(b.String()), func(w string) bool {
		return w == "the" || w == "of" || w == "and"
	})
	for i, w := range words {
		if w == "st" {
			words[i] = "saint"
		}
	}
	slices.Sort(words)
	return strings.Join(words, " ")
}
