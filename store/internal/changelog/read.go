package changelog

import (
	"errors"
	"fmt"
	"slices"
	"sort"

	bolt "go.etcd.io/bbolt"

	"carbond/store/change"
)

// Read returns copies of visible blocks from the one that holds offset from,
// at least one and then up to about maxBytes, all of one segment. It returns
// none when from is behind the high-water mark, *CompactedError when from is no
// longer kept, and *change.HistoryError when it lies inside a hole; at the
// beginning of one it goes on behind it. The read transaction ends before Read
// returns.
func (l *Log) Read(from change.Offset, maxBytes int) ([]Block, error) {
	from, err := l.History().From(from)
	if err != nil {
		return nil, err
	}
	return l.read(from, maxBytes, (*bolt.Cursor).Next)
}

// ReadBack is Read in the other direction: the block that holds offset from
// comes first, then those before it.
func (l *Log) ReadBack(from change.Offset, maxBytes int) ([]Block, error) {
	return l.read(from, maxBytes, (*bolt.Cursor).Prev)
}

func (l *Log) read(from change.Offset, maxBytes int, next func(*bolt.Cursor) ([]byte, []byte)) ([]Block, error) {
	s, visible, err := l.enter(from)
	if err != nil || s == nil {
		return nil, err
	}
	defer l.leave(s)
	var keys, frames [][]byte
	var at []int64
	err = s.view(func(tx *bolt.Tx) error {
		c := tx.Bucket(bucketBlocks).Cursor()
		want := offsetKey(from)
		k, v := c.Seek(want)
		if k == nil || string(k) != string(want) {
			k, v = c.Prev()
		}
		for n := 0; k != nil && n < maxBytes; k, v = next(c) {
			if string(k) > string(offsetKey(visible)) {
				break
			}
			keys, frames = append(keys, slices.Clone(k)), append(frames, slices.Clone(v))
			at = append(at, s.place(v))
			n += len(v)
			s.db.Spend(tx, len(v))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read offset %d: %w", from, err)
	}
	blocks := make([]Block, 0, len(frames))
	for i, f := range frames {
		b, err := decodeFrame(keys[i], f, l.dec)
		if err != nil {
			return nil, s.corrupt(b.First, at[i], err)
		}
		blocks = append(blocks, b)
	}
	if len(blocks) == 0 || blocks[0].First > from || blocks[0].Last() < from {
		return nil, s.corrupt(from, -1, errors.New("the block is missing"))
	}
	return blocks, nil
}

// enter pins the segment that holds from. It returns nil when from is not
// visible yet.
func (l *Log) enter(from change.Offset) (*segment, change.Offset, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.admit()
	if l.closed {
		return nil, 0, change.ErrClosed
	}
	if oldest := l.segments[0].first; from < oldest {
		return nil, 0, &change.CompactedError{Wanted: from, Oldest: oldest}
	}
	if from > l.tail.Visible {
		return nil, 0, nil
	}
	i := sort.Search(len(l.segments), func(i int) bool { return l.segments[i].first > from }) - 1
	s, err := l.use(i)
	return s, l.tail.Visible, err
}

// Busy reports whether a reader would wait, as while the files are read again
// after an error.
func (l *Log) Busy() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.exclusive
}

// pin pins the segment that begins at first; nil when there is none any more.
func (l *Log) pin(first change.Offset) (*segment, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.admit()
	if l.closed {
		return nil, change.ErrClosed
	}
	i := slices.IndexFunc(l.segments, func(s *segment) bool { return s.first == first })
	if i < 0 {
		return nil, nil
	}
	return l.use(i)
}

// admit waits until readers may come in. Callers hold mu.
func (l *Log) admit() {
	for l.exclusive {
		l.idle.Wait()
	}
}

// use maps segment i and pins it. Callers hold mu.
func (l *Log) use(i int) (*segment, error) {
	s := l.segments[i]
	if s.db == nil {
		if err := s.open(true, Options{}); err != nil {
			return nil, err
		}
	}
	s.refs++
	if i < len(l.segments)-1 {
		l.touch(s)
	}
	return s, nil
}

func (l *Log) leave(s *segment) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s.refs--
	l.idle.Broadcast()
	if s.dropped && s.refs == 0 {
		_ = s.close() // nothing is lost: it was read only, or is closing
	}
}

// touch marks a sealed segment as used and unmaps the least used ones beyond
// the bound. Callers hold mu.
func (l *Log) touch(s *segment) {
	l.mapped = append(slices.DeleteFunc(l.mapped, func(o *segment) bool { return o == s }), s)
	for i := 0; len(l.mapped) > l.opt.OpenSealed && i < len(l.mapped); {
		old := l.mapped[i]
		if old.refs > 0 {
			i++
			continue
		}
		_ = old.close()
		l.mapped = slices.Delete(l.mapped, i, i+1)
	}
}
