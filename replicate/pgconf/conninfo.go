package pgconf

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// Dial completes a parsed Postgres URL for use: a time limit to connect where
// the URL has none, an application name, and the parameters of libpq that pgconn
// does not know. These it would hand on to the server, which refuses them as
// settings of its own. They are applied, or dropped where they ask for what is
// so anyway; one that asks for what carbond cannot do is an error, because a
// wish for safety must not be passed over. tcp_user_timeout does go to the server,
// which has a setting of that name for its side.
//
// Source: PostgreSQL 18 documentation, 32.1.2, Parameter Key Words.
func Dial(cfg *pgconn.Config, timeout time.Duration) error {
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = timeout
	}
	p := conninfo{params: cfg.RuntimeParams}
	name := p.take("fallback_application_name")
	if name == "" {
		name = "carbond"
	}
	cfg.RuntimeParams["client_encoding"] = "UTF8" // libpq has "auto"; texts here are UTF-8
	if cfg.RuntimeParams["application_name"] == "" {
		cfg.RuntimeParams["application_name"] = name
	}
	dialer := &net.Dialer{Timeout: cfg.ConnectTimeout, KeepAliveConfig: p.keepAlive()}
	if !dialer.KeepAliveConfig.Enable {
		dialer.KeepAlive = -1 // else there is a default
	}
	cfg.DialFunc = dialer.DialContext
	p.hostAddr(cfg)
	p.tlsVersions(cfg)

	p.accept("gssencmode", "disable", "prefer") // nothing is encrypted by GSSAPI
	p.accept("load_balance_hosts", "disable")
	p.accept("gssdelegation", "0")
	p.accept("requiressl", "0") // sslmode=require took the place of 1
	for _, name := range []string{
		"sslcrl", "sslcrldir", "sslkeylogfile", "requirepeer", "scram_client_key", "scram_server_key",
		"oauth_issuer", "oauth_client_id", "oauth_client_secret", "oauth_scope",
	} {
		p.accept(name)
	}
	p.take("gsslib")         // of Windows
	p.take("sslcompression") // libpq ignores it as well
	p.take("replication")    // each connection has its own
	return p.err
}

// conninfo takes parameters of libpq out of those for the server.
type conninfo struct {
	params map[string]string
	err    error // the first
}

func (p *conninfo) take(name string) string {
	v := p.params[name]
	delete(p.params, name)
	return v
}

// refuse notes that a parameter, with its value where that is no secret, cannot
// be honoured.
func (p *conninfo) refuse(param, why string) {
	if p.err == nil {
		p.err = fmt.Errorf("%s is not supported: %s", param, why)
	}
}

// accept takes a parameter that may have one of these values, or none. The error
// has no value, which may be a secret.
func (p *conninfo) accept(name string, values ...string) {
	v := p.take(name)
	if v == "" || slices.Contains(values, v) {
		return
	}
	want := "remove it from the Postgres URL if you can do without"
	if values != nil {
		want = "use " + strings.Join(values, " or ")
	}
	p.refuse(name, want)
}

// number takes a whole number; 0 is the system's or our own default.
func (p *conninfo) number(name string) int {
	v := p.take(name)
	if v == "" {
		return 0
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 {
		p.refuse(name+"="+v, "want a whole number")
	}
	return max(n, 0)
}

// keepAlive finds a dead server after about two minutes, unless told otherwise.
func (p *conninfo) keepAlive() net.KeepAliveConfig {
	k := net.KeepAliveConfig{Enable: true}
	if v := p.take("keepalives"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil {
			p.refuse("keepalives="+v, "want 1 or 0")
		}
		k.Enable = n != 0
	}
	k.Idle = time.Duration(p.number("keepalives_idle")) * time.Second
	k.Interval = time.Duration(p.number("keepalives_interval")) * time.Second
	k.Count = p.number("keepalives_count")
	return k
}

// hostAddr connects to an address in place of what the host's name stands for.
// The name stays the one that certificates are checked against.
func (p *conninfo) hostAddr(cfg *pgconn.Config) {
	addr := p.take("hostaddr")
	if addr == "" {
		return
	}
	hosts := map[string]bool{cfg.Host: true}
	for _, f := range cfg.Fallbacks {
		hosts[f.Host] = true
	}
	if strings.Contains(addr, ",") || len(hosts) > 1 {
		p.refuse("hostaddr="+addr, "carbond knows it with one host only")
		return
	}
	if _, err := netip.ParseAddr(addr); err != nil {
		p.refuse("hostaddr="+addr, "want a numeric address")
		return
	}
	if strings.HasPrefix(cfg.Host, "/") { // a socket's directory, for which pgconn leaves TLS out whatever sslmode says
		p.refuse("hostaddr="+addr, "give host as well, which the server's certificate is checked against")
		return
	}
	cfg.LookupFunc = func(context.Context, string) ([]string, error) { return []string{addr}, nil }
}

// tlsVersions bounds the versions of TLS. Go has the lower bound of libpq, 1.2.
func (p *conninfo) tlsVersions(cfg *pgconn.Config) {
	least, most := p.tlsVersion("ssl_min_protocol_version"), p.tlsVersion("ssl_max_protocol_version")
	configs := []*tls.Config{cfg.TLSConfig}
	for _, f := range cfg.Fallbacks {
		configs = append(configs, f.TLSConfig)
	}
	for _, c := range configs {
		if c == nil {
			continue
		}
		if least != 0 {
			c.MinVersion = least
		}
		if most != 0 {
			c.MaxVersion = most
		}
	}
}

func (p *conninfo) tlsVersion(name string) uint16 {
	switch v := p.take(name); strings.ToLower(v) {
	case "":
	case "tlsv1":
		return tls.VersionTLS10
	case "tlsv1.1":
		return tls.VersionTLS11
	case "tlsv1.2":
		return tls.VersionTLS12
	case "tlsv1.3":
		return tls.VersionTLS13
	default:
		p.refuse(name+"="+v, "want TLSv1, TLSv1.1, TLSv1.2 or TLSv1.3")
	}
	return 0
}
