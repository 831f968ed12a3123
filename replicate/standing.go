package replicate

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"carbond/replicate/internal/note"
	"carbond/replicate/internal/server"
	"carbond/replicate/pgerr"
	"carbond/replicate/schema"
	"carbond/store/change"
)

// CheckPosition compares the position of a data directory with the server as a start
// would, and changes nothing. What only the stream can tell, whether the server
// sends again what is durable, is left to the start.
func CheckPosition(ctx context.Context, opt server.Options, pos change.Position) schema.Finding {
	opt = opt.WithDefaults()
	if !pos.Copied || pos.Source.Embedded() {
		return schema.NewFinding(namePosition, true, "the data directory holds no copy of a database yet", "")
	}
	conn, err := opt.Connect(ctx)
	if err != nil {
		return schema.Failure(err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := checkPosition(&opt, ctx, conn, pos); err != nil {
		f := schema.Failure(opt.Classify(err))
		f.Warning = errors.Is(err, pgerr.ErrGap) && opt.OnGap == server.GapResnapshot
		if f.Warning {
			f.Advice = "start carbond: postgres.on_gap is resnapshot, so it copies the tables again"
		}
		return f
	}
	return schema.NewFinding(namePosition, true, fmt.Sprintf("the data directory stands at %s of this cluster and database, and the slot fits", pos.LSN), "")
}

// namePosition names the comparison when there is no trouble, of whichever kind.
const namePosition pgerr.Kind = "position"

func checkPosition(o *server.Options, ctx context.Context, conn *pgx.Conn, pos change.Position) error {
	repl, _, err := o.ConnectReplication(ctx)
	if err != nil {
		return err
	}
	defer repl.Close(context.WithoutCancel(ctx))
	id, err := o.Identify(ctx, repl)
	if err != nil {
		return err
	}
	srv, err := server.ReadInfo(ctx, conn, id.SystemID)
	if err != nil {
		return err
	}
	n, err := note.At(o.SourcePath).Get()
	if err != nil {
		return pgerr.New(pgerr.KindNote, "put it back from a backup; or "+pgerr.Resnapshot, err, "what replication remembers beside the changelog is lost")
	}
	if err := otherCluster(pos, srv); err != nil {
		if o.Adopt == srv.SystemID && n.Adopted != o.Adopt {
			return nil // the next start copies all
		}
		return err
	}
	slot, err := server.ReadSlot(ctx, conn, o.Slot)
	if err != nil {
		return err
	}
	told := *o
	told.OnGap = server.GapStop // a gap is to be named, whatever is done about it
	if _, err := decide(&told, pos, srv, slot, n.Copying); err != nil {
		return err
	}
	if e := pendingVerdict(n, pos); e != nil {
		return e
	}
	now, err := timelineOf(ctx, repl, id)
	if err != nil {
		return err
	}
	return checkTimeline(n.Timeline, now, pos.LSN)
}
