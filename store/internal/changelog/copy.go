package changelog

import (
	"fmt"
	"io"
	"os"

	bolt "go.etcd.io/bbolt"
)

// IsSegment reports whether a file name is one of a segment.
func IsSegment(name string) bool {
	_, ok := parseSegmentName(name)
	return ok
}

// CopyTo writes the segments that there are when it begins, oldest first, to
// the writers that open returns for name and size. Sealed files never change
// and are copied as they are; the open one is copied from a read transaction.
// What is appended meanwhile may or may not be in the copy. Retention must not
// run.
func (l *Log) CopyTo(open func(name string) func(size int64) (io.Writer, error)) error {
	for _, g := range l.Segments() {
		if err := l.copySegment(g, open(segmentName(g.First))); err != nil {
			return fmt.Errorf("copy %s: %w", g.Path, err)
		}
	}
	return nil
}

func (l *Log) copySegment(g Segment, open func(int64) (io.Writer, error)) error {
	if !g.Sealed {
		s, err := l.pin(g.First)
		if err != nil {
			return err
		}
		if s == nil {
			return os.ErrNotExist
		}
		defer l.leave(s)
		return s.view(func(tx *bolt.Tx) error {
			w, err := open(tx.Size())
			if err != nil {
				return err
			}
			_, err = tx.WriteTo(w)
			return err
		})
	}
	f, err := os.Open(g.Path)
	if err != nil {
		return err
	}
	defer f.Close()
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
