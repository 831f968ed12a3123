package store

import (
	"context"
	"fmt"

	"carbond/store/change"
	"carbond/store/internal/record"
	"carbond/store/internal/view"
)

// bulkKeys is the number of touched view keys above which the deltas of a
// transaction are not held but computed as they are taken.
const bulkKeys = 20_000

// Follower turns the changelog into the deltas of the views, transaction by
// transaction in commit order, from any offset inside retention. It reads the
// log at its own pace and never slows the writer. It belongs to one goroutine.
type Follower struct {
	s       *Store
	reader  *reader
	before  *view.State // at the last transaction end
	state   *view.State // and what came since
	touched view.Touched
	bulk    bool
	at      change.Offset // next change
	out     []change.ViewTxn
	pos     change.Position
}

// Follow returns a Follower that continues behind offset at, and the views as
// they were there. The offset must be a transaction's end, as Snapshot.Offset
// and ViewTxn.Offset are. Errors: *CompactedError, ErrFuture.
func (s *Store) Follow(ctx context.Context, at change.Offset) (*Follower, *Snapshot, error) {
	snap, err := s.AsOf(ctx, at)
	if err != nil {
		return nil, nil, err
	}
	f := &Follower{s: s, reader: s.newReader(at + 1), state: snap.fork(), before: snap.fork(), at: at + 1, pos: snap.pos}
	return f, snap, nil
}

// Offset returns the last transaction end that Next has passed.
func (f *Follower) Offset() change.Offset { return f.pos.Offset }

// Ready reports whether Next would return without waiting.
func (f *Follower) Ready() bool { return len(f.out) > 0 || f.at <= f.s.Position().Offset }

// Next returns the next transactions, each with its deltas, which may be none.
// It blocks until there is one or ctx ends. Errors: *CompactedError when
// retention overtook the follower, ErrClosed.
func (f *Follower) Next(ctx context.Context) ([]change.ViewTxn, error) {
	for {
		woken, open := f.s.wake.next()
		blocks, err := f.s.read(f.at, readBytes)
		if err != nil {
			return nil, fmt.Errorf("follow: %w", err)
		}
		for _, b := range blocks {
			for it, err := range record.All(b.Data, b.First) {
				if err == nil && it.Offset >= f.reader.next { // else it is of an earlier transaction
					err = f.take(it)
				}
				if err != nil {
					return nil, fmt.Errorf("follow offset %d: %w", it.Offset, err)
				}
			}
			f.at = b.Last() + 1
		}
		if out := f.out; len(out) > 0 {
			f.out = nil
			return out, nil
		}
		if len(blocks) > 0 {
			continue
		}
		if !open {
			return nil, change.ErrClosed
		}
		select {
		case <-woken:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// take gives the state a change, or ends a transaction.
func (f *Follower) take(it *record.Item) error {
	if it.Ends {
		f.end(it)
		return nil
	}
	e := &it.Entry
	sh, err := f.reader.schema(e.Relation)
	if err != nil {
		return err
	}
	if !f.bulk && sh.Table != view.Plain {
		if e.Before != "" {
			f.touched.Add(sh, e.Before)
		}
		if e.After != "" {
			f.touched.Add(sh, e.After)
		}
		f.bulk = f.touched.Size() > bulkKeys
	}
	return apply(f.state, sh, it.Entry, it.Offset)
}

// end computes the deltas of the transaction that ends.
func (f *Follower) end(it *record.Item) {
	f.pos.Offset, f.pos.LSN = it.Offset, it.End
	if !it.Txn.CommitTime.IsZero() {
		f.pos.CommitTime = it.Txn.CommitTime
	}
	v := change.ViewTxn{Offset: f.pos.Offset, LSN: it.End, CommitTime: f.pos.CommitTime}
	after := f.state.Copy()
	if f.bulk {
		before := f.before
		v.Bulk = func(yield func(change.Delta) bool) { view.BulkDeltas(before, after, yield) }
	} else {
		v.Deltas = view.Deltas(f.before, after, &f.touched)
	}
	f.before, f.bulk = after, false
	f.touched.Reset()
	f.out = append(f.out, v)
}
