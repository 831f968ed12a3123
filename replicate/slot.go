package replicate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"carbond/replicate/internal/note"
	"carbond/replicate/internal/server"
	"carbond/replicate/pgerr"
	"carbond/replicate/schema"
	"carbond/store/change"
)

// plan is what the start of a session has to do.
type plan int

const (
	planStream plan = iota // the slot continues at our position
	planCopy               // create the slot and copy
)

// decide compares our position with the server and its slot. It is pure. slot
// is nil when there is none. mine is the marker of a copy that did not end, nil
// for none.
//
// Without TakeOver a slot is dropped only when no other data directory can depend
// on it: a carbond that is down for a moment would lose what it has not read yet,
// if another one with the same slot name and an empty directory were started.
// With it the name is ours, and a directory that was lost heals by itself; the
// other carbond, if there is one, finds the gap and says so.
func decide(o *server.Options, pos change.Position, srv server.Info, slot *server.Slot, mine *note.SlotMarker) (plan, error) {
	if slot != nil && (slot.Plugin != "pgoutput" || slot.Database != srv.Database || slot.Temporary) {
		return 0, pgerr.New(pgerr.KindSlotForeign, "choose another slot name, or drop it: SELECT pg_drop_replication_slot("+server.Literal(o.Slot)+")", nil,
			"replication slot %q belongs to somebody else (plugin %q, database %q)", o.Slot, slot.Plugin, slot.Database)
	}
	if slot != nil && slot.Pid != 0 {
		return 0, pgerr.New(pgerr.KindSlotInUse, fmt.Sprintf("stop the other process, or SELECT pg_terminate_backend(%d)", slot.Pid), nil,
			"replication slot %q is in use by server process %d", o.Slot, slot.Pid)
	}
	if !pos.Copied || pos.Source.Embedded() {
		if slot != nil && !slot.Prepared && !markerFits(mine, srv, o.Slot, slot) && !o.TakeOver && o.OnGap != server.GapResnapshot {
			return 0, pgerr.New(pgerr.KindSlotForeign, "give this carbond a slot name of its own; or set postgres.slot_takeover: true; or, when the data directory that used the slot is gone for good: SELECT pg_drop_replication_slot("+server.Literal(o.Slot)+")", nil,
				"replication slot %q was made for another data directory (it is confirmed up to %s, and this directory holds no copy)", o.Slot, slot.Confirmed)
		}
		return planCopy, nil
	}
	if err := otherCluster(pos, srv); err != nil {
		return 0, err
	}
	err := gap(o, pos, srv, slot)
	if err == nil && markerFits(mine, srv, o.Slot, slot) && !copyFinished(mine, pos) {
		// The slot begins where the copy does that did not end.
		err = pgerr.New(pgerr.KindSlotMissing, pgerr.Resnapshot, nil, "replication slot %q was made for a copy that did not end, so the changes since the last durable position cannot be read", o.Slot)
	}
	if err != nil && o.OnGap == server.GapResnapshot {
		return planCopy, nil
	}
	return planStream, err
}

// otherCluster refuses a server that is not the one of the copy.
func otherCluster(pos change.Position, srv server.Info) error {
	if !pos.Copied || pos.Source.Embedded() || pos.Source.SystemID == srv.SystemID && pos.Source.Database == srv.Database {
		return nil
	}
	return pgerr.New(pgerr.KindOtherCluster, "correct the Postgres URL; or, when it is the same data in a new place (pg_upgrade, dump and restore, a renamed database), set postgres.adopt to "+srv.SystemID+": the tables are copied again and the differences recorded", nil,
		"the data directory belongs to database %q of cluster %s, but the URL leads to database %q of cluster %s",
		pos.Source.Database, pos.Source.SystemID, srv.Database, srv.SystemID)
}

// gap says why the stream cannot continue at our position, or nil.
func gap(o *server.Options, pos change.Position, srv server.Info, slot *server.Slot) error {
	switch {
	case slot == nil:
		return o.SlotMissing(nil)
	case slot.WalStatus == "lost":
		return o.SlotLost(slot.LostBy, nil)
	case slot.Prepared:
		return pgerr.New(pgerr.KindSlotMissing, pgerr.Resnapshot, nil,
			"replication slot %q was made again by carbond migrate, so the changes since the last durable position cannot be read", o.Slot)
	case slot.Confirmed > pos.LSN:
		return slotAhead(o, pos.LSN, slot.Confirmed)
	case slot.Confirmed < pos.CopyLSN:
		return pgerr.New(pgerr.KindServerBehind, pgerr.Resnapshot, nil,
			"replication slot %q stands at %s, before %s where the copy was made with it: the server was put back to an earlier state, or the slot is another one", o.Slot, slot.Confirmed, pos.CopyLSN)
	case srv.Flushed < pos.LSN:
		e := pgerr.New(pgerr.KindServerBehind, pgerr.Resnapshot, nil,
			"the server's WAL ends at %s, before the durable position %s: it was restored from a backup, or an older standby was promoted", srv.Flushed, pos.LSN)
		// A slot beyond its server's WAL proves nothing once that has caught up.
		e.Final = slot.Confirmed > srv.Flushed
		return e
	}
	return nil
}

func slotAhead(o *server.Options, pos, confirmed change.LSN) *pgerr.Error {
	return pgerr.New(pgerr.KindSlotAhead, pgerr.Resnapshot, nil,
		"replication slot %q stands at %s, ahead of the durable position %s: it was advanced by somebody else, or this data directory is an older copy", o.Slot, confirmed, pos)
}

// markerFits reports whether the marker is of this slot. A slot that has moved since
// it was made is used by somebody else.
func markerFits(c *note.SlotMarker, srv server.Info, name string, slot *server.Slot) bool {
	return c != nil && c.SystemID == srv.SystemID && c.Database == srv.Database && c.Slot == name &&
		(c.Point == "" || c.Point == slot.Confirmed.String())
}

// copyFinished reports whether the copy that the marker is for is the one that the
// changelog holds. That of an earlier version did not name it; a position
// behind the slot's came through it.
func copyFinished(c *note.SlotMarker, pos change.Position) bool {
	if c.Copy == "" {
		point, err := change.ParseLSN(c.Point)
		return err == nil && pos.Copied && pos.LSN >= point
	}
	return pos.Copied && c.Copy == pos.Source.Copy
}

// markSlot notes durably whose the slot is that is about to be made (point 0), or has been made at
// point, for a copy.
func (r *Replicator) markSlot(srv server.Info, id string, point change.LSN) error {
	c := &note.SlotMarker{SystemID: srv.SystemID, Database: srv.Database, Slot: r.opt.Slot, Copy: id}
	if point > 0 {
		c.Point = point.String()
	}
	return r.saveNote(func(n *note.Note) { n.Copying = c })
}

// unmarkSlot removes the marker.
func (r *Replicator) unmarkSlot() error {
	return r.saveNote(func(n *note.Note) { n.Copying = nil })
}

// clearSlot makes room for the slot of a new copy.
func (s *session) clearSlot(ctx context.Context) error {
	if s.old == nil {
		return nil
	}
	pos := s.sink.Position()
	level, msg := slog.LevelInfo, "dropping the replication slot before a new copy"
	if !s.old.Prepared && !pos.Copied {
		level, msg = slog.LevelWarn, msg+"; a data directory that used it has to be copied again"
	}
	s.log.Log(ctx, level, msg, "slot", s.opt.Slot, "confirmed_lsn", s.old.Confirmed.String(), "durable_lsn", pos.LSN.String())
	return s.opt.Classify(s.opt.DropSlot(ctx, s.repl))
}

// createSlot creates the slot on the replication connection and returns its
// consistent point and the name of the snapshot, which lives until the next
// command on that connection.
func (s *session) createSlot(ctx context.Context, id string) (change.LSN, string, error) {
	s.st.enter(PhaseCreatingSlot, "creating the replication slot")
	watchCtx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	told := false
	wg.Go(func() {
		watchBlockers(watchCtx, &s.ctl, func(who string) {
			reason := "the new replication slot waits for older transactions to end: " + who
			s.st.update(func(st *Status) { st.Reason = reason })
			if !told {
				told = true
				s.log.Warn("the new replication slot waits for older transactions to end", "transactions", who)
			}
		})
	})
	defer wg.Wait()
	defer stop()
	if err := s.r.markSlot(s.srv, id, 0); err != nil {
		return 0, "", err
	}
	res, err := pglogrepl.ParseCreateReplicationSlot(s.repl.Exec(ctx, s.opt.CreateSlotSQL(s.opt.Slot, s.srv.Version, false)))
	if err != nil {
		if _, answered := errors.AsType[*pgconn.PgError](err); answered {
			err = errors.Join(err, s.r.unmarkSlot()) // there is no slot of ours
		}
		return 0, "", s.opt.Classify(fmt.Errorf("create replication slot %q: %w", s.opt.Slot, err))
	}
	point, err := change.ParseLSN(res.ConsistentPoint)
	if err != nil {
		return 0, "", pgerr.New(pgerr.KindProtocol, "", err, "the new slot has no readable position")
	}
	if err := s.r.markSlot(s.srv, id, point); err != nil {
		return 0, "", err
	}
	return point, res.SnapshotName, nil
}

// watchBlockers tells for whom the creation of a slot waits: Postgres waits
// silently for every older transaction to end.
func watchBlockers(ctx context.Context, ctl *server.Control, tell func(who string)) {
	t := time.NewTicker(2 * time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if who := blockers(ctx, ctl); who != "" {
			tell(who)
		}
	}
}

// blockers returns for whom the creation of a slot waits, "" when that is not known.
func blockers(ctx context.Context, ctl *server.Control) (who string) {
	err := ctl.Do(ctx, func(ctx context.Context, conn *pgx.Conn) (err error) {
		who, err = server.Blockers(ctx, conn)
		return err
	})
	if err != nil {
		return ""
	}
	return who
}

// failover makes an existing slot one that standbys keep in step, where Postgres
// can; a copy makes its slot so. It is worth a warning, but no interruption.
func (s *session) failover(ctx context.Context, p plan) {
	why := s.lacks
	if s.srv.Version >= 170000 {
		if p == planCopy {
			return
		}
		_, err := s.repl.Exec(ctx, "ALTER_REPLICATION_SLOT "+s.opt.Slot+" ( FAILOVER true )").ReadAll()
		if err == nil {
			s.log.Info("the replication slot is a failover slot now", "slot", s.opt.Slot)
			return
		}
		why += ", and cannot be made one: " + err.Error()
	}
	s.st.warn(why)
	s.log.Warn("standbys do not keep the replication slot in step", "reason", why)
}

// PrepareSlot creates the replication slot when there is none, for a first
// start to take over, and reports whether it did. Until then the slot keeps the
// WAL written since. A slot that exists stays as it is. Like every creation of a
// slot it waits for older writing transactions to end; when ctx ends first, the
// error names them.
//
// The first start of a Replicator drops the prepared slot and creates its own
// at once: only a slot's creation gives the snapshot from which the tables can
// be copied without a gap.
func PrepareSlot(ctx context.Context, opt server.Options) (created bool, err error) {
	opt = opt.WithDefaults()
	conn, err := opt.Connect(ctx)
	if err != nil {
		return false, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	slot, err := server.ReadSlot(ctx, conn, opt.Slot)
	switch {
	case err != nil:
		return false, opt.Classify(err)
	case slot != nil && slot.Plugin != "pgoutput":
		return false, pgerr.New(pgerr.KindSlotForeign, "choose another slot name", nil, "replication slot %q uses plugin %q: it is not carbond's", opt.Slot, slot.Plugin)
	case slot != nil:
		return false, nil
	}
	// two_phase is the mark, see slotInfo.
	return makeSlot(ctx, conn, &opt, true)
}

// JoinSlot makes the replication slot of a data directory that is about to become the copy
// of another one, and returns its consistent point: what the other one holds up to
// there or further leads on to this slot. One that is there belonged to what the directory held
// before, and is dropped; without TakeOver it is an error of KindSlotForeign.
func JoinSlot(ctx context.Context, opt server.Options) (change.LSN, error) {
	opt = opt.WithDefaults()
	conn, err := opt.Connect(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	slot, err := server.ReadSlot(ctx, conn, opt.Slot)
	if err != nil {
		return 0, opt.Classify(err)
	}
	if slot != nil && !slot.Prepared && !opt.TakeOver {
		return 0, pgerr.New(pgerr.KindSlotForeign, "give this node a slot name of its own; or set postgres.slot_takeover: true", nil,
			"replication slot %q was made for another data directory (it is confirmed up to %s)", opt.Slot, slot.Confirmed)
	}
	if err := schema.DropIdleSlot(ctx, conn, &opt); err != nil {
		return 0, err
	}
	if _, err := makeSlot(ctx, conn, &opt, false); err != nil {
		return 0, err
	}
	slot, err = server.ReadSlot(ctx, conn, opt.Slot)
	if err == nil && slot == nil {
		err = fmt.Errorf("replication slot %q is gone again", opt.Slot)
	}
	if err != nil {
		return 0, opt.Classify(err)
	}
	return slot.Confirmed, nil
}

// makeSlot creates the slot, and reports false where somebody was faster.
func makeSlot(ctx context.Context, conn *pgx.Conn, opt *server.Options, prepared bool) (created bool, err error) {
	watchCtx, stop := context.WithCancel(ctx)
	ctl, told := server.Control{Opt: opt}, false
	defer ctl.Close()
	var wg sync.WaitGroup
	wg.Go(func() {
		watchBlockers(watchCtx, &ctl, func(who string) {
			if !told {
				told = true
				opt.Logger.Warn("the new replication slot waits for older transactions to end", "transactions", who)
			}
		})
	})
	err = server.AsLogin(ctx, conn, "SELECT pg_create_logical_replication_slot($1, 'pgoutput', false, $2)", opt.Slot, prepared)
	stop()
	wg.Wait()
	if pe, ok := errors.AsType[*pgconn.PgError](err); ok && pe.Code == "42710" {
		return false, nil // somebody was faster
	}
	if err != nil && ctx.Err() != nil {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if who := blockers(last, &ctl); who != "" {
			return false, pgerr.New(pgerr.KindSlotMissing, "end those transactions and try again", err, "replication slot %q was not created: it waits for older transactions to end: %s", opt.Slot, who)
		}
	}
	if err != nil {
		return false, opt.Classify(fmt.Errorf("create replication slot %q: %w", opt.Slot, err))
	}
	opt.Logger.Info("created the replication slot", "slot", opt.Slot)
	return true, nil
}
