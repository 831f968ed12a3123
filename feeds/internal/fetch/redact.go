package fetch

import (
	"net/url"
	"strings"
)

// Shown returns u as logs and errors may show it: without user information and
// fragment, and with the values of query keys that carry secrets replaced.
func Shown(u *url.URL) string {
	if u == nil {
		return ""
	}
	v := *u
	v.User, v.Fragment, v.RawFragment = nil, "", ""
	if v.RawQuery != "" {
		parts := strings.Split(v.RawQuery, "&")
		for i, p := range parts {
			key, value, ok := strings.Cut(p, "=")
			if ok && (secretKey(key) || strings.Contains(value, "@") || strings.Contains(strings.ToLower(value), "%40")) {
				parts[i] = key + "=***"
			}
		}
		v.RawQuery = strings.Join(parts, "&")
	}
	s := v.String()
	if len(s) > 300 {
		s = s[:300] + "…"
	}
	return strings.ToValidUTF8(s, "?")
}

// secretKey reports whether a query key usually carries a secret.
func secretKey(key string) bool {
	key = strings.ToLower(strings.NewReplacer("-", "", "_", "", "%2d", "", "%5f", "").Replace(strings.ToLower(key)))
	switch key {
	case "key", "crumb", "sig", "auth", "session", "code", "email", "mail", "user", "username":
		return true
	}
	for _, part := range []string{"apikey", "appkey", "token", "secret", "passw", "signature", "credential", "accesskey"} {
		if strings.Contains(key, part) {
			return true
		}
	}
	return false
}
