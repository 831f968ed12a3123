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
