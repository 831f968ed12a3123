package replicate

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"carbond/store/change"
)

// claim says which slot a copy that has not ended has made, so that the next
// start may drop that one and no other: Postgres does not note who made a slot.
// It is written before the slot exists and removed when the copy is durable;
// from then on Position says whose the slot is.
type claim struct {
	SystemID string `json:"system_id"`
	Database string `json:"database"`
	Slot     string `json:"slot"`
	// Point is where the slot was made. Empty while Postgres has not answered.
	Point string `json:"point,omitempty"`
}

// holds reports whether the claim is on this slot. A slot that has moved since
// it was made is used by somebody else.
func (c *claim) holds(srv server, name string, slot *slotInfo) bool {
	return c != nil && c.SystemID == srv.systemID && c.Database == srv.database && c.Slot == name &&
		(c.Point == "" || c.Point == slot.confirmed.String())
}

// claimed returns the claim of an earlier attempt, nil for none. One that
// cannot be read is none: then a person has to decide about the slot.
func (r *Replicator) claimed() *claim {
	if r.claim != nil || r.opt.ClaimPath == "" {
		return r.claim
	}
	b, err := os.ReadFile(r.opt.ClaimPath)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var c claim
	if err == nil {
		err = json.Unmarshal(b, &c)
	}
	if err != nil {
		r.log.Warn("the note about an unfinished copy is unreadable", "path", r.opt.ClaimPath, "error", err)
		return nil
	}
	return &c
}

// stake claims the slot that is about to be made (point 0), or has been made at
// point.
func (r *Replicator) stake(srv server, point change.LSN) error {
	c := &claim{SystemID: srv.systemID, Database: srv.database, Slot: r.opt.Slot}
	if point > 0 {
		c.Point = point.String()
	}
	r.claim = c
	if r.opt.ClaimPath == "" {
		return nil
	}
	b, err := json.Marshal(c)
	if err == nil {
		err = replaceFile(r.opt.ClaimPath, append(b, '\n'))
	}
	if err != nil {
		return fault(KindSink, "make the data directory writable", err, "the note about the new replication slot cannot be kept")
	}
	return nil
}

// unstake ends the claim. A note that stays behind is harmless beside a copy.
func (r *Replicator) unstake() {
	r.claim = nil
	if r.opt.ClaimPath == "" {
		return
	}
	if err := os.Remove(r.opt.ClaimPath); err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.log.Warn("the note about the copy cannot be removed", "path", r.opt.ClaimPath, "error", err)
	}
}

// replaceFile makes b the durable content of path, whole or not at all.
func replaceFile(path string, b []byte) error {
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
