package console_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"carbond/cmd/carbond/internal/admin"
	"carbond/cmd/carbond/internal/trend"
	pb "carbond/proto/carbon"
)

// TestHostileText puts what breaks out of markup into every string at once: each page
// must have the elements of a harmless one, and show the text as it is.
func TestHostileText(t *testing.T) {
	for _, path := range paths {
		want, plain := shape(t, get(t, worldOf("+x").console(), path))
		if strings.Count(plain, "+x") < 5 {
			t.Fatalf("%s shows too little: %s", path, plain)
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
			"a path":          "../../a b?c=d&e#f",
			"a link":          "javascript:alert(1)",
		} {
			t.Run(path+" "+name, func(t *testing.T) {
				got, text := shape(t, get(t, worldOf(hostile).console(), path))
				if !slices.Equal(got, want) {
					t.Errorf("elements\n%s\nwant\n%s", got, want)
				}
				if a, b := strings.Count(text, hostile), strings.Count(plain, "+x"); a == 0 || a > b {
					t.Errorf("shown %d times, x %d times:\n%s", a, b, text)
				}
			})
		}
	}
}

// Every page names no foreign origin, and its scripts and styles are files of its own
// that exist.
func TestPagesStandAlone(t *testing.T) {
	c := worldOf("x").console()
	for _, path := range paths {
		w := get(t, c, path)
		body := w.Body.String()
		if w.Code != 200 {
			t.Errorf("%s: %d", path, w.Code)
		}
		for _, bad := range []string{"http://", "https://", "<script>", "style=", "onclick", "http-equiv"} {
			if strings.Contains(body, bad) {
				t.Errorf("%s has %q", path, bad)
			}
		}
		for _, want := range []string{`lang="en"`, `role="status"`, "<main", "<title>", `aria-current="page"`} {
			if !strings.Contains(body, want) {
				t.Errorf("%s lacks %q", path, want)
			}
		}
		for _, m := range regexp.MustCompile(`(?:src|href)="(/static/[^"]+)"`).FindAllStringSubmatch(body, -1) {
			if w := get(t, c, m[1]); w.Code != 200 {
				t.Errorf("%s: %d", m[1], w.Code)
			}
		}
	}
}

// A page whose call fails says why, with the code of the API's.
func TestFailures(t *testing.T) {
	w := worldOf("x")
	w.status.Ready = false
	for _, path := range paths {
		for code, want := range map[codes.Code]int{codes.Unavailable: 503, codes.NotFound: 404, codes.OutOfRange: 410, codes.InvalidArgument: 400, codes.ResourceExhausted: 429, codes.Internal: 500} {
			w.err = status.Error(code, "why <not>")
			got := get(t, w.console(), path)
			if asked := strings.Contains(got.Body.String(), "why &lt;not&gt;"); asked && got.Code != want && path != "/" { // which shows the rest
				t.Errorf("%s: %s gives %d", path, code, got.Code)
			} else if !asked {
				t.Errorf("%s says nothing of %s: %s", path, code, got.Body)
			}
		}
	}
}

// TestNowhere: an address without a page has one that says so and leads on; a page that
// cannot show what was asked for leads to itself.
func TestNowhere(t *testing.T) {
	w := worldOf("x")
	got := get(t, w.console(), "/project/VCS-1")
	for _, want := range []string{"there is no such page", `href="/projects"`, "data-still"} {
		if got.Code != 404 || !strings.Contains(got.Body.String(), want) {
			t.Errorf("%d without %q: %s", got.Code, want, got.Body)
		}
	}
	rec := httptest.NewRecorder()
	routes(w.console()).ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), "POST", "/projects", nil))
	if rec.Code != http.StatusMethodNotAllowed || rec.Header().Get("Allow") == "" {
		t.Errorf("POST: %d %v", rec.Code, rec.Header())
	}
	w.err = status.Error(codes.InvalidArgument, "not like that")
	if got := get(t, w.console(), "/projects?order=size"); got.Code != 400 || !strings.Contains(got.Body.String(), `href="/projects">This page`) {
		t.Errorf("%d: %s", got.Code, got.Body)
	}
	if got := get(t, w.console(), "/projects"); strings.Contains(got.Body.String(), "This page as it is") {
		t.Errorf("a link to the same page: %s", got.Body)
	}
}

// A reader who may not see the pages gets a form for a token and nothing else.
func TestStrangers(t *testing.T) {
	for code, want := range map[codes.Code]int{codes.Unauthenticated: 401, codes.PermissionDenied: 403} {
		atDoor, atCall := worldOf("a-row"), worldOf("a-row")
		atDoor.refused, atCall.err = status.Error(code, "why <not>"), status.Error(code, "why <not>")
		for _, w := range []*world{atDoor, atCall} {
			w.status = admin.Status{Views: []admin.View{{Name: "projects", Rows: 4321}}}
			for _, path := range paths {
				got := get(t, w.console(), path)
				body := got.Body.String()
				if got.Code != want || strings.Contains(body, "a-row") || strings.Contains(body, "4,321") || !strings.Contains(body, "why &lt;not&gt;") || !strings.Contains(body, `action="/token"`) {
					t.Errorf("%s: %d %s", path, got.Code, body)
				}
				if live := get(t, w.console(), path, "Accept", "text/event-stream"); live.Code != 401 && live.Code != 403 {
					t.Errorf("%s, live: %d", path, live.Code)
				}
			}
		}
	}
}

// TestForms: a form is taken from a page alone, and leads back to a page alone.
func TestForms(t *testing.T) {
	for name, tc := range map[string]struct {
		path, form string
		err        error
		code       int
		want       string // of the header Location, or in the body
	}{
		"enter":              {"/token", "csrf=csrf-text&token=right&to=/projects?q=a", nil, 303, "/projects?q=a"},
		"enter, elsewhere":   {"/token", "csrf=csrf-text&token=right&to=//evil.example/", nil, 303, "/"},
		"enter, far away":    {"/token", "csrf=csrf-text&token=right&to=https://evil.example/", nil, 303, "/"},
		"enter, backwards":   {"/token", "csrf=csrf-text&token=right&to=/\\evil.example/", nil, 303, "/"},
		"wrong token":        {"/token", "csrf=csrf-text&token=wrong", nil, 401, "not known here"},
		"no page":            {"/token", "token=right", nil, 403, "not from a page"},
		"leave":              {"/token/forget", "csrf=csrf-text", nil, 303, "/"},
		"leave, no page":     {"/token/forget", "", nil, 403, "not from a page"},
		"poll":               {"/pipeline/poll", "csrf=csrf-text&feed=verra", nil, 303, "/pipeline#h-feeds"},
		"poll, no page":      {"/pipeline/poll", "feed=verra", nil, 403, "not from a page"},
		"poll fails":         {"/pipeline/poll", "csrf=csrf-text&feed=news", nil, 502, "The poll of news failed: &lt;x&gt;"},
		"poll, no admin":     {"/pipeline/poll", "csrf=csrf-text&feed=verra", status.Error(codes.PermissionDenied, "no"), 403, "scope admin"},
		"poll, no feed":      {"/pipeline/poll", "csrf=csrf-text&feed=x", status.Error(codes.NotFound, "no such feed"), 404, "no such feed"},
		"a form without end": {"/token", "csrf=csrf-text&token=" + strings.Repeat("a", 32<<10), nil, 403, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := worldOf("<x>")
			w.err = tc.err
			r := httptest.NewRequestWithContext(t.Context(), "POST", tc.path, strings.NewReader(tc.form))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			rec := httptest.NewRecorder()
			routes(w.console()).ServeHTTP(rec, r)
			if rec.Code != tc.code {
				t.Errorf("%d, want %d: %s", rec.Code, tc.code, rec.Body)
			}
			if to := rec.Header().Get("Location"); tc.code == 303 && to != tc.want {
				t.Errorf("leads to %q", to)
			} else if tc.code != 303 && (!strings.Contains(rec.Body.String(), tc.want) || rec.Header().Get("Set-Cookie") != "") {
				t.Errorf("%q, %s", rec.Header(), rec.Body)
			}
		})
	}
}

func TestVerdict(t *testing.T) {
	views, bad := admin.Check{Name: "views", OK: true}, admin.Check{Name: "replication", Reason: "gone; remedy: do <b>this</b>"}
	at := time.Unix(1e9, 0)
	feed := func(name, table string, worked bool) admin.Feed {
		if worked {
			return admin.Feed{Name: name, Table: table, State: "ok", LastSuccess: &at}
		}
		return admin.Feed{Name: name, Table: table, State: "failing", Failures: 3, LastError: "no", Advice: "check the name"}
	}
	for name, tc := range map[string]struct {
		s    admin.Status
		want []string
	}{
		"ready":       {admin.Status{Readiness: admin.Readiness{Ready: true, Checks: []admin.Check{views}}}, []string{"<title>carbond: Ready</title>"}},
		"warnings":    {admin.Status{Readiness: admin.Readiness{Ready: true, Checks: []admin.Check{views, bad}}}, []string{"carbond: Ready, with warnings</title>", "What to do:", "do &lt;b&gt;this&lt;/b&gt;"}},
		"not ready":   {admin.Status{Readiness: admin.Readiness{Checks: []admin.Check{{Name: "views"}, bad}}}, []string{"carbond: Not ready</title>"}},
		"sample":      {admin.Status{Sample: true}, []string{"<title>SAMPLE DATA - carbond", "nothing on this page comes from a registry"}},
		"unconnected": {admin.Status{Replication: &admin.Replication{}}, []string{"<strong>Not connected to Postgres</strong>, 0 s behind it. No change has been committed yet."}},
		"starved": {admin.Status{Readiness: admin.Readiness{Ready: true}, Feeds: []admin.Feed{feed("verra", "verra", false), feed("news/a", "news", false), feed("finance", "finance", true)}}, []string{
			"carbond: Ready, but most sources have never worked</title>", "Check the name. It has not worked yet. carbond feeds fetch verra",
		}},
		"one of three starved": {admin.Status{Readiness: admin.Readiness{Ready: true}, Feeds: []admin.Feed{feed("verra", "verra", false), feed("news/a", "news", true), feed("finance", "finance", true)}}, []string{"carbond: Ready, with warnings</title>"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{status: tc.s}
			body := get(t, w.console(), "/").Body.String()
			for _, want := range tc.want {
				if !strings.Contains(body, want) {
					t.Errorf("no %q in %s", want, body)
				}
			}
		})
	}
}

// events reads the messages of a stream.
func events(t *testing.T, body string) (out []struct {
	name string
	data struct {
		Known bool
		Build string
		Parts map[string]string
		Lists []string
	}
},
) {
	t.Helper()
	for _, m := range regexp.MustCompile(`(?m)^event: (\w+)\ndata: (.*)\n\n`).FindAllStringSubmatch(body, -1) {
		out = slices.Grow(out, 1)[:len(out)+1]
		e := &out[len(out)-1]
		e.name = m[1]
		if err := json.Unmarshal([]byte(m[2]), &e.data); err != nil {
			t.Fatalf("%v: %s", err, m[2])
		}
	}
	return out
}

// TestLive: a stream tells what changed since the page was made, and nothing else, at
// most 2 kB at a time; a page that it does not know is told so.
func TestLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := worldOf("x")
		c := w.console()
		page := get(t, c, "/pipeline").Body.String()
		name := regexp.MustCompile(`data-name="(\w+)"`).FindStringSubmatch(page)[1]
		w.status.Position.Offset = 4242 // between the page and its stream
		run := func(name string, change func()) string {
			rec := &recorder{ResponseRecorder: httptest.NewRecorder()}
			r := httptest.NewRequestWithContext(t.Context(), "GET", "/pipeline?live="+name, nil)
			r.Header.Set("Accept", "text/event-stream")
			done := make(chan struct{})
			go func() { defer close(done); routes(c).ServeHTTP(rec, r) }()
			time.Sleep(3 * time.Second)
			w.mu.Lock()
			change()
			w.mu.Unlock()
			time.Sleep(20 * time.Second)
			synctest.Wait()
			if name == "stranger" {
				c.Close()
				<-done
			}
			return rec.Body.String()
		}
		body := run(name, func() {
			for i := range 100 {
				w.status.Topics = append(w.status.Topics, admin.Topic{Name: string(rune('a'+i%26)) + string(rune('a'+i/26))})
			}
		})
		got := events(t, body)
		if !got[0].data.Known || got[0].data.Build == "" || !strings.Contains(got[1].data.Parts["facts"], "4,242") {
			t.Errorf("%+v", got[:2])
		}
		told := map[string]int{}
		for _, e := range got[1:] {
			for id := range e.data.Parts {
				told[id]++
			}
			for _, id := range e.data.Lists {
				told[id]++
			}
		}
		if told["topic"] != 1 || told["facts"] != 1 || len(told) != 2 {
			t.Errorf("told %v", told)
		}
		for _, m := range strings.Split(body, "\n\n") {
			if len(m) > 2048 {
				t.Errorf("a message of %d bytes: %.100s", len(m), m)
			}
		}
		// The rows that came are live from then on.
		if got := events(t, run("stranger", func() {
			for i := range w.status.Topics {
				w.status.Topics[i].Records = 7
			}
		})); got[0].data.Known || len(got) < 5 {
			t.Errorf("%d messages for a page that is not known", len(got))
		} else {
			rows := map[string]bool{}
			for _, e := range got {
				for id := range e.data.Parts {
					rows[id] = true
				}
			}
			if len(rows) != 101 { // two of the topics have one name
				t.Errorf("%d rows told", len(rows))
			}
		}
	})
}

// recorder is a ResponseRecorder that takes deadlines.
type recorder struct{ *httptest.ResponseRecorder }

func (*recorder) SetReadDeadline(time.Time) error  { return nil }
func (*recorder) SetWriteDeadline(time.Time) error { return nil }

func TestTooManyLivePages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := worldOf("x").console()
		for range 200 {
			r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
			r.Header.Set("Accept", "text/event-stream")
			go routes(c).ServeHTTP(&recorder{httptest.NewRecorder()}, r)
		}
		synctest.Wait()
		if w := get(t, c, "/", "Accept", "text/event-stream"); w.Code != http.StatusServiceUnavailable {
			t.Errorf("%d", w.Code)
		}
		if w := get(t, c, "/"); w.Code != 200 {
			t.Errorf("a page: %d", w.Code)
		}
		c.Close()
	})
}

// TestListings: the page of a project has the rows of Carbonmark that are left, and the
// course of their price.
func TestListings(t *testing.T) {
	w := worldOf("x")
	row := func(id, project, price string) []byte {
		if id == "" {
			return nil
		}
		return fmt.Appendf(nil, `{"id":%q,"project_id":%q,"vintage":2019,"amount":12.5,"listed":null,"price_usd":%s}`, id, project, price)
	}
	for _, c := range [][6]string{
		{"", "", "", "one", "VCS-1", "3.25"},
		{"", "", "", "moved", "VCS-1", "4.25"},
		{"", "", "", "gone", "VCS-1", "5.25"},
		{"moved", "VCS-1", "4.25", "moved", "VCS-2", "4.25"},
		{"gone", "VCS-1", "5.25", "", "", ""},
		{"one", "VCS-1", "3.25", "one", "VCS-1", "6.25"},
	} {
		w.history = append(w.history, &pb.ProjectChange{Topic: "carbon.public.carbonmark", Op: "u", BeforeJson: row(c[0], c[1], c[2]), AfterJson: row(c[3], c[4], c[5])})
	}
	body := get(t, w.console(), "/projects/VCS-1").Body.String()
	if !strings.Contains(body, "Cheapest price at Carbonmark in USD, change by change: from 3.25 to 6.25") || strings.Contains(body, "Supply in tonnes") {
		t.Error(body)
	}
	_, body, _ = strings.Cut(body, "At Carbonmark")
	body, _, _ = strings.Cut(body, "</table>")
	if !strings.Contains(body, "one") || !strings.Contains(body, "6.25") || !strings.Contains(body, "12.5") || strings.Contains(body, "moved") || strings.Contains(body, "gone") || strings.Contains(body, "NULL") {
		t.Error(body)
	}
	if body := get(t, w.console(), "/projects/VCS-3").Body.String(); strings.Contains(body, "At Carbonmark") {
		t.Error(body)
	}
}

// TestPrices: the table has what a day was between.
func TestPrices(t *testing.T) {
	if body := get(t, worldOf("x").console(), "/prices").Body.String(); !strings.Contains(body, "1.50 to 1.50") {
		t.Error(body)
	}
}

// TestDay: the charts say in words what they draw.
func TestDay(t *testing.T) {
	w := worldOf("x")
	now := time.Now().Unix()
	for i := range int64(100) {
		w.trend = append(w.trend, trend.Sample{Unix: now - 3000 + 30*i, Ready: i%10 > 0, Lag: float64(i % 7), Offset: uint64(60 * i), Failing: []string{"x"}})
	}
	body := get(t, w.console(), "/pipeline").Body.String()
	for _, want := range []string{"Ready: not for about 5 min 0 s", "Changes a second, 2 at most", "Seconds behind Postgres, 6 at most", `<rect class="warn"`, `<rect class="bad"`} {
		if !strings.Contains(body, want) {
			t.Errorf("no %q in %s", want, body)
		}
	}
}
