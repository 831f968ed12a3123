package changelog

import (
	"fmt"
	"io"
	"os"
	"slices"

	bolt "go.etcd.io/bbolt"

	"carbond/store/change"
)

// IsSegment reports whether a file name is one of a segment.
func IsSegment(name string) bool {
	_, ok := parseSegmentName(name)
	return ok
}

// CopyTo writes the segments, oldest first, as far as the log goes when it
// begins, to the writers that open returns for name and size. Sealed files that
// are wholly visible never change and are copied as they are. Others, which the
// writer or a cut may change, are first copied to a nameless file beside them,
// so that a slow receiver keeps nobody waiting. What is appended meanwhile may or
// may not be in the copy. Retention must not run.
func (l *Log) CopyTo(open func(name string) func(size int64) (io.Writer, error)) error {
	limit := l.Tail().Next
	last := -1 // cuts before the last copy of a file that may change
	for next := l.Oldest(); next <= limit; {
		s, end, cuts, err := l.pinForCopy(next)
		if err != nil {
			return err
		}
		if s == nil || last >= 0 && cuts != last {
			// A cut came behind what was copied last: that copy ends as a crash
			// would have left it, and does not go on with what was written since.
			if s != nil {
				l.leave(s)
			}
			return nil
		}
		if end > 0 {
			next, err = end, l.copyFixed(s, open(segmentName(s.first)))
		} else {
			last = cuts
			next, err = l.copyChanging(s, open(segmentName(s.first)))
		}
		if err != nil {
			return fmt.Errorf("copy %s: %w", s.path, err)
		}
		if next == s.first {
			return nil // nothing was ever appended to it, and nothing comes behind it
		}
	}
	return nil
}

// pinForCopy pins the segment that begins at first, nil when there is none, and
// says where the next one begins if it will never change, 0 if it may, and how
// many cuts there were.
func (l *Log) pinForCopy(first change.Offset) (s *segment, end change.Offset, cuts int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.admit()
	if l.closed {
		return nil, 0, 0, change.ErrClosed
	}
	i := slices.IndexFunc(l.segments, func(s *segment) bool { return s.first == first })
	if i < 0 {
		return nil, 0, l.rollbacks, nil
	}
	if i < len(l.segments)-1 && l.last(i) <= l.tail.Visible {
		end = l.segments[i+1].first
	}
	s, err = l.use(i)
	return s, end, l.rollbacks, err
}

// copyFixed copies a pinned file that never changes, and lets it go first.
func (l *Log) copyFixed(s *segment, open func(int64) (io.Writer, error)) error {
	f, err := os.Open(s.path)
	l.leave(s)
	if err != nil {
		return err
	}
	defer f.Close()
	return send(f, open)
}

// copyChanging copies a pinned segment that may change as soon as it is let go,
// and returns the offset behind the copy.
func (l *Log) copyChanging(s *segment, open func(int64) (io.Writer, error)) (next change.Offset, err error) {
	f, err := os.CreateTemp(l.dir, "backup-*"+tempSuffix)
	if err != nil {
		l.leave(s)
		return 0, err
	}
	defer f.Close()
	err = os.Remove(f.Name())
	if err == nil {
		err = s.view(func(tx *bolt.Tx) error {
			tail, err := decodeTail(tx.Bucket(bucketMeta).Get(keyTail))
			if err != nil {
				return err
			}
			next = tail.Next
			_, err = tx.WriteTo(f)
			return err
		})
	}
	l.leave(s)
	if err != nil {
		return 0, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	return next, send(f, open)
}

func send(f *os.File, open func(int64) (io.Writer, error)) error {
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	w, err := open(fi.Size())
	if err != nil {
		return err
	}
	_, err = io.Copy(w, io.LimitReader(f, fi.Size()))
	return err
}
