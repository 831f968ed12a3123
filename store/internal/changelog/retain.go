package changelog

import (
	"fmt"
	"os"
	"slices"
	"time"

	"carbond/store/change"
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
	out := make([]Segment, len(l.segments))
	for i, s := range l.segments {
		if fi, err := os.Stat(s.path); err == nil {
			s.size = fi.Size()
		}
		out[i] = Segment{s.path, s.first, s.last, s.size, s.born, i < len(l.segments)-1}
	}
	return out
}

// DropOldest unlinks the oldest segment, which must be sealed. Readers inside
// it finish undisturbed; the next read gets a CompactedError.
func (l *Log) DropOldest() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.segments) < 2 {
		return fmt.Errorf("drop segment: %s is open", l.segments[0].path)
	}
	s := l.segments[0]
	l.opt.crash("drop.begin")
	if err := os.Remove(s.path); err != nil {
		return fmt.Errorf("drop segment: %w", err)
	}
	if err := syncDir(l.dir); err != nil {
		return err
	}
	l.opt.crash("drop.done")
	l.segments = l.segments[1:]
	l.mapped = slices.DeleteFunc(l.mapped, func(o *segment) bool { return o == s })
	s.dropped = true
	if s.refs == 0 {
		return s.close()
	}
	return nil
}
