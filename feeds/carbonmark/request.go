package carbonmark

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"carbond/feeds/internal/payload"
)

// Default addresses, all of them configuration: a version of the service lives
// three to six months.
const (
	DefaultBase      = "https://v20.api.carbonmark.com"
	DefaultGraphBase = "https://gateway.thegraph.com/api/subgraphs/id"
	DefaultGraph     = "ECLEwJKgujmiRCW1XbfbbUbpae2igeHa2KJ6BXNSWrZF" // polygon-digital-carbon
	OlderGraph       = "9skh5pMQGRdyJcBe8PjWdDjLoYqoYTMLRDpFh6acSHUu" // polygon-bridged-carbon, for ParseOffsets
)

// Request is one call. Its headers may carry a key.
type Request = payload.Request

// Client builds the calls to the main service. Key is optional: reading has so
// far worked without.
type Client struct {
	Base string // "" is DefaultBase
	Key  string
}

// Projects builds the call for one page of projects, for ParseProjects. limit 0
// leaves the page size to the service.
func (c Client) Projects(limit, offset int) Request {
	q := url.Values{}
	if limit > 0 {
		q.Set("limit", strconv.Itoa(limit))
		q.Set("offset", strconv.Itoa(max(offset, 0)))
	}
	return c.get("/carbonProjects", q)
}

// Prices builds the call for the offers, of all projects or those with the
// given keys, for ParsePrices.
func (c Client) Prices(keys ...string) Request {
	q := url.Values{}
	if len(keys) > 0 {
		q.Set("projectIds", strings.Join(keys, ","))
	}
	return c.get("/prices", q)
}

func (c Client) get(path string, q url.Values) Request {
	base := c.Base
	if base == "" {
		base = DefaultBase
	}
	u := strings.TrimRight(base, "/") + path
	if len(q) > 0 {
		u += "?" + q.Encode()
	}
	h := map[string]string{"Accept": "application/json"}
	if c.Key != "" {
		h["Authorization"] = "Bearer " + c.Key
	}
	return Request{Method: http.MethodGet, URL: u, Header: h}
}

// String prints the base only, never the key.
func (c Client) String() string { return "carbonmark client of " + c.get("", nil).URL }

// GoString is String.
func (c Client) GoString() string { return c.String() }

// versionHost finds the version in a base address, "v20.api.carbonmark.com".
var versionHost = regexp.MustCompile(`^v(\d{1,4})\.api\.carbonmark\.com$`)

// versions are the known dates of the service's versions: when each went live
// and, if it has, when it was retired.
var versions = map[int]struct{ live, retired string }{
	16: {"", "2025-09-04"},
	17: {"", "2026-03-08"},
	18: {"", "2026-08-11"},
	19: {"", "2026-11-17"},
	20: {"2026-08-17", ""},
}

// VersionNotice says what an operator should know of the version in a base
// address on the given day, "" when there is nothing to say or the address is
// not one of the service's own.
func VersionNotice(base string, now time.Time) string {
	u, err := url.Parse(base)
	if err != nil {
		return ""
	}
	if u.Hostname() == "api.carbonmark.com" {
		return "base address without a version always means the newest one and may break without notice"
	}
	m := versionHost.FindStringSubmatch(u.Hostname())
	if m == nil {
		return ""
	}
	n, _ := strconv.Atoi(m[1])
	v, known := versions[n]
	if t, err := time.Parse(time.DateOnly, v.retired); err == nil && now.After(t) {
		return fmt.Sprintf("version %d of the service was retired on %s: configure a newer one", n, v.retired)
	}
	if n < 16 {
		return fmt.Sprintf("version %d of the service was retired long ago: configure a newer one", n)
	}
	if t, err := time.Parse(time.DateOnly, v.live); known && err == nil && now.After(t.AddDate(0, 3, 0)) {
		return fmt.Sprintf("version %d of the service is live since %s and versions live three to six months: look for a newer one", n, v.live)
	}
	return ""
}
