package main

import (
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"carbond/cmd/carbond/internal/config"
)

func TestDSN(t *testing.T) {
	const odd = `p'a\ss/w@rd &?%#=:x`
	for name, tc := range map[string]struct{ url, password, user, want string }{
		"url":           {"postgres://u@h:1/d?sslmode=disable", odd, "u", odd},
		"url overrides": {"postgresql://u:old@h/d", odd, "u", odd},
		"in the query":  {"postgres://u@h/d?password=old&application_name=a+b", odd, "u", odd},
		"no user":       {"postgres:///d?host=/run/x&user=v", odd, "v", odd},
		"many hosts":    {"postgres://u@h1:1,h2:2/d", odd, "u", odd},
		"keywords":      {"host=h user=u dbname=d", odd, "u", odd},
		"none":          {"postgres://u:old@h/d", "", "u", "old"},
	} {
		t.Run(name, func(t *testing.T) {
			s := dsn(config.Postgres{URL: config.NewSecret(tc.url), Password: config.NewSecret(tc.password)})
			c, err := pgconn.ParseConfig(s)
			if err != nil {
				t.Fatal(err)
			}
			if c.Password != tc.want || c.User != tc.user {
				t.Errorf("user %q password %q", c.User, c.Password)
			}
		})
	}
}

// TestQuerySource says which password goes where.
func TestQuerySource(t *testing.T) {
	t.Setenv("PGPASSFILE", "/nonexistent")
	for name, tc := range map[string]struct{ query, password, want string }{
		"none":         {"", "file", "file"},
		"its own":      {"postgres://q:own@pool:6432/d", "file", "own"},
		"the common":   {"postgres://q@pool:6432/d", "file", "file"},
		"not the URLs": {"postgres://q@pool:6432/d", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s, pooler := querySource(config.Postgres{URL: config.NewSecret("postgres://u:first@h/d"), Password: config.NewSecret(tc.password), QueryURL: config.NewSecret(tc.query)})
			for _, url := range []string{s.URL, s.Fresh()} {
				c, err := pgconn.ParseConfig(url)
				if err != nil {
					t.Fatal(err)
				}
				if c.Password != tc.want || (c.Host == "pool") != pooler || pooler != (tc.query != "") {
					t.Errorf("host %q password %q, pooler %t", c.Host, c.Password, pooler)
				}
			}
		})
	}
}
