package replicate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"carbond/replicate/internal/note"
	"carbond/store/change"
)

// slotInfo is a row of pg_replication_slots.
type slotInfo struct {
	plugin    string
	database  string
	temporary bool
	// prepared marks a slot that carbond migrate has made and nobody has used:
	// it has the property two_phase, which the slots of copies never have. No
	// data directory depends on such a slot, so a first start may replace it.
	prepared  bool
	failover  *bool // standbys keep it in step; nil before version 17
	pid       int32 // of the walsender that uses it, 0 when none
	restart   change.LSN
	confirmed change.LSN
	walStatus string
	lostBy    string // why it is lost, from version 17 on
	safe      int64  // bytes, -1 unlimited
	server    change.LSN

	synchronous, application string // synchronous_standby_names, and our own name
}

const slotSQL = `
SELECT COALESCE(s.plugin, ''), COALESCE(s.database, ''), s.temporary, s.two_phase, COALESCE(s.active_pid, 0),
       COALESCE(s.restart_lsn, '0/0')::text, COALESCE(s.confirmed_flush_lsn, '0/0')::text,
       COALESCE(s.wal_status, ''), COALESCE(to_jsonb(s)->>'invalidation_reason', ''), (to_jsonb(s)->>'failover')::bool,
       COALESCE(s.safe_wal_size, -1),
       pg_current_wal_flush_lsn()::text, current_setting('synchronous_standby_names'), current_setting('application_name')
FROM pg_replication_slots s WHERE s.slot_name = $1`

// readSlot returns the slot, or nil when there is none.
func readSlot(ctx context.Context, conn *pgx.Conn, name string) (*slotInfo, error) {
	var s slotInfo
	err := conn.QueryRow(ctx, slotSQL, name).Scan(&s.plugin, &s.database, &s.temporary, &s.prepared, &s.pid,
		lsnText{&s.restart}, lsnText{&s.confirmed}, &s.walStatus, &s.lostBy, &s.failover, &s.safe, lsnText{&s.server}, &s.synchronous, &s.application)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read replication slot %q: %w", name, err)
	}
	return &s, nil
}

// retained returns the bytes of WAL that the slot holds back.
func (s *slotInfo) retained() int64 {
	if s.restart == 0 || s.server < s.restart {
		return 0
	}
	return int64(s.server - s.restart)
}

// server is what the control connection says about the other side.
type server struct {
	systemID string
	database string
	version  int
	timeout  time.Duration // wal_sender_timeout, 0 for never
	flushed  change.LSN
}

// readServer asks the ordinary connection. Where the role may not ask which cluster
// this is, it is known, from the replication connection.
func readServer(ctx context.Context, conn *pgx.Conn, known string) (server, error) {
	var s server
	var ms string
	var tells bool
	err := conn.QueryRow(ctx, `
SELECT has_function_privilege('pg_control_system()', 'EXECUTE'), current_database()::text, current_setting('server_version_num')::int,
       (SELECT setting FROM pg_settings WHERE name = 'wal_sender_timeout'), pg_current_wal_flush_lsn()::text`).Scan(&tells, &s.database, &s.version, &ms, lsnText{&s.flushed})
	if err != nil {
		return s, fmt.Errorf("read the identity of the server: %w", err)
	}
	s.systemID = known
	if tells {
		if err := conn.QueryRow(ctx, "SELECT system_identifier::text FROM pg_control_system()").Scan(&s.systemID); err != nil {
			return s, fmt.Errorf("read the identity of the server: %w", err)
		}
	}
	if s.timeout, err = parseGUCTime(ms); err != nil {
		return s, err
	}
	return s, nil
}

// plan is what the start of a session has to do.
type plan int

const (
	planStream plan = iota // the slot continues at our position
	planCopy               // create the slot and copy
)

// decide compares our position with the server and its slot. It is pure. slot
// is nil when there is none. mine is the claim of a copy that did not end, nil
// for none.
//
// Without TakeOver a slot is dropped only when no other data directory can depend
// on it: a carbond that is down for a moment would lose what it has not read yet,
// if another one with the same slot name and an empty directory were started.
// With it the name is ours, and a directory that was lost heals by itself; the
// other carbond, if there is one, finds the gap and says so.
func (o *Options) decide(pos change.Position, srv server, slot *slotInfo, mine *note.Claim) (plan, error) {
	if slot != nil && (slot.plugin != "pgoutput" || slot.database != srv.database || slot.temporary) {
		return 0, fault(KindSlotForeign, "choose another slot name, or drop it: SELECT pg_drop_replication_slot("+literal(o.Slot)+")", nil,
			"replication slot %q belongs to somebody else (plugin %q, database %q)", o.Slot, slot.plugin, slot.database)
	}
	if slot != nil && slot.pid != 0 {
		return 0, fault(KindSlotInUse, fmt.Sprintf("stop the other process, or SELECT pg_terminate_backend(%d)", slot.pid), nil,
			"replication slot %q is in use by server process %d", o.Slot, slot.pid)
	}
	if !pos.Copied || pos.Source.Embedded() {
		if slot != nil && !slot.prepared && !holds(mine, srv, o.Slot, slot) && !o.TakeOver && o.OnGap != GapResnapshot {
			return 0, fault(KindSlotForeign, "give this carbond a slot name of its own; or set postgres.slot_takeover: true; or, when the data directory that used the slot is gone for good: SELECT pg_drop_replication_slot("+literal(o.Slot)+")", nil,
				"replication slot %q was made for another data directory (it is confirmed up to %s, and this directory holds no copy)", o.Slot, slot.confirmed)
		}
		return planCopy, nil
	}
	if err := otherCluster(pos, srv); err != nil {
		return 0, err
	}
	err := o.gap(pos, srv, slot)
	if err == nil && holds(mine, srv, o.Slot, slot) && !finished(mine, pos) {
		// The slot begins where the copy does that did not end.
		err = fault(KindSlotMissing, resnapshotAdvice, nil, "replication slot %q was made for a copy that did not end, so the changes since the last durable position cannot be read", o.Slot)
	}
	if err != nil && o.OnGap == GapResnapshot {
		return planCopy, nil
	}
	return planStream, err
}

// otherCluster refuses a server that is not the one of the copy.
func otherCluster(pos change.Position, srv server) error {
	if !pos.Copied || pos.Source.Embedded() || pos.Source.SystemID == srv.systemID && pos.Source.Database == srv.database {
		return nil
	}
	return fault(KindOtherCluster, "correct the Postgres URL; or, when it is the same data in a new place (pg_upgrade, dump and restore, a renamed database), set postgres.adopt to "+srv.systemID+": the tables are copied anew and the differences recorded", nil,
		"the data directory belongs to database %q of cluster %s, but the URL leads to database %q of cluster %s",
		pos.Source.Database, pos.Source.SystemID, srv.database, srv.systemID)
}

// gap says why the stream cannot continue at our position, or nil.
func (o *Options) gap(pos change.Position, srv server, slot *slotInfo) error {
	switch {
	case slot == nil:
		return o.slotMissing(nil)
	case slot.walStatus == "lost":
		return o.slotLost(slot.lostBy, nil)
	case slot.prepared:
		return fault(KindSlotMissing, resnapshotAdvice, nil,
			"replication slot %q was made anew by carbond migrate, so the changes since the last durable position cannot be read", o.Slot)
	case slot.confirmed > pos.LSN:
		return o.slotAhead(pos.LSN, slot.confirmed)
	case slot.confirmed < pos.CopyLSN:
		return fault(KindServerBehind, resnapshotAdvice, nil,
			"replication slot %q stands at %s, before %s where the copy was made with it: the server was put back to an earlier state, or the slot is another one", o.Slot, slot.confirmed, pos.CopyLSN)
	case srv.flushed < pos.LSN:
		e := fault(KindServerBehind, resnapshotAdvice, nil,
			"the server's WAL ends at %s, before the durable position %s: it was restored from a backup, or an older standby was promoted", srv.flushed, pos.LSN)
		// A slot beyond its server's WAL proves nothing once that has caught up.
		e.final = slot.confirmed > srv.flushed
		return e
	}
	return nil
}

func (o *Options) slotAhead(pos, confirmed change.LSN) *Error {
	return fault(KindSlotAhead, resnapshotAdvice, nil,
		"replication slot %q stands at %s, ahead of the durable position %s: it was advanced by somebody else, or this data directory is an older copy", o.Slot, confirmed, pos)
}

// failoverLacks says what keeps a slot from being a failover slot as wanted, ""
// for nothing.
func (o *Options) failoverLacks(slot *slotInfo) string {
	switch {
	case !o.Failover || slot == nil || slot.prepared:
		return ""
	case slot.failover == nil:
		return "postgres.failover has no effect before Postgres 17: after a failover the slot is gone"
	case !*slot.failover:
		return fmt.Sprintf("replication slot %q is not a failover slot yet", o.Slot)
	}
	return ""
}

// dropSlot drops our slot by way of a replication connection: that one logged in as
// the role that may replicate, whatever ALTER ROLE ... SET role says.
func (o *Options) dropSlot(ctx context.Context, repl *pgconn.PgConn) error {
	if _, err := repl.Exec(ctx, "DROP_REPLICATION_SLOT "+o.Slot).ReadAll(); err != nil {
		return fmt.Errorf("drop replication slot %q: %w", o.Slot, err)
	}
	return nil
}

// asLogin runs one statement about slots as the role that logged in, see dropSlot.
func asLogin(ctx context.Context, conn *pgx.Conn, sql string, args ...any) error {
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

// createSlotSQL is the command for a replication connection.
func (o *Options) createSlotSQL(name string, version int, temporary bool) string {
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

// blockers describes the oldest transactions that the creation of a slot waits
// for, or "".
func blockers(ctx context.Context, conn *pgx.Conn) (string, error) {
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
