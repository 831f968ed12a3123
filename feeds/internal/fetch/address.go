package fetch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"time"
)

var errBlocked = errors.New("address is not public")

// special lists the address blocks that are global unicast by form but not
// reachable as a public host: shared, benchmark, documentation, reserved, and
// the IPv6 blocks that wrap an IPv4 address.
var special = func() []netip.Prefix {
	var out []netip.Prefix
	for _, s := range []string{
		"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15",
		"198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
		"::/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "fec0::/10",
	} {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}()

// publicAddr reports whether a is an address of the public internet.
func publicAddr(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if !a.IsGlobalUnicast() || a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() {
		return false
	}
	for _, p := range special {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

// LocalName reports whether host (without port) names a machine that is not on
// the public internet by its very form: a non-public address, "localhost", a
// name without a dot, or one under a suffix reserved for private networks. Only
// such hosts may resolve to private addresses, and only when configured.
func LocalName(host string) bool {
	if a, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return !publicAddr(a)
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if !strings.Contains(host, ".") {
		return true
	}
	for _, suffix := range []string{".localhost", ".local", ".internal", ".home.arpa"} {
		if strings.HasSuffix(host, suffix) {
			return true
		}
	}
	// "127.1" and "0x7f.1" are addresses to a resolver but not to ParseAddr.
	last := host[strings.LastIndexByte(host, '.')+1:]
	return last != "" && strings.Trim(last, "0123456789") == "" || strings.HasPrefix(last, "0x")
}

// Origin is the scheme, host and port of u in one canonical form.
func Origin(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return u.Scheme + "://" + net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

// CheckURL reports whether a request may go to u. configured is the URL from
// the configuration that led here, possibly u itself.
func CheckURL(u, configured *url.URL) error {
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("%w: scheme %q", errBlocked, u.Scheme)
	case u.Hostname() == "":
		return fmt.Errorf("%w: URL has no host", errBlocked)
	case Origin(u) == Origin(configured):
		return nil // as configured, over http or on a private network too
	case u.Scheme != "https":
		return fmt.Errorf("%w: %s is not https", errBlocked, u.Host)
	case LocalName(u.Hostname()):
		return fmt.Errorf("%w: %s is on a private network and not configured", errBlocked, u.Host)
	}
	return nil
}

// dialer opens connections and refuses private addresses, after resolution.
type dialer struct {
	local map[string]bool // host names from the configuration that may be private
	// proxies holds the proxy addresses ("host:port") that the environment
	// names; they are the user's choice and may be private.
	proxies sync.Map
	timeout time.Duration
}

func (d *dialer) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	nd := net.Dialer{Timeout: d.timeout, KeepAlive: 30 * time.Second}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	_, proxy := d.proxies.Load(addr)
	if !proxy && !d.local[strings.ToLower(host)] {
		nd.Control = refusePrivate
	}
	return nd.DialContext(ctx, network, addr)
}

// refusePrivate runs with the address that resolution gave, right before the
// connection is made, so that no later DNS answer can replace it.
func refusePrivate(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %s", errBlocked, address)
	}
	if !publicAddr(ap.Addr()) {
		return fmt.Errorf("%w: %s", errBlocked, ap.Addr())
	}
	return nil
}

// proxy is http.ProxyFromEnvironment, remembering what it chose.
func (d *dialer) proxy(req *http.Request) (*url.URL, error) {
	u, err := http.ProxyFromEnvironment(req)
	if err != nil || u == nil {
		return u, err
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443", "socks5": "1080", "socks5h": "1080"}[u.Scheme]
	}
	d.proxies.Store(net.JoinHostPort(u.Hostname(), port), true)
	return u, nil
}
