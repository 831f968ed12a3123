package admin

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
)

// knownHosts lets a browser read only under a name of this listener. Without that a
// page of somebody else's, whose name its DNS server turns into this address, could
// read what is here. Addresses pass: no name means no such page. So do probes and
// scrapes, which come under the names of a cluster.
func knownHosts(next http.Handler, opt Options) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/metrics", "/healthz", "/readyz":
			next.ServeHTTP(w, r)
			return
		}
		if opt.Hosts != nil && !known(r.Host, opt.Hosts()) {
			http.Error(w, fmt.Sprintf("%q is no name of this listener: use its address, or add the name to http.hosts", r.Host), http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// known reports whether a request's Host names this machine or is one of names, of
// which "*" is any and ".example.org" all below it.
func known(host string, names []string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil || host == "" {
		return true
	}
	own, _ := os.Hostname() // "" is no name
	for _, name := range append([]string{"localhost", ".localhost", own}, names...) {
		name = strings.ToLower(name)
		switch {
		case name == "":
		case name == "*", host == name:
			return true
		case strings.HasPrefix(name, ".") && strings.HasSuffix(host, name):
			return true
		}
	}
	return false
}
