// Package search compares texts as people search: without regard to case and accents.
package search

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// Words are what a text is searched for. The zero Words are in every text.
type Words []string

// Parse splits a query into words.
func Parse(q string) Words { return strings.Fields(Fold(q)) }

// In reports whether each word is in at least one of the texts.
func (w Words) In(texts ...string) bool {
	found := 0
	var folded [8]string
	for i, t := range texts {
		folded[i%len(folded)] = Fold(t)
	}
	for _, word := range w {
		for i := range min(len(texts), len(folded)) {
			if strings.Contains(folded[i], word) {
				found++
				break
			}
		}
	}
	return found == len(w)
}

// strokes are letters whose stroke or ligature Unicode does not take for an accent.
var strokes = strings.NewReplacer("ø", "o", "ł", "l", "đ", "d", "ħ", "h", "ŧ", "t", "ð", "d", "þ", "th", "æ", "ae", "œ", "oe", "ı", "i")

// Fold returns a text without case and accents: "São Tomé" is "sao tome".
func Fold(s string) string {
	ascii := true
	for i := range len(s) {
		ascii = ascii && s[i] < utf8.RuneSelf
	}
	if ascii {
		return strings.ToLower(s) // the same string when it has no capitals
	}
	s = norm.NFKD.String(s)
	s = strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Mn, r) {
			return -1
		}
		return r
	}, s)
	return strokes.Replace(cases.Fold().String(s))
}
