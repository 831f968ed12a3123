package replicate

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"

	"carbond/replicate/internal/note"
	"carbond/replicate/internal/stream"
	"carbond/replicate/pgerr"
	"carbond/store/change"
)

// proof compares what a server sends again with what is durable. A server that
// was put back to an earlier state, or promoted while it lacked something, soon
// writes beyond our position, and then positions fit that belong to another
// history. But its slot is as old as its WAL: it stands where both histories are
// still one. So the stream begins there, and up to our position it must bring
// exactly the transactions of the changelog.
type proof struct {
	upTo  change.LSN // our position when the stream began
	from  change.LSN // the changelog lists what ends behind it
	whole bool       // that is all that the server sends again
	next  func() (change.TxnID, error)

	cur  change.TxnID // the transaction that is being sent
	open bool
	kept bool // it has changes for the changelog
	seen int
}

// begin notes the BEGIN of a transaction that is durable.
func (p *proof) begin(xid uint32, commit change.LSN) {
	p.cur, p.open, p.kept = change.TxnID{XID: xid, CommitLSN: commit}, true, false
}

// commit compares the transaction that ends with the changelog.
func (p *proof) commit() error {
	p.open = false
	if !p.kept || p.cur.EndLSN <= p.from {
		return nil
	}
	want, err := p.next()
	switch {
	case errors.Is(err, io.EOF):
		return p.another(p.cur, "is not in the changelog")
	case err != nil:
		return pgerr.New(pgerr.KindSink, "", err, "the end of the changelog cannot be read")
	case want.EndLSN < p.cur.EndLSN:
		return p.another(want, "is in the changelog, but not on the server any more")
	case !want.Equal(p.cur):
		return p.another(p.cur, "is not in the changelog")
	}
	p.seen++
	return nil
}

// end is called when the server has sent everything up to our position.
func (p *proof) end() error {
	switch want, err := p.next(); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return pgerr.New(pgerr.KindSink, "", err, "the end of the changelog cannot be read")
	default:
		return p.another(want, "is in the changelog, but not on the server any more")
	}
}

func (p *proof) another(id change.TxnID, what string) *pgerr.Error {
	return pgerr.New(pgerr.KindServerBehind, pgerr.Resnapshot, nil,
		"the server's history is not the one up to the durable position %s: transaction %d, committed at %s, %s; the server was put back to an earlier state and has written since, or an older standby was promoted",
		p.upTo, id.XID, id.EndLSN, what)
}

// startProof prepares the comparison of what the server sends again behind the slot's
// position.
func (s *session) startProof(ctx context.Context, confirmed, durable change.LSN) error {
	from, next, err := s.sink.Since(ctx, confirmed)
	if err != nil {
		return pgerr.New(pgerr.KindSink, "", err, "the end of the changelog cannot be read")
	}
	s.proof = &proof{upTo: durable, from: from, whole: from == confirmed, next: next}
	return nil
}

// endProof ends the comparison: the server's history is ours.
func (s *receiver) endProof() error {
	if err := s.session.proof.end(); err != nil {
		return err
	}
	if err := s.session.clearVerdict(s.session.proof.whole); err != nil {
		return err
	}
	s.log.Debug("the server's history is that of the changelog", "transactions", s.session.proof.seen, "durable_lsn", s.session.proof.upTo.String())
	s.session.proof = nil
	s.dec.Again()
	s.st.move(func(p *stream.Progress) { p.Held = 0 })
	return nil
}

// begin begins a transaction. One that is durable is only compared.
func (s *receiver) begin() error {
	ev := &s.ev
	s.st.move((*stream.Progress).Begin)
	if s.session.proof != nil && ev.CommitLSN >= s.session.proof.upTo { // the end of its commit record is beyond our position
		if err := s.endProof(); err != nil {
			return err
		}
	}
	if s.session.proof == nil {
		return s.asm.Begin(ev)
	}
	if s.session.proof.open {
		return pgerr.New(pgerr.KindProtocol, "", nil, "the server sent BEGIN of transaction %d inside transaction %d", ev.XID, s.session.proof.cur.XID)
	}
	s.session.proof.begin(ev.XID, ev.CommitLSN)
	s.session.proof.cur.CommitTime = ev.Time
	return nil
}

// commit ends the open transaction.
func (s *receiver) commit(end change.LSN) (err error) {
	kept := false
	if p := s.session.proof; p == nil {
		if kept, err = s.asm.Commit(end); err != nil {
			return err
		}
	} else {
		if !p.open {
			return pgerr.New(pgerr.KindProtocol, "", nil, "the server sent COMMIT outside a transaction")
		}
		p.cur.EndLSN = end
		if err := p.commit(); err != nil {
			return err
		}
	}
	s.session.r.passed.add(s.ev.XID, s.heard)
	s.st.move(func(p *stream.Progress) { p.Commit(end, kept) })
	return nil
}

// add hands over a change of the open transaction, unless it is durable.
func (s *receiver) add(c change.Change) error {
	if s.session.proof == nil {
		if s.shown(&c) {
			return nil
		}
		return s.asm.Add(c)
	}
	s.session.proof.kept = true
	return nil
}

// timelineOf reads on which timeline the server is, and where it left those
// before. The number alone says little: every standby that is promoted takes the
// next one.
func timelineOf(ctx context.Context, repl *pgconn.PgConn, id pglogrepl.IdentifySystemResult) (note.Timeline, error) {
	t := note.Timeline{SystemID: id.SystemID, Timeline: id.Timeline}
	if id.Timeline == 1 {
		return t, nil
	}
	h, err := pglogrepl.TimelineHistory(ctx, repl, id.Timeline)
	if err != nil {
		return t, fmt.Errorf("read the history of timeline %d: %w", id.Timeline, err)
	}
	t.Before = parseHistory(h.Content)
	return t, nil
}

// checkTimeline makes sure that a position of one timeline lies in the history of the
// one on which the server is now.
func checkTimeline(was, now note.Timeline, pos change.LSN) error {
	if was.SystemID != now.SystemID {
		return nil // nothing is known
	}
	if at := shared(was, now); pos > at {
		return pgerr.New(pgerr.KindServerBehind, pgerr.Resnapshot, nil,
			"the server is on timeline %d, which left timeline %d at %s, before the durable position %s: it was restored from a backup, or a standby that was behind was promoted",
			now.Timeline, was.Timeline, at, pos)
	}
	return nil
}

// shared returns the position up to which two timelines have one history, the
// largest position when one goes on from the other's end.
func shared(was, now note.Timeline) (at change.LSN) {
	a, b := lineage(was), lineage(now)
	if len(a) == 1 && was.Timeline > 1 { // an earlier version noted the number alone
		a = slices.DeleteFunc(lineage(now), func(s note.Switch) bool { return s.Timeline >= was.Timeline })
		a = append(a, note.Switch{Timeline: was.Timeline, Left: math.MaxUint64})
	}
	for i := range min(len(a), len(b)) {
		if a[i].Timeline != b[i].Timeline {
			return at
		}
		at = min(a[i].Left, b[i].Left)
		if a[i].Left != b[i].Left {
			return at
		}
	}
	return at
}

// lineage lists a timeline and those before it, oldest first.
func lineage(t note.Timeline) []note.Switch {
	return append(slices.Clone(t.Before), note.Switch{Timeline: t.Timeline, Left: math.MaxUint64})
}

// parseHistory reads a timeline history. Its lines are a timeline, the position
// where it was left, and a reason, parted by tabs.
func parseHistory(history []byte) (out []note.Switch) {
	for lines := bufio.NewScanner(bytes.NewReader(history)); lines.Scan(); {
		var s note.Switch
		var at string
		if n, _ := fmt.Sscan(lines.Text(), &s.Timeline, &at); n != 2 {
			continue
		}
		if lsn, err := change.ParseLSN(at); err == nil {
			s.Left = lsn
			out = append(out, s)
		}
	}
	return out
}
