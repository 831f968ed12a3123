package change

import (
	"context"
	"iter"
	"time"
)

// ViewSnapshot is one immutable version of the views, at a transaction boundary.
// Every answer is computed from one Snapshot alone.
type ViewSnapshot interface {
	// Offset is the last changelog offset that the snapshot reflects.
	Offset() Offset
	// LSN is the commit-end LSN that it reflects, 0 in embedded mode.
	LSN() LSN
	// CommitTime is the source's commit time of its last transaction.
	CommitTime() time.Time
	// Version is the offset of the last change of the inputs of a view under a
	// filter ("" = all). Equal versions mean equal answers.
	Version(v View, filter string) Offset
	// Projects yields the projects view in byte order of project_id, strictly
	// after the id after ("" = from the start). Country "" means all.
	Projects(country, after string) iter.Seq[Project]
	// News yields the newest NewsLimit items, newest first.
	News(source string) iter.Seq[NewsItem]
	// Quotes yields the latest row of each ticker in byte order, strictly after
	// the ticker after ("" = from the start).
	Quotes(ticker, after string) iter.Seq[Quote]
	// Project returns all that is known of one project.
	Project(id string) (ProjectDetail, bool)
	// Archive yields all news of a source, "" for all, newest first, each with its
	// place: strictly after a place, "" for the newest. Of items with a time those
	// from since on and before until; zero times are no bound, and with either one
	// items without a time are left out.
	Archive(source, after string, since, until time.Time) iter.Seq2[string, NewsItem]
	// Prices yields all rows of a ticker with timestamps from from to to, both
	// included, in the order of time.
	Prices(ticker string, from, to int64) iter.Seq[Quote]
	// Totals yields the totals by one of Groupings in byte order of the groups; it is
	// nil where the tables have no such column.
	Totals(by string) iter.Seq[Total]
}

// Groupings lists the columns by which totals are kept: "" of all projects together,
// columns of projects, and the source of news.
func Groupings() []string {
	return []string{"", "country", "registry_status", "vintage", "project_type", "registry", "methodology", "source"}
}

// Total is what the rows of a group come to.
type Total struct {
	Group string // "" for rows without a value too
	Rows  int64
	// Supply is the exact sum, rounded once, of what is a finite number.
	Supply                 float64
	Unknown, NaN, Infinite int64 // rows whose supply is NULL, NaN and infinite
}

// Rows yields the rows of a view as pointers, which hold until the next row: those
// that a filter matches, strictly after a key. Of a view with a limit, it yields
// all that there are.
func Rows(s ViewSnapshot, v View, filter, after string) iter.Seq[any] {
	switch v {
	case ViewProjects:
		return pointers(s.Projects(filter, after))
	case ViewFinance:
		return pointers(s.Quotes(filter, after))
	}
	return pointers(s.News(filter))
}

func pointers[R any](rows iter.Seq[R]) iter.Seq[any] {
	return func(yield func(any) bool) {
		var row R
		for row = range rows {
			if !yield(&row) {
				return
			}
		}
	}
}

// Follower yields the transactions of the views behind an offset, in commit
// order. It is used by one goroutine.
type Follower interface {
	// Next blocks until there are transactions, or ctx ends.
	Next(ctx context.Context) ([]ViewTxn, error)
	// Ready reports whether Next would return without waiting.
	Ready() bool
	// Offset is the last transaction end that Next has passed.
	Offset() Offset
}
