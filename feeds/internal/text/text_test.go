package text_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"carbond/feeds/internal/text"
)

func TestClean(t *testing.T) {
	tests := map[string]struct {
		in   string
		max  int
		want string
	}{
		"empty":             {"", 10, ""},
		"plain":             {"  Blue \t\r\n Heron ", 0, "Blue Heron"},
		"inline tags join":  {"CO<sub>2</sub> falls", 0, "CO2 falls"},
		"block tags part":   {"<p>one</p><p>two</p>three<br/>four", 0, "one two three four"},
		"script goes":       {"a<script>alert('x')</script>b<style>p{}</style>c", 0, "a b c"},
		"entities":          {"A &amp; B&nbsp;&mdash; C", 0, "A & B — C"},
		"escaped twice":     {"&lt;b&gt;Carbon&lt;/b&gt; &amp;amp; tax", 0, "Carbon & tax"},
		"comparison stays":  {"cuts of <5% or a < b", 0, "cuts of <5% or a < b"},
		"zero width":        {"car\u200bbon\ufeff \u00adcre\u202edit", 0, "carbon credit"},
		"control":           {"a\x00b\x08c\x0bd", 0, "abc d"},
		"invalid bytes":     {"caf\xe9", 0, "caf\ufffd"},
		"address":           {"by jane.doe+x@mail.example.org (Jane)", 0, "by [address removed] (Jane)"},
		"cut":               {"abcdef", 5, "abcd…"},
		"cut at space":      {"abc def", 5, "abc…"},
		"exact":             {"abcde", 5, "abcde"},
		"cut counts runes":  {"ééééé", 5, "ééééé"},
		"cut before mark":   {"abce\u0301f", 5, "abc…"},
		"comment goes":      {"a<!-- x -->b", 0, "ab"},
		"unclosed tag goes": {"a <b", 0, "a"},
		"no tags":           {"a<b and c>d, <target> missed", 0, "a<b and c>d, <target> missed"},
		"odd tags":          {"<o:p>a</o:p> <video controls>b</video><font color=red>c</font>", 0, "a b c"},
		"joiners stay":      {"می\u200cشود 👩\u200d🌾 क्\u200dष", 0, "می\u200cشود 👩\u200d🌾 क्\u200dष"},
		"joiners go":        {"car\u200dbon \u200ccredits\u200d", 0, "carbon credits"},
		"flags":             {"\U0001f3f4\U000e0067\U000e0062\U000e007f flag \U000e0067", 0, "\U0001f3f4\U000e0067\U000e0062\U000e007f flag"},
		"windows-1252":      {"trader&#146;s &#150; x\u0092", 0, "trader’s – x’"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := text.Clean(tc.in, tc.max); got != tc.want {
				t.Errorf("Clean(%q, %d) = %q, want %q", tc.in, tc.max, got, tc.want)
			}
		})
	}
}

func TestCountry(t *testing.T) {
	tests := map[string]string{
		"Tanzania, United Republic of":          "Tanzania",
		"Congo, The Democratic Republic of The": "Democratic Republic of the Congo",
		"Congo":                                 "Congo",
		"Congo, Republic of the":                "Congo",
		"vietnam":                               "Viet Nam",
		"Viet Nam":                              "Viet Nam",
		"TURKEY":                                "Türkiye",
		"Türkiye":                               "Türkiye",
		"Tu\u0308rkiye":                         "Türkiye",
		"IVORY COAST":                           "Côte d'Ivoire",
		"Cote d’Ivoire":                         "Côte d'Ivoire",
		"Korea, Republic of":                    "South Korea",
		"Korea (the Republic of)":               "South Korea",
		"United States":                         "United States of America",
		"Virgin Islands, U.S.":                  "United States Virgin Islands",
		"St. Lucia":                             "Saint Lucia",
		"Bolivia (Plurinational State of)":      "Bolivia",
		"Niger":                                 "Niger",
		"Nigeria":                               "Nigeria",
		"Dominican Republic":                    "Dominican Republic",
		"Dominica":                              "Dominica",
		"Multiple Countries":                    "Multiple Countries",
		"":                                      "",
		"  Brazil\u200b ":                       "Brazil",
		"<b>Brazil</b>":                         "Brazil",
	}
	for in, want := range tests {
		if got := text.Country(in); got != want {
			t.Errorf("Country(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzClean(f *testing.F) {
	for _, s := range []string{"<p>a</p>", "&lt;b&gt;", "a\x00b", "\xff\xfe", "x@y.zz", "<script>"} {
		f.Add(s, 20)
	}
	f.Fuzz(func(t *testing.T, s string, max int) {
		if max > 1<<20 || max < 0 {
			return
		}
		got := text.Clean(s, max)
		if !utf8.ValidString(got) || strings.ContainsRune(got, 0) {
			t.Fatalf("Clean(%q) = %q: not storable", s, got)
		}
		if max > 0 && utf8.RuneCountInString(got) > max {
			t.Fatalf("Clean(%q, %d) has %d characters", s, max, utf8.RuneCountInString(got))
		}
		text.Country(s)
	})
}
