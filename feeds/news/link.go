package news

import (
	"crypto/md5" //nolint:gosec // an identity that the contract fixes, not a protection
	_ "embed"
	"encoding/hex"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// maxLink is the longest link that is kept, in bytes.
const maxLink = 2048

// base returns the URL that relative links of a feed are resolved against: the
// site that the feed names, else the address of the feed itself.
func base(candidates ...string) *url.URL {
	for _, s := range candidates {
		if u, err := url.Parse(strings.TrimSpace(s)); err == nil && web(u) {
			return u
		}
	}
	return nil
}

// web reports whether u is an absolute http or https URL.
func web(u *url.URL) bool {
	return (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != ""
}

// CleanLink returns link resolved against base (nil for none), without tracking
// parameters, credentials, e-mail addresses and fragment; ok is false for
// anything that is no http or https address.
func CleanLink(link string, base *url.URL) (clean string, ok bool) {
	link = strings.TrimSpace(link)
	if link == "" || len(link) > maxLink || strings.ContainsAny(link, " \t\r\n<>\"") {
		return "", false
	}
	u, err := url.Parse(link)
	if err != nil {
		return "", false
	}
	if base != nil {
		u = base.ResolveReference(u)
	}
	if !web(u) {
		return "", false
	}
	u.User = nil
	u.Fragment, u.RawFragment = "", ""
	u.Host = host(u)
	u.RawQuery, u.ForceQuery = untracked(u.RawQuery), false
	clean = u.String()
	return clean, len(clean) <= maxLink
}

// host returns the host in lower case without a port that the scheme implies.
func host(u *url.URL) string {
	h := strings.TrimSuffix(strings.ToLower(u.Host), ":")
	if u.Scheme == "https" {
		return strings.TrimSuffix(h, ":443")
	}
	return strings.TrimSuffix(h, ":80")
}

// untracked removes tracking parameters, and parameters that hold an e-mail
// address, without touching order or spelling of the rest.
func untracked(query string) string {
	if query == "" {
		return ""
	}
	kept := make([]string, 0, 4)
	for part := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(part, "=")
		if n, err := url.QueryUnescape(name); err == nil {
			name = n
		}
		if v, err := url.QueryUnescape(value); err == nil {
			value = v
		}
		if part != "" && !tracks(name, value) && !strings.Contains(value, "@") {
			kept = append(kept, part)
		}
	}
	return strings.Join(kept, "&")
}

//go:embed trackers.txt
var trackerTable string

// trackers are the lines of trackers.txt: names, beginnings of names ("utm_*"),
// and names with one of several values ("ref=rss|twitter").
var trackers = sync.OnceValue(func() map[string][]string {
	out := map[string][]string{}
	for line := range strings.Lines(trackerTable) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		name, values, limited := strings.Cut(line, "=")
		out[name] = nil
		if limited {
			out[name] = strings.Split(values, "|")
		}
	}
	return out
})

// tracks reports whether a parameter says where a reader comes from, and
// nothing about the page.
func tracks(name, value string) bool {
	if name == "CMP" {
		return true
	}
	name = strings.ToLower(name)
	values, ok := trackers()[name]
	if i := strings.IndexAny(name, "_-"); !ok && i > 0 {
		values, ok = trackers()[name[:i+1]+"*"]
	}
	return ok && (values == nil || slices.Contains(values, strings.ToLower(value)))
}

// Canonical returns the form of a clean link that identifies a story: https,
// no escape where none is needed ("%62" is "b"), and no trailing slash. It is what GUID hashes, not what readers open:
// a site may know only http, or want the slash.
func Canonical(clean string) string {
	u, err := url.Parse(clean)
	if err != nil {
		return clean
	}
	u.Scheme = "https"
	u.Path, u.RawPath = plainPath(u)
	u.RawQuery = plainEscapes(u.RawQuery)
	if p := strings.TrimRight(u.EscapedPath(), "/"); p != u.EscapedPath() {
		if plain, err := url.PathUnescape(p); err == nil {
			u.Path, u.RawPath = plain, p
		}
	}
	return u.String()
}

// plainPath is the path of u with plainEscapes.
func plainPath(u *url.URL) (path, raw string) {
	raw = plainEscapes(u.EscapedPath())
	path, err := url.PathUnescape(raw)
	if err != nil {
		return u.Path, u.RawPath
	}
	return path, raw
}

// escapes are percent escapes.
var escapes = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)

// plainEscapes resolves the escapes of characters that need none and writes all
// others in capitals.
func plainEscapes(s string) string {
	return escapes.ReplaceAllStringFunc(s, func(e string) string {
		n, _ := strconv.ParseUint(e[1:], 16, 8)
		switch c := byte(n); {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("-._~", c) >= 0:
			return string(rune(c))
		}
		return strings.ToUpper(e)
	})
}

// GUID returns the identity of the story behind a clean link.
func GUID(clean string) string { return hash(Canonical(clean)) }

func hash(s string) string {
	sum := md5.Sum([]byte(s)) //nolint:gosec // see above
	return hex.EncodeToString(sum[:])
}
