package changelog

import (
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/klauspost/compress/zstd"
	bolt "go.etcd.io/bbolt"

	"carbond/store/change"
	"carbond/store/internal/boltfile"
)

// Open opens the log in dir, or starts one, and cuts off what no transaction
// end made visible. It removes left-overs of a crash and refuses directories
// with gaps, damage or a newer format, which it leaves untouched. On a full disk
// it opens what can be read: see Torn.
func Open(dir string, opt Options) (*Log, error) {
	if opt.SegmentBytes <= 0 {
		opt.SegmentBytes = 64 << 20
	}
	if opt.OpenSealed <= 0 {
		opt.OpenSealed = 4
	}
	opt.First = max(opt.First, 1)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("make log directory: %w", err)
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxPayload))
	if err != nil {
		return nil, fmt.Errorf("make decompressor: %w", err)
	}
	l := &Log{dir: dir, opt: opt, dec: dec, dict: map[uint32][]byte{}, topics: map[string][]byte{}, compressed: map[change.Offset]bool{}}
	l.idle = sync.NewCond(&l.mu)
	if l.segments, err = scan(dir, true); err == nil {
		l.floor, err = checkRun(l.segments)
	}
	if err == nil {
		l.opening = true
		err = l.recover()
		l.opening = false
	}
	if err == nil {
		l.show()
	}
	if err == nil && l.history.ID == "" {
		if err = l.name(); NoSpace(err) {
			err = nil // the next start names it
		}
	}
	if err == nil {
		// bbolt has walked the open segment from end to end.
		err = l.open().view(func(tx *bolt.Tx) error {
			boltfile.Release(tx)
			return nil
		})
	}
	if err != nil {
		for _, s := range l.segments {
			_ = s.close()
		}
		dec.Close()
		return nil, err
	}
	return l, nil
}

// scan lists the segments by first offset and, at a start, removes half-made
// files.
func scan(dir string, clean bool) ([]*segment, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read log directory: %w", err)
	}
	var segs []*segment
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if clean && strings.HasSuffix(e.Name(), tempSuffix) {
			if err := os.Remove(path); err != nil {
				return nil, fmt.Errorf("remove left-over: %w", err)
			}
			continue
		}
		first, ok := parseSegmentName(e.Name())
		if !ok {
			continue
		}
		s := &segment{path: path, first: first}
		if fi, err := e.Info(); err == nil {
			s.size, s.created = fi.Size(), fi.ModTime()
		}
		segs = append(segs, s)
	}
	slices.SortFunc(segs, func(a, b *segment) int {
		if a.first < b.first {
			return -1
		}
		return 1
	})
	return segs, nil
}

func (l *Log) recover() error {
	l.sum, l.blocks, l.written = 0, 0, 0
	if len(l.segments) == 0 {
		l.history = change.History{ID: newID(), First: l.opt.First}
		l.tail = Tail{Next: l.opt.First}
		s, err := l.create(l.tail)
		if err != nil {
			return err
		}
		l.segments = []*segment{s}
		return nil
	}
	// Whole segments behind the high-water mark belong to a transaction that
	// never ended.
	for {
		s := l.segments[len(l.segments)-1]
		tail, err := l.load(s)
		if err != nil {
			return err
		}
		if l.history.After(tail.Visible) >= s.first || len(l.segments) == 1 {
			return l.resume(s, tail)
		}
		if err := s.close(); err != nil {
			return err
		}
		if err := boltfile.Remove(s.path); err != nil {
			return fmt.Errorf("cut unfinished segment: %w", err)
		}
		l.segments = l.segments[:len(l.segments)-1]
	}
}

// load opens a segment for writing and reads its header, tail and dictionary.
func (l *Log) load(s *segment) (Tail, error) {
	if err := s.open(false, l.opt); err != nil {
		return Tail{}, err
	}
	var tail Tail
	var h change.History
	relations, topics := map[uint32][]byte{}, map[string][]byte{}
	err := s.view(func(tx *bolt.Tx) (err error) {
		meta, dict := tx.Bucket(bucketMeta), tx.Bucket(bucketDict)
		if meta == nil || dict == nil || tx.Bucket(bucketBlocks) == nil {
			return s.corrupt(0, -1, errors.New("buckets are missing"))
		}
		v := meta.Get(keyHeader)
		first, start, err := decodeHeader(v)
		if errors.Is(err, ErrTooNew) {
			return fmt.Errorf("%s: %w; use the newer version, nothing was changed", s.path, err)
		}
		if err == nil && first != s.first {
			err = fmt.Errorf("header says first offset %d", first)
		}
		if err != nil {
			return s.corrupt(0, s.place(v), err)
		}
		s.start = &start
		v = meta.Get(keyTail)
		if tail, err = decodeTail(v); err != nil {
			return s.corrupt(0, s.place(v), err)
		}
		v = meta.Get(keyHistory)
		if h, err = decodeHistory(v); err != nil {
			return s.corrupt(0, s.place(v), err)
		}
		if err := s.readTopics(tx.Bucket(bucketTopics), topics); err != nil {
			return err
		}
		return s.readDict(dict, relations)
	})
	if err == nil {
		l.dict, l.topics, l.history = relations, topics, h // of this file alone: what a later one had is gone with it
	}
	return tail, err
}

func (s *segment) readDict(b *bolt.Bucket, into map[uint32][]byte) error {
	return b.ForEach(func(k, v []byte) error {
		d, err := unprotect(v)
		if err != nil || len(k) != 4 {
			return s.corrupt(0, s.place(v), fmt.Errorf("dictionary: %w", errors.Join(err, errKey(k, 4))))
		}
		into[uint32(k[0])<<24|uint32(k[1])<<16|uint32(k[2])<<8|uint32(k[3])] = append([]byte(nil), d...)
		return nil
	})
}

// readTopics reads a bucket that segments of format 2 lack.
func (s *segment) readTopics(b *bolt.Bucket, into map[string][]byte) error {
	if b == nil {
		return nil
	}
	return b.ForEach(func(k, v []byte) error {
		t, err := unprotect(v)
		if err != nil {
			return s.corrupt(0, s.place(v), fmt.Errorf("topic %q: %w", k, err))
		}
		into[string(k)] = append([]byte(nil), t...)
		return nil
	})
}

func errKey(k []byte, want int) error {
	if len(k) != want {
		return fmt.Errorf("key has %d bytes, want %d", len(k), want)
	}
	return nil
}

// resume cuts s at the high-water mark, recomputes its running checksum and
// makes it the open segment; a sealed one is followed by a fresh one.
func (l *Log) resume(s *segment, tail Tail) error {
	end := l.history.After(tail.Visible)
	cut := tail.Next != end
	tail.Next = end
	var wasSealed bool
	err := s.view(func(tx *bolt.Tx) error {
		wasSealed = tx.Bucket(bucketMeta).Get(keySeal) != nil
		return s.tally(tx, l, &cut, tail.Next)
	})
	if err != nil {
		return err
	}
	if cut {
		err := l.opt.fault("cut")
		if err == nil {
			err = s.update(func(tx *bolt.Tx) error { return l.truncateAt(tx, tail) })
		}
		if l.opening && NoSpace(err) {
			l.files, err = filesUnknown, nil
		}
		if err != nil {
			return fmt.Errorf("cut unfinished transaction in %s: %w", s.path, err)
		}
		maps.DeleteFunc(l.dict, func(number uint32, _ []byte) bool { return !l.keepsRelation(tail, number) })
	}
	l.tail = tail
	if wasSealed && !cut {
		l.opt.crash("recover.sealed")
		next, err := l.create(tail)
		if l.opening && NoSpace(err) {
			return nil // it is written on, as after a Rotate that could not go on
		}
		if err != nil {
			return err
		}
		l.segments = append(l.segments, next)
		l.sum, l.blocks, l.written = 0, 0, 0
		l.touch(s)
	}
	return nil
}

// NeedsRollback reports whether Rollback has to work before anything can be appended.
func (l *Log) NeedsRollback() bool { return l.files == filesUnknown }

// tally recomputes what the seal of s will say and checks that the blocks run
// on without gaps. Blocks from end on are to be cut.
func (s *segment) tally(tx *bolt.Tx, l *Log, cut *bool, end change.Offset) error {
	next := s.first
	c := tx.Bucket(bucketBlocks).Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		b, err := decodeFrame(k, v, l.dec)
		if err != nil {
			return s.corrupt(b.First, s.place(v), err)
		}
		if b.First >= end {
			*cut = true
			break
		}
		if b.First != next {
			return s.corrupt(next, s.place(v), fmt.Errorf("gap: next block is at %d", b.First))
		}
		next = b.Last() + 1
		l.sum = addSum(l.sum, v)
		l.blocks++
		l.written += int64(len(v))
	}
	if next != end {
		return s.corrupt(next, -1, fmt.Errorf("changes %d to %d are missing", next, end-1))
	}
	return nil
}

func (l *Log) keepsRelation(tail Tail, number uint32) bool {
	return l.opt.KeepRelation == nil || l.opt.KeepRelation(tail.State, number)
}

func (l *Log) truncateAt(tx *bolt.Tx, tail Tail) error {
	relations := tx.Bucket(bucketDict)
	for number := range l.dict {
		if !l.keepsRelation(tail, number) {
			if err := relations.Delete(dictKey(number)); err != nil {
				return err
			}
		}
	}
	c := tx.Bucket(bucketBlocks).Cursor()
	for k, _ := c.Seek(offsetKey(tail.Next)); k != nil; k, _ = c.Seek(offsetKey(tail.Next)) {
		if err := c.Delete(); err != nil {
			return err
		}
	}
	meta := tx.Bucket(bucketMeta)
	if err := meta.Delete(keySeal); err != nil {
		return err
	}
	return meta.Put(keyTail, protect(encodeTail(tail)))
}

// Rollback discards the blocks behind the high-water mark, after the transaction
// that they belong to was given up or a commit failed. It reads again what the
// disk holds: Tail may be ahead of the last Append that worked, when one that
// failed was on disk nevertheless. Nothing can be appended until it works.
func (l *Log) Rollback() error {
	now := l.seen.Load()
	whole := now.tail.Next == now.history.After(now.tail.Visible)
	if whole && l.files == filesKnown {
		return nil
	}
	l.opt.distrust, l.files = l.files == filesUnknown, filesUnknown
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return change.ErrClosed
	}
	// A transaction can reach back over several segments, and a sealed one is
	// opened for writing again: nobody may be inside any of them. Those who ask
	// how far the log is need not wait for the disk meanwhile.
	admit := l.exclude(l.segments...)
	l.mu.Unlock()
	err := l.reread()
	l.mu.Lock()
	defer l.mu.Unlock()
	admit()
	if err != nil {
		return err
	}
	l.show()
	l.files = filesKnown
	return nil
}

// reread closes the files and begins from what the disk holds. Callers have the
// log for themselves.
func (l *Log) reread() error {
	for _, s := range l.segments {
		if err := s.close(); err != nil {
			return err
		}
	}
	l.mapped = nil
	clear(l.compressed)
	l.rollbacks++
	if l.leftover != "" {
		if err := boltfile.Remove(l.leftover); err != nil {
			return err
		}
		l.leftover = ""
	}
	segs, err := scan(l.dir, false)
	if err != nil {
		return err
	}
	if len(segs) == 0 {
		return fmt.Errorf("cut the changelog: the segments of %s are gone", l.dir)
	}
	l.segments = segs
	return l.recover()
}

func addSum(sum uint32, frame []byte) uint32 { return crc32.Update(sum, castagnoli, frame) }
