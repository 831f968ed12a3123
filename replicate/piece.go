package replicate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"carbond/store/change"
)

// A table is copied beside the stream in pieces, each read in one snapshot. The
// receiver gives each its place: behind every transaction that the snapshot
// sees, and before every other. So no record of a row is older than one in front
// of it, whatever was written meanwhile, and none is missing.
//
// Which transactions a snapshot sees, it says itself, by their numbers. The receiver
// stands still while a snapshot is taken, which is one short question, and again
// from the first transaction that the snapshot does not see until the rows are read.
//
// The server sends a transaction a moment before others see it; behind a synchronous
// standby that can be long. So a snapshot may miss what the receiver has passed
// already. Then another is taken, while the receiver still stands.

// piece is rows of one table on their way to their place in the stream.
type piece struct {
	rel *change.Relation // described by the copier, made one of ours by the receiver

	begin  chan struct{} // closed when the receiver stands between two transactions
	taken  chan snapshot // the snapshots, until one is good; closed when there is none
	judged chan error    // whether that one is; errAgain asks for another
	parts  chan part     // the rows, closed behind the last
	full   atomic.Bool   // parts holds all, or what fits
	failed atomic.Bool   // parts is closed before all rows came
	placed chan error    // how it ended
}

// part is rows and what they cost in memory.
type part struct {
	txn  change.Txn
	size int
}

// unseenWait is how long the receiver stands still until a snapshot sees what it has
// passed, and unseenKept how long a transaction may stay unseen: 32 bits of a number
// do not say more about one that is older.
const (
	unseenWait = 2 * time.Second
	unseenKept = time.Hour
)

// passedXIDs are the transactions that came last, over all sessions.
type passedXIDs struct {
	ring [1 << 14]struct {
		xid  uint32
		when int64 // Unix seconds
	}
	n int
}

func (p *passedXIDs) add(xid uint32, now time.Time) {
	x := &p.ring[p.n%len(p.ring)]
	x.xid, x.when = xid, now.Unix()
	p.n++
}

// seen reports whether a snapshot sees all of them.
func (p *passedXIDs) seen(s *snapshot, now time.Time) bool {
	from := now.Add(-unseenKept).Unix()
	for i := range p.ring[:min(p.n, len(p.ring))] {
		if x := &p.ring[i]; x.when >= from && !s.sees(x.xid) {
			return false
		}
	}
	return true
}

// partsAhead is how many parts of a piece are read before they have their place.
const partsAhead = 2

func newPiece(rel *change.Relation) *piece {
	return &piece{
		rel: rel, begin: make(chan struct{}), taken: make(chan snapshot, 1), judged: make(chan error, 1),
		parts: make(chan part, partsAhead), placed: make(chan error, 1),
	}
}

var (
	// errUnread says that the rows of a piece could not be read.
	errUnread = errors.New("the rows were not read to the end")
	// errEarly says that a transaction committed before the snapshot was taken,
	// and could not be seen yet.
	errEarly = errors.New("a transaction was just ending")
	// errUnseen says that no snapshot saw what the receiver had passed, errAgain that
	// the last did not.
	errUnseen = errors.New("a transaction that was sent is not visible yet")
	errAgain  = errors.New("another snapshot is wanted")
)

// snapshot says which transactions the rows of a piece show.
type snapshot struct {
	text     string     // as the server writes it, without end
	min, max uint64     // numbers below min are seen, from max on they are not
	running  []uint64   // those between that are not seen
	end      change.LSN // what is seen was committed before it
	last     bool       // a transaction that was just ending does not matter any more
}

// parseSnapshot reads what pg_current_snapshot gives: "min:max:number,number".
func parseSnapshot(text, end string) (s snapshot, err error) {
	s.text = text
	f := strings.Split(text, ":")
	if len(f) != 3 {
		return s, fmt.Errorf("a snapshot reads %q", text)
	}
	if s.min, err = strconv.ParseUint(f[0], 10, 64); err != nil {
		return s, fmt.Errorf("a snapshot reads %q: %w", text, err)
	}
	if s.max, err = strconv.ParseUint(f[1], 10, 64); err != nil {
		return s, fmt.Errorf("a snapshot reads %q: %w", text, err)
	}
	for _, n := range strings.FieldsFunc(f[2], func(c rune) bool { return c == ',' }) {
		x, err := strconv.ParseUint(n, 10, 64)
		if err != nil {
			return s, fmt.Errorf("a snapshot reads %q: %w", text, err)
		}
		s.running = append(s.running, x)
	}
	s.end, err = change.ParseLSN(end)
	return s, err
}

// sees reports whether a committed transaction is seen. The stream has the lower
// half of its number; the upper is that with which it is nearest to the snapshot.
func (s *snapshot) sees(xid uint32) bool {
	x := s.max + uint64(int64(int32(xid-uint32(s.max))))
	return x < s.min || x < s.max && !slices.Contains(s.running, x)
}

// takePiece lets a copier take its snapshot, between two transactions.
func (s *receiver) takePiece(ctx context.Context) error {
	if s.piece != nil || s.session.proof != nil || s.st.positions().Open {
		return nil
	}
	var p *piece
	select {
	case p = <-s.session.pieces:
	default:
		return nil
	}
	rel, err := s.session.intern(ctx, p.rel)
	if err != nil {
		p.placed <- err
		close(p.begin)
		return err
	}
	p.rel = rel
	close(p.begin)
	until := time.Now().Add(unseenWait)
	for {
		select {
		case snap, ok := <-p.taken:
			now := time.Now()
			switch {
			case !ok:
				p.placed <- errUnread
			case s.session.r.passed.seen(&snap, now):
				s.piece, s.snapshot = p, snap
				p.judged <- nil
			case now.Before(until):
				p.judged <- errAgain
				continue
			default:
				p.placed <- errUnseen
				p.judged <- errUnseen
			}
			return nil
		case <-time.After(s.every / 2):
			if err := s.wait(ctx); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// wait does what is due while the receiver does not read.
func (s *receiver) wait(ctx context.Context) error {
	now := time.Now()
	s.heard, s.asked = now, false // it is us who do not listen
	return s.tick(ctx, now)
}

// before gives the open piece its place before a transaction that begins and is
// not seen by it.
func (s *receiver) before(ctx context.Context, xid uint32, commit change.LSN) error {
	if s.piece == nil || s.snapshot.sees(xid) {
		return nil
	}
	if commit < s.snapshot.end && !s.snapshot.last {
		// It had committed, but was not visible yet: one behind it may be seen.
		p := s.piece
		s.piece = nil
		p.placed <- errEarly
		return nil
	}
	return s.place(ctx)
}

// passed notes that everything up to a position has come, and gives the open piece
// its place when all that it sees has.
func (s *receiver) passed(ctx context.Context, lsn change.LSN) error {
	s.reached = max(s.reached, lsn)
	if s.piece == nil || s.reached < s.snapshot.end || !s.piece.full.Load() {
		return nil
	}
	return s.place(ctx)
}

// shown reports whether the copy of a table in one piece has brought what a change
// did: it comes behind one that the copy does not show, or again in a new session.
func (s *receiver) shown(c *change.Change) bool {
	if len(s.session.covered) == 0 {
		return false
	}
	snap, ok := s.session.covered[c.Relation.Topic()]
	return ok && s.ev.CommitLSN < snap.end && snap.sees(s.ev.XID)
}

// place hands over the open piece.
func (s *receiver) place(ctx context.Context) error {
	p := s.piece
	s.piece = nil
	if err := s.publish(ctx); err != nil { // what came before it
		return err
	}
	for {
		select {
		case part, ok := <-p.parts:
			if !ok {
				var err error
				if p.failed.Load() {
					err = errUnread // what was handed over of it never ends, and is given up
				}
				p.placed <- err
				return nil
			}
			if part.txn.Final && (!p.rel.Plain || !slices.ContainsFunc(p.rel.Columns, func(c change.Column) bool { return c.Key })) {
				s.session.covered[p.rel.Topic()] = s.snapshot
				s.dec.Again() // from now on its changes count
			}
			s.pipe.Put([]change.Txn{part.txn}, part.size)
			if err := s.publish(ctx); err != nil {
				return err
			}
		case <-time.After(s.every / 2):
			if err := s.wait(ctx); err != nil {
				return err
			}
		case <-s.failed:
			return errSinkFailed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
