package store

import (
	"fmt"
	"os"
	"runtime/debug"

	"carbond/store/change"
	"carbond/store/internal/boltfile"
	"carbond/store/internal/changelog"
	"carbond/store/internal/checkpoint"
	"carbond/store/internal/group"
	"carbond/store/internal/record"
	"carbond/store/internal/view"
)

// load brings the store to where the log ends.
func (s *Store) load() (err error) {
	if s.changelog, err = changelog.Open(logDir(s.dir), s.logOptions()); err != nil {
		return err
	}
	s.history = s.changelog.History()
	if s.groups, err = group.Open(groupsPath(s.dir), group.Options{NoSync: s.opt.NoSync, Crash: s.opt.Crash, Shared: s.opt.Groups}); err != nil {
		return err
	}
	if err := s.groups.Within(s.changelog.Tail().Visible, s.history); err != nil {
		return err
	}
	s.dict = newDictionary()
	for number, encoded := range s.changelog.Dictionary() {
		if err := s.dict.load(number, encoded); err != nil {
			return err
		}
	}
	if s.tail, err = decodeCommitState(s.changelog.Tail().State); err != nil {
		return err
	}
	s.tail.countMessages()
	s.tail.beginChecksum(s.changelog.Tail().Visible)
	if err := s.loadTopics(); err != nil {
		return err
	}
	if err := s.openCheckpoint(); err != nil {
		return err
	}
	end := s.changelog.Tail().Visible
	if err := s.replay(s.work, s.ckpt.applied+1, end); err != nil {
		return err
	}
	s.work.Rebase(max(end, 1))
	s.publish(end)
	s.lookBack()
	if s.needsRollback = s.changelog.NeedsRollback(); s.needsRollback {
		s.log.Warn("the disk is full: what an unfinished transaction has left stays until there is room, and nothing is written before")
	}
	// What reading the files has left behind would stay as long as the daemon.
	debug.FreeOSMemory()
	return nil
}

// openCheckpoint loads the checkpoint into the state and checks it against the
// log: it may not stand ahead of it, nor before its oldest segment.
func (s *Store) openCheckpoint() (err error) {
	path := checkpointPath(s.dir)
	_ = os.Remove(path + boltfile.TempSuffix)
	f, err := checkpoint.Open(path, checkpoint.Options{NoSync: s.opt.NoSync})
	if err != nil {
		return err
	}
	s.ckpt.file = f
	if err := f.Compact(); err != nil { // a full disk must not keep the store from starting
		s.log.Warn("cannot compact the checkpoint; it stays as it is", "error", err)
	}
	s.work = view.New(0)
	s.progress("load checkpoint", 0)
	applied, err := loadRows(f, &s.dict, s.work)
	if err != nil {
		return err
	}
	tail, oldest := s.changelog.Tail(), s.changelog.Oldest()
	switch {
	case applied > tail.Visible:
		return fmt.Errorf("%s: %w: it stands at offset %d, ahead of the changelog's end at %d; the changelog has lost its end. Restore the data directory from a backup, or move it aside to copy everything again from Postgres",
			path, checkpoint.ErrDamaged, applied, tail.Visible)
	case s.changelog.History().After(applied) < oldest:
		return fmt.Errorf("%s: %w: it stands at offset %d, but the changelog begins at %d. Restore the data directory from a backup, or move it aside to copy everything again from Postgres",
			path, checkpoint.ErrDamaged, applied, oldest)
	}
	s.ckpt.applied = applied
	return nil
}

// loadRows reads a checkpoint into an empty state and returns the offset that it
// stands at.
func loadRows(f *checkpoint.File, d *dictionary, to *view.State) (change.Offset, error) {
	tables := len(change.Tables())
	for t := range tables {
		to.Load(view.Table(t))
	}
	applied, err := f.Load(&loader{d, to})
	if err != nil {
		return 0, err
	}
	for t := range tables {
		to.Loaded(view.Table(t), 0)
	}
	return applied, nil
}

// loader feeds a checkpoint into a dictionary and a state.
type loader struct {
	dict  *dictionary
	state *view.State
}

// Relation implements checkpoint.Loader.
func (l *loader) Relation(number uint32, encoded []byte) error { return l.dict.load(number, encoded) }

// Row implements checkpoint.Loader.
func (l *loader) Row(number uint32, row change.Row) error {
	sh, ok := l.dict.byNumber[number]
	if !ok {
		return fmt.Errorf("%w: a row names relation %d, which is not in its dictionary", checkpoint.ErrDamaged, number)
	}
	key, err := sh.Key(row)
	if err != nil {
		return fmt.Errorf("%w: %w", checkpoint.ErrDamaged, err)
	}
	l.state.Put(view.Entry{Key: key, Row: row, Schema: sh}, 0)
	return nil
}

// replay applies the log from one offset to another, both included.
func (s *Store) replay(to *view.State, from, end change.Offset) error {
	for at := from; at <= end; {
		blocks, err := s.changelog.Read(at, readBytes)
		if err != nil {
			return fmt.Errorf("replay: %w", err)
		}
		for _, b := range blocks {
			for it, err := range record.All(b.Data, b.First) {
				if err == nil && !it.Ends && it.Offset >= at {
					err = s.dict.apply(to, it)
				}
				if err != nil {
					return fmt.Errorf("replay offset %d: %w", it.Offset, err)
				}
			}
			at = b.Last() + 1
		}
		s.progressed.Add(1)
		s.progress("replay changelog", float64(at-from)/float64(end-from+1))
	}
	return nil
}

// readBytes is how much of the log one read copies.
const readBytes = 1 << 20

func (s *Store) progress(what string, done float64) {
	if s.opt.Progress != nil {
		s.opt.Progress(what, done)
	}
}

// apply gives a state the effect of one complete record.
func apply(to *view.State, sh *view.Schema, e record.Entry, at change.Offset) error {
	if sh.Table == view.Plain {
		return nil
	}
	switch e.Op {
	case change.Truncate:
		to.Clear(sh.Table, at)
		return nil
	case change.Retract: // its Truncate has cleared the table
		return nil
	case change.Delete:
		key, err := sh.Key(e.Before)
		if err != nil {
			return err
		}
		to.Remove(sh.Table, key, at)
		return nil
	}
	key, err := sh.Key(e.After)
	if err != nil {
		return err
	}
	to.Put(view.Entry{Key: key, Row: e.After, Schema: sh}, at)
	return nil
}
