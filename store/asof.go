package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"carbond/store/change"
	"carbond/store/internal/record"
	"carbond/store/internal/view"
)

// ErrFuture means that a wanted position is not reached yet.
var ErrFuture = errors.New("position is not reached yet")

// AsOf returns the views as they were at offset at, inside retention. A record
// holds the row before it, so the state at an offset is the newest state with
// the changes since undone, last change first. The cost is that of reading
// these changes. The offset may lie inside a transaction; AtLSN and AtTime give
// those of boundaries.
//
// Errors: *CompactedError when retention has passed the offset, ErrFuture.
func (s *Store) AsOf(ctx context.Context, at change.Offset) (*Snapshot, error) {
	newest := s.Snapshot()
	if at > newest.Offset() {
		return nil, fmt.Errorf("offset %d: %w, the newest is %d", at, ErrFuture, newest.Offset())
	}
	if at+1 < s.changelog.Oldest() {
		return nil, &CompactedError{Wanted: at, Oldest: s.changelog.Oldest()}
	}
	b := &backdater{reader: s.NewReader(at + 1), state: newest.fork(), until: newest.Offset()}
	for last := newest.Offset(); last > at; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		blocks, err := s.changelog.ReadBack(last, readBytes)
		if err != nil {
			return nil, fmt.Errorf("as of offset %d: %w", at, err)
		}
		for _, bl := range blocks {
			if bl.Last() <= at {
				last = at
				break
			}
			b.at = bl.First
			err := record.Decode(bl.Data, b)
			if err == nil {
				err = b.undo()
			}
			if err != nil {
				return nil, fmt.Errorf("as of offset %d: %w", at, err)
			}
			last = bl.First - 1
		}
	}
	pos := newest.pos
	pos.Offset, pos.LSN, pos.CommitTime = at, 0, time.Time{}
	b.state.Rebase(at)
	if at == newest.Offset() {
		pos = newest.pos
	}
	return &Snapshot{state: b.state, pos: pos}, nil
}

// backdater takes a state back in time, one block after the other.
type backdater struct {
	reader *Reader
	state  *view.State
	at     change.Offset
	until  change.Offset
	block  []record.Entry // of the changes to undo
}

// Change implements record.Visitor.
func (b *backdater) Change(_ record.Txn, _ uint64, e record.Entry) error {
	at := b.at
	b.at++
	if at >= b.reader.next && at <= b.until && e.Op != change.Truncate {
		b.block = append(b.block, e)
	}
	return nil
}

// undo undoes the changes of a block, the last one first.
func (b *backdater) undo() error {
	for _, e := range slices.Backward(b.block) {
		sh, err := b.reader.shape(e.Relation)
		if err != nil {
			return err
		}
		row := e.Before
		if row == "" {
			row = e.After
		}
		key, err := sh.Key(row)
		if err != nil {
			return err
		}
		// Versions are given anew at the end; none is kept on the way.
		if e.Before == "" {
			b.state.Remove(sh.Table, key, 0)
		} else {
			b.state.Put(view.Entry{Key: key, Row: e.Before, Shape: sh}, 0)
		}
	}
	clear(b.block)
	b.block = b.block[:0]
	return nil
}

// End implements record.Visitor.
func (b *backdater) End(record.Txn, change.LSN) error { return nil }

// AtLSN returns the last offset of the last transaction whose commit end is not
// beyond lsn. Errors: ErrFuture, *CompactedError.
func (s *Store) AtLSN(ctx context.Context, lsn change.LSN) (change.Offset, error) {
	if lsn > s.Position().LSN {
		return 0, fmt.Errorf("LSN %s: %w, the newest is %s", lsn, ErrFuture, s.Position().LSN)
	}
	return s.boundary(ctx,
		func(t tailState) bool { return t.LSN > lsn },
		func(_ record.Txn, end change.LSN) bool { return end > lsn })
}

// AtTime returns the last offset before the first transaction that committed
// after t. Commit times come from the source's clock and may step back.
// Errors: *CompactedError.
func (s *Store) AtTime(ctx context.Context, t time.Time) (change.Offset, error) {
	us := t.UnixMicro()
	return s.boundary(ctx,
		func(st tailState) bool { return st.CommitTime > us },
		func(x record.Txn, _ change.LSN) bool { return x.CommitTime.After(t) })
}

// boundary finds the last offset before the first transaction for which after
// says yes, beginning with the newest segment whose birth is not after it.
func (s *Store) boundary(ctx context.Context, born func(tailState) bool, after func(record.Txn, change.LSN) bool) (change.Offset, error) {
	births, err := s.changelog.Births()
	if err != nil {
		return 0, err
	}
	from := change.Offset(0)
	for i := len(births) - 1; i >= 0 && from == 0; i-- {
		st, err := decodeTailState(births[i].State)
		if err != nil {
			return 0, err
		}
		if !born(st) {
			from = births[i].Visible + 1
		}
	}
	if from < births[0].Visible+1 {
		return 0, &CompactedError{Wanted: births[0].Visible, Oldest: births[0].Next}
	}
	f := &finder{after: after, found: from - 1}
	end := s.Position().Offset
	for next := from; next <= end && !f.done; {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		blocks, err := s.changelog.Read(next, readBytes)
		if err != nil {
			return 0, err
		}
		for _, b := range blocks {
			f.at = b.First
			if err := record.Decode(b.Data, f); err != nil && !errors.Is(err, errFound) {
				return 0, err
			}
			next = b.Last() + 1
		}
	}
	return f.found, nil
}

var errFound = errors.New("found")

// finder walks to the first transaction that is after the wanted point.
type finder struct {
	after func(record.Txn, change.LSN) bool
	at    change.Offset // next change
	found change.Offset // last change of the last transaction that was not after
	done  bool
}

// Change implements record.Visitor.
func (f *finder) Change(record.Txn, uint64, record.Entry) error {
	f.at++
	return nil
}

// End implements record.Visitor.
func (f *finder) End(t record.Txn, end change.LSN) error {
	if f.done || f.after(t, end) {
		f.done = true
		return errFound
	}
	f.found = f.at - 1
	return nil
}

// fork returns a copy of the snapshot's state that may be changed.
func (s *Snapshot) fork() *view.State {
	s.forking.Lock()
	defer s.forking.Unlock()
	return s.state.Copy()
}
