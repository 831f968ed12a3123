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
func shape(t *testing.T, s Status) (elements []string, text string) {
	t.Helper()
	w := httptest.NewRecorder()
	page(w, s)
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
	var harmless Status
	fill(reflect.ValueOf(&harmless).Elem(), "x")
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
			var s Status
			fill(reflect.ValueOf(&s).Elem(), hostile)
			got, text := shape(t, s)
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
	var full Status
	fill(reflect.ValueOf(&full).Elem(), "x")
	for name, s := range map[string]Status{"empty": {}, "full": full} {
		w := httptest.NewRecorder()
		page(w, s)
		var open []string
		z := html.NewTokenizer(w.Body)
		for tt := z.Next(); tt != html.ErrorToken; tt = z.Next() {
			tok := z.Token()
			switch {
			case tt == html.StartTagToken && !slices.Contains([]string{"meta", "link"}, tok.Data):
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
