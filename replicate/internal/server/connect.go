// Package server reaches one Postgres: options, connections, what an error of it
// means, its identity and our replication slot as the catalog has it.
package server

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"carbond/replicate/internal/stream"
	"carbond/replicate/pgconf"
	"carbond/replicate/pgerr"
	"carbond/store/change"
)

// config is how to make one connection now.
func (o *Options) config() (*pgx.ConnConfig, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	cfg, err := (&pgconf.Source{URL: o.URL, Fresh: o.Fresh, Timeout: o.ConnectTimeout}).Config()
	if err != nil {
		return nil, pgerr.New(pgerr.KindOptions, "", err, "the Postgres URL is unusable")
	}
	// In the stream a warning may say that changes are left out, see notice.
	cfg.RuntimeParams["client_min_messages"] = "warning"
	// What we commit is made again when it is lost. To wait for a synchronous
	// standby would be to wait for ourselves where it is us, see replicate/schema.
	cfg.RuntimeParams["synchronous_commit"] = "local"
	return cfg, nil
}

// Connect opens an ordinary connection.
func (o *Options) Connect(ctx context.Context) (*pgx.Conn, error) {
	cfg, err := o.config()
	if err != nil {
		return nil, err
	}
	// No prepared statements: they would outlive DDL, and we ask rarely.
	cfg.DefaultQueryExecMode = pgx.QueryExecModeExec
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, o.Classify(err)
	}
	return conn, nil
}

// ConnectReplication opens a replication connection, with the wire under it
// that will read the stream.
func (o *Options) ConnectReplication(ctx context.Context) (*pgconn.PgConn, *stream.Wire, error) {
	cfg, err := o.config()
	if err != nil {
		return nil, nil, err
	}
	cfg.RuntimeParams["replication"] = "database"
	w := stream.NewWire(nil)
	cfg.BuildFrontend = w.Frontend
	conn, err := pgconn.ConnectConfig(ctx, &cfg.Config)
	if err != nil {
		return nil, nil, o.Classify(err)
	}
	return conn, w, nil
}

// Identify makes sure that a connection replicates, and asks who the server is.
func (o *Options) Identify(ctx context.Context, repl *pgconn.PgConn) (pglogrepl.IdentifySystemResult, error) {
	id, err := pglogrepl.IdentifySystem(ctx, repl)
	if err != nil {
		return id, o.Classify(fmt.Errorf("identify the server: %w", err))
	}
	return id, nil
}

// Control is the ordinary connection of a session. It reconnects by itself, so
// that a lost probe does not end the stream.
type Control struct {
	Opt *Options

	mu   sync.Mutex // guards conn, held during a call
	conn *pgx.Conn
}

// Do calls f with a live connection.
func (c *Control) Do(ctx context.Context, f func(context.Context, *pgx.Conn) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == nil || c.conn.IsClosed() {
		conn, err := c.Opt.Connect(ctx)
		if err != nil {
			return err
		}
		c.conn = conn
	}
	return f(ctx, c.conn)
}

// Close ends the connection, if there is one.
func (c *Control) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = c.conn.Close(ctx) // nothing depends on how it ends
	}
}

// Classify names the trouble in an error of Postgres or the network. The texts
// contain no secrets: pgconn leaves the password out of its errors.
func (o *Options) Classify(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*pgerr.Error](err); ok {
		return err
	}
	if errors.Is(err, context.Canceled) {
		return err
	}
	pe, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return o.classifyNetwork(err)
	}
	switch pe.Code {
	case "28P01":
		return pgerr.New(pgerr.KindAuth, "correct the user or password in the Postgres URL", err, "Postgres refuses the login")
	case "28000":
		if strings.Contains(pe.Message, "replication") && strings.Contains(pe.Message, "must be") {
			return o.lacksReplication(err)
		}
		return pgerr.New(pgerr.KindAuth, "add a line for this user, database and address to pg_hba.conf, or correct the URL", err, "Postgres refuses the login")
	case "3D000":
		return pgerr.New(pgerr.KindDatabase, "create the database or correct the Postgres URL", err, "the database does not exist")
	case "53300":
		return pgerr.New(pgerr.KindCapacity, "raise max_connections or max_wal_senders, or end unused connections", err, "Postgres has no free connection or walsender")
	case "53400":
		return pgerr.New(pgerr.KindCapacity, "raise max_replication_slots (needs a restart) or drop an unused slot: SELECT slot_name, active FROM pg_replication_slots", err, "Postgres has no free replication slot")
	case "55006":
		return pgerr.New(pgerr.KindSlotInUse, "stop the other process, or SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = "+Literal(o.Slot), err, "replication slot %q is in use by another process", o.Slot)
	case "42501":
		// Which right it is, the text says in the server's language, and differently from 16 on.
		if pe.Routine == "InitPostgres" || pe.Routine == "CheckSlotPermissions" || strings.Contains(strings.ToLower(pe.Message), "replication") {
			return o.lacksReplication(err)
		}
		return pgerr.New(pgerr.KindSelectRight, "grant what the message names; carbond doctor prints the SQL", err, "Postgres denies a right")
	case "08P01":
		if strings.Contains(pe.Message, "startup parameter") || strings.Contains(pe.Message, "replication") {
			return o.pooler(err)
		}
	case "42601":
		if strings.Contains(pe.Message, "IDENTIFY_SYSTEM") {
			return o.pooler(err) // it dropped the wish to replicate, and Postgres took an ordinary client
		}
	case "42704", "55000":
		return o.classifySlot(pe, err)
	case "58P01":
		if pe.Routine == "WalSndSegmentOpen" || pe.Routine == "wal_segment_open" || strings.Contains(pe.Message, "WAL segment") {
			return o.SlotLost("", err)
		}
	case "57P01", "57P02", "57P03":
		return pgerr.New(pgerr.KindConnect, "", err, "Postgres is stopping or starting")
	}
	return pgerr.New(pgerr.KindServer, "", err, "Postgres reports an error")
}

func (o *Options) classifySlot(pe *pgconn.PgError, err error) error {
	switch {
	case strings.Contains(pe.Message, "wal_level"):
		return pgerr.New(pgerr.KindWALLevel, "ALTER SYSTEM SET wal_level = 'logical'; then restart Postgres", err, "wal_level is not logical")
	case pe.Code == "42704" && strings.Contains(pe.Message, "replication slot"):
		return o.SlotMissing(err)
	case pe.Code == "42704" && strings.Contains(pe.Message, "publication"):
		return o.publicationMissed(err)
	case pe.Code == "55000" && (strings.Contains(pe.Message, "can no longer") || strings.Contains(pe.Message, "cannot read from") || strings.Contains(pe.Message, "invalidated") || strings.Contains(pe.Message, "has been lost")):
		return o.SlotLost(pe.Detail, err)
	}
	return pgerr.New(pgerr.KindServer, "", err, "Postgres reports an error")
}

// Notice returns the error that a notice in the stream amounts to, or nil. Where
// the publication did not exist in the WAL, Postgres ends the stream up to version
// 17; from 18 on it warns, leaves the changes out, and goes on. The text may be in
// any language and other warnings have its code, so the place in Postgres tells.
func (o *Options) Notice(pe *pgconn.PgError) error {
	if pe.Routine == "LoadPublications" {
		return o.publicationMissed(pe)
	}
	return nil
}

func (o *Options) classifyNetwork(err error) error {
	msg := err.Error()
	switch {
	case strings.Contains(msg, "server refused TLS"):
		return pgerr.New(pgerr.KindConnect, "enable ssl in Postgres or change sslmode in the URL", err, "Postgres does not speak TLS")
	case strings.Contains(msg, "tls error"), strings.Contains(msg, "x509"):
		return pgerr.New(pgerr.KindConnect, "check sslmode, sslrootcert and the host name in the URL", err, "the TLS connection to Postgres fails")
	case strings.Contains(msg, "password authentication failed"), strings.Contains(msg, "SCRAM"):
		return pgerr.New(pgerr.KindAuth, "correct the user or password in the Postgres URL", err, "Postgres refuses the login")
	}
	return pgerr.New(pgerr.KindConnect, "check that Postgres runs and that host and port in the URL are right", err, "there is no connection to Postgres")
}

func (o *Options) lacksReplication(err error) *pgerr.Error {
	role := "<the role in the URL>"
	if cfg, perr := pgconn.ParseConfig(o.URL); perr == nil && cfg.User != "" {
		role = Ident(cfg.User)
	}
	return pgerr.New(pgerr.KindReplicationRight, "ALTER ROLE "+role+" REPLICATION", err, "the role may not replicate")
}

func (o *Options) pooler(err error) *pgerr.Error {
	return pgerr.New(pgerr.KindPooler, "let postgres.url lead to Postgres itself, not through pgbouncer or another pooler; postgres.query_url may lead through it", err, "the connection goes through something that cannot carry replication")
}

func (o *Options) publicationMissed(err error) *pgerr.Error {
	return pgerr.New(pgerr.KindPublicationChange, pgerr.Resnapshot, err, "publication %q did not exist at a position that is still to be read: it was created, or dropped and created again, after the slot", o.Publication)
}

// SlotMissing says that the slot is gone.
func (o *Options) SlotMissing(err error) *pgerr.Error {
	return pgerr.New(pgerr.KindSlotMissing, pgerr.Resnapshot, err, "replication slot %q does not exist any more, so the changes since the last durable position cannot be read", o.Slot)
}

// SlotLost says that the slot cannot be read any more. why holds the cause where
// Postgres tells it, which it does from version 17 on.
func (o *Options) SlotLost(why string, err error) *pgerr.Error {
	if strings.Contains(why, "idle_timeout") {
		return pgerr.New(pgerr.KindSlotLost, pgerr.Resnapshot+"; raise idle_replication_slot_timeout so that it does not happen again", err,
			"replication slot %q is lost: nobody read it for longer than Postgres allows", o.Slot)
	}
	return pgerr.New(pgerr.KindSlotLost, pgerr.Resnapshot+"; raise max_slot_wal_keep_size so that it does not happen again", err, "replication slot %q is lost: Postgres has removed WAL that it needs", o.Slot)
}

// Literal quotes an SQL string.
func Literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// Ident quotes an SQL name.
func Ident(parts ...string) string { return pgx.Identifier(parts).Sanitize() }

// LSNText scans a pg_lsn that was cast to text; NULL is 0.
type LSNText struct{ lsn *change.LSN }

// Scan implements sql.Scanner.
func (t LSNText) Scan(src any) error {
	switch v := src.(type) {
	case nil:
		*t.lsn = 0
		return nil
	case string:
		l, err := change.ParseLSN(v)
		*t.lsn = l
		return err
	}
	return fmt.Errorf("read an LSN: unexpected %T", src)
}

// parseGUCTime reads what pg_settings says of a setting in milliseconds.
func parseGUCTime(ms string) (time.Duration, error) {
	n, err := strconv.ParseInt(ms, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read a setting: %w", err)
	}
	return time.Duration(n) * time.Millisecond, nil
}
