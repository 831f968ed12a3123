package replicate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// PrepareSlot creates the replication slot when there is none, for a first
// start to take over, and reports whether it did. Until then the slot keeps the
// WAL written since. A slot that exists stays as it is. Like every creation of a
// slot it waits for older writing transactions to end; when ctx ends first, the
// error names them.
//
// The first start of a Replicator drops the prepared slot and creates its own
// at once: only a slot's creation gives the snapshot from which the tables can
// be copied without a gap.
func PrepareSlot(ctx context.Context, opt Options) (created bool, err error) {
	opt = opt.withDefaults()
	conn, err := opt.connect(ctx)
	if err != nil {
		return false, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	slot, err := readSlot(ctx, conn, opt.Slot)
	switch {
	case err != nil:
		return false, opt.classify(err)
	case slot != nil && slot.plugin != "pgoutput":
		return false, fault(KindSlotForeign, "choose another slot name", nil, "replication slot %q uses plugin %q: it is not carbond's", opt.Slot, slot.plugin)
	case slot != nil:
		return false, nil
	}
	// two_phase is the mark, see slotInfo.
	err = asLogin(ctx, conn, "SELECT pg_create_logical_replication_slot($1, 'pgoutput', false, true)", opt.Slot)
	if pe, ok := errors.AsType[*pgconn.PgError](err); ok && pe.Code == "42710" {
		return false, nil // somebody was faster
	}
	if err != nil {
		return false, opt.explainWait(ctx, opt.classify(fmt.Errorf("create replication slot %q: %w", opt.Slot, err)))
	}
	opt.Logger.Info("created the replication slot", "slot", opt.Slot)
	return true, nil
}

// explainWait says for whom the creation of a slot has waited, when ctx ended
// it. The connection is closed by then, so it takes a new one.
func (o *Options) explainWait(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	conn, cerr := o.connect(ctx)
	if cerr != nil {
		return err
	}
	defer conn.Close(ctx)
	who, cerr := blockers(ctx, conn)
	if cerr != nil || who == "" {
		return err
	}
	return fault(KindSlotMissing, "end those transactions and try again", err, "replication slot %q was not created: it waits for older transactions to end: %s", o.Slot, who)
}
