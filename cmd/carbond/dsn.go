package main

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"carbond/cmd/carbond/internal/config"
	"carbond/replicate/pgconf"
)

// dsn joins postgres.url with postgres.password, which wins over a password
// inside the URL.
func dsn(p config.Postgres) string { return withPassword(p.URL.Reveal(), p.Password.Reveal()) }

// freshDSN is dsn with what the files of the two hold now.
func freshDSN(p config.Postgres) string { return withPassword(p.URL.Fresh(), p.Password.Fresh()) }

// querySource is where queries and feed writes go, and whether a pooler may be
// in between. postgres.query_url may have a password of its own.
func querySource(p config.Postgres) (s pgconf.Source, pooler bool) {
	s = pgconf.Source{URL: dsn(p), Fresh: func() string { return freshDSN(p) }, Timeout: queryConnect}
	if p.QueryURL.Empty() {
		return s, false
	}
	own := func(url, password string) string {
		if cfg, err := pgconn.ParseConfig(url); err == nil && cfg.Password != "" {
			return url // its own, or that of a password file
		}
		return withPassword(url, password)
	}
	s.URL = own(p.QueryURL.Reveal(), p.Password.Reveal())
	s.Fresh = func() string { return own(p.QueryURL.Fresh(), p.Password.Fresh()) }
	return s, true
}

// queryConnect is the time to make a connection for a query.
const queryConnect = 10 * time.Second

// withPassword gives a URL of either form of libpq a password, unless that is "".
func withPassword(raw, password string) string {
	if password == "" {
		return raw
	}
	if strings.HasPrefix(raw, "postgres://") || strings.HasPrefix(raw, "postgresql://") {
		u, err := url.Parse(raw)
		if err != nil {
			return raw // refused at load; nothing to add a password to
		}
		// The password goes into the query: there it needs no user before it,
		// and several hosts in the URL do not disturb. The rest of the query is
		// left as it is: libpq does not read "+" as a space, package url does.
		parts := slices.DeleteFunc(strings.Split(u.RawQuery, "&"), func(s string) bool {
			return s == "" || strings.HasPrefix(s, "password=")
		})
		parts = append(parts, "password="+strings.ReplaceAll(url.QueryEscape(password), "+", "%20"))
		u.RawQuery = strings.Join(parts, "&")
		if u.User != nil {
			u.User = url.User(u.User.Username())
		}
		return u.String()
	}
	return raw + " password='" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(password) + "'"
}
