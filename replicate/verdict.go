package replicate

import (
	"context"

	"carbond/replicate/internal/note"
	"carbond/replicate/internal/server"
	"carbond/replicate/pgerr"
	"carbond/store/change"
)

// saveNote changes the note beside the changelog durably.
func (r *Replicator) saveNote(edit func(*note.Note)) error {
	if err := r.note.Change(edit); err != nil {
		return pgerr.New(pgerr.KindSink, "make the data directory writable", err, "what replication has to remember cannot be kept")
	}
	return nil
}

// readNote returns the note. One that cannot be read may have held a verdict
// about wrong rows, so only a new copy makes the rows known to be right.
func (r *Replicator) readNote(pos change.Position) (note.Note, error) {
	n, err := r.note.Get()
	if err == nil {
		return n, nil
	}
	if pos.Copied && !pos.Source.Embedded() && r.opt.OnGap != server.GapResnapshot {
		return n, pgerr.New(pgerr.KindNote, "put it back from a backup; or "+pgerr.Resnapshot, err, "what replication remembers beside the changelog is lost")
	}
	r.log.Warn("what replication remembers beside the changelog is lost; the tables are copied again", "error", err)
	if err := r.note.Forget(); err != nil {
		return n, pgerr.New(pgerr.KindSink, "make the data directory writable", err, "what replication has to remember cannot be kept")
	}
	r.recopy = r.recopy || pos.Copied
	return r.note.Get()
}

// recordVerdict makes a verdict about the rows of the present copy durable, before
// anything else is done about it: what shows the trouble may be gone at the next
// look. The graver verdict stays.
func (r *Replicator) recordVerdict(e *pgerr.Error, tables ...string) error {
	v := &note.Verdict{Copy: r.sink.Position().Source.Copy, Kind: string(e.Kind), Text: e.Message, Tables: tables, Final: e.Final, Since: r.st.now().UTC()}
	return r.saveNote(func(n *note.Note) {
		if old := n.Verdict; old == nil || old.Copy != v.Copy || weight(v) > weight(old) {
			n.Verdict = v
		}
	})
}

// weight orders verdicts: that the server seems to be of another history, which
// it may disprove; that rows were altered; that changes are missing.
func weight(v *note.Verdict) int {
	switch {
	case doubtful(v):
		return 0
	case v.Kind == string(pgerr.KindTableChange):
		return 1
	}
	return 2
}

// doubtful reports whether a verdict is void when the server proves that its
// history is ours after all, as when the right one is put back.
func doubtful(v *note.Verdict) bool { return v.Kind == string(pgerr.KindServerBehind) && !v.Final }

// pendingVerdict returns the verdict about the present copy, nil for none.
func pendingVerdict(n note.Note, pos change.Position) *pgerr.Error {
	if v := n.Verdict; v != nil && pos.Copied && !pos.Source.Embedded() && v.Copy == pos.Source.Copy {
		return pgerr.New(pgerr.Kind(v.Kind), pgerr.Resnapshot, nil, "%s", v.Text)
	}
	return nil
}

// applyVerdict says what a pending verdict means for the start. One of altered rows
// lets the stream go on, because what it brings is right; the status says what
// the rows are not.
func (s *session) applyVerdict(n note.Note, pos change.Position) (plan, error) {
	e := pendingVerdict(n, pos)
	switch {
	case e == nil:
		return planStream, nil
	case s.opt.OnGap == server.GapResnapshot:
		s.log.Info("the tables have to be copied again", "reason", e)
		return planCopy, nil
	case e.Kind == pgerr.KindTableChange:
		s.st.setTrouble(e)
		return planStream, nil
	case doubtful(n.Verdict):
		s.st.setTrouble(e)
		s.pending = e
		return planStream, nil
	}
	return planStream, e
}

// dropGivenUp drops a slot that was given up: the session that decided so had it in use. It
// returns the slot that is left. Until the tables may be copied again, the reason
// is that verdict, and not that there is no slot.
func (s *session) dropGivenUp(ctx context.Context, n note.Note, pos change.Position, slot *server.Slot) (*server.Slot, error) {
	e := pendingVerdict(n, pos)
	if e == nil || e.Kind != pgerr.KindSlotGivenUp || s.adopting || otherCluster(pos, s.srv) != nil {
		return slot, nil
	}
	if slot != nil && slot.Plugin == "pgoutput" && slot.Database == s.srv.Database && slot.Pid == 0 && !slot.Prepared {
		s.log.Warn("dropping the replication slot, which kept too much WAL", "slot", s.opt.Slot, "confirmed_lsn", slot.Confirmed.String(), "durable_lsn", pos.LSN.String())
		if err := s.opt.DropSlot(ctx, s.repl); err != nil {
			return slot, err
		}
		slot = nil
	}
	if slot == nil && s.opt.OnGap != server.GapResnapshot {
		return nil, e
	}
	return slot, nil
}

// clearVerdict ends a verdict that the server's history is another one. what of the
// changelog could not be compared leaves it as it is.
func (s *session) clearVerdict(whole bool) error {
	if s.pending == nil {
		return nil
	}
	if !whole {
		return s.pending
	}
	s.pending = nil
	s.st.setTrouble(nil)
	s.log.Info("the server's history is ours after all")
	return s.r.saveNote(func(n *note.Note) { n.Verdict = nil })
}

// checkAdoption reports whether a cluster or database that is not the copy's is to be
// taken for it, and refuses it when not. The word for it counts once: left in the
// configuration it must not let another address in later.
func (s *session) checkAdoption(pos change.Position, srv server.Info, n note.Note) (bool, error) {
	if s.opt.Adopt == "" && n.Adopted != "" {
		if err := s.r.saveNote(func(n *note.Note) { n.Adopted = "" }); err != nil {
			return false, err
		}
	}
	err := otherCluster(pos, srv)
	switch {
	case err == nil:
		return false, nil
	case s.opt.Adopt != srv.SystemID:
		return false, err
	case n.Adopted == s.opt.Adopt:
		return false, pgerr.New(pgerr.KindOtherCluster, "correct the Postgres URL; or, to adopt this cluster once more, start once without postgres.adopt and then with it", err,
			"postgres.adopt has been used")
	}
	s.log.Warn("adopting another cluster or database: the tables are copied again and the differences recorded",
		"system_id", srv.SystemID, "database", srv.Database, "before_system_id", pos.Source.SystemID, "before_database", pos.Source.Database)
	return true, nil
}

// finishCopy removes the slot marker and the verdict once the copy is durable.
func (s *session) finishCopy() error {
	s.st.setTrouble(nil)
	return s.r.saveNote(func(n *note.Note) {
		n.Copying, n.Verdict, n.Truncates = nil, nil, nil
		if s.adopting {
			n.Adopted = s.opt.Adopt
		}
	})
}
