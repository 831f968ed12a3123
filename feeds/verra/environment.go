package verra

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"strings"

	"carbond/feeds/internal/payload"
)

// EnvironmentURL is where the registry's web site publishes its configuration
// document, and DefaultBase the search base to use when it cannot be read.
const (
	EnvironmentURL = "https://registry.verra.org/config/environment.config.json"
	DefaultBase    = "https://prod-us.api.platts.com/ci-raas-prod/raas-report-api/es/public"
)

// Environment is the registry's configuration document: where its services are
// and which headers its own web client sends. The header values are handed to
// every visitor, but they are not ours to publish: no form of printing or
// encoding an Environment shows them.
type Environment struct {
	Search  string // base of the searches and sums, never empty
	CMS     string // base of the list of standards, "" when not given
	headers map[string]string
}

// ParseEnvironment reads the configuration document. It is payload.ErrShape
// when the document has no usable search base.
func ParseEnvironment(body []byte, contentType string) (Environment, error) {
	var doc struct {
		URIs struct {
			Search payload.Text `json:"raasReportPublicManager"`
			CMS    payload.Text `json:"cmsResources"`
			Common struct {
				Headers map[string]payload.Text `json:"DEFAULT_HEADERS"`
			} `json:"common"`
		} `json:"uris"`
	}
	if err := payload.Decode(body, contentType, payload.Object, &doc); err != nil {
		return Environment{}, fmt.Errorf("read verra configuration document: %w", err)
	}
	u := doc.URIs
	env := Environment{
		Search: baseURL(u.Search), CMS: baseURL(u.CMS),
		headers: make(map[string]string, len(u.Common.Headers)),
	}
	if env.Search == "" {
		return Environment{}, fmt.Errorf("read verra configuration document: %w: no web address at uris.raasReportPublicManager", payload.ErrShape)
	}
	for name, value := range u.Common.Headers {
		if v := strings.TrimSpace(value.String()); sendable(name, v) {
			env.headers[name] = v
		}
	}
	return env, nil
}

// Headers returns a copy of the client headers to send with every call. The
// values are secrets as far as logs are concerned.
func (e Environment) Headers() map[string]string { return maps.Clone(e.headers) }

// HeaderNames lists the names of the client headers, sorted, for diagnosis.
func (e Environment) HeaderNames() []string { return slices.Sorted(maps.Keys(e.headers)) }

// String prints the addresses and the header names, never the header values.
func (e Environment) String() string {
	return fmt.Sprintf("verra environment{search: %s, headers: %s}", e.Search, strings.Join(e.HeaderNames(), " "))
}

// GoString is String, so that %#v shows no header value either.
func (e Environment) GoString() string { return e.String() }

// LogValue keeps header values out of structured logs.
func (e Environment) LogValue() slog.Value { return slog.StringValue(e.String()) }

// MarshalText keeps header values out of encoded state.
func (e Environment) MarshalText() ([]byte, error) { return []byte(e.String()), nil }

// baseURL returns an absolute http(s) address without trailing slash, or "".
// Whether plain http and private addresses are allowed is the fetcher's matter.
func baseURL(t payload.Text) string {
	s := strings.TrimRight(strings.TrimSpace(t.String()), "/")
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil || (u.Scheme != "https" && u.Scheme != "http") {
		return ""
	}
	return s
}

// ownHeaders are those that carbond sets itself: a configuration document may
// not disguise it as a browser, redirect it by Host or break the framing.
var ownHeaders = map[string]bool{
	"user-agent": true, "host": true, "connection": true, "content-length": true, "content-type": true,
	"transfer-encoding": true, "accept-encoding": true, "accept": true, "te": true, "upgrade": true, "trailer": true,
	"authorization": true, "proxy-authorization": true, "expect": true,
}

// sendable reports whether a header from the document may go into a request.
func sendable(name, value string) bool {
	if name == "" || value == "" || len(name) > 64 || len(value) > 4096 || ownHeaders[strings.ToLower(name)] {
		return false
	}
	for _, r := range name {
		if r > 'z' || !(r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z') {
			return false
		}
	}
	return !strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' })
}

// Standard is one of the registry's standards. Its ID and Acronym go into the
// headers of every search; a wrong ID answers 200 with no entities.
type Standard struct {
	ID      string   `json:"id"`
	Acronym string   `json:"acronym"` // "VCS"
	Name    string   `json:"name"`
	Exports []string `json:"exports,omitempty"` // public ledgers, sorted, such as "PROJECTS"
}

// VCS is the standard that carbond follows, as last known. Prefer the one from
// ParseStandards.
func VCS() Standard {
	return Standard{ID: "150000000000001", Acronym: "VCS", Name: "Verified Carbon Standard"}
}

// maxStandards bounds the list of standards; the registry has six.
const maxStandards = 200

// ParseStandards reads the list of standards of the registry. Entries without
// id or acronym are left out; a list without any usable entry is
// payload.ErrShape.
func ParseStandards(body []byte, contentType string) ([]Standard, error) {
	b, err := payload.JSON(body, contentType, payload.Array)
	if err != nil {
		return nil, fmt.Errorf("read verra standards: %w", err)
	}
	var list []Standard
	err = payload.Each(b, maxStandards, func(elem json.RawMessage) error {
		var raw struct {
			ID      payload.Text    `json:"id"`
			Acronym payload.Text    `json:"metaData"`
			Name    payload.Text    `json:"name"`
			Exports json.RawMessage `json:"publicReportExport"`
		}
		if !payload.IsObject(elem) || payload.Unmarshal(elem, &raw) != nil {
			return nil
		}
		id, ok := payload.ParseNumber(raw.ID.String()).Int()
		s := Standard{ID: fmt.Sprint(id), Acronym: clean(raw.Acronym, 20), Name: clean(raw.Name, maxName)}
		if !ok || id <= 0 || s.Acronym == "" {
			return nil
		}
		var exports map[string]bool
		if json.Unmarshal(raw.Exports, &exports) == nil {
			maps.DeleteFunc(exports, func(_ string, public bool) bool { return !public })
			s.Exports = slices.Sorted(maps.Keys(exports))
		}
		list = append(list, s)
		return nil
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("read verra standards: %w", err)
	case len(list) == 0:
		return nil, fmt.Errorf("read verra standards: %w: no standard with id and acronym", payload.ErrShape)
	}
	return list, nil
}

// FindStandard returns the standard with the acronym, "VCS" for instance.
func FindStandard(list []Standard, acronym string) (Standard, bool) {
	i := slices.IndexFunc(list, func(s Standard) bool { return s.Acronym == acronym })
	if i < 0 {
		return Standard{}, false
	}
	return list[i], true
}
