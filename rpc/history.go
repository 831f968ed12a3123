package rpc

import (
	"context"
	"time"

	"carbond/rpc/internal/changelog"
	"carbond/store/change"
)

// History gives past versions of the views and what changed since, inside
// retention. Its methods are called by many goroutines at once.
//
// Offsets that it returns are ends of transactions. Errors: *change.CompactedError
// when retention has passed what was asked for, change.ErrFuture when it is not
// there yet, *change.HistoryError for an offset of another history.
type History interface {
	// History says which offsets mean what.
	History() change.History
	// AsOf returns the views as they were at an offset; inside a transaction,
	// as they were before it. Only what is selected need be right. Its LSN and
	// CommitTime are those of then. near is nil or an earlier answer for the same
	// selection, from which the way may be shorter.
	AsOf(ctx context.Context, at change.Offset, of change.Selection, near change.ViewSnapshot) (change.ViewSnapshot, error)
	// AtTime returns the offset of the newest transaction that did not commit
	// after t: the source's clock may have been set back.
	AtTime(ctx context.Context, t time.Time) (change.Offset, error)
	// AtLSN returns the offset of the last transaction whose commit ends at or
	// before lsn, in the history of the newest copy.
	AtLSN(ctx context.Context, lsn change.LSN) (change.Offset, error)
	// Follow returns a follower behind the transaction that ends at an offset.
	Follow(ctx context.Context, at change.Offset) (change.Follower, error)
	// CommitTime returns the commit time of the transaction that ends at an
	// offset, zero when it is not known any more, and false when none ends
	// there.
	CommitTime(at change.Offset) (t time.Time, ok bool, err error)
}

// Changelog is what carbon.ChangelogService reads and keeps.
type Changelog = changelog.Log

// emptySnapshot is what the headers of an answer from SQL say while no Snapshot is
// loaded. It has no rows: the methods that it lacks are never called.
type emptySnapshot struct{ change.ViewSnapshot }

func (emptySnapshot) Offset() change.Offset                     { return 0 }
func (emptySnapshot) LSN() change.LSN                           { return 0 }
func (emptySnapshot) Version(change.View, string) change.Offset { return 0 }

// Reader gives the newest Snapshot. Its methods are called by many goroutines
// at once, Snapshot once for each call of a client.
type Reader interface {
	// Snapshot returns the newest version; nil while nothing is loaded yet,
	// which clients see as UNAVAILABLE.
	Snapshot() change.ViewSnapshot
	// WaitLSN blocks until a snapshot with LSN() >= lsn is visible.
	WaitLSN(ctx context.Context, lsn change.LSN) error
}
