package rpc

import (
	"context"
	"errors"
	"fmt"
	"time"

	"carbond/rpc/internal/hub"
	"carbond/store/change"
)

// Follower yields the transactions of the views behind an offset, in commit
// order. It is used by one goroutine.
type Follower = hub.Follower

// History gives past versions of the views and what changed since, inside
// retention. Its methods are called by many goroutines at once.
//
// Offsets that it returns are ends of transactions. Errors: *GoneError when
// retention has passed what was asked for, ErrAhead when it is not there yet,
// *change.HistoryError for an offset of another history.
type History interface {
	// Lineage says which offsets mean what.
	Lineage() change.History
	// AsOf returns the views as they were at an offset; inside a transaction,
	// as they were before it. Snapshot.LSN and CommitTime are those of then.
	AsOf(ctx context.Context, at change.Offset) (Snapshot, error)
	// AtTime returns the offset of the newest transaction that did not commit
	// after t: the source's clock may have been set back.
	AtTime(ctx context.Context, t time.Time) (change.Offset, error)
	// AtLSN returns the offset of the last transaction whose commit ends at or
	// before lsn, in the history of the newest copy.
	AtLSN(ctx context.Context, lsn change.LSN) (change.Offset, error)
	// Follow returns a follower behind the transaction that ends at an offset.
	Follow(ctx context.Context, at change.Offset) (Follower, error)
	// CommitTime returns the commit time of the transaction that ends at an
	// offset, zero when it is not known any more, and false when none ends
	// there.
	CommitTime(at change.Offset) (t time.Time, ok bool, err error)
}

// GoneError says that retention has passed what was asked for.
type GoneError struct {
	Oldest     change.Offset // the oldest offset that AsOf and Follow answer for
	OldestTime time.Time     // its commit time, or that of the first transaction behind it
}

// Error implements error.
func (e *GoneError) Error() string {
	return fmt.Sprintf("retention has passed it; the oldest offset is %d", e.Oldest)
}

// ErrAhead means that an offset is not reached yet.
var ErrAhead = errors.New("offset is not reached yet")
