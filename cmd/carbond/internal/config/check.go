package config

import (
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// check looks at keys that only make sense together.
func (l *loader) check() {
	c := l.cfg
	l.checkPostgres()
	l.checkFleet()
	if r := c.Retention; len(r.HoldGroups) > 0 && r.HoldBytes > 0 && r.HoldBytes < r.Bytes {
		l.warn("retention.hold_bytes", "retention.hold_bytes is less than retention.bytes, so retention.hold_groups hold nothing back: raise it")
	}
	l.checkTLS("grpc", c.GRPC.TLS)
	l.checkTLS("http", c.HTTP.TLS)
	if c.GRPC.Listen == c.HTTP.Listen && !strings.HasSuffix(c.GRPC.Listen, ":0") {
		l.report("http.listen", "http.listen and grpc.listen are both %s: give each its own port", c.HTTP.Listen)
	}
	if !c.GRPC.TLS.Enabled() && c.GRPC.TokensFile == "" && !loopback(c.GRPC.Listen) {
		l.warn("grpc.listen", "grpc.listen %s can be reached from other machines without TLS or tokens: set grpc.tls_cert and grpc.tls_key, or grpc.tokens_file, or keep it behind a firewall", c.GRPC.Listen)
	}
	if c.GRPC.TokensFile != "" && !c.GRPC.TLS.Enabled() && !loopback(c.GRPC.Listen) {
		l.warn("grpc.tokens_file", "tokens travel in plain text over %s: set grpc.tls_cert and grpc.tls_key", c.GRPC.Listen)
	}
	if c.HTTP.Pprof && c.HTTP.TLS.ClientCA == "" && !loopback(c.HTTP.Listen) {
		l.warn("http.pprof", "profiles can be read by anyone who reaches %s: set http.client_ca or a loopback http.listen", c.HTTP.Listen)
	}
	for key, path := range map[string]string{
		"grpc.tokens_file": c.GRPC.TokensFile, "grpc.tls_key": c.GRPC.TLS.Key, "http.tls_key": c.HTTP.TLS.Key,
	} {
		l.warnOpen(key, path)
	}
	l.warnings.sort()
	if c.DataDir == "" {
		l.report("data_dir", "data_dir is empty")
	}
}

func (l *loader) checkPostgres() {
	p := l.cfg.Postgres
	if p.URL.Empty() {
		if !p.Password.Empty() {
			l.warn("postgres.password", "postgres.password has no effect without postgres.url")
		}
		if !p.QueryURL.Empty() {
			l.warn("postgres.query_url", "postgres.query_url has no effect without postgres.url")
		}
		if len(p.Tables) > 0 {
			l.warn("postgres.tables", "postgres.tables has no effect without postgres.url")
		}
		if len(p.Masks) > 0 {
			l.warn("postgres.masks", "postgres.masks has no effect without postgres.url")
		}
		return
	}
	if p.OnMaxRetained == "drop" && p.MaxRetained == 0 {
		l.warn("postgres.on_max_retained_wal", "postgres.on_max_retained_wal has no effect without postgres.max_retained_wal")
	}
	for _, t := range p.Tables {
		if schema, name, ok := strings.Cut(t, "."); !ok || schema == "" || name == "" {
			l.report("postgres.tables", "postgres.tables: %q is not schema.table or schema.*", t)
		}
	}
	for key, url := range map[string]Secret{"postgres.url": p.URL, "postgres.query_url": p.QueryURL} {
		if l.bad[key] || url.Empty() {
			continue
		}
		if _, err := pgconn.ParseConfig(url.Reveal()); err != nil {
			l.report(key, "%s: %s", key, parseReason(err, url.Reveal()))
		}
	}
}

func (l *loader) checkFleet() {
	c := l.cfg
	switch {
	case len(c.Fleet.Join) > 0 && c.Fleet.Name == "":
		l.report("fleet.join", "fleet.join needs fleet.name, by which nodes of one fleet know each other")
	case c.Fleet.Name != "" && c.Embedded():
		l.report("fleet.name", "fleet.name needs postgres.url: the nodes of a fleet tail one Postgres")
	}
	if (c.Fleet.Cert == "") != (c.Fleet.Key == "") {
		l.report("fleet.tls_cert", "fleet.tls_cert and fleet.tls_key go together")
	}
	for _, addr := range c.Fleet.Join {
		if host, port, err := net.SplitHostPort(addr); err != nil || host == "" || port == "" {
			l.report("fleet.join", "fleet.join: %q is not HOST:PORT", addr)
		}
	}
}

// parseReason says what is wrong with a connection URL without quoting it: the
// parser repeats its input, and a malformed one cannot be trusted to hide its
// password.
func parseReason(err error, url string) string {
	reason := err.Error()
	if i := strings.LastIndex(reason, "`: "); i >= 0 {
		reason = reason[i+3:]
	}
	if strings.Contains(reason, url) || strings.Contains(reason, "parse \"") || strings.Contains(reason, "://") {
		reason = "failed to parse as URL"
	}
	reason = strings.NewReplacer("failed to parse as URL", "not a libpq URL",
		"failed to parse as keyword/value", "neither a libpq URL nor a keyword string").Replace(reason)
	return RedactURL(reason) + "; it looks like postgres://user@host:5432/database?sslmode=verify-full, with special characters percent-encoded"
}

func (l *loader) checkTLS(section string, t TLS) {
	switch {
	case t.Cert != "" && t.Key == "":
		l.report(section+".tls_cert", "%s.tls_cert needs %s.tls_key", section, section)
	case t.Cert == "" && t.Key != "":
		l.report(section+".tls_key", "%s.tls_key needs %s.tls_cert", section, section)
	case t.Cert == "" && t.ClientCA != "":
		l.report(section+".client_ca", "%s.client_ca needs %s.tls_cert and %s.tls_key", section, section, section)
	}
}

// report adds a problem at the place where the key got its value.
func (l *loader) report(key, format string, args ...any) {
	where, line := l.place(key)
	l.problems.add(where, line, format, args...)
}

func (l *loader) warn(key, format string, args ...any) {
	where, line := l.place(key)
	l.warnings.add(where, line, format, args...)
}

// warnOpen warns of a file with a secret that every user of the machine can read or
// write. Files of systemd and pipes have their own protection.
func (l *loader) warnOpen(key, path string) {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() || info.Mode()&0o006 == 0 || path == "" {
		return
	}
	l.warn(key, "%s: %s has mode %04o, so every user of this machine can read or write it: chmod o-rwx %s", key, path, info.Mode().Perm(), path)
}

func (l *loader) place(key string) (where string, line int) {
	where = l.cfg.from[key]
	if l.cfg.file != "" && strings.HasPrefix(where, l.cfg.file+":") {
		for _, d := range where[len(l.cfg.file)+1:] {
			if d < '0' || d > '9' {
				break
			}
			line = line*10 + int(d-'0')
		}
	}
	return where, line
}

// loopback reports whether an address cannot be reached from other machines.
func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}
