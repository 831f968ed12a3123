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
// the writers that open returns for name and size. Sealed files that are wholly
// visible never change and are copied as they are. Others, which the writer or
// a cut may change, are first copied to a nameless file beside them, so that a
// slow receiver keeps nobody waiting. What is appended meanwhile may or may not
// be in the copy. Retention must not run.
func (l *Log) CopyTo(open func(name string) func(size int64) (io.Writer, error)) error {
	for _, g := range l.Segments() {
		if err := l.copySegment(g, open(segmentName(g.First))); err != nil {
			return fmt.Errorf("copy %s: %w", g.Path, err)
		}
	}
	return nil
}

func (l *Log) copySegment(g Segment, open func(int64) (io.Writer, error)) error {
	if !g.Sealed || g.Last > l.Tail().Visible {
		return l.copyChanging(g, open)
	}
	f, err := os.Open(g.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	return send(f, open)
}

// copyChanging copies a segment that may change meanwhile.
func (l *Log) copyChanging(g Segment, open func(int64) (io.Writer, error)) error {
	f, err := os.CreateTemp(l.dir, "backup-*"+tempSuffix)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := os.Remove(f.Name()); err != nil {
		return err
	}
	if err := l.spool(g, f); err != nil {
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return send(f, open)
}

func (l *Log) spool(g Segment, to io.Writer) error {
	s, err := l.pin(g.First)
	if err != nil {
		return err
	}
	if s == nil {
		return os.ErrNotExist
	}
	defer l.leave(s)
	return s.view(func(tx *bolt.Tx) error {
		_, err := tx.WriteTo(to)
		return err
	})
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
