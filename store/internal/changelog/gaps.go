package changelog

import (
	"errors"
	"fmt"
	"path/filepath"

	bolt "go.etcd.io/bbolt"

	"carbond/store/change"
)

// checkRun makes sure that every segment begins where the one before it ends,
// or behind the hole that the log's history knows there, without reading blocks:
// a segment's tail says where it ends. Segments that cannot be read are left to
// those who read them. floor is the offset behind the last one that is stripped, 0
// when none is.
func checkRun(segs []*segment) (floor change.Offset, err error) {
	ends := make([]change.Offset, len(segs))
	var h change.History
	for i, s := range segs {
		if end, known, stripped, ok := s.ends(); ok {
			ends[i], h = end, known
			if stripped {
				floor = end
			}
		}
	}
	for i := 1; i < len(segs); i++ {
		if ends[i-1] != 0 && ends[i] != 0 && h.After(ends[i-1]-1) != segs[i].first {
			return 0, segs[i].misplaced(ends[i-1])
		}
	}
	if floor > 0 {
		floor = h.After(floor - 1)
	}
	return floor, nil
}

// ends returns the offset that comes behind a closed segment, the history that it
// knows, and whether it is stripped.
func (s *segment) ends() (next change.Offset, h change.History, stripped, ok bool) {
	if err := s.open(true, Options{}); err != nil {
		return 0, h, false, false
	}
	err := s.view(func(tx *bolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		if meta == nil {
			return errors.New("buckets are missing")
		}
		tail, err := decodeTail(meta.Get(keyTail))
		next = tail.Next
		if err == nil {
			h, err = decodeHistory(meta.Get(keyHistory))
		}
		was, _ := decodeSeal(meta.Get(keySeal)) // there is none in a segment that is open
		stripped = was.flags&sealStripped != 0
		return err
	})
	return next, h, stripped, s.close() == nil && err == nil
}

// misplaced says that s does not begin at the offset at which the segment
// before it ends.
func (s *segment) misplaced(end change.Offset) error {
	e := &CorruptionError{File: s.path, Offset: end, Byte: -1}
	if s.first < end {
		e.Err = fmt.Errorf("it begins at %d, but the segment before it ends at %d", s.first, end-1)
		e.Hint = "One of the two does not belong here: restore this directory from a backup"
		return e
	}
	lost := filepath.Join(filepath.Dir(s.path), segmentName(end))
	e.Err = fmt.Errorf("offsets %d to %d are missing: the segment before it ends at %d", end, s.first-1, end-1)
	e.Hint = fmt.Sprintf("Put the missing files, from %s on, back from a backup. When they are gone for good, move the segments before them out of the directory: "+
		"history then begins at offset %d, and consumers that stand before it are told so", lost, s.first)
	return e
}
