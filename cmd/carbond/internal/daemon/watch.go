package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"carbond/rpc"
	"carbond/store"
	"carbond/store/change"
)

// history lends the store's past to rpc, in rpc's words.
type history struct{ s *store.Store }

// Lineage implements rpc.History.
func (h history) Lineage() change.History { return h.s.History() }

// AsOf implements rpc.History.
func (h history) AsOf(ctx context.Context, at change.Offset) (rpc.Snapshot, error) {
	newest, known := h.s.Snapshot(), h.s.History()
	if err := known.Check("", at); err != nil {
		return nil, err
	}
	at = known.UpTo(at)
	switch {
	case at == newest.Offset():
		return newest, nil
	case at > newest.Offset():
		return nil, rpc.ErrAhead
	}
	rec, ok, err := h.record(at)
	if err != nil {
		return nil, err
	}
	if ok && !rec.Last { // inside a transaction, of which nobody ever saw a part
		at = known.UpTo(at - change.Offset(rec.Order))
		if rec, ok, err = h.record(at); err != nil {
			return nil, err
		}
	}
	if !ok { // the last offset of what retention dropped, or 0
		if err := h.checkFloor(at); err != nil {
			return nil, err
		}
	}
	snap, err := h.s.AsOf(ctx, at)
	if err != nil {
		return nil, h.fault(err)
	}
	return pastSnapshot{snap, rec.EndLSN, rec.CommitTime}, nil
}

// pastSnapshot knows when it was.
type pastSnapshot struct {
	*store.Snapshot
	lsn    change.LSN
	commit time.Time
}

// LSN implements rpc.Snapshot.
func (p pastSnapshot) LSN() change.LSN { return p.lsn }

// CommitTime implements rpc.Snapshot.
func (p pastSnapshot) CommitTime() time.Time { return p.commit }

// AtTime implements rpc.History.
func (h history) AtTime(ctx context.Context, t time.Time) (change.Offset, error) {
	at, err := h.s.AtTime(ctx, t)
	return at, h.fault(err)
}

// Follow implements rpc.History.
func (h history) Follow(ctx context.Context, at change.Offset) (rpc.Follower, error) {
	f, _, err := h.s.Follow(ctx, at)
	if err != nil {
		return nil, h.fault(err)
	}
	return follower{f, h}, nil
}

// follower gives the errors of a follower their meaning.
type follower struct {
	*store.Follower
	h history
}

// Next implements rpc.Follower.
func (f follower) Next(ctx context.Context) ([]change.ViewTxn, error) {
	txns, err := f.Follower.Next(ctx)
	return txns, f.h.fault(err)
}

// CommitTime implements rpc.History.
func (h history) CommitTime(at change.Offset) (time.Time, bool, error) {
	rec, ok, err := h.record(at)
	if err != nil || ok {
		return rec.CommitTime, rec.Last, err
	}
	// Nothing is before the first offset, and nothing is left of a dropped segment.
	return time.Time{}, true, nil
}

// record returns the record at an offset. It is not ok for 0 and for the last
// offset before the oldest record.
func (h history) record(at change.Offset) (rec change.Record, ok bool, err error) {
	known := h.s.History()
	if err := known.Check("", at); err != nil {
		return rec, false, err
	}
	if oldest := h.s.Oldest(); at < oldest {
		if known.After(at) < oldest {
			return rec, false, h.gone()
		}
		return rec, false, nil
	}
	at = known.UpTo(at)
	recs, err := h.s.NewReader(at).Read(1)
	if err != nil {
		return rec, false, h.fault(err)
	}
	if len(recs) == 0 || recs[0].Offset != at {
		return rec, false, fmt.Errorf("read offset %d: it is not in the changelog", at)
	}
	return recs[0], true, nil
}

// checkFloor refuses the offset before the oldest record when that record is in
// the middle of a transaction.
func (h history) checkFloor(at change.Offset) error {
	rec, ok, err := h.record(h.s.History().After(at))
	if err != nil || !ok || rec.Order == 1 {
		return err
	}
	return h.gone()
}

// gone returns the error of what retention has passed, with the oldest place
// that can still be asked for.
func (h history) gone() error {
	e := &rpc.GoneError{Oldest: h.s.Oldest()}
	if pos := h.s.Position(); pos.Offset < e.Oldest { // a commit filled a segment, and retention took it at once
		e.Oldest, e.OldestTime = pos.Offset, pos.CommitTime
		return e
	}
	r := h.s.NewReader(e.Oldest)
	for first := true; ; first = false {
		recs, err := r.Read(1)
		if err != nil || len(recs) == 0 { // retention goes on; what is known will do
			return e
		}
		if before := h.s.History().Before(e.Oldest); first && recs[0].Order == 1 && before > 0 {
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

// fault puts the store's errors in rpc's words.
func (h history) fault(err error) error {
	var c *store.CompactedError
	switch {
	case errors.As(err, &c):
		return h.gone()
	case errors.Is(err, store.ErrFuture):
		return rpc.ErrAhead
	}
	return err
}
