package rpc

import (
	"context"

	"carbond/store/change"
)

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
