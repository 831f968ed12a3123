package replicate

import (
	"crypto/rand"
	"encoding/hex"

	"carbond/replicate/internal/note"
	"carbond/store/change"
)

// keep changes the note beside the changelog durably.
func (r *Replicator) keep(edit func(*note.Note)) error {
	if err := r.note.Change(edit); err != nil {
		return fault(KindSink, "make the data directory writable", err, "what replication has to remember cannot be kept")
	}
	return nil
}

// remembered returns the note. One that cannot be read may have held a verdict
// about wrong rows, so only a copy anew makes the rows known to be right.
func (r *Replicator) remembered(pos change.Position) (note.Note, error) {
	n, err := r.note.Get()
	if err == nil {
		return n, nil
	}
	if pos.Copied && !pos.Source.Embedded() && r.opt.OnGap != GapResnapshot {
		return n, fault(KindNote, "put it back from a backup; or "+resnapshotAdvice, err, "what replication remembers beside the changelog is lost")
	}
	r.log.Warn("what replication remembers beside the changelog is lost; the tables are copied anew", "error", err)
	if err := r.note.Forget(); err != nil {
		return n, fault(KindSink, "make the data directory writable", err, "what replication has to remember cannot be kept")
	}
	r.recopy = r.recopy || pos.Copied
	return r.note.Get()
}

// holds reports whether the claim is on this slot. A slot that has moved since
// it was made is used by somebody else.
func holds(c *note.Claim, srv server, name string, slot *slotInfo) bool {
	return c != nil && c.SystemID == srv.systemID && c.Database == srv.database && c.Slot == name &&
		(c.Point == "" || c.Point == slot.confirmed.String())
}

// finished reports whether the copy that the claim is for is the one that the
// changelog holds. The claim of an earlier version did not name it; a position
// behind the slot's came through it.
func finished(c *note.Claim, pos change.Position) bool {
	if c.Copy == "" {
		point, err := change.ParseLSN(c.Point)
		return err == nil && pos.Copied && pos.LSN >= point
	}
	return pos.Copied && c.Copy == pos.Source.Copy
}

// stake claims the slot that is about to be made (point 0), or has been made at
// point, for a copy.
func (r *Replicator) stake(srv server, id string, point change.LSN) error {
	c := &note.Claim{SystemID: srv.systemID, Database: srv.database, Slot: r.opt.Slot, Copy: id}
	if point > 0 {
		c.Point = point.String()
	}
	return r.keep(func(n *note.Note) { n.Copying = c })
}

// unstake ends the claim.
func (r *Replicator) unstake() error {
	return r.keep(func(n *note.Note) { n.Copying = nil })
}

// newCopyID returns the identity of a copy that begins.
func newCopyID() string {
	var tag [8]byte
	_, _ = rand.Read(tag[:]) // never fails
	return hex.EncodeToString(tag[:])
}

// condemn makes a verdict about the rows of the present copy durable, before
// anything else is done about it: what shows the trouble may be gone at the next
// look. The graver verdict stays.
func (r *Replicator) condemn(e *Error, tables ...string) error {
	v := &note.Verdict{Copy: r.sink.Position().Source.Copy, Kind: string(e.Kind), Text: e.Message, Tables: tables, Final: e.final, Since: r.st.now().UTC()}
	return r.keep(func(n *note.Note) {
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
	case v.Kind == string(KindTableChange):
		return 1
	}
	return 2
}

// doubtful reports whether a verdict is void when the server proves that its
// history is ours after all, as when the right one is put back.
func doubtful(v *note.Verdict) bool { return v.Kind == string(KindServerBehind) && !v.Final }

// pending returns the verdict about the present copy, nil for none.
func pending(n note.Note, pos change.Position) *Error {
	if v := n.Verdict; v != nil && pos.Copied && !pos.Source.Embedded() && v.Copy == pos.Source.Copy {
		return fault(Kind(v.Kind), resnapshotAdvice, nil, "%s", v.Text)
	}
	return nil
}

// judged says what a pending verdict means for the start. One of altered rows
// lets the stream go on, because what it brings is right; the status says what
// the rows are not.
func (s *session) judged(n note.Note, pos change.Position) (plan, error) {
	e := pending(n, pos)
	switch {
	case e == nil:
		return planStream, nil
	case s.opt.OnGap == GapResnapshot:
		s.log.Info("the tables have to be copied anew", "reason", e)
		return planCopy, nil
	case e.Kind == KindTableChange:
		s.st.blame(e)
		return planStream, nil
	case doubtful(n.Verdict):
		s.st.blame(e)
		s.doubted = e
		return planStream, nil
	}
	return planStream, e
}

// acquit ends a verdict that the server's history is another one. what of the
// changelog could not be compared leaves it as it is.
func (s *session) acquit(whole bool) error {
	if s.doubted == nil {
		return nil
	}
	if !whole {
		return s.doubted
	}
	s.doubted = nil
	s.st.blame(nil)
	s.log.Info("the server's history is ours after all")
	return s.keep(func(n *note.Note) { n.Verdict = nil })
}

// adopts reports whether a cluster or database that is not the copy's is to be
// taken for it, and refuses it when not. The word for it counts once: left in the
// configuration it must not let another address in later.
func (s *session) adopts(pos change.Position, srv server, n note.Note) (bool, error) {
	if s.opt.Adopt == "" && n.Adopted != "" {
		if err := s.keep(func(n *note.Note) { n.Adopted = "" }); err != nil {
			return false, err
		}
	}
	err := otherCluster(pos, srv)
	switch {
	case err == nil:
		return false, nil
	case s.opt.Adopt != srv.systemID:
		return false, err
	case n.Adopted == s.opt.Adopt:
		return false, fault(KindOtherCluster, "correct the Postgres URL; or, to adopt this cluster once more, start once without postgres.adopt and then with it", err,
			"postgres.adopt has been used")
	}
	s.log.Warn("adopting another cluster or database: the tables are copied anew and the differences recorded",
		"system_id", srv.systemID, "database", srv.database, "before_system_id", pos.Source.SystemID, "before_database", pos.Source.Database)
	return true, nil
}

// settle ends the claim and the verdict once the copy is durable.
func (s *session) settle() error {
	s.st.blame(nil)
	return s.keep(func(n *note.Note) {
		n.Copying, n.Verdict, n.Truncated = nil, nil, nil
		if s.adopting {
			n.Adopted = s.opt.Adopt
		}
	})
}
