package store

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"carbond/store/change"
	"carbond/store/internal/changelog"
	"carbond/store/internal/record"
	"carbond/store/internal/view"
)

// AsOf returns the views as they were at offset at, inside retention. A record
// holds the row before it, so the state at an offset is the newest state with
// the changes since undone, last change first. The cost is that of reading
// these changes. The offset may lie inside a transaction; AtLSN and AtTime give
// those of boundaries.
//
// Errors: *CompactedError when retention has passed the offset, ErrFuture.
func (s *Store) AsOf(ctx context.Context, at change.Offset) (*Snapshot, error) {
	return s.asOf(ctx, at, change.Selection{}, nil)
}

// asOf is AsOf for one selection, from another version on when that is nearer than the
// newest and of the same selection.
//
// What the answer cannot show need not be right in it: changes before and behind
// which a row is not selected are passed over, so a row that the selection has is as
// it was, and any other is some version that the selection does not have.
func (s *Store) asOf(ctx context.Context, at change.Offset, of change.Selection, near *Snapshot) (*Snapshot, error) {
	newest := s.Snapshot()
	if at > newest.Offset() {
		return nil, fmt.Errorf("offset %d: %w, the newest is %d", at, change.ErrFuture, newest.Offset())
	}
	h := s.History()
	from, err := h.From(at + 1)
	if err != nil {
		return nil, fmt.Errorf("as of offset %d: %w", at, err)
	}
	at = h.Before(from)
	if from < s.changelog.Oldest() {
		return nil, &change.CompactedError{Wanted: at, Oldest: s.changelog.Oldest()}
	}
	base := newest
	if near != nil && near.of == of && near.Offset() < newest.Offset() && near.Offset()+(newest.Offset()-at) > at && h.After(near.Offset()) >= s.changelog.Oldest() {
		base = near
	}
	state := base.fork()
	if base.Offset() < at {
		err = s.redo(ctx, state, of, base.Offset(), at)
	} else {
		err = s.undo(ctx, state, of, base.Offset(), at)
	}
	if err != nil {
		return nil, fmt.Errorf("as of offset %d: %w", at, err)
	}
	pos := newest.pos
	pos.Offset, pos.LSN, pos.CommitTime = at, 0, time.Time{}
	state.Rebase(at)
	if at == newest.Offset() {
		pos = newest.pos
	}
	return &Snapshot{state: state, pos: pos, of: of}, nil
}

// undo takes a state at one offset back to an earlier one.
func (s *Store) undo(ctx context.Context, state *view.State, of change.Selection, last, until change.Offset) error {
	b := &rewinder{reader: s.newReader(until + 1), state: state, of: of, rows: map[view.Table][]undone{}, most: undoBytes()}
	err := s.back(ctx, last, until, func(bl changelog.Block) error {
		for it, err := range record.Borrow(bl.Data, bl.First) {
			if err != nil {
				return err
			}
			if !it.Ends && it.Offset > until && it.Offset <= last && it.Entry.Op != change.Truncate {
				b.block = append(b.block, it.Entry)
			}
		}
		return b.undo()
	})
	b.flush()
	return err
}

// redo takes a state at one offset on to a later one.
func (s *Store) redo(ctx context.Context, state *view.State, of change.Selection, at, until change.Offset) error {
	r := s.newReader(at + 1)
	for from := s.History().After(at); from <= until; {
		if err := ctx.Err(); err != nil {
			return err
		}
		blocks, err := s.changelog.Read(from, readBytes)
		if err != nil {
			return err
		}
		for _, bl := range blocks {
			for it, err := range record.All(bl.Data, bl.First) {
				if err == nil && !it.Ends && it.Offset > at && it.Offset <= until {
					var sh *view.Schema
					if sh, err = r.schema(it.Entry.Relation); err == nil && matters(sh, &it.Entry, of) {
						err = apply(state, sh, it.Entry, 0)
					}
				}
				if err != nil {
					return err
				}
			}
			from = s.History().After(bl.Last())
		}
	}
	return nil
}

// matters reports whether a selection has a row before or behind a change.
func matters(sh *view.Schema, e *record.Entry, of change.Selection) bool {
	return e.Op == change.Truncate || sh.Matters(e.Before, of) || sh.Matters(e.After, of)
}

// back calls f for the blocks that hold changes behind until, from the one that
// holds last on, the newest first.
func (s *Store) back(ctx context.Context, last, until change.Offset, f func(changelog.Block) error) error {
	for last > until {
		if err := ctx.Err(); err != nil {
			return err
		}
		blocks, err := s.changelog.ReadBack(last, readBytes)
		if err != nil {
			return err
		}
		for _, b := range blocks {
			if b.Last() <= until {
				return nil
			}
			if err := f(b); err != nil {
				return err
			}
			last = s.History().Before(b.First)
		}
	}
	return nil
}

// rewinder takes a state back in time. What it has read is undone at once for
// many changes, in the order of keys: leaves of the state are then written once.
type rewinder struct {
	reader *reader
	state  *view.State
	of     change.Selection
	block  []record.Entry          // of the changes to undo
	rows   map[view.Table][]undone // as they were read: the newest change first
	bytes  int                     // of the rows
	most   int                     // of bytes
}

// undone is what a row was before a change.
type undone struct {
	view.Entry
	gone bool // it was not there
}

// undoBytes bounds the rows that a rewinder holds, by a part of the memory limit where
// that is less: each time that it gives them to the state, most leaves of a table that is changed
// all over are written again.
func undoBytes() int { return int(min(32<<20, debug.SetMemoryLimit(-1)/8)) }

// aloneBytes is how long a row must be to be copied by itself: it may outlive those beside it.
const aloneBytes = 1 << 10

// undo notes what the rows of a block were before it, the last change first. They are
// copied together, so that the rows behind the changes need not stay.
func (b *rewinder) undo() error {
	rows, size := make([]undone, 0, len(b.block)), 0
	for _, e := range slices.Backward(b.block) {
		sh, err := b.reader.schema(e.Relation)
		if err != nil {
			return err
		}
		if matters(sh, &e, b.of) {
			rows = append(rows, undone{Entry: view.Entry{Row: cmp.Or(e.Before, e.After), Schema: sh}, gone: e.Before == ""})
			size += len(rows[len(rows)-1].Row)
		}
	}
	clear(b.block)
	b.block = b.block[:0]
	var text strings.Builder
	text.Grow(size)
	for i := range rows {
		r, from := &rows[i], text.Len()
		if len(r.Row) > aloneBytes {
			r.Row = change.Row(strings.Clone(string(r.Row)))
		} else {
			text.WriteString(string(r.Row))
			r.Row = change.Row(text.String()[from:])
		}
		var err error
		if r.Key, err = r.Schema.Key(r.Row); err != nil {
			return err
		}
		if r.gone {
			r.Row = ""
		}
		b.rows[r.Schema.Table] = append(b.rows[r.Schema.Table], *r)
	}
	if b.bytes += size; b.bytes > b.most {
		b.flush()
	}
	return nil
}

// flush gives the state the rows; of several changes of one the first was the last to
// be read. Versions are given again at the end; none is kept on the way.
func (b *rewinder) flush() {
	for t, rows := range b.rows {
		order := inOrder(rows)
		list := make([]view.Entry, 0, len(rows))
		for i, at := range order {
			if r := &rows[at.row]; i == len(order)-1 || r.Key != rows[order[i+1].row].Key {
				list = append(list, r.Entry)
			}
		}
		b.state.Update(t, list, 0)
		clear(rows)
		b.rows[t] = rows[:0]
	}
	b.bytes = 0
}

// place is where a row is in a list, and the first bytes in which its key can differ from
// others: to compare these costs a fraction of comparing keys.
type place struct {
	head uint64
	row  int
}

// inOrder returns the places of rows in the order of their keys; rows of one key stay as they are.
func inOrder(rows []undone) []place {
	if len(rows) == 0 {
		return nil
	}
	common := rows[0].Key
	for i := range rows {
		for !strings.HasPrefix(rows[i].Key, common) {
			common = common[:len(common)-1]
		}
	}
	out := make([]place, len(rows))
	for i := range rows {
		var head [8]byte
		copy(head[:], rows[i].Key[len(common):])
		out[i] = place{binary.BigEndian.Uint64(head[:]), i}
	}
	slices.SortFunc(out, func(x, y place) int {
		if x.head != y.head {
			return cmp.Compare(x.head, y.head)
		}
		return cmp.Or(strings.Compare(rows[x.row].Key, rows[y.row].Key), x.row-y.row)
	})
	return out
}

// AtLSN returns the last offset of the last transaction whose commit end is not
// beyond lsn. Positions from before the newest copy may be of a history that the
// source has left, and are not answered. Errors: ErrFuture, *CompactedError.
func (s *Store) AtLSN(ctx context.Context, lsn change.LSN) (change.Offset, error) {
	now := s.Snapshot()
	if lsn > now.LSN() {
		return 0, fmt.Errorf("LSN %s: %w, the newest is %s", lsn, change.ErrFuture, now.LSN())
	}
	copied := now.tail.CopyAt
	if lsn < now.tail.CopyLSN {
		return 0, &change.CompactedError{Wanted: max(copied, 1) - 1, Oldest: copied}
	}
	return s.newest(ctx, now, copied, func(t commitState) bool { return t.LSN <= lsn })
}

// AtTime returns the last offset of the newest transaction that did not commit
// after t. Commit times come from the source's clock; when that was set back,
// what was written since counts. Errors: *CompactedError.
func (s *Store) AtTime(ctx context.Context, t time.Time) (change.Offset, error) {
	us := max(0, t.UnixMicro()) // 0 is the time of a log that has nothing yet
	return s.newest(ctx, s.Snapshot(), 0, func(t commitState) bool { return t.CommitTime <= us })
}

// newest finds the newest transaction behind offset floor at whose end holds
// says yes, and returns its last offset, or floor. Of a segment in the middle of
// which the clock went forth and back only the ends count.
func (s *Store) newest(ctx context.Context, now *Snapshot, floor change.Offset, holds func(commitState) bool) (change.Offset, error) {
	starts, err := s.changelog.Starts()
	if err != nil {
		return 0, err
	}
	end, last := *now.tail, now.Offset()
	for i := len(starts) - 1; i >= 0; i-- {
		if holds(end) {
			return last, nil
		}
		start, err := decodeCommitState(starts[i].State)
		if err != nil {
			return 0, err
		}
		if first := max(starts[i].Visible, floor); first == floor && floor > 0 || holds(start) {
			return s.newestIn(ctx, last, first, holds)
		}
		end, last = start, starts[i].Visible
	}
	return 0, &change.CompactedError{Wanted: starts[0].Visible, Oldest: starts[0].Next}
}

// newestIn is newest among the offsets from last down to floor.
func (s *Store) newestIn(ctx context.Context, last, floor change.Offset, holds func(commitState) bool) (change.Offset, error) {
	found := floor
	err := s.back(ctx, last, floor, func(b changelog.Block) error {
		ends, err := endings(b)
		if err != nil {
			return err
		}
		for _, e := range slices.Backward(ends) {
			if e.last > floor && holds(commitState{LSN: e.id.EndLSN, CommitTime: e.micros()}) {
				found = e.last
				return errFound
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, errFound) {
		return 0, err
	}
	return found, nil
}

// ending is the end of a transaction in a block.
type ending struct {
	id       change.TxnID
	snapshot bool
	plain    bool          // it changed no table of a view
	last     change.Offset // of its changes
}

func (e ending) micros() int64 {
	if e.id.CommitTime.IsZero() {
		return 0
	}
	return e.id.CommitTime.UnixMicro()
}

// endings lists the transactions that end in a block.
func endings(b changelog.Block) ([]ending, error) {
	var out []ending
	for it, err := range record.All(b.Data, b.First) {
		if err != nil {
			return nil, fmt.Errorf("read offset %d: %w", it.Offset, err)
		}
		if t := it.Txn; it.Ends {
			id := change.TxnID{XID: t.XID, CommitLSN: t.CommitLSN, EndLSN: it.End, CommitTime: t.CommitTime}
			out = append(out, ending{id, t.Snapshot, it.Plain, it.Offset})
		}
	}
	return out, nil
}

// FirstAfter returns the last offset before the first transaction that committed
// after t, for readers that want all from then on. Commit times come from the
// source's clock and may step back. Errors: *CompactedError.
func (s *Store) FirstAfter(ctx context.Context, t time.Time) (change.Offset, error) {
	us := max(0, t.UnixMicro())
	starts, err := s.changelog.Starts()
	if err != nil {
		return 0, err
	}
	from := change.Offset(0)
	for i := len(starts) - 1; i >= 0 && from == 0; i-- {
		st, err := decodeCommitState(starts[i].State)
		if err != nil {
			return 0, err
		}
		if st.CommitTime <= us {
			from = starts[i].Visible + 1
		}
	}
	if from < starts[0].Visible+1 {
		return 0, &change.CompactedError{Wanted: starts[0].Visible, Oldest: starts[0].Next}
	}
	found, end := from-1, s.Position().Offset
	for next := from; next <= end; {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		blocks, err := s.changelog.Read(next, readBytes)
		if err != nil {
			return 0, err
		}
		for _, b := range blocks {
			ends, err := endings(b)
			if err != nil {
				return 0, err
			}
			for _, e := range ends {
				if e.id.CommitTime.After(t) {
					return found, nil
				}
				found = e.last
			}
			next = b.Last() + 1
		}
	}
	return found, nil
}

var errFound = errors.New("found")

// fork returns a copy of the snapshot's state that may be changed.
func (s *Snapshot) fork() *view.State {
	s.forking.Lock()
	defer s.forking.Unlock()
	return s.state.Copy()
}

// Since returns a function that gives, one after the other, the transactions of
// the newest copy's time that changed a table of a view and end after lsn, oldest first, and io.EOF behind the
// last that was durable at the call. from is where the list begins: lsn, or a
// later position when the log does not reach back so far.
func (s *Store) Since(ctx context.Context, lsn change.LSN) (from change.LSN, next func() (change.TxnID, error), err error) {
	now := s.Snapshot()
	floor, from := now.tail.CopyAt, max(lsn, now.tail.CopyLSN)
	starts, err := s.changelog.Starts()
	if err != nil {
		return 0, nil, err
	}
	if oldest := starts[0]; oldest.Next > floor+1 {
		st, err := decodeCommitState(oldest.State)
		if err != nil {
			return 0, nil, err
		}
		floor, from = oldest.Next-1, max(lsn, st.LSN)
	}
	at := floor
	err = s.back(ctx, now.Offset(), floor, func(b changelog.Block) error {
		ends, err := endings(b)
		if err != nil {
			return err
		}
		for _, e := range slices.Backward(ends) {
			if e.id.EndLSN <= lsn || e.snapshot && !e.plain || e.last <= floor {
				at, from = max(e.last, floor), max(lsn, e.id.EndLSN)
				return errFound
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, errFound) {
		return 0, nil, fmt.Errorf("read the last transactions: %w", err)
	}
	l := &lister{s: s, at: at, end: now.Offset()}
	return from, func() (change.TxnID, error) { return l.next(ctx) }, nil
}

// lister reads the ends of transactions behind offset at, up to end.
type lister struct {
	s       *Store
	at, end change.Offset
	blocks  []changelog.Block
	ready   []ending
}

func (l *lister) next(ctx context.Context) (change.TxnID, error) {
	for {
		if len(l.ready) > 0 {
			id := l.ready[0].id
			l.ready = l.ready[1:]
			return id, nil
		}
		if err := ctx.Err(); err != nil {
			return change.TxnID{}, err
		}
		if l.at >= l.end {
			return change.TxnID{}, io.EOF
		}
		if len(l.blocks) == 0 {
			var err error
			if l.blocks, err = l.s.changelog.Read(l.at+1, readBytes); err != nil {
				return change.TxnID{}, err
			}
		}
		ends, err := endings(l.blocks[0])
		if err != nil {
			return change.TxnID{}, err
		}
		for _, e := range ends {
			if e.last > l.at && e.last <= l.end && !e.plain {
				l.ready = append(l.ready, e)
			}
		}
		l.at = l.blocks[0].Last()
		l.blocks = l.blocks[1:]
	}
}
