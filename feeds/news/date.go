package news

import (
	_ "embed"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
	_ "time/tzdata" // zones must be known in a container without zone files
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// maxDate is the longest text that is taken for a date, in bytes.
const maxDate = 120

// readDate reads a date as feeds write it: RFC 822, RFC 3339 and their many
// relatives, month names in some seventy languages, AM and PM, ordinals, named
// zones, seconds since 1970. A time without a zone is UTC; a date without a time
// is its midnight.
//
// "05/06/2026" is read with the day first, unless the weekday, AM or PM, or the
// fact that it would lie in the future say otherwise. An abbreviation that
// several zones share means the one that zoneNames gives. exact is false when the
// zone is unknown: the time is then read as UTC and hours off.
func readDate(s string, now time.Time) (t time.Time, exact, ok bool) {
	s = strings.TrimSpace(s)
	if s == "" || len(s) > maxDate {
		return time.Time{}, false, false
	}
	p := dateParts{original: s, text: foldDate(s), now: now, hour: -1, exact: true}
	if t, ok := p.number(); ok {
		return t, true, true
	}
	p.zone()
	p.clock()
	if !p.numeric() && !p.named() {
		return time.Time{}, false, false
	}
	t, ok = p.time()
	return t, p.exact, ok
}

// dateParts is a date while it is taken apart. What is understood is cut out of
// text.
type dateParts struct {
	original, text   string
	now              time.Time
	year, month, day int
	hour, min, sec   int // hour is -1 without a time of day
	half             byte
	loc              *time.Location // nil = none given
	exact            bool
}

// foldDate makes digits of all scripts ASCII, letters lower case, and the signs
// of Chinese, Japanese and Korean dates the separators that others use.
func foldDate(s string) string {
	s = thaiDots.ReplaceAllString(cjkSigns.Replace(norm.NFKC.String(s)), "$1")
	return strings.Map(func(r rune) rune {
		switch {
		case r < 0x80 || !unicode.IsDigit(r):
			return unicode.ToLower(r)
		case r == '\u200e' || r == '\u200f':
			return -1
		}
		return '0' + digitValue(r)
	}, s)
}

// thaiDots are those inside abbreviations such as พ.ย.
var thaiDots = regexp.MustCompile(`(\p{Thai})\.`)

var cjkSigns = strings.NewReplacer(
	"年", "-", "년", "-", "月", "-", "월", "-", "日", " ", "일", " ", "時", ":", "时", ":", "點", ":", "点", ":", "시", ":",
	"分", ":", "분", ":", "秒", " ", "초", " ", "上午", " am ", "午前", " am ", "오전", " am ", "下午", " pm ", "午後", " pm ", "오후", " pm ",
	"\u00a0", " ", "\u202f", " ", "\u2212", "-", "\u2013", "-", "’", "'",
)

// digitValue is the value of a decimal digit: every block of them begins with 0.
func digitValue(r rune) rune {
	for _, block := range unicode.Nd.R16 {
		if lo, hi := rune(block.Lo), rune(block.Hi); r >= lo && r <= hi {
			return (r - lo) % 10
		}
	}
	return 0
}

// number reads dates that are digits only: seconds or milliseconds since 1970,
// or a compact date.
func (p *dateParts) number() (time.Time, bool) {
	m := compactDate.FindStringSubmatch(p.text)
	if m != nil {
		layout := "20060102150405"[:len(m[1]+m[2])]
		at, err := time.Parse(layout, m[1]+m[2])
		if err != nil {
			return time.Time{}, false
		}
		p.text = " " + m[3]
		p.zone()
		if p.loc != nil {
			at = time.Date(at.Year(), at.Month(), at.Day(), at.Hour(), at.Minute(), at.Second(), 0, p.loc)
		}
		return at.UTC(), true
	}
	whole, _, _ := strings.Cut(p.text, ".")
	n, err := strconv.ParseInt(whole, 10, 64)
	switch {
	case err != nil || strings.Trim(p.text, "0123456789.") != "" || strings.Count(p.text, ".") > 1:
		return time.Time{}, false
	case len(whole) >= 9 && len(whole) <= 10:
		return time.Unix(n, 0).UTC(), true
	case len(whole) == 13:
		return time.UnixMilli(n).UTC(), true
	}
	return time.Time{}, false
}

var compactDate = regexp.MustCompile(`^((?:19|20)\d{6})(?:t?(\d{4}(?:\d{2})?)(?:\.\d+)?)?\s*(z|[+-]\d{2}:?\d{2})?$`)

var (
	ianaZone   = regexp.MustCompile(`[A-Za-z]+(?:[_-][A-Za-z]+)*/[A-Za-z]+(?:[_/-][A-Za-z]+)*`)
	remark     = regexp.MustCompile(`\(([^()]*)\)`)
	offsetZone = regexp.MustCompile(`(?:(?:gmt|utc|ut|z)\s?|(?:\d|m)\s*)([+-])\s?(\d{1,2})(?::?(\d{2}))?(?:$|[^\d:/.-])`)
	colonClock = regexp.MustCompile(`(^|[^\d+-])(\d{1,2})\s?:\s?(\d{1,2})(?:\s?:\s?(\d{2})(?:[.,]\d+)?)?:?`)
	hourClock  = regexp.MustCompile(`(^|[^\d])(\d{1,2})\s?(?:h|uhr)\s?(\d{2})?(?:\s?m(?:in)?)?(?:$|[^\pL\d])`)
	dotClock   = regexp.MustCompile(`(^|[\sT,])(\d{1,2})\.(\d{2})(?:\.(\d{2}))?\s*(?:$|[^\d.])`)
	bareClock  = regexp.MustCompile(`(^|[^\d/.-])(\d{1,2})\s*(?:[ap]\.?\s?m\b)`)
	halves     = regexp.MustCompile(`(^|[^\pL])([ap]\.?\s?m\b\.?|π\.?\s?μ\.?|μ\.?\s?μ\.?|ق\.ظ\.?|ب\.ظ\.?|ص(?:باحا)?|م(?:ساء)?)(?:$|[^\pL])`)
	ymd        = regexp.MustCompile(`(^|[^\d])(\d{4})\s?[-/.]\s?(\d{1,2})\s?[-/.]\s?(\d{1,2})(?:$|[^\d])`)
	dmy        = regexp.MustCompile(`(^|[^\d])(\d{1,2})\s?([-/.])\s?(\d{1,2})\s?[-/.]\s?(\d{4}|\d{2})(?:$|[^\d])`)
	spaced     = regexp.MustCompile(`^\D*(\d{1,2})\s+(?:\pL+\s+)*?(\d{1,2})\D+(\d{4})\D*$`)
	dateToken  = regexp.MustCompile(`\d+|[\pL\pM׳॰]+`)
)

// zone finds the zone: an offset, a name of the IANA database, an abbreviation.
func (p *dateParts) zone() {
	inside := ""
	if m := remark.FindStringSubmatch(p.original); m != nil {
		inside = m[1]
		p.text = remark.ReplaceAllString(p.text, " ")
	}
	for at := 0; at < len(p.text); {
		m := offsetZone.FindStringSubmatchIndex(p.text[at:])
		if m == nil {
			break
		}
		for i := range m {
			if m[i] >= 0 {
				m[i] += at
			}
		}
		if p.offset(m) {
			return
		}
		at = m[3]
	}
	for _, name := range ianaZone.FindAllString(p.original, 2) {
		if loc, err := time.LoadLocation(name); err == nil {
			p.loc = loc
			p.text = strings.Replace(p.text, strings.ToLower(name), " ", 1)
			return
		}
	}
	at := strings.IndexByte(p.original, ':') // what stands before the time is no zone
	for _, text := range []string{p.original[max(at, 0):], inside} {
		for _, word := range dateToken.FindAllString(text, -1) {
			if loc := zoneOf(word); loc != nil {
				p.loc = loc
				p.text = strings.Replace(p.text, strings.ToLower(word), " ", 1)
				return
			}
			p.exact = p.exact && !unknownZone(word)
		}
	}
	if at < 0 && strings.HasSuffix(p.text, "z") {
		p.text, p.loc = p.text[:len(p.text)-1], time.UTC
	}
}

// offset takes over an offset that offsetZone found, unless it is a part of the
// date ("24-11-2026").
func (p *dateParts) offset(m []int) bool {
	sub := func(n int) string {
		if m[2*n] < 0 {
			return ""
		}
		return p.text[m[2*n]:m[2*n+1]]
	}
	named := strings.ContainsAny(p.text[m[0]:m[2]], "gu")
	clock := strings.Contains(p.text[:m[2]], ":") || strings.Contains(p.text[:m[2]], "t")
	if !named && (!clock || len(sub(2)) != 2) && (sub(1) != "+" || sub(3) == "") {
		return false
	}
	hours, _ := strconv.Atoi(sub(2))
	minutes, _ := strconv.Atoi(sub(3))
	if hours > 14 || minutes > 59 {
		return false
	}
	seconds := hours*3600 + minutes*60
	if sub(1) == "-" {
		seconds = -seconds
	}
	p.loc = time.FixedZone("", seconds)
	end := m[5]
	if m[6] >= 0 {
		end = m[7]
	}
	begin := m[2]
	if named {
		begin = m[0]
	}
	p.text = p.text[:begin] + " " + p.text[end:]
	return true
}

// unknownZone reports a word that stands where a zone does and looks like one.
func unknownZone(word string) bool {
	if len(word) < 3 || len(word) > 5 || strings.ToUpper(word) != word {
		return false
	}
	for _, r := range word {
		if r < 'A' || r > 'Z' {
			return false
		}
	}
	n := foldName(word)
	return names().months[n] == 0 && names().days[n] == 0
}

// clock finds the time of day.
func (p *dateParts) clock() {
	if m := halves.FindStringSubmatch(p.text); m != nil {
		p.half = 'a'
		switch strings.Map(onlyLetters, m[2]) {
		case "pm", "μμ", "بظ", "م", "مساء":
			p.half = 'p'
		}
	}
	for _, form := range []*regexp.Regexp{colonClock, dotClock, hourClock, bareClock} {
		m := form.FindStringSubmatchIndex(p.text)
		if m == nil {
			continue
		}
		var parts [3]int
		for i := range parts {
			if g := 2*i + 4; g < len(m) && m[g] >= 0 {
				parts[i], _ = strconv.Atoi(p.text[m[g]:m[g+1]])
			}
		}
		p.hour, p.min, p.sec = parts[0], parts[1], parts[2]
		p.text = p.text[:m[3]] + " " + p.text[m[1]:]
		break
	}
	if p.half != 0 {
		p.text = halves.ReplaceAllString(p.text, " ")
		switch {
		case p.half == 'p' && p.hour >= 0 && p.hour < 12:
			p.hour += 12
		case p.half == 'a' && p.hour == 12:
			p.hour = 0
		}
	}
}

func onlyLetters(r rune) rune {
	if unicode.IsLetter(r) {
		return r
	}
	return -1
}

// numeric reads a date of numbers and separators.
func (p *dateParts) numeric() bool {
	if m := ymd.FindStringSubmatch(p.text); m != nil {
		p.set(m[2], m[3], m[4])
		return true
	}
	m := dmy.FindStringSubmatch(p.text)
	slash := m != nil && m[3] == "/"
	if m == nil {
		if s := spaced.FindStringSubmatch(p.text); s != nil && p.monthAt(dateToken.FindAllString(p.text, -1)) < 0 {
			m = []string{"", "", s[1], " ", s[2], s[3]}
		} else {
			return false
		}
	}
	p.set(m[5], m[4], m[2])
	other := *p
	other.month, other.day = p.day, p.month
	a, okA := p.time()
	b, okB := other.time()
	switch {
	case !okB:
	case !okA, p.weekdays()&(1<<a.Weekday()) == 0 && p.weekdays()&(1<<b.Weekday()) != 0,
		slash && p.weekdays() == 0 && (p.half != 0 || a.After(p.now.Add(24*time.Hour)) && !b.After(p.now.Add(24*time.Hour))):
		p.month, p.day = other.month, other.day
	}
	return true
}

func (p *dateParts) set(year, month, day string) {
	p.year, _ = strconv.Atoi(year)
	p.month, _ = strconv.Atoi(month)
	p.day, _ = strconv.Atoi(day)
	if len(year) == 2 {
		p.year += 2000
		if p.year > p.now.Year()+1 {
			p.year -= 100
		}
	}
	if p.year > 2400 {
		p.year -= 543 // Buddhist era
	}
}

// named reads a date with the name of its month.
func (p *dateParts) named() bool {
	tokens := dateToken.FindAllString(p.text, -1)
	at := p.monthAt(tokens)
	if at < 0 {
		return false
	}
	var day, year string
	for _, tok := range tokens {
		switch {
		case tok[0] < '0' || tok[0] > '9' || len(tok) > 4 || len(tok) == 3:
		case len(tok) == 4:
			year = tok
		case day == "":
			day = tok
		case year == "" && len(tok) == 2:
			year = tok
		}
	}
	if day == "" || year == "" {
		return false
	}
	months := monthsOf(tokens[at])
	for n := 1; n <= 12; n++ {
		if months&(1<<n) == 0 {
			continue
		}
		p.set(year, strconv.Itoa(n), day)
		// "listopad" is October in Croatian and November in Polish: the weekday
		// decides, else the larger language.
		if t, ok := p.time(); ok && p.weekdays()&(1<<t.Weekday()) != 0 {
			break
		}
	}
	return true
}

// monthsOf is the set of months that a word names: as it stands, or as the
// beginning of names of one month only ("ноя").
func monthsOf(word string) uint16 {
	n := foldName(word)
	if m := names().months[n]; m != 0 || len([]rune(n)) < 3 || names().days[n] != 0 {
		return m
	}
	var set uint16
	for name, months := range names().months {
		if strings.HasPrefix(name, n) {
			set |= months
		}
	}
	if set&(set-1) != 0 {
		return 0
	}
	return set
}

// monthAt is the place of the month's name among tokens, -1 without one. Words
// that are names of weekdays as well ("mar") give way to others.
func (p *dateParts) monthAt(tokens []string) int {
	best := -1
	for i, tok := range tokens {
		n := foldName(tok)
		if monthsOf(tok) == 0 {
			continue
		}
		if best < 0 || names().days[foldName(tokens[best])] != 0 && names().days[n] == 0 {
			best = i
		}
	}
	return best
}

// weekdays is the set of the weekdays that the text names, 0 for none.
func (p *dateParts) weekdays() (set uint16) {
	for _, tok := range dateToken.FindAllString(p.text, -1) {
		set |= names().days[foldName(tok)]
	}
	return set
}

// time puts the parts together.
func (p *dateParts) time() (time.Time, bool) {
	loc := p.loc
	if loc == nil {
		loc = time.UTC
	}
	if p.month < 1 || p.month > 12 || p.day < 1 || p.day > 31 || p.year < 1000 || p.hour > 24 || p.min > 59 || p.sec > 60 {
		return time.Time{}, false
	}
	t := time.Date(p.year, time.Month(p.month), p.day, max(p.hour, 0), p.min, p.sec, 0, loc)
	if noon := time.Date(p.year, time.Month(p.month), p.day, 12, 0, 0, 0, time.UTC); noon.Day() != p.day {
		return time.Time{}, false // 31 November
	}
	return t.UTC(), true
}

//go:embed names.txt
var nameTable string

// calendar holds names of months and weekdays, as sets of numbers: a word can
// mean several.
type calendar struct{ months, days map[string]uint16 }

var names = sync.OnceValue(func() calendar {
	c := calendar{map[string]uint16{}, map[string]uint16{}}
	for line := range strings.Lines(nameTable) {
		words := strings.Fields(line)
		if len(words) == 0 || words[0] == "#" {
			continue
		}
		number, day := strings.CutPrefix(words[0], "d")
		n, err := strconv.Atoi(number)
		if err != nil {
			continue
		}
		into := c.months
		if day {
			into = c.days
		}
		for _, w := range words[1:] {
			into[foldName(w)] |= 1 << n
		}
	}
	return c
})

// foldName takes the marks from a name, so that "déc" and "dec" are one.
func foldName(s string) string {
	out := strings.Map(func(r rune) rune {
		if r >= 0x300 && r <= 0x36f || unicode.Is(unicode.Cf, r) {
			return -1
		}
		return unicode.ToLower(r)
	}, norm.NFKD.String(s))
	return nameFolds.Replace(out)
}

var nameFolds = strings.NewReplacer("ł", "l", "ø", "o", "đ", "d", "ı", "i", "ß", "ss")
