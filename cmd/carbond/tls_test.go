package main

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"carbond/cmd/carbond/internal/certs/certstest"
)

func TestTLSTokensAndRenewal(t *testing.T) {
	ca := certstest.NewCA(t)
	cert, key := ca.Issue(t, "localhost")
	clientCert, clientKey := ca.Issue(t, "client")
	caFile := ca.File(t)
	tokens := file(t, "tokens", "ops admin a-long-random-text\n")
	token := file(t, "token", "a-long-random-text\n")
	env := append(embedded(t),
		"CARBOND_GRPC_TLS_CERT="+cert, "CARBOND_GRPC_TLS_KEY="+key, "CARBOND_GRPC_CLIENT_CA="+caFile, "CARBOND_GRPC_TOKENS_FILE="+tokens,
		"CARBOND_HTTP_TLS_CERT="+cert, "CARBOND_HTTP_TLS_KEY="+key)
	must(t, env, "check-config")
	p := start(t, env, "serve")
	base := []string{"--addr", p.grpc, "--tls-ca", caFile}
	mutual := append(base, "--tls-cert", clientCert, "--tls-key", clientKey)
	for name, tc := range map[string]struct {
		args []string
		code int
		want string
	}{
		"plain":       {[]string{"healthcheck", "--addr", p.grpc}, 1, "reach the daemon"},
		"no client":   {append([]string{"healthcheck"}, base...), 1, "reach the daemon"},
		"mutual":      {append([]string{"healthcheck"}, mutual...), 0, "SERVING"},
		"no token":    {append([]string{"view", "projects"}, mutual...), 1, "--token-file"},
		"token":       {append([]string{"view", "projects", "--token-file", token}, mutual...), 0, "PROJECT_ID"},
		"lone key":    {[]string{"healthcheck", "--addr", p.grpc, "--tls-key", key}, 64, "go together"},
		"wrong name":  {append([]string{"healthcheck", "--tls-server-name", "other"}, mutual...), 1, "reach the daemon"},
		"no CA file":  {[]string{"healthcheck", "--tls-ca", "/nonexistent"}, 1, "/nonexistent"},
		"feeds https": {[]string{"feeds", "--http-addr", p.http, "--tls-ca", caFile}, 0, "no feed is enabled"},
	} {
		if code, out, errs := command(t, nil, tc.args...); code != tc.code || !strings.Contains(out+errs, tc.want) {
			t.Errorf("%s: exit code %d\n%s%s", name, code, out, errs)
		}
	}
	// Renewed files are taken over by a reload; broken ones are not.
	if err := os.WriteFile(tokens, []byte("ops admin another-random-text\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.signals <- syscall.SIGHUP
	p.line("configuration reloaded")
	if code, _, _ := command(t, nil, append([]string{"view", "projects", "--token-file", token}, mutual...)...); code != 1 {
		t.Error("the withdrawn token still works")
	}
	if err := os.WriteFile(cert, []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.signals <- syscall.SIGHUP
	p.line("reload refused, the old configuration stays in force")
	must(t, nil, append([]string{"healthcheck"}, mutual...)...)
	if strings.Contains(p.stderr.String(), "random-text") {
		t.Error("a token is in the log")
	}
}
