package main

import (
	"net/url"
	"slices"
	"strings"

	"carbond/cmd/carbond/internal/config"
)

// dsn joins postgres.url with postgres.password, which wins over a password
// inside the URL. Both forms of libpq are understood.
func dsn(p config.Postgres) string {
	raw, password := p.URL.Reveal(), p.Password.Reveal()
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
