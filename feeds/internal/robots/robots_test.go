package robots_test

import (
	"net/url"
	"testing"

	"carbond/feeds/internal/robots"
)

func TestAllowed(t *testing.T) {
	tests := map[string]struct {
		file string
		open string // an address that is allowed, "" = none is tried
		shut string
	}{
		"empty":                {"", "/", ""},
		"closed":               {"User-agent: *\nDisallow: /", "/robots.txt", "/feed"},
		"empty rule":           {"User-agent: *\nDisallow:", "/feed", ""},
		"own group":            {"User-agent: *\nDisallow: /\n\nUser-agent: Carbond/2\nDisallow: /x", "/feed", "/x/feed"},
		"own group, no rule":   {"User-agent: carbond\n\nUser-agent: *\nDisallow: /", "", "/feed"},
		"shared group":         {"User-agent: other\nUser-agent: carbond\nDisallow: /x\nUser-agent: *\nDisallow: /", "/feed", "/x"},
		"groups are joined":    {"User-agent: carbond\nDisallow: /a\nUser-agent: b\nDisallow: /\nUser-agent: carbond\nDisallow: /c", "/feed", "/c"},
		"others do not matter": {"User-agent: carbonded\nDisallow: /", "/feed", ""},
		"longest decides":      {"User-agent: *\nDisallow: /n\nAllow: /news/rss", "/news/rss.xml", "/news/all"},
		"allow at a tie":       {"User-agent: *\nDisallow: /feed\nAllow: /feed", "/feed", ""},
		"star":                 {"User-agent: *\nDisallow: /*/rss", "/rss", "/a/b/rss?x=1"},
		"end":                  {"User-agent: *\nDisallow: /*.xml$", "/a.xml.gz", "/a.xml"},
		"end without star":     {"User-agent: *\nDisallow: /$", "/feed", "/"},
		"two stars":            {"User-agent: *\nDisallow: /a*b*c", "/acb", "/axbxc"},
		"query":                {"User-agent: *\nDisallow: /*?format=rss", "/climate", "/climate?format=rss"},
		"escapes":              {"User-agent: *\nDisallow: /caf\u00e9/%7eme", "/cafe", "/caf%C3%A9/~me"},
		"slash is a letter":    {"User-agent: *\nDisallow: /a%2fb", "/a/b", "/a%2Fb"},
		"comments and case":    {"\ufeffUSER-AGENT : * # all\r\nDISALLOW: /x # not this\r\nSitemap: https://a/b", "/feed", "/x"},
		"rules without agent":  {"Disallow: /", "/feed", ""},
		"a web page":           {"<html>\n<body>Disallow: /</body>", "/feed", ""},
	}
	for name, tc := range tests {
		rules := robots.Parse([]byte(tc.file), "carbond")
		if tc.open != "" && !rules.Allowed(address(t, tc.open)) {
			t.Errorf("%s: %s is closed", name, tc.open)
		}
		if tc.shut != "" && rules.Allowed(address(t, tc.shut)) {
			t.Errorf("%s: %s is open", name, tc.shut)
		}
	}
}

func address(t testing.TB, path string) *url.URL {
	t.Helper()
	u, err := url.Parse("https://example.org" + path)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// Any file has rules, and none of them closes robots.txt itself.
func FuzzParse(f *testing.F) {
	f.Add([]byte("User-agent: *\nDisallow: /*a$\nAllow: /%7E"), "/feed?a=b")
	f.Fuzz(func(t *testing.T, file []byte, path string) {
		rules := robots.Parse(file, "carbond")
		if u, err := url.Parse("https://example.org/" + path); err == nil {
			rules.Allowed(u)
		}
		if !rules.Allowed(&url.URL{Path: "/robots.txt"}) {
			t.Error("robots.txt is closed")
		}
	})
}
