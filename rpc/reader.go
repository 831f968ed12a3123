package rpc

import (
	"context"
	"iter"
	"time"

	"carbond/store/change"
)

// Snapshot is one immutable version of the views, at a transaction boundary.
// Every answer is computed from one Snapshot alone.
type Snapshot interface {
	// Offset is the last changelog offset that the snapshot reflects.
	Offset() change.Offset
	// LSN is the commit-end LSN that it reflects, 0 in embedded mode.
	LSN() change.LSN
	// CommitTime is the source's commit time of its last transaction.
	CommitTime() time.Time
	// Version is the offset of the last change of the inputs of a view under a
	// filter ("" = all). Equal versions mean equal answers.
	Version(v change.View, filter string) change.Offset
	// Projects yields the projects view in byte order of project_id, strictly
	// after the id after ("" = from the start). Country "" means all.
	Projects(country, after string) iter.Seq[change.Project]
	// News yields the newest change.NewsLimit items, newest first.
	News(source string) iter.Seq[change.NewsItem]
	// Quotes yields the latest row of each ticker in byte order, strictly after
	// the ticker after ("" = from the start).
	Quotes(ticker, after string) iter.Seq[change.Quote]
	// Project returns all that is known of one project.
	Project(id string) (change.ProjectDetail, bool)
}

// nothing is what the headers of an answer from SQL say while no Snapshot is
// loaded. It has no rows: the methods that it lacks are never called.
type nothing struct{ Snapshot }

func (nothing) Offset() change.Offset                     { return 0 }
func (nothing) LSN() change.LSN                           { return 0 }
func (nothing) Version(change.View, string) change.Offset { return 0 }

// Reader gives the newest Snapshot. Its methods are called by many goroutines
// at once, Snapshot once for each call of a client.
type Reader interface {
	// Snapshot returns the newest version; nil while nothing is loaded yet,
	// which clients see as UNAVAILABLE.
	Snapshot() Snapshot
	// WaitLSN blocks until a snapshot with LSN() >= lsn is visible.
	WaitLSN(ctx context.Context, lsn change.LSN) error
}
