package store

import (
	"context"
	"iter"
	"sync"
	"time"

	"carbond/store/change"
	"carbond/store/internal/view"
)

// Snapshot is one immutable version of the views, at a transaction boundary.
// It may be kept and read by any number of goroutines.
type Snapshot struct {
	state *view.State
	pos   change.Position
	tail  *commitState     // of the changelog; nil for a version that is history
	plain *plainTopics     // likewise
	of    change.Selection // that a version of then is right for

	forking sync.Mutex // copying a tree marks the original
}

// Offset returns the last changelog offset that the snapshot reflects.
func (s *Snapshot) Offset() change.Offset { return s.pos.Offset }

// LSN returns the commit-end LSN that it reflects, 0 in embedded mode.
func (s *Snapshot) LSN() change.LSN { return s.pos.LSN }

// CommitTime returns the source's commit time of its last transaction.
func (s *Snapshot) CommitTime() time.Time { return s.pos.CommitTime }

// Copied reports whether the first copy of a Postgres is in it.
func (s *Snapshot) Copied() bool { return s.pos.Copied }

// Version returns the offset of the last change to what view v reads under a
// filter; "" is the whole view. Equal versions mean equal answers.
func (s *Snapshot) Version(v change.View, filter string) change.Offset {
	return s.state.Version(v, filter)
}

// Projects yields the projects view in byte order of project_id, strictly after
// the id after. Country "" means all.
func (s *Snapshot) Projects(country, after string) iter.Seq[change.Project] {
	return s.state.Projects(country, after)
}

// News yields the newest change.NewsLimit items, newest first. Source "" means
// all.
func (s *Snapshot) News(source string) iter.Seq[change.NewsItem] { return s.state.News(source) }

// Quotes yields the latest row of each ticker in byte order, strictly after the
// ticker after. Ticker "" means all.
func (s *Snapshot) Quotes(ticker, after string) iter.Seq[change.Quote] {
	return s.state.Quotes(ticker, after)
}

// Project returns all that is known of one project.
func (s *Snapshot) Project(id string) (change.ProjectDetail, bool) { return s.state.Project(id) }

// Archive yields all news of a source, newest first: see change.ViewSnapshot.
func (s *Snapshot) Archive(source, after string, since, until time.Time) iter.Seq2[string, change.NewsItem] {
	return s.state.Archive(source, after, since, until)
}

// Prices yields the rows of a ticker in the order of time.
func (s *Snapshot) Prices(ticker string, from, to int64) iter.Seq[change.Quote] {
	return s.state.Prices(ticker, from, to)
}

// Totals yields the totals by one of change.Groupings.
func (s *Snapshot) Totals(by string) iter.Seq[change.Total] { return s.state.Totals(by) }

// Rows returns the number of stored rows of a source table.
func (s *Snapshot) Rows(table string) int {
	t, ok := view.TableOf(table)
	if !ok {
		return 0
	}
	return s.state.Len(t)
}

// Unfit counts the rows with a value that SQL cannot cast to the type that their
// view gives, and tells of the first: the query of that view fails as a whole,
// where the view here has the nearest value.
func (s *Snapshot) Unfit() (n int, first string) { return s.state.Unfit() }

// ViewRows returns the number of rows of a view without a filter.
func (s *Snapshot) ViewRows(v change.View) int {
	def := v.Def()
	if keys := change.KeyColumns(def.Tables[0]); len(keys) == 1 && keys[0] == def.Key { // a row for each of the table's
		n := s.Rows(def.Tables[0])
		if def.Limit > 0 {
			n = min(n, def.Limit)
		}
		return n
	}
	n := 0
	for range change.Rows(s, v, "", "") {
		n++
	}
	return n
}

// Snapshot returns the newest version.
func (s *Store) Snapshot() *Snapshot { return s.published.Load() }

// publish shows the writer's state to readers. The copy goes to the readers, so
// that what they hold is never written.
func (s *Store) publish(visible change.Offset) {
	tail := s.tail
	s.published.Store(&Snapshot{state: s.work.Copy(), pos: tail.position(visible), tail: &tail, plain: s.plain})
	s.wake.all()
}

// WaitLSN blocks until a snapshot with LSN() >= lsn is visible, or ctx ends.
func (s *Store) WaitLSN(ctx context.Context, lsn change.LSN) error {
	for {
		woken, open := s.wake.next()
		if s.Position().LSN >= lsn {
			return nil
		}
		if !open {
			return change.ErrClosed
		}
		select {
		case <-woken:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Changed returns a channel that is closed at the next publication, and false
// when there will be none. Take it before reading the position.
func (s *Store) Changed() (<-chan struct{}, bool) { return s.wake.next() }

// wake signals any number of waiters that something happened. It is lossy:
// waiters read for themselves how far things are.
type wake struct {
	mu   sync.Mutex // guards what follows
	ch   chan struct{}
	done bool
}

func (w *wake) init() { w.ch = make(chan struct{}) }

func (w *wake) next() (<-chan struct{}, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ch, !w.done
}

func (w *wake) all() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.done {
		close(w.ch)
		w.ch = make(chan struct{})
	}
}

func (w *wake) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.done {
		w.done = true
		close(w.ch)
	}
}
