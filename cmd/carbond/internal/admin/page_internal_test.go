package admin

import (
	"fmt"
	"io"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"
)

// fill sets every string inside v to s, and every other thing to something
// that shows on the page.
func fill(v reflect.Value, s string) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		if v.Type() != reflect.TypeFor[*time.Time]() {
			fill(v.Elem(), s)
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			return
		}
		for i := range v.NumField() {
			fill(v.Field(i), s)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(v.Index(i), s)
		}
	case reflect.String:
		v.SetString(s)
	case reflect.Bool:
		v.SetBool(true)
	}
}

// shape returns the elements of a page with their attributes, and its text.
func shape(t *testing.T, c Console) (elements []string, text string) {
	t.Helper()
	w := httptest.NewRecorder()
	page(w, httptest.NewRequest("GET", "/", nil), c)
	z := html.NewTokenizer(w.Body)
	for {
		switch z.Next() {
		case html.ErrorToken:
			if z.Err() != io.EOF {
				t.Fatal(z.Err())
			}
			return elements, text
		case html.TextToken:
			text += string(z.Text()) + "|"
		case html.StartTagToken, html.SelfClosingTagToken, html.EndTagToken, html.CommentToken, html.DoctypeToken:
			tok := z.Token()
			elements = append(elements, fmt.Sprint(tok.Type, tok.Data, tok.Attr))
		}
	}
}

// TestHostileText puts what breaks out of markup into every string at once: the
// page must have the elements of a harmless one, and show the text as it is.
func TestHostileText(t *testing.T) {
	var harmless Console
	fill(reflect.ValueOf(&harmless).Elem(), "x")
	harmless.Withheld = false
	want, plain := shape(t, harmless)
	if strings.Count(plain, "x") < 20 {
		t.Fatalf("the page shows too little: %s", plain)
	}
	for name, hostile := range map[string]string{
		"script":          "<script>alert(1)</script>",
		"out of a value":  `"><img src=x onerror=alert(1)>`,
		"single quotes":   `'><svg onload='alert(1)'>`,
		"end of title":    "</title></head><body><h1>gone</h1>",
		"end of code":     "</code></p></main><iframe src=//evil.example>",
		"comment":         "<!-- ",
		"cdata":           "<![CDATA[ ]]>",
		"instruction":     "<?xml ?>",
		"escaped already": "&lt;script&gt;&amp;&#60;b&#62;",
		"open entity":     "&lt",
		"other scripts":   "\u202eКлимат 気候 <b>\u2028</b>",
		"not text":        "\xff\xfe<\x01b>",
	} {
		t.Run(name, func(t *testing.T) {
			var c Console
			fill(reflect.ValueOf(&c).Elem(), hostile)
			c.Withheld = false
			got, text := shape(t, c)
			if !slices.Equal(got, want) {
				t.Errorf("elements\n%s\nwant\n%s", got, want)
			}
			// The text between the tags is that of the harmless page, but for x.
			if a, b := strings.Count(text, hostile), strings.Count(plain, "x"); a == 0 || a > b {
				t.Errorf("shown %d times, x %d times:\n%s", a, b, text)
			}
		})
	}
}

// TestElementsMatch finds an element that is not closed, or closed twice.
func TestElementsMatch(t *testing.T) {
	full, drawn := Console{}, Console{}
	fill(reflect.ValueOf(&full).Elem(), "x")
	fill(reflect.ValueOf(&drawn).Elem(), "https://x.example")
	drawn.Ready, drawn.Withheld, drawn.Every, drawn.History = false, false, time.Second, make([]Sample, 9)
	for name, c := range map[string]Console{"empty": {}, "full": full, "drawn": drawn} {
		w := httptest.NewRecorder()
		page(w, httptest.NewRequest("GET", "/", nil), c)
		var open []string
		z := html.NewTokenizer(w.Body)
		for tt := z.Next(); tt != html.ErrorToken; tt = z.Next() {
			tok := z.Token()
			switch {
			case tt == html.StartTagToken && !slices.Contains([]string{"meta", "link", "br"}, tok.Data):
				open = append(open, tok.Data)
			case tt == html.EndTagToken:
				if len(open) == 0 || open[len(open)-1] != tok.Data {
					t.Fatalf("%s: </%s> inside %v", name, tok.Data, open)
				}
				open = open[:len(open)-1]
			}
		}
		if len(open) > 0 {
			t.Errorf("%s: %v are not closed", name, open)
		}
	}
}

// TestLinksLeadToTheWeb: an upstream's link is a link only when it is one.
func TestLinksLeadToTheWeb(t *testing.T) {
	for link, want := range map[string]bool{
		"https://news.example/1": true, "http://news.example/1": true,
		"javascript:alert(1)": false, " javascript:alert(1)": false, "data:text/html,x": false, "//evil.example": false, "JaVaScRiPt:x": false, "": false,
	} {
		elements, _ := shape(t, Console{News: []Headline{{Title: "x", Link: link}}})
		got := slices.ContainsFunc(elements, func(e string) bool { return strings.Contains(e, "noreferrer") })
		if got != want {
			t.Errorf("%q is a link: %t", link, got)
		}
	}
}

// TestReachable: the line is pasted into a shell, and Host is the client's to say.
func TestReachable(t *testing.T) {
	for name, tc := range map[string]struct{ listen, asked, want string }{
		"one address":       {"127.0.0.1:50051", "evil", "127.0.0.1:50051"},
		"a name":            {"db1:50051", "evil", "db1:50051"},
		"every address":     {"[::]:50051", "carbon.example:50080", "carbon.example:50051"},
		"every v4 address":  {"0.0.0.0:50051", "10.1.2.3:50080", "10.1.2.3:50051"},
		"v6":                {"[::]:50051", "[fd00::1]:50080", "[fd00::1]:50051"},
		"no port asked for": {"[::]:50051", "carbon.example", "carbon.example:50051"},
		"a command":         {"[::]:50051", "$(reboot):1", "127.0.0.1:50051"},
		"a flag":            {"[::]:50051", "-vv:1", "127.0.0.1:50051"},
		"quotes":            {"[::]:50051", "a'b", "127.0.0.1:50051"},
		"nothing":           {"[::]:50051", "", "127.0.0.1:50051"},
	} {
		if got := reachable(tc.listen, tc.asked); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

func TestVerdict(t *testing.T) {
	views, bad := Check{Name: "views", OK: true}, Check{Name: "replication"}
	for want, s := range map[fixed]Readiness{
		"Ready":                {Ready: true, Checks: []Check{views}},
		"Ready, with warnings": {Ready: true, Checks: []Check{views, bad}},
		"Not ready":            {Checks: []Check{{Name: "views"}, bad}},
	} {
		if got := verdict(Status{Readiness: s}); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestStarved: a daemon most of whose sources never worked is ready, and nothing to
// be content with.
func TestStarved(t *testing.T) {
	at := time.Unix(1e9, 0)
	feed := func(name, table string, worked bool) Feed {
		f := Feed{Name: name, Table: table, State: "failing", Failures: 3, LastError: "no", Advice: "check the name"}
		if worked {
			f = Feed{Name: name, Table: table, State: "ok", LastSuccess: &at}
		}
		return f
	}
	for name, tt := range map[string]struct {
		feeds []Feed
		want  fixed
	}{
		"three of four":            {[]Feed{feed("verra", "verra", false), feed("carbonmark", "carbonmark", false), feed("finance", "finance", true), feed("news/a", "news", false), feed("news/b", "news", false)}, "Ready, but most sources have never worked"},
		"the only one":             {[]Feed{feed("finance", "finance", false)}, "Ready, but most sources have never worked"},
		"two of four":              {[]Feed{feed("verra", "verra", false), feed("carbonmark", "carbonmark", true), feed("finance", "finance", true), feed("news/a", "news", false)}, "Ready, with warnings"},
		"most feeds of one source": {[]Feed{feed("finance", "finance", true), feed("news/a", "news", false), feed("news/b", "news", true), feed("news/c", "news", false), feed("news/d", "news", false)}, "Ready, with warnings"},
		"not asked yet":            {[]Feed{{Name: "verra", Table: "verra", State: "waiting"}, {Name: "finance", Table: "finance", State: "polling"}}, "Ready"},
		"paused":                   {[]Feed{{Name: "verra", Table: "verra", State: "paused", LastError: "429"}}, "Ready, but most sources have never worked"},
		"none":                     {nil, "Ready"},
	} {
		s := Status{Readiness: Readiness{Ready: true}, Feeds: tt.feeds}
		if got := verdict(s); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
		var m markup
		m.health(Console{Status: s}, troubles(s))
		if red := strings.Contains(m.String(), `role="status" data-live><span class="bad"`); red != s.Starved() {
			t.Errorf("%s: red is %v", name, red)
		}
	}
}

// TestRemedies: each trouble says what to do, and in the order of its weight.
func TestRemedies(t *testing.T) {
	at := time.Unix(1e9, 0)
	s := Status{
		Readiness: Readiness{Checks: []Check{
			{Name: "disk", OK: true, Warning: true, Reason: "little", Remedy: "free"},
			{Name: "feeds", OK: true, Warning: true, Reason: "told by the feeds"},
			{Name: "replication", Reason: "down; remedy: up", Remedy: "more"},
			{Name: "views", OK: true, Reason: "fine"},
		}},
		Feeds: []Feed{
			{Name: "verra", State: "ok", LastSuccess: &at},
			{Name: "news/bbc", State: "failing", LastSuccess: &at},
			{Name: "finance", State: "failing", Advice: "check the name"},
			{Name: "carbonmark", State: "disabled", LastSuccess: &at},
			{Name: "news/dw", State: "waiting, stale", Stale: true, LastSuccess: &at},
		},
	}
	want := []string{
		"replication down up. more", "disk little free", "news/bbc last good rows", "finance Check the name. It has not worked yet", "carbonmark feeds.enabled", "news/dw fetch news",
	}
	got := troubles(s)
	if len(got) != len(want) {
		t.Fatalf("%d troubles: %+v", len(got), got)
	}
	for i, w := range want {
		name, rest, _ := strings.Cut(w, " ")
		if all := got[i].reason + " " + got[i].remedy; !strings.HasSuffix(got[i].name, name) || !strings.Contains(all, rest) {
			t.Errorf("%+v lacks %q", got[i], w)
		}
	}
}

func TestWords(t *testing.T) {
	m := markup{now: time.Unix(1e9, 0)}
	at := func(d time.Duration) *time.Time { t := m.now.Add(d); return &t }
	for want, got := range map[string]string{
		"never": m.ago(nil), "0 s ago": m.ago(at(0)), "59 s ago": m.ago(at(-59 * time.Second)), "2 min 5 s ago": m.ago(at(-125 * time.Second)),
		"3 h 0 min ago": m.ago(at(-3 * time.Hour)), "2 d 1 h ago": m.ago(at(-49 * time.Hour)), "in 8 s": m.ago(at(8 * time.Second)),
		"now": m.due(*at(-time.Minute)), "1": count(1), "999": count(999), "1,000": count(1000), "18,446,744,073,709,551,615": count(1<<64 - 1),
		"512 B": bytesText(512), "3.0 MiB": bytesText(3 << 20), "\u00e9\u00e9\u2026": clip("\u00e9\u00e9\u00e9", 2), "ab": clip("ab", 2),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
