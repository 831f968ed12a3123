package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"carbond/store/change"
	"carbond/store/internal/record"
)

// Past answers for earlier versions of the views, at the ends of transactions
// only: the inside of one was never visible. Its methods may be called from any
// goroutine. What retention has passed gets a *change.CompactedError that names
// the oldest version there is.
type Past struct{ s *Store }

// Past returns the history of the views.
func (s *Store) Past() Past { return Past{s} }

// History says which offsets mean what.
func (p Past) History() change.History { return p.s.History() }

// AsOf returns the views as they were at an offset; inside a transaction, as they
// were before it. Only what is selected is right in it. LSN and CommitTime are those
// of then. near is nil or a version that a Past has given, from which the way may be
// shorter. Errors: ErrFuture, *CompactedError, *HistoryError, all of store/change.
func (p Past) AsOf(ctx context.Context, at change.Offset, of change.Selection, near change.ViewSnapshot) (change.ViewSnapshot, error) {
	newest, known := p.s.Snapshot(), p.s.History()
	if err := known.Check("", at); err != nil {
		return nil, err
	}
	at = known.UpTo(at)
	switch {
	case at == newest.Offset():
		return newest, nil
	case at > newest.Offset():
		return nil, fmt.Errorf("offset %d: %w", at, change.ErrFuture)
	}
	rec, ok, err := p.record(at)
	if err != nil {
		return nil, err
	}
	if ok && !rec.Last { // inside a transaction
		at = known.UpTo(at - change.Offset(rec.Order))
		if rec, ok, err = p.record(at); err != nil {
			return nil, err
		}
	}
	if !ok { // the last offset of what retention dropped, or 0
		if err := p.checkFloor(at); err != nil {
			return nil, err
		}
	}
	kept, _ := near.(*Snapshot)
	snap, err := p.s.asOf(ctx, at, of, kept)
	if err != nil {
		return nil, p.explain(err)
	}
	snap.pos.LSN, snap.pos.CommitTime = rec.EndLSN, rec.CommitTime
	return snap, nil
}

// AtTime returns the last offset of the newest transaction that did not commit
// after t, see Store.AtTime.
func (p Past) AtTime(ctx context.Context, t time.Time) (change.Offset, error) {
	at, err := p.s.AtTime(ctx, t)
	return at, p.explain(err)
}

// AtLSN returns the last offset of the last transaction whose commit ends at or
// before lsn, see Store.AtLSN.
func (p Past) AtLSN(ctx context.Context, lsn change.LSN) (change.Offset, error) {
	at, err := p.s.AtLSN(ctx, lsn)
	return at, p.explain(err)
}

// Follow returns a follower behind the transaction that ends at an offset.
func (p Past) Follow(ctx context.Context, at change.Offset) (change.Follower, error) {
	f, _, err := p.s.Follow(ctx, at)
	if err != nil {
		return nil, p.explain(err)
	}
	return pastFollower{f, p}, nil
}

// pastFollower names the oldest version when retention overtakes it.
type pastFollower struct {
	*Follower
	p Past
}

// Next implements change.Follower.
func (f pastFollower) Next(ctx context.Context) ([]change.ViewTxn, error) {
	txns, err := f.Follower.Next(ctx)
	return txns, f.p.explain(err)
}

// CommitTime returns the commit time of the transaction that ends at an offset,
// zero when it is not known any more, and false when none ends there.
func (p Past) CommitTime(at change.Offset) (time.Time, bool, error) {
	rec, ok, err := p.record(at)
	if err != nil || ok {
		return rec.CommitTime, rec.Last, err
	}
	// Nothing is before the first offset, and nothing is left of a dropped segment.
	return time.Time{}, true, nil
}

// record returns the record at an offset. It is not ok for 0 and for the last
// offset before the oldest record.
func (p Past) record(at change.Offset) (rec change.Record, ok bool, err error) {
	known := p.s.History()
	if err := known.Check("", at); err != nil {
		return rec, false, err
	}
	if oldest := p.s.Oldest(); at < oldest {
		if known.After(at) < oldest {
			return rec, false, p.gone(at)
		}
		return rec, false, nil
	}
	at = known.UpTo(at)
	recs, err := p.s.NewReader(at).Read(1)
	if err != nil {
		return rec, false, p.explain(err)
	}
	if len(recs) == 0 || recs[0].Offset != at {
		return rec, false, fmt.Errorf("read offset %d: it is not in the changelog", at)
	}
	return recs[0], true, nil
}

// checkFloor refuses the offset before the oldest record when that record is in
// the middle of a transaction.
func (p Past) checkFloor(at change.Offset) error {
	rec, ok, err := p.record(p.s.History().After(at))
	if err != nil || !ok || rec.Order == 1 {
		return err
	}
	return p.gone(at)
}

// Checksum returns the checksum of the log at the newest version.
func (s *Store) Checksum() change.Checksum {
	now := s.Snapshot()
	return change.Checksum{At: now.Offset(), Sum: now.tail.Checksum, Since: now.tail.Summed}
}

// Checksums returns those of the log at offsets, which are in order; what is asked for
// is read once, from the last place before the first of them where the checksum is
// known. Errors: ErrFuture, *CompactedError.
func (s *Store) Checksums(ctx context.Context, at []change.Offset) (out []change.Checksum, err error) {
	if len(at) == 0 {
		return nil, nil
	}
	sum, err := s.summed(at[0])
	if err != nil {
		return nil, err
	}
	if newest := s.Position().Offset; at[len(at)-1] > newest {
		return nil, fmt.Errorf("offset %d: %w, the newest is %d", at[len(at)-1], change.ErrFuture, newest)
	}
	// reach adds what is asked for before an offset, and reports whether that is all.
	reach := func(next change.Offset) bool {
		for len(out) < len(at) && at[len(out)] < next {
			sum.At = at[len(out)]
			out = append(out, sum)
		}
		return len(out) == len(at)
	}
	known := sum.At
	r := s.newReader(known + 1)
	for next := s.History().After(known); !reach(next); {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		blocks, err := s.read(next, readBytes)
		if err != nil {
			return nil, err
		}
		for _, b := range blocks {
			for it, err := range record.Borrow(b.Data, b.First) {
				switch {
				case err != nil:
					return nil, fmt.Errorf("read offset %d: %w", it.Offset, err)
				case it.Ends || it.Offset <= known:
					continue
				case reach(it.Offset):
					s.sums.add(sum)
					return out, nil
				case it.Entry.Op == change.Removed:
					return nil, &change.CompactedError{Wanted: at[len(out)], Oldest: s.Floor()}
				}
				sh, err := r.schema(it.Entry.Relation)
				if err != nil {
					return nil, err
				}
				sum.Sum = record.Checksum(sum.Sum, it.Offset, sh.Relation, it.Txn, &it.Entry)
			}
			next = s.History().After(b.Last())
		}
		if len(blocks) == 0 { // a hole alone is left
			next = at[len(at)-1] + 1
		}
	}
	s.sums.add(sum)
	return out, nil
}

// summed returns the checksum at the last offset up to at where it is known.
func (s *Store) summed(at change.Offset) (change.Checksum, error) {
	since := s.Snapshot().tail.Summed
	starts, err := s.changelog.Starts()
	if err != nil {
		return change.Checksum{}, err
	}
	best, found := s.sums.last(at, since)
	for _, b := range starts {
		st, err := decodeCommitState(b.State)
		if err != nil {
			return change.Checksum{}, err
		}
		if b.Visible <= at && b.Visible >= best.At && st.Checksum != 0 && st.Summed == since {
			best, found = change.Checksum{At: b.Visible, Since: since, Sum: st.Checksum}, true
		}
	}
	if found {
		return best, nil
	}
	if oldest := s.Oldest(); at < since || since < s.History().Before(oldest) {
		return change.Checksum{}, &change.CompactedError{Wanted: at, Oldest: max(oldest, since)}
	}
	return change.Checksum{At: since, Since: since, Sum: 1}, nil
}

// knownSums are checksums that were answered last: nodes ask for those of offsets that go
// on, and the way from the start of a segment may be long.
type knownSums struct {
	mu   sync.Mutex // guards list
	list []change.Checksum
}

const maxKnownSums = 16

func (k *knownSums) add(c change.Checksum) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.list) == maxKnownSums {
		k.list = slices.Delete(k.list, 0, 1)
	}
	k.list = append(k.list, c)
}

// last returns the one with the highest offset up to at.
func (k *knownSums) last(at, since change.Offset) (best change.Checksum, found bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range k.list {
		if c.At <= at && c.At >= best.At && c.Since == since {
			best, found = c, true
		}
	}
	return best, found
}

// gone returns the error of what retention has passed, with the oldest version
// that can still be asked for.
func (p Past) gone(wanted change.Offset) error {
	e := &change.CompactedError{Wanted: wanted, Oldest: p.s.Oldest()}
	if pos := p.s.Position(); pos.Offset < e.Oldest { // a commit filled a segment, and retention took it at once
		e.Oldest, e.OldestTime = pos.Offset, pos.CommitTime
		return e
	}
	r := p.s.NewReader(e.Oldest)
	for first := true; ; first = false {
		recs, err := r.Read(1)
		if err != nil || len(recs) == 0 { // retention goes on; what is known will do
			return e
		}
		if before := p.s.History().Before(e.Oldest); first && recs[0].Order == 1 && before > 0 {
			e.Oldest, e.OldestTime = before, recs[0].CommitTime
			return e
		}
		for _, rec := range recs {
			if rec.Last {
				e.Oldest, e.OldestTime = rec.Offset, rec.CommitTime
				return e
			}
		}
	}
}

// explain gives an error of retention the oldest version.
func (p Past) explain(err error) error {
	if c, ok := errors.AsType[*change.CompactedError](err); ok && c.OldestTime.IsZero() {
		return p.gone(c.Wanted)
	}
	return err
}

// clockFloor is a time before which no clock can be right.
var clockFloor = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// offsetAt is the time in seconds with 20 binary places. No source makes a
// million changes a second for long, so what is written to any directory before
// t has lower offsets. Until 2242 they are numbers that a JSON reader keeps.
func offsetAt(t time.Time) change.Offset {
	return change.Offset(t.Unix())<<20 + change.Offset(t.Nanosecond())<<20/1e9
}

// firstOffset returns where a history begins whose offsets must be above those
// of every other: at the time, or at random not far behind the last offset that
// is known when the clock is behind that, or was never set.
func firstOffset(now time.Time, last change.Offset) change.Offset {
	if last = max(last, offsetAt(clockFloor)); offsetAt(now) > last {
		return offsetAt(now)
	}
	return last + 1 + change.Offset(rand.Int64N(1<<40))
}

// History says which offsets of this and of other directories mean what.
func (s *Store) History() change.History { return s.history }
