package replicate

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"carbond/replicate/internal/note"
	"carbond/store/change"
)

// Standing compares the position of a data directory with the server as a start
// would, and changes nothing. What only the stream can tell, whether the server
// sends again what is durable, is left to the start.
func Standing(ctx context.Context, opt Options, pos change.Position) Finding {
	opt = opt.withDefaults()
	if !pos.Copied || pos.Source.Embedded() {
		return finding(positionFine, true, "the data directory holds no copy of a database yet", "")
	}
	conn, err := opt.connect(ctx)
	if err != nil {
		return failure(err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := opt.standing(ctx, conn, pos); err != nil {
		f := failure(opt.classify(err))
		f.Warning = errors.Is(err, ErrGap) && opt.OnGap == GapResnapshot
		if f.Warning {
			f.Advice = "start carbond: postgres.on_gap is resnapshot, so it copies the tables anew"
		}
		return f
	}
	return finding(positionFine, true, fmt.Sprintf("the data directory stands at %s of this cluster and database, and the slot fits", pos.LSN), "")
}

// positionFine names the comparison when there is no trouble, of whichever kind.
const positionFine Kind = "position"

func (o *Options) standing(ctx context.Context, conn *pgx.Conn, pos change.Position) error {
	repl, _, err := o.connectReplication(ctx)
	if err != nil {
		return err
	}
	defer repl.Close(context.WithoutCancel(ctx))
	id, err := o.identify(ctx, repl)
	if err != nil {
		return err
	}
	srv, err := readServer(ctx, conn, id.SystemID)
	if err != nil {
		return err
	}
	n, err := note.At(o.SourcePath).Get()
	if err != nil {
		return fault(KindNote, "put it back from a backup; or "+resnapshotAdvice, err, "what replication remembers beside the changelog is lost")
	}
	if err := otherCluster(pos, srv); err != nil {
		if o.Adopt == srv.systemID && n.Adopted != o.Adopt {
			return nil // the next start copies all
		}
		return err
	}
	slot, err := readSlot(ctx, conn, o.Slot)
	if err != nil {
		return err
	}
	told := *o
	told.OnGap = GapStop // a gap is to be named, whatever is done about it
	if _, err := told.decide(pos, srv, slot, n.Copying); err != nil {
		return err
	}
	if e := pending(n, pos); e != nil {
		return e
	}
	now, err := timelineOf(ctx, repl, id)
	if err != nil {
		return err
	}
	return parted(n.Timeline, now, pos.LSN)
}
