package web_test

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	pb "carbond/proto/carbon"
	"carbond/rpc"
	"carbond/rpc/web"
	"carbond/store/change"
)

// TestForms has the bytes of each form, with NULL, the empty text, numbers that JSON
// does not have and texts that a spreadsheet would run.
func TestForms(t *testing.T) {
	w := newWorld(t, setup{})
	w.market(t)
	for path, want := range map[string]string{
		"/v1/projects?country=Brazil": `{"items":[{"projectId":"VCS-2","projectName":"São João, \"Várzea\"","registryStatus":"RETIRED","country":"Brazil","vintage":2018,"supply":70,"registry":null,"methodology":null,"projectType":null,"region":null,"priceUsd":null,"hasSupply":null},` +
			`{"projectId":"VCS-3","projectName":"=HYPERLINK(1)","registryStatus":"ACTIVE","country":"Brazil","vintage":null,"supply":"NaN","registry":null,"methodology":null,"projectType":null,"region":null,"priceUsd":null,"hasSupply":null}]}` + "\n",
		"/v1/projects?vintage=2021&format=ndjson": `{"projectId":"VCS-4","projectName":"","registryStatus":null,"country":null,"vintage":2021,"supply":null,"registry":null,"methodology":null,"projectType":null,"region":null,"priceUsd":null,"hasSupply":null}` + "\n",
		"/v1/projects?format=csv": "project_id,project_name,registry_status,country,vintage,supply,registry,methodology,project_type,region,price_usd,has_supply\r\n" +
			"VCS-1,Rimba Raya,ACTIVE,Indonesia,2020,1500.5,,,,,,\r\nVCS-2,\"São João, \"\"Várzea\"\"\",RETIRED,Brazil,2018,70,,,,,,\r\n" +
			"VCS-3,\"'=HYPERLINK(1)\",ACTIVE,Brazil,,NaN,,,,,,\r\nVCS-4,\"\",,,2021,,,,,,,\r\n",
		"/v1/projects?format=csv&guard=0&country=Brazil&vintage_max=3000": "project_id,project_name,registry_status,country,vintage,supply,registry,methodology,project_type,region,price_usd,has_supply\r\nVCS-2,\"São João, \"\"Várzea\"\"\",RETIRED,Brazil,2018,70,,,,,,\r\n",
		"/v1/projects?q=VARZEA+sao&format=ndjson":                         `{"projectId":"VCS-2","projectName":"São João, \"Várzea\"","registryStatus":"RETIRED","country":"Brazil","vintage":2018,"supply":70,"registry":null,"methodology":null,"projectType":null,"region":null,"priceUsd":null,"hasSupply":null}` + "\n",
		"/v1/projects?order=-vintage&page_size=2&format=csv": "project_id,project_name,registry_status,country,vintage,supply,registry,methodology,project_type,region,price_usd,has_supply\r\nVCS-4,\"\",,,2021,,,,,,,\r\n" +
			"VCS-1,Rimba Raya,ACTIVE,Indonesia,2020,1500.5,,,,,,\r\n",
		"/v1/projects/VCS-4":  `{"projectId":"VCS-4","projectName":"","projectLink":null,"projectSummary":null,"registryStatus":null,"country":null,"vintage":2021,"supply":null,"source":"verra","registry":null,"methodology":null,"projectType":null,"region":null,"priceUsd":null,"hasSupply":null,"proponent":null,"creditingStart":null,"creditingEnd":null,"annualEstimate":null,"latitude":null,"longitude":null,"vintages":[]}` + "\n",
		"/v1/news?source=BBC": `{"items":[{"guid":"g2","title":"Forests \u003cb\u003e","link":"https://example.org/2","published":"Tue, 03 Jan 2023 15:04:05 GMT","source":"BBC","summary":"x","publishedEstimated":null}]}` + "\n",
		"/v1/finance":         `{"items":[{"ticker":"KRBN","price":31.25,"volume":9007199254740993,"marketCap":null,"changePercent":-0.5,"timestamp":1700000000,"currency":"USD"}]}` + "\n",
	} {
		if got := w.get(t, path); got.status != 200 || got.body != want {
			t.Errorf("%s: %d\n got %q\nwant %q", path, got.status, got.body, want)
		}
	}
}

// TestPages reads all rows in pages, in each order, by the address that the answer
// gives; rows come once and in the order of the whole.
func TestPages(t *testing.T) {
	w := newWorld(t, setup{})
	var rows [][]change.Value
	for i := range 57 {
		supply := fmt.Sprint(i * 7 % 10)
		if i%5 == 0 {
			supply = "NULL"
		}
		rows = append(rows, row(fmt.Sprintf("P-%02d", i), fmt.Sprint("name ", i%9), "ACTIVE", "Peru", "2020", supply))
	}
	w.put(t, change.Verra, "project_id project_name registry_status country vintage supply", rows...)
	for _, order := range []string{"", "supply", "-supply", "project_name", "-project_name", "-project_id", "vintage"} {
		q := url.Values{"order": {order}, "format": {"ndjson"}}
		whole := w.get(t, "/v1/projects?"+q.Encode()).body
		if n := strings.Count(whole, "\n"); n != 57 {
			t.Fatalf("order %q: %d rows", order, n)
		}
		q.Set("page_size", "10")
		paged, next, pages := "", "/v1/projects?"+q.Encode(), 0
		for next != "" {
			a := w.get(t, next)
			paged += a.body
			next, _, _ = strings.Cut(strings.TrimPrefix(a.header.Get("Link"), "<"), ">")
			pages++
		}
		if paged != whole || pages != 6 {
			t.Errorf("order %q: %d pages give\n%s\nthe whole is\n%s", order, pages, paged, whole)
		}
	}
}

// TestConditional: the same ETag means the same bytes, and costs nothing.
func TestConditional(t *testing.T) {
	w := newWorld(t, setup{})
	w.market(t)
	seen := map[string]string{}
	for _, path := range []string{"/v1/projects", "/v1/projects?country=Brazil", "/v1/projects?page_size=1", "/v1/projects?format=csv", "/v1/projects/VCS-1", "/v1/news", "/v1/finance"} {
		for _, enc := range []string{"identity", "gzip", "zstd"} {
			a := w.get(t, path, "Accept-Encoding: "+enc)
			tag := a.header.Get("ETag")
			if other, ok := seen[tag]; ok && other != a.body || tag == "" {
				t.Errorf("%s %s: the ETag %s is of other bytes too", path, enc, tag)
			}
			seen[tag] = a.body
			b := w.get(t, path, "Accept-Encoding: "+enc, `If-None-Match: "x", W/`+tag)
			if b.status != http.StatusNotModified || b.body != "" || b.header.Get("ETag") != tag {
				t.Errorf("%s %s: again %d %q", path, enc, b.status, b.body)
			}
			head := w.do(t, http.MethodHead, path, "Accept-Encoding: "+enc)
			if head.status != 200 || head.header.Get("ETag") != tag || head.header.Get("Content-Length") != fmt.Sprint(len(a.body)) {
				t.Errorf("HEAD %s: %d %v", path, head.status, head.header)
			}
		}
	}
	brazil, all := w.get(t, "/v1/projects?country=Brazil").header.Get("ETag"), w.get(t, "/v1/projects").header.Get("ETag")
	w.put(t, change.Verra, "project_id country supply", row("VCS-1", "Indonesia", "1"))
	if got := w.get(t, "/v1/projects?country=Brazil", "If-None-Match: "+brazil); got.status != 304 {
		t.Errorf("a change elsewhere: %d", got.status)
	}
	if got := w.get(t, "/v1/projects", "If-None-Match: "+all); got.status != 200 {
		t.Errorf("a change: %d", got.status)
	}
}

// TestEncodings: compressed answers are the plain ones, held or streamed.
func TestEncodings(t *testing.T) {
	w := newWorld(t, setup{})
	long := strings.Repeat("a long name ", 300)
	var rows [][]change.Value
	for i := range 3000 { // 11 MB: more than is held
		rows = append(rows, row(fmt.Sprintf("P-%04d", i), long, "Peru"))
	}
	rows = append(rows, row("Q-1", long, "Chad"))
	w.put(t, change.Verra, "project_id project_name country", rows...)
	for _, path := range []string{"/v1/projects?country=Chad", "/v1/projects", "/v1/projects?format=csv", "/v1/projects?format=ndjson"} {
		plain := w.get(t, path, "Accept-Encoding: identity")
		gz := w.get(t, path, "Accept-Encoding: br, gzip")
		zs := w.get(t, path, "Accept-Encoding: gzip;q=0.5, zstd")
		if gz.header.Get("Content-Encoding") != "gzip" || zs.header.Get("Content-Encoding") != "zstd" {
			t.Errorf("%s: encodings %q and %q", path, gz.header.Get("Content-Encoding"), zs.header.Get("Content-Encoding"))
		}
		g, err := gzip.NewReader(strings.NewReader(gz.body))
		if err != nil {
			t.Fatal(err)
		}
		z, err := zstd.NewReader(strings.NewReader(zs.body))
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range []io.Reader{g, z} {
			if b, err := io.ReadAll(r); err != nil || string(b) != plain.body {
				t.Errorf("%s: %d bytes, want %d, %v", path, len(b), len(plain.body), err)
			}
		}
		z.Close()
		if held := plain.header.Get("Content-Length") != ""; held != strings.Contains(path, "Chad") {
			t.Errorf("%s: held is %v", path, held)
		}
		if strings.HasSuffix(path, "projects") {
			var all struct{ Items []struct{ ProjectID string } }
			if err := json.Unmarshal([]byte(plain.body), &all); err != nil || len(all.Items) != 3001 {
				t.Errorf("%d items, %v", len(all.Items), err)
			}
		}
	}
}

// TestAcceptEncoding: an answer has the encoding that the client likes best, never one
// that it refuses.
func TestAcceptEncoding(t *testing.T) {
	w := newWorld(t, setup{})
	w.put(t, change.Verra, "project_id project_name", row("P", strings.Repeat("a long name ", 300)))
	for accept, want := range map[string]struct {
		encoding string
		gzip     bool // is taken
	}{
		"identity": {}, "br": {}, "*": {}, "gzip": {"gzip", true}, "zstd": {"zstd", false}, "gzip, deflate, br, zstd": {"zstd", true}, "GZIP": {"gzip", true},
		"gzip;q=0": {}, "gzip; q=0.0, zstd;q=0": {}, "zstd;q=0, gzip;q=0.1": {"gzip", true}, "zstd;q=0.4, gzip;q=0.5": {"gzip", true},
		"identity, gzip;q=0.5": {"", true}, "identity;q=0.5, gzip": {"gzip", true}, "identity, gzip": {"gzip", true}, "gzip;q=much": {"gzip", true},
	} {
		if got := w.get(t, "/v1/projects", "Accept-Encoding: "+accept); got.header.Get("Content-Encoding") != want.encoding {
			t.Errorf("%q: %q, want %q", accept, got.header.Get("Content-Encoding"), want.encoding)
		}
		r := httptest.NewRequest(http.MethodGet, "/static/uplot/uplot.js", nil)
		r.Header.Set("Accept-Encoding", accept)
		if got := web.AcceptsGzip(r); got != want.gzip {
			t.Errorf("%q: gzip is %v, want %v", accept, got, want.gzip)
		}
	}
}

// TestProblems has the errors, with the code and reason that gRPC gives.
func TestProblems(t *testing.T) {
	w := newWorld(t, setup{})
	w.market(t)
	for path, want := range map[string]web.Problem{
		"/v1/nothing":                             {Status: 404, Code: "NOT_FOUND"},
		"/v1/projects/VCS-9":                      {Status: 404, Code: "NOT_FOUND", Reason: "NO_SUCH_PROJECT"},
		"/v1/projects?contry=x":                   {Status: 400, Code: "INVALID_ARGUMENT", Field: "contry"},
		"/v1/projects?country=a&country=b":        {Status: 400, Code: "INVALID_ARGUMENT", Field: "country"},
		"/v1/projects?vintage=new":                {Status: 400, Code: "INVALID_ARGUMENT", Field: "vintage"},
		"/v1/projects?min_supply=NaN":             {Status: 400, Code: "INVALID_ARGUMENT", Field: "min_supply"},
		"/v1/projects?page_size=-1":               {Status: 400, Code: "INVALID_ARGUMENT", Field: "page_size"},
		"/v1/projects?page_token=x":               {Status: 400, Code: "INVALID_ARGUMENT", Field: "page_token"},
		"/v1/projects?order=color":                {Status: 400, Code: "INVALID_ARGUMENT", Field: "order"},
		"/v1/projects?format=xml":                 {Status: 400, Code: "INVALID_ARGUMENT", Field: "format"},
		"/v1/projects?guard=2":                    {Status: 400, Code: "INVALID_ARGUMENT", Field: "guard"},
		"/v1/projects?as_of=yesterday":            {Status: 400, Code: "INVALID_ARGUMENT", Field: "as_of"},
		"/v1/projects?as_of=":                     {Status: 400, Code: "INVALID_ARGUMENT", Field: "as_of"},
		"/v1/projects?as_of=1":                    {Status: 410, Code: "OUT_OF_RANGE", Reason: "OTHER_HISTORY"},
		"/v1/projects?as_of=9000000000000000":     {Status: 400, Code: "OUT_OF_RANGE", Reason: "OFFSET_NOT_REACHED"},
		"/v1/projects?as_of=2999-01-01T00:00:00Z": {Status: 400, Code: "OUT_OF_RANGE", Reason: "OFFSET_NOT_REACHED"},
		"/v1/totals?by=unspecified":               {Status: 400, Code: "INVALID_ARGUMENT", Field: "by"},
		"/v1/projects?min_lsn=soon":               {Status: 400, Code: "INVALID_ARGUMENT", Field: "min_lsn"},
		"/v1/topics/carbon.public.verra?from=now": {Status: 400, Code: "INVALID_ARGUMENT", Field: "from"},
		"/v1/projects?min_lsn=0/5":                {Status: 400, Code: "FAILED_PRECONDITION", Reason: "EMBEDDED_MODE"},
		"/v1/projects?country=%00":                {Status: 400, Code: "INVALID_ARGUMENT", Field: "country"},
		"/v1/projects?country=%ff":                {Status: 400, Code: "INVALID_ARGUMENT", Field: "country"},
		"/v1/projects?country=%zz":                {Status: 400, Code: "INVALID_ARGUMENT", Field: "the query of the address"},
		"/v1/finance?country=x":                   {Status: 400, Code: "INVALID_ARGUMENT", Field: "country"},
	} {
		a := w.get(t, path, "X-Request-Id: mine-1", "Accept-Encoding: gzip")
		var got web.Problem
		if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %q, %v", path, a.body, err)
			continue
		}
		if got.Status != want.Status || a.status != want.Status || got.Code != want.Code || got.Reason != want.Reason || got.Field != want.Field || got.Detail == "" || got.RequestID != "mine-1" {
			t.Errorf("%s: %d %+v", path, a.status, got)
		}
		if got.Reason != "" && got.Remedy == "" {
			t.Errorf("%s: %s has no remedy", path, got.Reason)
		}
	}
	for path, method := range map[string]string{"/v1/projects": http.MethodPost, "/v1/news/watch": http.MethodHead, "/v1/topics/carbon.public.verra/watch": http.MethodHead} {
		if a := w.do(t, method, path); a.status != 405 || !strings.HasPrefix(a.header.Get("Allow"), "GET") || strings.Contains(a.header.Get("Allow"), method) {
			t.Errorf("%s %s: %d %v", method, path, a.status, a.header)
		}
	}
}

const tokens = "desk read desk-token-of-the-test\noperations admin admin-token-of-the-test\n"

// TestDoor: who comes in, by which way.
func TestDoor(t *testing.T) {
	closed, open := newWorld(t, setup{tokens: tokens}), newWorld(t, setup{tokens: tokens, open: true})
	for _, tc := range []struct {
		name   string
		w      *world
		header []string
		status int
	}{
		{"nobody", closed, nil, 401},
		{"token", closed, []string{"Authorization: Bearer desk-token-of-the-test"}, 200},
		{"cookie", closed, []string{"Cookie: " + web.Cookie + "=desk-token-of-the-test"}, 200},
		{"wrong token", closed, []string{"Authorization: Bearer desk-token-of-the-tesT"}, 401},
		{"wrong scheme", closed, []string{"Authorization: Basic desk-token-of-the-test"}, 401},
		{"open", open, nil, 200},
	} {
		a := tc.w.get(t, "/v1/projects", tc.header...)
		if a.status != tc.status || tc.status == 401 && a.header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: %d %s", tc.name, a.status, a.body)
		}
		if strings.Contains(a.body, "of-the-test") {
			t.Errorf("%s: the answer shows the token", tc.name)
		}
	}
	// Nothing is for those without a token.
	for _, e := range web.Endpoints() {
		path := strings.NewReplacer("{project_id}", "P", "{ticker}", "T", "{topic}", "carbon.public.verra").Replace(e.Path)
		if a := closed.get(t, path); a.status != 401 {
			t.Errorf("%s for nobody: %d %s", path, a.status, a.body)
		}
	}
	// Without tokens only loopback comes in.
	plain := newWorld(t, setup{})
	for addr, want := range map[string]int{"127.0.0.1": 200, "::1": 200, "192.0.2.7": 403} {
		r := httptest.NewRequest(http.MethodGet, "/v1/projects", nil)
		r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, &net.TCPAddr{IP: net.ParseIP(addr), Port: 1}))
		rec := httptest.NewRecorder()
		web.New(plain.api, web.Options{Door: plain.door}).ServeHTTP(rec, r)
		if rec.Code != want {
			t.Errorf("over %s: %d %s", addr, rec.Code, rec.Body)
		}
	}
}

// TestPosts: a request that changes something comes from a page of this listener, or
// from a program with a bearer token.
func TestPosts(t *testing.T) {
	w := newWorld(t, setup{tokens: tokens})
	post := func(csrf string, headers ...string) error {
		r := httptest.NewRequest(http.MethodPost, "https://carbond.example.org/poll", strings.NewReader(url.Values{"csrf": {csrf}}.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		for _, h := range headers {
			name, value, _ := strings.Cut(h, ": ")
			r.Header.Set(name, value)
		}
		return w.door.CheckPost(r)
	}
	cookie := "Cookie: " + web.Cookie + "=admin-token-of-the-test"
	page := httptest.NewRequest(http.MethodGet, "/", nil)
	page.Header.Set("Cookie", web.Cookie+"=admin-token-of-the-test")
	good := w.door.CSRF(page)
	for _, tc := range []struct {
		name string
		err  error
		ok   bool
	}{
		{"page", post(good, cookie, "Sec-Fetch-Site: same-origin"), true},
		{"old browser", post(good, cookie), true},
		{"without", post("", cookie, "Sec-Fetch-Site: same-origin"), false},
		{"of another caller", post(good, "Cookie: "+web.Cookie+"=desk-token-of-the-test"), false},
		{"elsewhere", post(good, cookie, "Sec-Fetch-Site: cross-site"), false},
		{"other origin", post(good, cookie, "Origin: https://evil.example.org"), false},
		{"program", post("", "Authorization: Bearer admin-token-of-the-test"), true},
	} {
		if (tc.err == nil) != tc.ok {
			t.Errorf("%s: %v", tc.name, tc.err)
		}
	}
	rec := httptest.NewRecorder()
	if err := w.door.Enter(rec, page, "a-token-that-nobody-has"); err == nil {
		t.Error("a wrong token gets a cookie")
	}
	if err := w.door.Enter(rec, page, "admin-token-of-the-test"); err != nil {
		t.Fatal(err)
	}
	if c := rec.Result().Cookies(); len(c) != 1 || !c[0].HttpOnly || c[0].SameSite != http.SameSiteStrictMode {
		t.Errorf("cookies %v", c)
	}
}

// TestOrigins: pages elsewhere read where the configuration says so.
func TestOrigins(t *testing.T) {
	w := newWorld(t, setup{origins: []string{"https://desk.example.org"}})
	for origin, want := range map[string]string{"https://desk.example.org": "https://desk.example.org", "https://other.example.org": "", "null": ""} {
		a := w.get(t, "/v1/projects", "Origin: "+origin)
		pre := w.do(t, http.MethodOptions, "/v1/projects", "Origin: "+origin, "Access-Control-Request-Method: GET")
		if a.header.Get("Access-Control-Allow-Origin") != want || pre.header.Get("Access-Control-Allow-Origin") != want || pre.status != 204 || a.header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s: %q, before it %d %q", origin, a.header.Get("Access-Control-Allow-Origin"), pre.status, pre.header.Get("Access-Control-Allow-Origin"))
		}
	}
}

// TestRateIsShared: calls by HTTP and calls by gRPC take from the same rate.
func TestRateIsShared(t *testing.T) {
	w := newWorld(t, setup{rpc: rpc.Options{RateLimit: 0.0001, RateBurst: 2}})
	w.get(t, "/v1/projects")
	client := pb.NewCarbonServiceClient(w.api.Local())
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.RemoteAddr = "127.0.0.1:1"
	ctx, err := w.door.Caller(r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.GetNews(ctx, &pb.NewsQuery{}); err != nil {
		t.Fatal(err)
	}
	if a := w.get(t, "/v1/projects"); a.status != 429 || a.header.Get("Retry-After") == "" {
		t.Errorf("the third call: %d %v", a.status, a.header)
	}
}

// FuzzQuery: no address is more than an answer or a problem.
func FuzzQuery(f *testing.F) {
	for _, s := range []string{"", "country=Brazil&page_size=2", "order=-supply&page_size=1&page_token=AWeHTxXlKFipVkNTLTkwMDAy", "q=s%C3%A3o", "as_of=2024-01-31T12:00:00Z", "vintage_min=-1&vintage=9999999999", "min_supply=1e999", "format=csv&guard=0", "%zz", "a=b;c", "min_lsn=0/0"} {
		f.Add(s)
	}
	w := newWorld(f, setup{})
	w.market(f)
	h := web.New(w.api, web.Options{Door: w.door})
	f.Fuzz(func(t *testing.T, query string) {
		for _, path := range []string{
			"/v1/projects", "/v1/news", "/v1/finance", "/v1/totals", "/v1/projects/VCS-1", "/v1/projects/VCS-1/history", "/v1/finance/KRBN/history", "/v1/topics", "/v1/topics/carbon.public.news",
		} {
			r := httptest.NewRequest(http.MethodGet, path, nil)
			r.URL.RawQuery = query
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, r)
			if rec.Code >= 500 && rec.Code != 503 {
				t.Fatalf("%s?%s: %d %s", path, query, rec.Code, rec.Body)
			}
			if strings.Contains(rec.Header().Get("Content-Type"), "json") && !strings.Contains(rec.Header().Get("Content-Type"), "ndjson") && !json.Valid(rec.Body.Bytes()) {
				t.Fatalf("%s?%s: %q is no JSON", path, query, rec.Body)
			}
		}
	})
}
