package pgconf

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// settings are those of every session, whatever the server, the database or the
// role say. They go with the start of the connection, where they win over ALTER
// ROLE and ALTER DATABASE, and are not undone by RESET.
var settings = map[string]string{
	"search_path": "pg_catalog, pg_temp", // pg_temp is named to be last; else it comes first for tables

	// Values come in one text form.
	"client_encoding":             "UTF8",
	"datestyle":                   "ISO",
	"timezone":                    "UTC",
	"intervalstyle":               "postgres",
	"extra_float_digits":          "1", // shortest text that reads back as the same number
	"bytea_output":                "hex",
	"standard_conforming_strings": "on", // how literals are quoted
	"array_nulls":                 "on",

	// Time limits are the caller's: a wait for our disk, or for a large table,
	// must not end a connection.
	"statement_timeout":                   "0",
	"lock_timeout":                        "0",
	"idle_in_transaction_session_timeout": "0",
	"idle_session_timeout":                "0",

	"default_transaction_read_only":  "off",
	"default_transaction_isolation":  "read committed",
	"default_transaction_deferrable": "off",
}

// Source is where connections lead.
type Source struct {
	URL string // any libpq URL or DSN; PG* variables and the password file fill gaps

	// Fresh returns the URL with the user and the password of now. nil: those of
	// URL, or of the password file that libpq would read.
	Fresh func() string

	Timeout time.Duration // to connect, unless the URL says otherwise
}

// Validate finds what is wrong with the URL, without connecting.
func (s *Source) Validate() error {
	cfg, err := pgxpool.ParseConfig(s.URL)
	if err != nil {
		return err // pgconn redacts the password
	}
	return Dial(&cfg.ConnConfig.Config, s.Timeout)
}

// Config is how to make one connection now.
func (s *Source) Config() (*pgx.ConnConfig, error) {
	cfg, err := pgx.ParseConfig(s.URL)
	if err != nil {
		return nil, err
	}
	if err := s.complete(&cfg.Config); err != nil {
		return nil, err
	}
	return cfg, s.login(&cfg.Config)
}

// complete adds what every connection has, except to a pooler.
func (s *Source) complete(cfg *pgconn.Config) error {
	maps.Copy(cfg.RuntimeParams, settings)
	cfg.AfterConnect = noTransactionTimeout
	return Dial(cfg, s.Timeout)
}

// login gives cfg the user and the password of now. To parse is also to read the
// password file of libpq.
func (s *Source) login(cfg *pgconn.Config) error {
	url := s.URL
	if s.Fresh != nil {
		url = s.Fresh()
	}
	now, err := pgconn.ParseConfig(url)
	if err != nil {
		return err
	}
	cfg.User, cfg.Password = now.User, now.Password
	return nil
}

// noTransactionTimeout switches off a limit that versions before 17 do not know:
// they refuse a connection that begins with it.
func noTransactionTimeout(ctx context.Context, conn *pgconn.PgConn) error {
	if major(conn.ParameterStatus("server_version")) < 17 {
		return nil
	}
	_, err := conn.Exec(ctx, "SET transaction_timeout = 0").ReadAll()
	return err
}

// major returns the first number of a version such as "18beta1", 0 for none.
func major(version string) int {
	end := strings.IndexFunc(version, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(version)
	}
	n, _ := strconv.Atoi(version[:end]) // 0 is the answer for none
	return n
}

// setLocal gives one transaction the settings.
func setLocal() string {
	var b strings.Builder
	// Versions before 17 do not know it, see noTransactionTimeout. To set it stops its clock.
	b.WriteString("; SELECT pg_catalog.set_config('transaction_timeout', '0', true) WHERE pg_catalog.current_setting('transaction_timeout', true) IS NOT NULL")
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		if strings.HasPrefix(name, "default_transaction_") || name == "client_encoding" {
			continue // decided by BEGIN, and by the pooler's own protocol
		}
		value := "'" + settings[name] + "'"
		if name == "search_path" {
			value = settings[name] // a list of names
		}
		b.WriteString("; SET LOCAL " + name + " = " + value)
	}
	return b.String()
}
