package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"carbond/store/change"
)

// Slot is a row of pg_replication_slots.
type Slot struct {
	Plugin    string
	Database  string
	Temporary bool
	// prepared marks a slot that carbond migrate has made and nobody has used:
	// it has the property two_phase, which the slots of copies never have. No
	// data directory depends on such a slot, so a first start may replace it.
	Prepared  bool
	Failover  *bool // standbys keep it in step; nil before version 17
	Pid       int32 // of the walsender that uses it, 0 when none
	restart   change.LSN
	Confirmed change.LSN
	WalStatus string
	LostBy    string // why it is lost, from version 17 on
	Safe      int64  // bytes, -1 unlimited
	Server    change.LSN

	Synchronous, Application string // synchronous_standby_names, and our own name
}

const slotSQL = `
SELECT COALESCE(s.plugin, ''), COALESCE(s.database, ''), s.temporary, s.two_phase, COALESCE(s.active_pid, 0),
       COALESCE(s.restart_lsn, '0/0')::text, COALESCE(s.confirmed_flush_lsn, '0/0')::text,
       COALESCE(s.wal_status, ''), COALESCE(to_jsonb(s)->>'invalidation_reason', ''), (to_jsonb(s)->>'failover')::bool,
       COALESCE(s.safe_wal_size, -1),
       pg_current_wal_flush_lsn()::text, current_setting('synchronous_standby_names'), current_setting('application_name')
FROM pg_replication_slots s WHERE s.slot_name = $1`

// ReadSlot returns the slot, or nil when there is none.
func ReadSlot(ctx context.Context, conn *pgx.Conn, name string) (*Slot, error) {
	var s Slot
	err := conn.QueryRow(ctx, slotSQL, name).Scan(&s.Plugin, &s.Database, &s.Temporary, &s.Prepared, &s.Pid,
		LSNText{&s.restart}, LSNText{&s.Confirmed}, &s.WalStatus, &s.LostBy, &s.Failover, &s.Safe, LSNText{&s.Server}, &s.Synchronous, &s.Application)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read replication slot %q: %w", name, err)
	}
	return &s, nil
}

// Retained returns the bytes of WAL that the slot holds back.
func (s *Slot) Retained() int64 {
	if s.restart == 0 || s.Server < s.restart {
		return 0
	}
	return int64(s.Server - s.restart)
}

// Info is what the control connection says about the other side.
type Info struct {
	SystemID string
	Database string
	Version  int
	Timeout  time.Duration // wal_sender_timeout, 0 for never
	Flushed  change.LSN
}

// ReadInfo asks the ordinary connection. Where the role may not ask which cluster
// this is, it is known, from the replication connection.
func ReadInfo(ctx context.Context, conn *pgx.Conn, known string) (Info, error) {
	var s Info
	var ms string
	var tells bool
	err := conn.QueryRow(ctx, `
SELECT has_function_privilege('pg_control_system()', 'EXECUTE'), current_database()::text, current_setting('server_version_num')::int,
       (SELECT setting FROM pg_settings WHERE name = 'wal_sender_timeout'), pg_current_wal_flush_lsn()::text`).Scan(&tells, &s.Database, &s.Version, &ms, LSNText{&s.Flushed})
	if err != nil {
		return s, fmt.Errorf("read the identity of the server: %w", err)
	}
	s.SystemID = known
	if tells {
		if err := conn.QueryRow(ctx, "SELECT system_identifier::text FROM pg_control_system()").Scan(&s.SystemID); err != nil {
			return s, fmt.Errorf("read the identity of the server: %w", err)
		}
	}
	if s.Timeout, err = parseGUCTime(ms); err != nil {
		return s, err
	}
	return s, nil
}

// FailoverLacks says what keeps a slot from being a failover slot as wanted, ""
// for nothing.
func (o *Options) FailoverLacks(slot *Slot) string {
	switch {
	case !o.Failover || slot == nil || slot.Prepared:
		return ""
	case slot.Failover == nil:
		return "postgres.failover has no effect before Postgres 17: after a failover the slot is gone"
	case !*slot.Failover:
		return fmt.Sprintf("replication slot %q is not a failover slot yet", o.Slot)
	}
	return ""
}

// DropSlot drops our slot by way of a replication connection: that one logged in as
// the role that may replicate, whatever ALTER ROLE ... SET role says.
func (o *Options) DropSlot(ctx context.Context, repl *pgconn.PgConn) error {
	if _, err := repl.Exec(ctx, "DROP_REPLICATION_SLOT "+o.Slot).ReadAll(); err != nil {
		return fmt.Errorf("drop replication slot %q: %w", o.Slot, err)
	}
	return nil
}

// AsLogin runs one statement about slots as the role that logged in, see dropSlot.
func AsLogin(ctx context.Context, conn *pgx.Conn, sql string, args ...any) error {
	if _, err := conn.Exec(ctx, "SET ROLE NONE"); err != nil {
		return err
	}
	_, err := conn.Exec(ctx, sql, args...)
	if conn.IsClosed() {
		return err
	}
	_, rerr := conn.Exec(context.WithoutCancel(ctx), "RESET ROLE") // to what ALTER ROLE says
	return errors.Join(err, rerr)
}

// CreateSlotSQL is the command for a replication connection.
func (o *Options) CreateSlotSQL(name string, version int, temporary bool) string {
	sql := "CREATE_REPLICATION_SLOT " + name
	if temporary {
		sql += " TEMPORARY"
	}
	switch {
	case version >= 170000 && o.Failover && !temporary:
		return sql + " LOGICAL pgoutput (SNAPSHOT 'export', FAILOVER true)"
	case version >= 150000:
		return sql + " LOGICAL pgoutput (SNAPSHOT 'export')"
	}
	return sql + " LOGICAL pgoutput EXPORT_SNAPSHOT"
}

// Blockers describes the oldest transactions that the creation of a slot waits
// for, or "".
func Blockers(ctx context.Context, conn *pgx.Conn) (string, error) {
	var text string
	err := conn.QueryRow(ctx, `
SELECT COALESCE(string_agg(who, ', ' ORDER BY since), '') FROM (
  (SELECT xact_start AS since, format('pid %s (%s, %s, for %s s)', pid, COALESCE(NULLIF(application_name, ''), usename::text), state, extract(epoch FROM now() - xact_start)::int) AS who
   FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid() ORDER BY xact_start LIMIT 3)
  UNION ALL
  (SELECT prepared, format('a prepared transaction of %s in database %s, for %s s, which COMMIT PREPARED %4$L or ROLLBACK PREPARED %4$L there ends', owner, database, extract(epoch FROM now() - prepared)::int, gid)
   FROM pg_prepared_xacts ORDER BY prepared LIMIT 3)) AS x`).Scan(&text)
	return text, err
}
