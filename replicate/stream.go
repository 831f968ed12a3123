package replicate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"carbond/replicate/internal/pgoutput"
	"carbond/replicate/internal/stream"
	"carbond/replicate/pgerr"
	"carbond/store/change"
)

// receiver is one stream: it owns the connection, decodes, hands transactions
// to the pipe and answers the server, also while the sink is stuck.
type receiver struct {
	session *session
	opt     *Options
	log     *slog.Logger
	st      *state
	metrics *metrics
	wire    *stream.Wire
	pipe    *stream.Pipe

	failed     <-chan struct{} // closed when the sink has failed
	dec        *pgoutput.Decoder
	asm        stream.Assembler
	ev         pgoutput.Event
	out        []byte // status message under construction
	unexpected map[byte]bool

	every       time.Duration // status interval
	nextStatus  time.Time
	heard       time.Time  // last bytes from the server
	asked       bool       // a reply was requested since then
	sent        change.LSN // last confirmed on this connection
	owed        bool       // the server waits for an answer that an Advance will improve
	lastAdvance time.Time

	piece    *piece     // of a table, on its way to its place; nil for none
	snapshot snapshot   // that it was read in
	reached  change.LSN // everything up to here has come

	began  time.Time
	from   change.LSN // durable position at the start
	steady bool       // the stream has proved to work
}

// steadyAfter is how long a stream without changes must last to count as
// recovered; one that makes progress counts at once.
const steadyAfter = 3 * time.Second

// urgentAdvance is the least time between two idle positions made durable when
// the server asks for a reply: at its shutdown it waits for exactly that.
const urgentAdvance = 100 * time.Millisecond

func newReceiver(s *session, failed <-chan struct{}) *receiver {
	st := &receiver{
		session: s, opt: s.opt, log: s.log, st: s.st, metrics: s.metrics, wire: s.wire, pipe: s.pipe,
		failed: failed, unexpected: map[byte]bool{}, every: s.opt.StatusInterval,
	}
	if t := s.srv.Timeout / 4; t > 0 {
		st.every = min(st.every, t)
	}
	st.asm = stream.Assembler{MaxBytes: s.opt.PartBytes, MaxChanges: s.opt.PartChanges}
	return st
}

// run receives until ctx ends, the sink fails or the connection breaks.
func (s *receiver) run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, s.wire.Interrupt)
	defer stop()
	s.dec = pgoutput.NewDecoder(func(oid uint32, sent *change.Relation) (*change.Relation, error) { return s.describe(ctx, oid, sent) })
	now := time.Now()
	s.heard, s.nextStatus = now, now // the first status goes out at once
	s.began, s.from = now, s.session.sink.Position().LSN
	for {
		want, err := s.drain(ctx)
		if err != nil {
			return err
		}
		if err := s.tick(ctx, time.Now()); err != nil {
			return err
		}
		if err := s.takePiece(ctx); err != nil {
			return err
		}
		if err := s.passed(ctx, 0); err != nil {
			return err
		}
		switch err := s.wire.Fill(want, s.until()); {
		case err == nil:
			s.heard, s.asked = time.Now(), false
			s.st.alive(s.heard)
		case errors.Is(err, stream.ErrTick):
		case errors.Is(err, io.EOF):
			return pgerr.New(pgerr.KindConnect, "", io.ErrUnexpectedEOF, "Postgres closed the replication connection")
		default:
			return s.opt.Classify(fmt.Errorf("receive: %w", err))
		}
	}
}

// drain handles every message that is completely buffered, then hands over what
// has become complete. It returns how many bytes the next message wants.
func (s *receiver) drain(ctx context.Context) (want int, err error) {
	for n := 1; ; n++ {
		kind, body, want, err := s.wire.Next()
		if err != nil {
			return 0, err
		}
		if want > 0 {
			return want, s.publish(ctx)
		}
		if err := s.message(ctx, kind, body); err != nil {
			return 0, err
		}
		if s.asm.ReadyBytes >= s.opt.QueueBytes/8 {
			if err := s.publish(ctx); err != nil {
				return 0, err
			}
		}
		if n%512 == 0 {
			if err := s.tick(ctx, time.Now()); err != nil {
				return 0, err
			}
		}
	}
}

// publish hands complete parts to the pipe and waits while it is full. The
// connection is not read meanwhile, so TCP slows the server down, but it gets
// its status messages.
func (s *receiver) publish(ctx context.Context) error {
	s.pipe.Put(s.asm.Take())
	if !s.pipe.Full() {
		return nil
	}
	t := time.NewTicker(s.every / 2)
	defer t.Stop()
	for s.pipe.Full() {
		select {
		case <-s.pipe.Room:
		case <-t.C:
		case <-s.failed:
			return errSinkFailed
		case <-ctx.Done():
			return ctx.Err()
		}
		now := time.Now()
		s.heard, s.asked = now, false // it is us who do not listen
		if err := s.tick(ctx, now); err != nil {
			return err
		}
	}
	return nil
}

// tick does what is due: notices the end, sends the status, asks for a sign of
// life, has an idle position made durable.
func (s *receiver) tick(ctx context.Context, now time.Time) error {
	select {
	case <-s.failed:
		return errSinkFailed
	default:
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if flaw := s.session.flaw.Load(); flaw != nil {
		return *flaw
	}
	silence := now.Sub(s.heard)
	if silence >= s.opt.SilenceTimeout && s.asked {
		return pgerr.New(pgerr.KindSilent, "", nil, "Postgres has said nothing for %v", silence.Round(time.Millisecond))
	}
	pos := s.st.positions()
	if !s.steady && s.session.proof == nil && (pos.Durable > s.from || now.Sub(s.began) >= steadyAfter) {
		s.steady = true
		s.session.started()
	}
	if lsn := pos.Advanceable(); lsn > 0 && s.pipe.Idle() && !now.Before(s.advanceDue()) {
		s.lastAdvance = now
		s.pipe.AskAdvance(lsn)
	} else if s.owed && lsn == 0 && pos.Quiet() {
		// The better answer is there.
		s.owed = false
		return s.sendStatus(now, pos.Confirmable(), false)
	}
	if s.session.eager.Load() && pos.Confirmable() > s.sent {
		s.nextStatus = now.Add(s.every)
		return s.sendStatus(now, pos.Confirmable(), false)
	}
	if s.session.ask.CompareAndSwap(true, false) { // a piece waits for what the server has not sent yet
		return s.sendStatus(now, pos.Confirmable(), true)
	}
	if !now.Before(s.nextStatus) {
		s.nextStatus = now.Add(s.every)
		// A quiet server is asked to answer: it shows that it lives, and how
		// far its WAL has been read.
		ask := silence >= s.every/2
		return s.sendStatus(now, pos.Confirmable(), ask)
	}
	return nil
}

// sendStatus confirms lsn; nothing is sent while nothing is durable.
func (s *receiver) sendStatus(now time.Time, lsn change.LSN, ask bool) error {
	if lsn == 0 {
		return nil
	}
	s.out = stream.AppendStatus(s.out[:0], lsn, now, ask)
	if err := s.wire.Send(s.out); err != nil {
		return s.opt.Classify(fmt.Errorf("send a status: %w", err))
	}
	s.asked, s.sent = s.asked || ask, lsn
	s.metrics.statusSent.Inc()
	s.st.update(func(st *Status) { st.AckedLSN = lsn })
	return nil
}

// message handles one message of the server.
func (s *receiver) message(ctx context.Context, kind byte, body []byte) error {
	switch kind {
	case 'd':
		cd, err := stream.ParseCopyData(body)
		if err != nil {
			return err
		}
		switch cd.Kind {
		case 'w':
			return s.data(ctx, cd)
		case 'k':
			return s.keepalive(ctx, cd)
		}
		s.logUnexpected("replication message", cd.Kind)
	case 'E':
		var e pgproto3.ErrorResponse
		if err := e.Decode(body); err != nil {
			return pgerr.New(pgerr.KindProtocol, "", err, "the server sent an unreadable error")
		}
		return s.session.streamError(pgconn.ErrorResponseToPgError(&e))
	case 'c':
		return pgerr.New(pgerr.KindConnect, "", nil, "Postgres ended the stream")
	case 'N':
		var n pgproto3.NoticeResponse
		if err := n.Decode(body); err != nil {
			return pgerr.New(pgerr.KindProtocol, "", err, "the server sent an unreadable notice")
		}
		e := pgproto3.ErrorResponse(n)
		return s.opt.Notice(pgconn.ErrorResponseToPgError(&e))
	case 'S', 'A', 'C': // changed setting, notification, and the end of the command at a shutdown
	default:
		s.logUnexpected("message", kind)
	}
	return nil
}

// logUnexpected logs a type that should not come, once for each connection.
func (s *receiver) logUnexpected(what string, kind byte) {
	if !s.unexpected[kind] {
		s.unexpected[kind] = true
		s.log.Warn("ignoring what the server should not send", "what", what, "type", fmt.Sprintf("%q", kind))
	}
}

func (s *receiver) keepalive(ctx context.Context, cd stream.CopyData) error {
	s.st.move(func(p *stream.Progress) { p.Keepalive(cd.End) })
	if !s.st.positions().Open {
		if err := s.passed(ctx, cd.End); err != nil {
			return err
		}
	}
	if s.session.proof != nil && !s.session.proof.open && cd.End >= s.session.proof.upTo {
		if err := s.endProof(); err != nil {
			return err
		}
	}
	if !cd.Reply {
		return nil
	}
	now := time.Now()
	pos := s.st.positions()
	s.nextStatus = now.Add(s.every)
	// Answer at once with what is durable, and once more when the position
	// that the keepalive names is.
	s.owed = pos.Advanceable() > 0
	return s.sendStatus(now, pos.Confirmable(), false)
}

// data handles one pgoutput message.
func (s *receiver) data(ctx context.Context, cd stream.CopyData) error {
	ev := &s.ev
	if err := s.dec.Decode(cd.Payload, ev); err != nil {
		if e, ok := errors.AsType[*pgerr.Error](err); ok && e.Kind.Gap() {
			return s.session.report(e)
		} else if ok {
			return err // of a look at the catalog
		}
		return s.session.repeated(pgerr.New(pgerr.KindProtocol, "", err, "a change at %s cannot be read", cd.Start), "unreadable")
	}
	switch ev.Kind {
	case pgoutput.Row:
		c := ev.Change
		c.LSN, ev.Change = cd.Start, change.Change{} // the event outlives the row
		return s.add(c)
	case pgoutput.Begin:
		if err := s.before(ctx, ev.XID, ev.CommitLSN); err != nil {
			return err
		}
		return s.begin()
	case pgoutput.Commit:
		if err := s.commit(ev.EndLSN); err != nil {
			return err
		}
		return s.passed(ctx, ev.EndLSN)
	case pgoutput.Truncate:
		for _, rel := range ev.Truncated {
			if !rel.Plain {
				if err := s.session.truncates(rel.Name, ev.XID, ev.CommitLSN); err != nil {
					return err
				}
			}
			if err := s.add(change.Change{Op: change.Truncate, Relation: rel, LSN: cd.Start}); err != nil {
				return err
			}
		}
	case pgoutput.Description:
		s.session.r.checkRelation(ev.Relation, ev.Kept)
	case pgoutput.Other:
		switch ev.Type {
		case 'I', 'U', 'D', 'R', 'T', 'O', 'Y', 'M':
		default:
			s.logUnexpected("pgoutput message", ev.Type)
		}
	}
	return nil
}

// advanceDue is when the next idle position may be made durable.
func (s *receiver) advanceDue() time.Time {
	if s.session.eager.Load() {
		return s.lastAdvance
	}
	if s.owed {
		return s.lastAdvance.Add(min(urgentAdvance, s.opt.AdvanceInterval))
	}
	return s.lastAdvance.Add(s.opt.AdvanceInterval)
}

// until is when tick has something to do at the latest.
func (s *receiver) until() time.Time {
	pos := s.st.positions()
	// While the sink works there is nothing to ask of it; its end of an
	// Advance interrupts.
	if due := s.advanceDue(); due.Before(s.nextStatus) && pos.Advanceable() > 0 && s.pipe.Idle() {
		return due
	}
	return s.nextStatus
}
