package main

import (
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"carbond/cmd/carbond/internal/certs/certstest"
)

func TestConfirm(t *testing.T) {
	for name, tc := range map[string]struct {
		tty, yes bool
		answer   string
		ok       bool
	}{
		"yes flag":       {false, true, "", true},
		"a pipe":         {false, false, "y\n", true},
		"a pipe, no":     {false, false, "no\n", false},
		"nobody":         {false, false, "", false},
		"y":              {true, false, "y\n", true},
		"YES":            {true, false, "YES\n", true},
		"n":              {true, false, "n\n", false},
		"return":         {true, false, "\n", false},
		"end of input":   {true, false, "", false},
		"without return": {true, false, "yes", true},
	} {
		a := &app{stdio: stdio{in: strings.NewReader(tc.answer), err: io.Discard, tty: tc.tty}}
		if err := a.confirm("Really?", tc.yes); (err == nil) != tc.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCompareRows(t *testing.T) {
	got := compareRows(map[string]string{"a": "1", "b": "2", "d": "4"}, map[string]string{"b": "2", "c": "3", "d": "5"})
	want := map[string]difference{"a": {"1", ""}, "c": {"", "3"}, "d": {"4", "5"}}
	if !maps.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

func TestHealthcheckFollowsTheConfiguration(t *testing.T) {
	p := start(t, embedded(t), "serve")
	_, port, _ := strings.Cut(p.grpc, ":")
	for _, listen := range []string{p.grpc, "0.0.0.0:" + port, ":" + port} {
		must(t, []string{"CARBOND_GRPC_LISTEN=" + listen}, "healthcheck")
	}
	if code, _, _ := command(t, []string{"CARBOND_GRPC_LISTEN=" + p.grpc}, "healthcheck", "--addr", "127.0.0.1:1"); code != 1 {
		t.Error("--addr does not win")
	}
}

// TestHealthcheckOfTLS is the HEALTHCHECK of the image, which has no flags, with
// every kind of certificates.
func TestHealthcheckOfTLS(t *testing.T) {
	servers, clients := certstest.NewCA(t), certstest.NewCA(t)
	cert, key := servers.Issue(t, "carbond.example.org")
	grpcTLS := []string{"CARBOND_GRPC_TLS_CERT=" + cert, "CARBOND_GRPC_TLS_KEY=" + key}
	httpTLS := []string{"CARBOND_HTTP_TLS_CERT=" + cert, "CARBOND_HTTP_TLS_KEY=" + key}
	for name, env := range map[string][]string{
		"server":                   grpcTLS,
		"clients of another CA":    append(slices.Clip(grpcTLS), "CARBOND_GRPC_CLIENT_CA="+clients.File(t)),
		"the same, HTTP with TLS":  append(append(slices.Clip(grpcTLS), httpTLS...), "CARBOND_GRPC_CLIENT_CA="+clients.File(t)),
		"one CA for both, no HTTP": append(append(slices.Clip(grpcTLS), httpTLS...), "CARBOND_GRPC_CLIENT_CA="+servers.File(t), "CARBOND_HTTP_CLIENT_CA="+clients.File(t)),
	} {
		t.Run(name, func(t *testing.T) {
			p := start(t, append(embedded(t), env...), "serve")
			env := append(slices.Clip(env), "CARBOND_GRPC_LISTEN="+p.grpc, "CARBOND_HTTP_LISTEN="+p.http)
			if out := must(t, env, "healthcheck"); !strings.Contains(out, "SERVING") {
				t.Errorf("got %q", out)
			}
			p.stop()
			if code, out, _ := command(t, env, "healthcheck"); code != 1 {
				t.Errorf("of a daemon that is gone: exit code %d, %q", code, out)
			}
		})
	}
}

// TestURLThatCannotBeHonoured is refused before anything starts.
func TestURLThatCannotBeHonoured(t *testing.T) {
	env := append(embedded(t), "CARBOND_POSTGRES_URL=postgres://u:s3cret@127.0.0.1:1/x?requirepeer=postgres")
	for _, args := range [][]string{{"check-config"}, {"serve"}, {"doctor"}, {"feeds", "fetch", "news"}} {
		code, out, errs := command(t, env, args...)
		if text := out + errs; code != 78 || !strings.Contains(text, "CARBOND_POSTGRES_URL: postgres.url: requirepeer is not supported") || strings.Contains(text, "s3cret") {
			t.Errorf("%v: exit code %d\n%s", args, code, text)
		}
	}
}
