package main

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"carbond/cmd/carbond/internal/admin"
	"carbond/cmd/carbond/internal/certs/certstest"
	"carbond/store/change"
)

// The page and /status.json show what a reader asks first: what is in it, how
// old it is, and the last changes.
func TestConsole(t *testing.T) {
	p := start(t, nil, "demo")
	p.until("welcome", func() bool { return strings.Contains(p.stdout.String(), "Stop with Ctrl-C") })
	var s admin.Status
	p.until("rows everywhere", func() bool {
		_, body := p.get("/status.json")
		if err := json.Unmarshal([]byte(body), &s); err != nil {
			t.Fatal(err)
		}
		full := len(s.Views) == 3 && len(s.Topics) == len(change.Tables())
		for _, v := range s.Views {
			full = full && v.Rows > 0 && v.Offset > 0 && v.ChangedAt != nil
		}
		for _, c := range s.Topics {
			full = full && c.Records > 0 && c.Next > c.First && c.ChangedAt != nil
		}
		return full
	})
	must(t, nil, "consume", "carbon.public.news", "--addr", p.grpc, "--from", "earliest", "--group", "desk", "--max", "1")
	for path, words := range map[string][]string{
		"/":         {"SAMPLE DATA", "<bdi>Harbour Press</bdi>", "</strong> projects"},
		"/pipeline": {"<bdi>desk</bdi>", "carbon.public.carbonmark", "news/verdant-wire", "grpcurl -plaintext " + p.grpc + " list"},
	} {
		for _, want := range words {
			p.until(want, func() bool {
				_, body := p.get(path)
				return strings.Contains(body, want)
			})
		}
	}
	// The project that the welcome names is there.
	id := regexp.MustCompile(`"project_id":"([^"]+)"`).FindStringSubmatch(p.stdout.String())
	if id == nil || !strings.Contains(must(t, nil, "view", "projects", "--addr", p.grpc, "--format", "jsonl"), `"`+id[1]+`"`) {
		t.Errorf("no such project as %q", id)
	}
}

// Where the API asks its callers who they are, the pages do too, and a token goes into
// a cookie.
func TestConsoleAsksWho(t *testing.T) {
	ca := certstest.NewCA(t)
	cert, key := ca.Issue(t, "localhost")
	for name, tc := range map[string]struct {
		env  []string
		code int
	}{
		"open":         {nil, 200},
		"tokens":       {[]string{"CARBOND_GRPC_TOKENS_FILE=" + file(t, "tokens", "ops admin a-long-random-text\n")}, 401},
		"certificates": {[]string{"CARBOND_GRPC_TLS_CERT=" + cert, "CARBOND_GRPC_TLS_KEY=" + key, "CARBOND_GRPC_CLIENT_CA=" + ca.File(t)}, 403},
	} {
		t.Run(name, func(t *testing.T) {
			p := start(t, tc.env, "demo")
			p.until("page", func() bool {
				code, body := p.get("/")
				if strings.Contains(body, "a-long-random-text") {
					t.Error("a token is on the page")
				}
				return code == tc.code && strings.Contains(body, "<bdi>Harbour Press</bdi>") == (code == 200) && strings.Contains(body, `action="/token"`) == (code != 200)
			})
			if tc.code != 401 {
				return
			}
			jar, err := cookiejar.New(nil)
			if err != nil {
				t.Fatal(err)
			}
			browser := &http.Client{Jar: jar, Transport: &http.Transport{DisableKeepAlives: true}}
			_, body := p.get("/")
			csrf := regexp.MustCompile(`name="csrf" value="([^"]+)"`).FindStringSubmatch(body)[1]
			for _, try := range []struct {
				token string
				code  int
			}{{"wrong", 401}, {"a-long-random-text", 200}} {
				code := try.code
				resp, err := browser.PostForm("http://"+p.http+"/token", url.Values{"csrf": {csrf}, "token": {try.token}, "to": {"/pipeline"}})
				if err != nil {
					t.Fatal(err)
				}
				b, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || resp.StatusCode != code || strings.Contains(string(b), "news/verdant-wire") != (code == 200) {
					t.Errorf("%v %s %s", err, resp.Status, b)
				}
			}
		})
	}
}

// A daemon that cannot reach Postgres says so first, with what to do.
func TestConsoleInTrouble(t *testing.T) {
	p := start(t, append(embedded(t), "CARBOND_POSTGRES_URL=postgres://carbond:s3cret-pw@127.0.0.1:1/x"), "serve")
	for _, want := range []string{"Not ready", "What to do:", "carbond doctor", "127.0.0.1"} {
		p.until(want, func() bool {
			_, body := p.get("/")
			if strings.Contains(body, "s3cret-pw") {
				t.Fatal("the password is on the page")
			}
			return strings.Contains(body, want)
		})
	}
	if _, body := p.get("/readyz?verbose"); !strings.Contains(body, `"remedy": `) {
		t.Error(body)
	}
}

func TestTakenAddress(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, key := range []string{"grpc", "http"} {
		env := append(embedded(t), "CARBOND_GRPC_LISTEN=127.0.0.1:0", "CARBOND_HTTP_LISTEN=127.0.0.1:0", "CARBOND_FEEDS_ENABLED=none")
		code, _, errs := command(t, env, "serve", "--"+key+"-listen", l.Addr().String())
		if code != 1 || !strings.Contains(errs, key+".listen") || !strings.Contains(errs, "--"+key+"-listen") {
			t.Errorf("exit code %d: %s", code, errs)
		}
	}
}
