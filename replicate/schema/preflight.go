// Package schema knows what a database needs before it can be replicated: the
// tables and their columns, types and keys, indexes, the publication, the role's
// rights, the server's settings. It checks them (Preflight), makes what is missing
// (Migrate) and takes away what is ours (Teardown). It never changes or drops a
// table or column that it finds.
package schema

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"carbond/replicate/internal/server"
	"carbond/replicate/pgerr"

	"github.com/jackc/pgx/v5"
)

// Finding is the result of one preflight check.
type Finding struct {
	Name    string // the Kind of trouble that the check looks for, or what was looked at
	OK      bool
	Table   string // of the views, for a finding about one that the publication lacks
	Warning bool   // with !OK: worth repairing, but replication works
	Detail  string // what was found
	Repair  string // SQL and advice in one line, "" when OK

	// SQL are the statements that repair it, for a superuser in this database,
	// one by one: some cannot run inside a transaction. nil where SQL is no
	// remedy.
	SQL    []string
	Advice string // what else to do, or an alternative, "" for nothing
}

// Preflight checks everything that replication needs and returns one finding
// per check, in the order in which they matter. When there is no connection at
// all the findings say why; the error is for a context that ended or a
// connection that broke in the middle.
func Preflight(ctx context.Context, opt server.Options) ([]Finding, error) {
	opt = opt.WithDefaults()
	conn, err := opt.Connect(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return []Finding{Failure(err)}, nil
	}
	defer conn.Close(context.WithoutCancel(ctx))
	findings, err := Check(ctx, conn, &opt)
	if err != nil {
		return findings, err
	}
	values, err := checkValues(ctx, conn, &opt)
	if err != nil {
		return findings, opt.Classify(err)
	}
	findings = append(findings, values...)
	slot, err := checkSlot(ctx, conn, &opt)
	if err != nil {
		return findings, err
	}
	findings = append(findings, slot...)
	last := checkReplicationConnection(&opt, ctx)
	if !last.OK && slices.ContainsFunc(findings, func(f Finding) bool { return !f.OK && f.Name == last.Name }) {
		return findings, nil // the same trouble, seen from the other side
	}
	return append(findings, last), nil
}

// Failure turns an error into a finding.
func Failure(err error) Finding {
	f := Finding{Name: string(pgerr.KindOf(err)), Detail: err.Error()}
	if e, ok := errors.AsType[*pgerr.Error](err); ok {
		f.Repair, f.Advice = e.Repair, e.Repair
		bare := *e
		bare.Repair = ""
		f.Detail = bare.Error()
	}
	return f
}

// FirstFault returns the first finding that stops replication, as an error.
func FirstFault(findings []Finding) error {
	for _, f := range findings {
		if !f.OK && !f.Warning {
			return &pgerr.Error{Kind: pgerr.Kind(f.Name), Message: f.Detail, Repair: f.Repair}
		}
	}
	return nil
}

// Prerequisites returns the first fault that no migration can repair.
func Prerequisites(findings []Finding) error {
	for _, f := range findings {
		switch pgerr.Kind(f.Name) {
		case pgerr.KindVersion, pgerr.KindStandby, pgerr.KindWALLevel, pgerr.KindReplicationRight:
			if err := FirstFault([]Finding{f}); err != nil {
				return err
			}
		}
	}
	return nil
}

// Check runs the checks that an ordinary connection can make.
func Check(ctx context.Context, conn *pgx.Conn, opt *server.Options) ([]Finding, error) {
	var out []Finding
	for _, check := range []func(context.Context, *pgx.Conn, *server.Options) ([]Finding, error){
		checkServer, checkEncoding, Recognise, checkTables, checkPublication, checkFurther,
	} {
		f, err := check(ctx, conn, opt)
		out = append(out, f...)
		if err != nil {
			return out, opt.Classify(fmt.Errorf("preflight: %w", err))
		}
		if len(out) > 0 && !out[len(out)-1].OK && pgerr.Kind(out[len(out)-1].Name) == pgerr.KindStandby {
			break // nothing else can be asked
		}
	}
	return out, nil
}

// NewFinding makes the result of a check; the remedy is for one that is not ok.
func NewFinding(kind pgerr.Kind, ok bool, detail, repair string) Finding {
	f := Finding{Name: string(kind), OK: ok, Detail: detail}
	if !ok {
		f.Repair, f.Advice = repair, repair
	}
	return f
}

// repairable is a finding that SQL repairs.
func repairable(kind pgerr.Kind, ok bool, detail, advice string, sql ...string) Finding {
	f := NewFinding(kind, ok, detail, advice)
	if ok {
		return f
	}
	f.SQL, f.Repair = sql, strings.Join(sql, "; ")
	if advice != "" {
		f.Repair += "; " + advice
	}
	return f
}

// checkServer looks at version, role and settings.
func checkServer(ctx context.Context, conn *pgx.Conn, opt *server.Options) ([]Finding, error) {
	var (
		version               int
		text, level           string
		names, application    string // synchronous_standby_names, and ours
		user, acting          string // who logged in, and as whom SQL runs by ALTER ROLE ... SET role
		recovery, replication bool
		slots, maxSlots       int
		senders, maxSenders   int
		mine                  bool
	)
	err := conn.QueryRow(ctx, `
SELECT current_setting('server_version_num')::int, current_setting('server_version'), pg_is_in_recovery(), current_setting('synchronous_standby_names'), current_setting('application_name'),
       current_setting('wal_level'), session_user::text, current_user::text, r.rolreplication OR r.rolsuper
         OR EXISTS (SELECT FROM pg_roles x WHERE x.rolname = 'rds_replication' AND pg_has_role(r.oid, x.oid, 'MEMBER')),
       (SELECT count(*) FROM pg_replication_slots), current_setting('max_replication_slots')::int,
       (SELECT count(*) FROM pg_stat_replication), current_setting('max_wal_senders')::int,
       EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1)
FROM pg_roles r WHERE r.rolname = session_user`, opt.Slot).Scan(
		&version, &text, &recovery, &names, &application, &level, &user, &acting, &replication, &slots, &maxSlots, &senders, &maxSenders, &mine)
	if err != nil {
		return nil, err
	}
	out := []Finding{
		NewFinding(pgerr.KindConnect, true, "connected as role "+user+as(user, acting), ""),
		NewFinding(pgerr.KindVersion, version >= 140000, "Postgres "+text, "upgrade to Postgres 14 or later"),
	}
	if recovery {
		return append(out, NewFinding(pgerr.KindStandby, false, "the server is a standby", "connect to the primary, or add target_session_attrs=read-write to a URL with several hosts")), nil
	}
	out = append(out, NewFinding(pgerr.KindStandby, true, "the server is a primary", ""))
	out = append(out, checkSynchronous(names, application)...)
	return append(out,
		repairable(pgerr.KindWALLevel, level == "logical", "wal_level is "+level, "then restart Postgres", "ALTER SYSTEM SET wal_level = 'logical'"),
		repairable(pgerr.KindReplicationRight, replication, fmt.Sprintf("role %s %s replicate", user, may(replication)), "", "ALTER ROLE "+server.Ident(user)+" REPLICATION"),
		repairable(pgerr.KindCapacity, mine || slots < maxSlots, fmt.Sprintf("%d of %d replication slots are taken", slots, maxSlots),
			"then restart Postgres, or drop an unused slot instead", fmt.Sprintf("ALTER SYSTEM SET max_replication_slots = %d", maxSlots+4)),
		repairable(pgerr.KindCapacity, maxSenders > 0, fmt.Sprintf("at least %d of %d walsenders are busy", senders, maxSenders),
			"then restart Postgres", "ALTER SYSTEM SET max_wal_senders = 10"),
	), nil
}

func as(user, acting string) string {
	if user == acting {
		return ""
	}
	return ", acting as " + acting
}

func may(ok bool) string {
	if ok {
		return "may"
	}
	return "may not"
}

// nameSlot names the check of a slot that has no trouble, of whichever kind.
const nameSlot pgerr.Kind = "slot"

// checkSlot looks at the slot. A missing one is fine: it is created at start.
func checkSlot(ctx context.Context, conn *pgx.Conn, opt *server.Options) ([]Finding, error) {
	slot, err := server.ReadSlot(ctx, conn, opt.Slot)
	if err != nil {
		return nil, opt.Classify(err)
	}
	switch {
	case slot == nil:
		return []Finding{NewFinding(nameSlot, true, fmt.Sprintf("replication slot %q does not exist yet; the first start creates it", opt.Slot), "")}, nil
	case slot.Plugin != "pgoutput":
		return []Finding{NewFinding(pgerr.KindSlotForeign, false, fmt.Sprintf("replication slot %q uses plugin %q", opt.Slot, slot.Plugin), "choose another slot name")}, nil
	case slot.WalStatus == "lost":
		return []Finding{Failure(opt.SlotLost(slot.LostBy, nil))}, nil
	}
	if slot.Prepared {
		return []Finding{NewFinding(nameSlot, true, fmt.Sprintf("replication slot %q waits for the first start and retains %d bytes of WAL", opt.Slot, slot.Retained()), "")}, nil
	}
	detail := fmt.Sprintf("replication slot %q is confirmed up to %s and retains %d bytes of WAL (%s)", opt.Slot, slot.Confirmed, slot.Retained(), slot.WalStatus)
	if slot.Pid != 0 {
		detail += fmt.Sprintf("; server process %d uses it", slot.Pid)
	}
	out := []Finding{NewFinding(nameSlot, true, detail, "")}
	if lacks := opt.FailoverLacks(slot); lacks != "" {
		advice := "upgrade to Postgres 17, or remove postgres.failover"
		if slot.Failover != nil {
			advice = "start carbond: it makes the slot one"
		}
		f := NewFinding(nameSlot, false, lacks, advice)
		f.Warning = true
		out = append(out, f)
	}
	if slot.WalStatus == "unreserved" {
		f := NewFinding(pgerr.KindSlotLost, false, fmt.Sprintf("replication slot %q is about to be lost", opt.Slot), "start carbond now, or raise max_slot_wal_keep_size and reload")
		f.Warning = true
		out = append(out, f)
	}
	return out, nil
}

// checkReplicationConnection tries what the stream needs.
func checkReplicationConnection(o *server.Options, ctx context.Context) Finding {
	conn, _, err := o.ConnectReplication(ctx)
	if err != nil {
		return Failure(err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	id, err := o.Identify(ctx, conn)
	if err != nil {
		return Failure(err)
	}
	return NewFinding(pgerr.KindConnect, true, "a replication connection works; cluster "+id.SystemID, "")
}
