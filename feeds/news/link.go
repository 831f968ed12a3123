package news

import (
	"crypto/md5" //nolint:gosec // an identity that the contract fixes, not a protection
	"encoding/hex"
	"net/url"
	"strings"
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
		lower := strings.ToLower(name)
		switch {
		case part == "", name == "CMP",
			strings.HasPrefix(lower, "utm_"), strings.HasPrefix(lower, "at_"),
			strings.Contains(value, "@"):
		default:
			kept = append(kept, part)
		}
	}
	return strings.Join(kept, "&")
}

// Canonical returns the form of a clean link that identifies a story: https,
// and without trailing slash. It is what GUID hashes, not what readers open:
// a site may know only http, or want the slash.
func Canonical(clean string) string {
	u, err := url.Parse(clean)
	if err != nil {
		return clean
	}
	u.Scheme = "https"
	if p := strings.TrimRight(u.EscapedPath(), "/"); p != u.EscapedPath() {
		if plain, err := url.PathUnescape(p); err == nil {
			u.Path, u.RawPath = plain, p
		}
	}
	return u.String()
}

// GUID returns the identity of the story behind a clean link.
func GUID(clean string) string { return hash(Canonical(clean)) }

func hash(s string) string {
	sum := md5.Sum([]byte(s)) //nolint:gosec // see above
	return hex.EncodeToString(sum[:])
}
