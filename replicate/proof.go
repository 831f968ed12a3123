package replicate

import (
	"context"
	"errors"
	"io"

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
		return fault(KindSink, "", err, "the end of the changelog cannot be read")
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
		return fault(KindSink, "", err, "the end of the changelog cannot be read")
	default:
		return p.another(want, "is in the changelog, but not on the server any more")
	}
}

func (p *proof) another(id change.TxnID, what string) *Error {
	return fault(KindServerBehind, resnapshotAdvice, nil,
		"the server's history is not the one up to the durable position %s: transaction %d, committed at %s, %s; the server was put back to an earlier state and has written since, or an older standby was promoted",
		p.upTo, id.XID, id.EndLSN, what)
}

// doubt prepares the comparison of what the server sends again behind the slot's
// position.
func (s *session) doubt(ctx context.Context, confirmed, durable change.LSN) error {
	from, next, err := s.sink.Since(ctx, confirmed)
	if err != nil {
		return fault(KindSink, "", err, "the end of the changelog cannot be read")
	}
	s.proof = &proof{upTo: durable, from: from, whole: from == confirmed, next: next}
	return nil
}

// proved ends the comparison: the server's history is ours.
func (s *stream) proved() error {
	if err := s.proof.end(); err != nil {
		return err
	}
	if err := s.acquit(s.proof.whole); err != nil {
		return err
	}
	s.log.Debug("the server's history is that of the changelog", "transactions", s.proof.seen, "durable_lsn", s.proof.upTo.String())
	s.proof = nil
	s.dec.Again()
	s.st.move(func(p *progress) { p.held = 0 })
	return nil
}

// begin begins a transaction. One that is durable is only compared.
func (s *stream) begin() error {
	ev := &s.ev
	s.st.move((*progress).begin)
	if s.proof != nil && ev.CommitLSN >= s.proof.upTo { // the end of its commit record is beyond our position
		if err := s.proved(); err != nil {
			return err
		}
	}
	if s.proof == nil {
		return s.asm.begin(ev)
	}
	if s.proof.open {
		return fault(KindProtocol, "", nil, "the server sent BEGIN of transaction %d inside transaction %d", ev.XID, s.proof.cur.XID)
	}
	s.proof.begin(ev.XID, ev.CommitLSN)
	s.proof.cur.CommitTime = ev.Time
	return nil
}

// commit ends the open transaction.
func (s *stream) commit(end change.LSN) (err error) {
	kept := false
	if p := s.proof; p == nil {
		if kept, err = s.asm.commit(end); err != nil {
			return err
		}
	} else {
		if !p.open {
			return fault(KindProtocol, "", nil, "the server sent COMMIT outside a transaction")
		}
		p.cur.EndLSN = end
		if err := p.commit(); err != nil {
			return err
		}
	}
	s.st.move(func(p *progress) { p.commit(end, kept) })
	return nil
}

// add hands over a change of the open transaction, unless it is durable.
func (s *stream) add(c change.Change) error {
	if s.proof == nil {
		return s.asm.add(c)
	}
	s.proof.kept = true
	return nil
}
