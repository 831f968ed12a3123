package config

import (
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"regexp"
	"strings"
	"sync"
)

// redacted stands for a secret wherever one would be printed.
const redacted = "[redacted]"

// Secret is a text that prints as "[redacted]" (or "" when empty) in every way
// that fmt, encoding/json, yaml and log/slog have of printing it.
type Secret struct {
	v    string
	file string // that v came from and can be read from again, "" for none
}

// NewSecret wraps v.
func NewSecret(v string) Secret { return Secret{v: v} }

// Reveal returns the secret text.
func (s Secret) Reveal() string { return s.v }

// Fresh returns the secret text of now: of a secret that came from a file, what
// the file holds. While that cannot be read, the last known text counts.
func (s Secret) Fresh() string {
	if s.file != "" {
		if v, err := readSecret(s.file); err == nil && v != "" {
			return v
		}
	}
	return s.v
}

// Empty reports whether there is no secret.
func (s Secret) Empty() bool { return s.v == "" }

// String hides the secret.
func (s Secret) String() string {
	if s.v == "" {
		return ""
	}
	return redacted
}

// Format hides the secret from every verb, %#v and %x included.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalText hides the secret from encoders.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue hides the secret from log/slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

var (
	urlPassword = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://[^\s:/@"'<>]*):[^\s"'<>]*@`)
	dsnPassword = regexp.MustCompile(`(?i)\b((?:ssl)?password)(\s*=\s*)('(?:[^'\\]|\\.)*'|[^\s&"]+)`)
)

// RedactURL hides the passwords in a connection URL or keyword string, and in
// any text that quotes one.
func RedactURL(s string) string {
	s = urlPassword.ReplaceAllString(s, "$1:xxxxx@")
	return dsnPassword.ReplaceAllString(s, "$1${2}xxxxx")
}

// Redactor returns a function that removes the secrets of c from a text:
// passwords in URLs by their shape, everything else by its value. Values
// shorter than 8 characters are left to the shapes, since replacing them would
// also maim ordinary words.
func (c *Config) Redactor() func(string) string {
	var pairs []string
	add := func(v, with string) {
		if len(v) >= 8 {
			pairs = append(pairs, v, with, url.QueryEscape(v), with)
		}
	}
	for _, k := range c.keys() {
		if s := k.secret; s != nil && !s.Empty() {
			add(s.Reveal(), redacted)
		}
	}
	for _, s := range []Secret{c.Postgres.URL, c.Postgres.QueryURL} {
		u := s.Reveal()
		if u == "" {
			continue
		}
		pairs = append([]string{u, RedactURL(u)}, pairs...)
		if p, err := url.Parse(u); err == nil && p.User != nil {
			if pw, ok := p.User.Password(); ok && pw != p.User.Username() {
				add(pw, redacted)
			}
		}
	}
	r := strings.NewReplacer(pairs...)
	return func(s string) string { return RedactURL(r.Replace(s)) }
}

// Fingerprint tells two sets of secrets apart without showing them.
func (c *Config) Fingerprint() string {
	h := sha256.New()
	for _, k := range c.keys() {
		if k.secret != nil {
			fmt.Fprintf(h, "%s=%q\n", k.Name, k.get())
		}
	}
	return string(h.Sum(nil))
}

// Redaction hides the secrets of a configuration and of those before it: a rotated
// password is still one. The zero Redaction hides passwords in URLs alone.
type Redaction struct {
	mu   sync.RWMutex // guards what follows
	hide func(string) string
	of   string // the fingerprint of the newest configuration
}

// Add makes the secrets of cfg known.
func (r *Redaction) Add(cfg *Config) {
	r.mu.Lock()
	defer r.mu.Unlock()
	older, newer := r.hide, cfg.Redactor()
	r.hide = newer
	if older != nil && r.of != cfg.Fingerprint() {
		r.hide = func(s string) string { return newer(older(s)) }
	}
	r.of = cfg.Fingerprint()
}

// Text returns s without the secrets.
func (r *Redaction) Text(s string) string {
	r.mu.RLock()
	hide := r.hide
	r.mu.RUnlock()
	if hide == nil {
		hide = RedactURL
	}
	return hide(s)
}
