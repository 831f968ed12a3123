package changelog

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"carbond/store/change"
	"carbond/store/durable"
)

// Segment describes one file, for retention and listings.
type Segment struct {
	Path        string
	First, Last change.Offset
	Bytes       int64
	Written     time.Time // when it was sealed, or last opened
	Sealed      bool
}

// Segments lists the files from oldest to newest.
func (l *Log) Segments() []Segment {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.admit()
	out := make([]Segment, len(l.segments))
	for i, s := range l.segments {
		if fi, err := os.Stat(s.path); err == nil {
			s.size = fi.Size()
		}
		out[i] = Segment{s.path, s.first, l.last(i), s.size, s.created, i < len(l.segments)-1}
	}
	l.show()
	return out
}

// DropOldest unlinks the oldest segment, which must be sealed. Readers inside
// it finish undisturbed; the next read gets a CompactedError. Nobody waits for the
// disk meanwhile but a Rollback. The goroutine that calls it is the one that calls Compress.
func (l *Log) DropOldest() error {
	s, err := l.oldest()
	if err != nil {
		return err
	}
	defer l.leave(s)
	l.opt.crash("drop.begin")
	if err := l.opt.fault("drop.unlink"); err != nil {
		return err
	}
	if err := os.Remove(s.path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("drop segment: %w", err)
	}
	err = durable.SyncDir(l.dir)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.segments = l.segments[1:]
	l.show()
	l.forget(l.segments[0].first)
	l.mapped = slices.DeleteFunc(l.mapped, func(o *segment) bool { return o == s })
	s.dropped = true
	l.opt.crash("drop.done")
	return err
}

// oldest pins the oldest segment, mapped, so that whoever reads it can until it has
// left the list, and so that no Rollback begins.
func (l *Log) oldest() (*segment, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.admit()
	if l.closed {
		return nil, change.ErrClosed
	}
	s := l.segments[0]
	if len(l.segments) < 2 {
		return nil, fmt.Errorf("drop segment: %s is open", s.path)
	}
	if _, err := l.use(0); err != nil {
		s.refs++ // it is damaged, so nobody reads it
	}
	return s, nil
}

// Starts returns the tails at which the segments start, oldest first: the
// way from a source position to the segment that holds it.
func (l *Log) Starts() ([]Tail, error) {
	l.mu.Lock()
	l.admit()
	known := make([]*Tail, len(l.segments))
	firsts := make([]change.Offset, len(l.segments))
	for i, s := range l.segments {
		known[i], firsts[i] = s.start, s.first
	}
	l.mu.Unlock()
	var out []Tail
	for i, first := range firsts {
		if known[i] != nil {
			out = append(out, *known[i])
			continue
		}
		t, err := l.startOf(first)
		if err != nil {
			return nil, err
		}
		if t != nil {
			out = append(out, *t)
		}
	}
	return out, nil
}

// TopicAtStart returns what was said of a topic when the segment that begins at
// first was started, nil for nothing, and when it was dropped meanwhile.
func (l *Log) TopicAtStart(first change.Offset, topic string) (out []byte, err error) {
	s, err := l.pin(first)
	if s == nil || err != nil {
		return nil, err
	}
	defer l.leave(s)
	err = s.view(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketStart)
		if b == nil {
			return nil // of format 2
		}
		v := b.Get([]byte(topic))
		if v == nil {
			return nil
		}
		t, err := unprotect(v)
		if err != nil {
			return s.corrupt(0, s.place(v), fmt.Errorf("topic %q: %w", topic, err))
		}
		out = append([]byte(nil), t...)
		return nil
	})
	return out, err
}

// startOf reads the header of the segment that begins at first; nil when it was
// dropped in the meantime.
func (l *Log) startOf(first change.Offset) (t *Tail, err error) {
	s, err := l.pin(first)
	if s == nil || err != nil {
		return nil, err
	}
	defer l.leave(s)
	err = s.view(func(tx *bolt.Tx) error {
		v := tx.Bucket(bucketMeta).Get(keyHeader)
		_, tail, err := decodeHeader(v)
		if err != nil {
			return s.corrupt(0, s.place(v), err)
		}
		t = &tail
		return nil
	})
	l.mu.Lock()
	s.start = t
	l.mu.Unlock()
	return t, err
}
