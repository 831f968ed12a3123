package news

import (
	"regexp"
	"strings"
	"sync"
	"unicode"
)

// anyCase are the expressions that count in any mixture of cases, over text
// whose hyphens and spaces are single spaces.
var anyCase = []string{
	`carbon (?:credits?|offsets?|offsetting|markets?|trading|prices?|pricing|tax|taxes|levy|allowances?|removals?|` +
		`capture|storage|sequestration|neutral|neutrality|border|emissions?|registry|finance|farming|budget|projects?)`,
	`emissions? (?:trading|allowances?|permits?)`,
	`cap and trade`, `net ?zero`, `direct air capture`, `decarboni[sz](?:e|ation)`, `biochar`, `blue carbon`,
	`offset credits?`, `renewable energy (?:certificates?|credits?)`, `voluntary carbon`, `compliance carbon`,
	`greenhouse gas(?:es)?`, `verra`, `carbonmark`, `corsia`, `rggi`,
}

// sameCase are the expressions that would mean something else in other cases.
// Bare REC is left out on purpose: it hits "rec room" in headlines set in
// capitals.
var sameCase = []string{
	`EU ETS`, `UK ETS`, `EUAs`, `CCUS`, `CCS`, `CBAM`, `REDD`, `VCUs?`, `ITMOs?`, `ICVCM`, `RECs`, `CDR`, `Article 6`,
}

// keywords is compiled on first use. A word ends where neither letter, digit
// nor underscore goes on, in any script.
var keywords = sync.OnceValue(func() *regexp.Regexp {
	const before, after = `(?:^|[^\pL\pM\pN_])`, `(?:$|[^\pL\pM\pN_])`
	return regexp.MustCompile(before + `(?:(?i:` + strings.Join(anyCase, `|`) + `)|` + strings.Join(sameCase, `|`) + `)` + after)
})

// Match reports whether any of the texts is about carbon markets. Texts are
// plain: markup must be gone, or it would hide words. An expression never spans
// two texts.
func Match(texts ...string) bool {
	for _, s := range texts {
		if keywords().MatchString(fold(s)) {
			return true
		}
	}
	return false
}

// fold makes every run of spaces and hyphens one space.
func fold(s string) string {
	var b strings.Builder
	b.Grow(len(s))
	gap := false
	for _, r := range s {
		switch {
		case r == '\u00ad' || r == '\u200b' || r == '\ufeff': // invisible
		case unicode.IsSpace(r), r == '-', r == '\u2010', r == '\u2011', r == '\u2012':
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
