package pgconf_test

import (
	"crypto/tls"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"carbond/replicate/pgconf"
)

// TestKeepAlive looks at the socket.
func TestKeepAlive(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for params, want := range map[string][2]int{"": {1, 15}, "keepalives=0": {0, 0}, "keepalives_idle=77&keepalives=1": {1, 77}} {
		cfg, err := pgconn.ParseConfig("postgres://" + l.Addr().String() + "/x?" + params)
		if err != nil {
			t.Fatal(err)
		}
		if err := pgconf.Dial(cfg, time.Minute); err != nil {
			t.Fatal(err)
		}
		c, err := cfg.DialFunc(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		raw, err := c.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		var on, idle int
		if err := raw.Control(func(fd uintptr) {
			on, _ = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_KEEPALIVE)
			idle, _ = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE)
		}); err != nil {
			t.Fatal(err)
		}
		if on != want[0] || on == 1 && idle != want[1] {
			t.Errorf("%q: keepalive %d after %d s, want %v", params, on, idle, want)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDial(t *testing.T) {
	const base = "postgres://u@db.example/x?sslmode=require&"
	for params, want := range map[string]string{
		"requirepeer=postgres":             "requirepeer",
		"sslcrl=/etc/crl.pem":              "sslcrl",
		"gssencmode=require":               "gssencmode",
		"keepalives_idle=soon":             "whole number",
		"keepalives=maybe":                 "keepalives",
		"ssl_min_protocol_version=SSLv3":   "TLSv1.2",
		"hostaddr=10.0.0.1,10.0.0.2":       "one host",
		"hostaddr=db2.example":             "numeric",
		"load_balance_hosts=random":        "use disable",
		"scram_client_key=s3cret":          "scram_client_key is not",
		"oauth_client_secret=s3cret":       "oauth_client_secret is not",
		"requiressl=1":                     "requiressl",
		"host=/tmp&hostaddr=10.0.0.1":      "give host",
		"gssencmode=disable&keepalives=0":  "",
		"ssl_max_protocol_version=TLSv1.2": "",
		"hostaddr=10.0.0.1":                "",
		"client_encoding=auto&application_name=a&options=-c%20a.b%3Dc&requiressl=0&fallback_application_name=b": "",
	} {
		cfg, err := pgconn.ParseConfig(base + params)
		if err != nil {
			t.Fatal(err)
		}
		err = pgconf.Dial(cfg, time.Second)
		if err != nil && strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: a secret in %v", params, err)
		}
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: got %v, want %q", params, err, want)
		}
		if want != "" {
			continue
		}
		for name := range cfg.RuntimeParams {
			if name != "application_name" && name != "options" && name != "client_encoding" {
				t.Errorf("%s: %s goes to the server", params, name)
			}
		}
		switch {
		case strings.Contains(params, "hostaddr"):
			if got, err := cfg.LookupFunc(t.Context(), cfg.Host); err != nil || len(got) != 1 || got[0] != "10.0.0.1" || cfg.Host != "db.example" {
				t.Errorf("%s: %v %v %s", params, got, err, cfg.Host)
			}
		case strings.Contains(params, "max_protocol"):
			if cfg.TLSConfig.MaxVersion != tls.VersionTLS12 {
				t.Errorf("%s: %#x", params, cfg.TLSConfig.MaxVersion)
			}
		case strings.Contains(params, "application_name"):
			if got := cfg.RuntimeParams["application_name"]; got != "a" {
				t.Errorf("%s: %q", params, got)
			}
		}
		if got := cfg.RuntimeParams["client_encoding"]; got != "UTF8" {
			t.Errorf("%s: client_encoding %q", params, got)
		}
		if cfg.ConnectTimeout != time.Second {
			t.Errorf("%s: %v", params, cfg.ConnectTimeout)
		}
	}
}
