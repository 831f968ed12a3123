// Package robots reads robots.txt files, as RFC 9309 describes them.
package robots

import (
	"bytes"
	"net/url"
	"strings"
)

// maxBytes is how much of a file is read; the RFC wants at least 500 KiB.
const maxBytes = 500 << 10

// Rules are what one site allows one robot. The zero Rules allow everything.
type Rules struct{ rules []rule }

type rule struct {
	pattern string // in the form of normal
	allow   bool
}

// Parse reads the rules that a file has for the robot with the name agent, or,
// when it names no such robot, those for all. What is no rule is passed over: the
// RFC knows no invalid file.
func Parse(file []byte, agent string) Rules {
	file = bytes.TrimPrefix(file[:min(len(file), maxBytes)], []byte("\xef\xbb\xbf"))
	var own, all []rule
	var forOwn, forAll, named, inRules bool
	for line := range strings.FieldsFuncSeq(string(file), func(r rune) bool { return r == '\n' || r == '\r' }) {
		line, _, _ = strings.Cut(line, "#")
		key, value, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		value = strings.TrimSpace(value)
		switch key = strings.ToLower(strings.TrimSpace(key)); key {
		case "user-agent":
			if inRules { // a new group
				forOwn, forAll, inRules = false, false, false
			}
			forAll = forAll || value == "*"
			forOwn = forOwn || strings.EqualFold(token(value), agent)
			named = named || forOwn
		case "allow", "disallow":
			inRules = true
			if value == "" {
				continue // an empty rule matches nothing
			}
			r := rule{normal(value), key == "allow"}
			if forOwn {
				own = append(own, r)
			}
			if forAll {
				all = append(all, r)
			}
		}
	}
	if named {
		return Rules{own}
	}
	return Rules{all}
}

// token is the product name at the start of a user agent line, without what some
// write behind it ("carbond/1.0").
func token(s string) string {
	i := strings.IndexFunc(s, func(r rune) bool {
		return r != '-' && r != '_' && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	})
	if i < 0 {
		return s
	}
	return s[:i]
}

// Allowed reports whether u may be fetched: the longest rule that matches decides,
// allow before disallow, and no rule means yes.
func (r Rules) Allowed(u *url.URL) bool {
	path := u.EscapedPath()
	if path == "" {
		path = "/"
	}
	if path == "/robots.txt" {
		return true
	}
	if u.RawQuery != "" {
		path += "?" + u.RawQuery
	}
	path = normal(path)
	longest, allow := -1, true
	for _, x := range r.rules {
		if n := len(x.pattern); (n > longest || n == longest && x.allow) && match(x.pattern, path) {
			longest, allow = n, x.allow
		}
	}
	return allow
}

// match compares a path with a pattern: "*" stands for any text, "$" at the end
// for the end, and otherwise the path may go on behind the pattern.
func match(pattern, path string) bool {
	pattern, ends := strings.CutSuffix(pattern, "$")
	parts := strings.Split(pattern, "*")
	rest, ok := strings.CutPrefix(path, parts[0])
	if !ok {
		return false
	}
	if len(parts) == 1 {
		return !ends || rest == ""
	}
	last := len(parts) - 1
	for _, p := range parts[1:last] {
		i := strings.Index(rest, p)
		if i < 0 {
			return false
		}
		rest = rest[i+len(p):]
	}
	if ends {
		return strings.HasSuffix(rest, parts[last])
	}
	return strings.Contains(rest, parts[last])
}

// normal writes a path in one way: bytes beyond ASCII escaped, escapes of letters
// and digits resolved, hex digits in capitals.
func normal(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c, escaped := s[i], false
		if c == '%' && i+2 < len(s) {
			hi, lo := strings.IndexByte(hex, upper(s[i+1])), strings.IndexByte(hex, upper(s[i+2]))
			if hi >= 0 && lo >= 0 {
				c, escaped, i = byte(hi<<4|lo), true, i+2
			}
		}
		if escaped && !plain(c) || c <= ' ' || c >= 0x7f {
			b.WriteString("%" + hex[c>>4:c>>4+1] + hex[c&15:c&15+1])
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}

func upper(c byte) byte {
	if c >= 'a' && c <= 'f' {
		return c - 'a' + 'A'
	}
	return c
}

// plain reports a byte that means the same escaped and not.
func plain(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0
}
