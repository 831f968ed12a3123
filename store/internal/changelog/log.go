package changelog

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/zstd"
	bolt "go.etcd.io/bbolt"

	"carbond/store/change"
	"carbond/store/internal/boltfile"
)

// Options tune a Log. The zero value has production defaults.
type Options struct {
	// SegmentBytes is the size at which a segment is sealed, 64 MiB by default.
	// It must stay far below 2 GB, which is what a 32-bit machine can map.
	SegmentBytes int64
	// OpenSealed bounds how many sealed segments stay mapped, 4 by default.
	OpenSealed int
	// First is the offset of the first change of a new log, 1 by default.
	First change.Offset
	// NoSync skips fsync. For tests of everything but durability.
	NoSync bool
	// KeepRelation decides by the state in the tail whether a relation of the dictionary
	// is part of the visible log; a cut forgets the others. nil keeps all.
	KeepRelation func(state []byte, number uint32) bool
	// Crash is called at named points of every commit, for crash tests.
	Crash func(point string)
	// Fault is asked at named points for the error that the disk gives there,
	// for tests of failing disks.
	Fault func(point string) error

	distrust bool // see boltfile.Options
}

func (o Options) fault(point string) error {
	if o.Fault == nil {
		return nil
	}
	return o.Fault(point)
}

func (o Options) crash(point string) {
	if o.Crash != nil {
		o.Crash(point)
	}
}

// mmap is the address space that the open segment reserves. Growing beyond it
// would make a commit wait for every reader, so it is twice the target.
func (o Options) mmap() int { return int(2*o.SegmentBytes) + 16<<20 }

// growth is the step in which the open file grows: bbolt syncs each, so it is
// not small, and what the last one leaves unused stays in the sealed file.
func (o Options) growth() int { return int(min(max(o.SegmentBytes/16, 4<<10), 4<<20)) }

// fileState says whether the files are as the writer last saw them.
type fileState uint8

const (
	filesKnown   fileState = iota
	filesReopen            // a seal failed: the open segment is reopened before the next commit
	filesUnknown           // a commit or a rollback failed: what the disk holds is unknown until Rollback works
)

// Log is an append-only sequence of blocks.
type Log struct {
	dir string
	opt Options
	dec *zstd.Decoder

	seen atomic.Pointer[seen] // for those who wait for nobody

	mu         sync.Mutex // guards what follows
	idle       *sync.Cond // a reader left
	segments   []*segment // by first offset; the last one is open for writing
	tail       Tail       // as on disk
	history    change.History
	dict       map[uint32][]byte
	topics     map[string][]byte
	mapped     []*segment             // sealed segments that are mapped, oldest use first
	compressed map[change.Offset]bool // sealed segments known to be compressed, by first offset
	floor      change.Offset          // behind the last segment that Strip rewrote
	exclusive  bool                   // the writer is closing files: readers wait outside
	rollbacks  int                    // how often Rollback has read the files again
	closed     bool

	// Touched by the writer only.
	opening  bool // Open is at work: a full disk is no reason to fail
	files    fileState
	leftover string // a segment file that came to be in vain; it goes before the next commit
	sum      uint32 // running checksum of the open segment's frames
	blocks   uint64
	written  int64 // payload bytes in the open segment
}

// Dir returns the folder of the segments.
func (l *Log) Dir() string { return l.dir }

// Path returns the name of the file that is written.
func (l *Log) Path() string { return l.open().path }

// seen is what the last change of the log left, for readers that must not wait
// for the writer or for the disk.
type seen struct {
	tail    Tail
	history change.History
	stats   Stats
}

// show publishes what is there now. Callers hold mu.
func (l *Log) show() {
	oldest := l.segments[0].first
	n := seen{l.tail, l.history, Stats{Segments: len(l.segments), Oldest: oldest, Floor: max(l.floor, oldest)}}
	for _, s := range l.segments {
		n.stats.Bytes += s.size
	}
	l.seen.Store(&n)
}

// Tail returns what the last commit made durable.
func (l *Log) Tail() Tail { return l.seen.Load().tail }

// History says which offsets mean what.
func (l *Log) History() change.History { return l.seen.Load().history }

// Oldest returns the first offset that is kept; Tail().Next when none is.
func (l *Log) Oldest() change.Offset { return l.seen.Load().stats.Oldest }

// Floor returns the first offset from which on nothing is stripped.
func (l *Log) Floor() change.Offset { return l.seen.Load().stats.Floor }

// Stats describes the files.
type Stats struct {
	Segments int
	Bytes    int64 // as of the last look at the files, see Segments
	Oldest   change.Offset
	Floor    change.Offset // from which on nothing is stripped
}

// Stats returns the number and size of the segment files.
func (l *Log) Stats() Stats { return l.seen.Load().stats }

// Dictionary returns a copy of the dictionary.
func (l *Log) Dictionary() map[uint32][]byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.admit()
	return maps.Clone(l.dict)
}

// Topics returns a copy of what was last said of each topic.
func (l *Log) Topics() map[string][]byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.admit()
	return maps.Clone(l.topics)
}

// Append commits blocks, new dictionary entries and the tail at once. blocks
// must begin at Tail().Next and have no gaps. After an error it is open whether
// the disk holds them; nothing can be appended until Rollback has read what it does.
func (l *Log) Append(blocks []Block, dict map[uint32][]byte, tail Tail) error {
	if err := l.check(blocks, tail); err != nil {
		return err
	}
	if err := l.ready(); err != nil {
		return err
	}
	s := l.open()
	frames, err := encodeFrames(blocks)
	if err != nil {
		return fmt.Errorf("append to %s: %w", s.path, err)
	}
	sum, written := l.sum, l.written
	var size int64
	l.opt.crash("append.begin")
	err = s.update(func(tx *bolt.Tx) error {
		for id, v := range dict {
			if err := tx.Bucket(bucketDict).Put(dictKey(id), protect(v)); err != nil {
				return err
			}
		}
		bucket := tx.Bucket(bucketBlocks)
		bucket.FillPercent = 1 // keys only grow
		for i, f := range frames {
			if err := bucket.Put(offsetKey(blocks[i].First), f); err != nil {
				return err
			}
			sum = addSum(sum, f)
			written += int64(len(f))
			s.db.Spend(tx, len(f))
		}
		if len(tail.Topics) > 0 {
			topics, err := tx.CreateBucketIfNotExists(bucketTopics) // of format 2
			if err == nil {
				err = putTopics(topics, tail.Topics)
			}
			if err != nil {
				return err
			}
		}
		meta := tx.Bucket(bucketMeta)
		if err := meta.Delete(keySeal); err != nil { // of a Rotate that could not go on
			return err
		}
		if err := meta.Put(keyTail, protect(encodeTail(tail))); err != nil {
			return err
		}
		size = tx.Size()
		l.opt.crash("append.commit")
		return l.opt.fault("append.commit")
	})
	if err == nil {
		err = l.opt.fault("append.synced")
	}
	if err != nil {
		l.files = filesUnknown
		return fmt.Errorf("append to %s: %w", s.path, err)
	}
	l.opt.crash("append.done")
	l.sum, l.written, l.blocks = sum, written, l.blocks+uint64(len(blocks))
	l.mu.Lock()
	maps.Copy(l.topics, tail.Topics)
	tail.Topics = nil
	l.tail = tail
	maps.Copy(l.dict, dict)
	now := *l.seen.Load()
	now.tail, now.stats.Bytes = tail, now.stats.Bytes+max(0, size-s.size)
	s.size = max(size, s.size)
	l.seen.Store(&now)
	l.mu.Unlock()
	return nil
}

// Full reports whether the open segment has reached its size.
func (l *Log) Full() bool { return l.written >= l.opt.SegmentBytes }

// check refuses appends that would break an invariant: bugs of the caller.
func (l *Log) check(blocks []Block, tail Tail) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return change.ErrClosed
	}
	next := l.tail.Next
	for _, b := range blocks {
		if b.First != next || b.Count <= 0 {
			return fmt.Errorf("append: block at %d with %d changes, want one at %d", b.First, b.Count, next)
		}
		if len(b.Data) > maxPayload {
			return fmt.Errorf("append: the change at offset %d has %d bytes, more than the %d that a change may have", b.First, len(b.Data), maxPayload)
		}
		next = b.Last() + 1
	}
	if tail.Next != next || tail.Visible >= next || tail.Visible < l.tail.Visible {
		return fmt.Errorf("append: tail %d/%d does not follow %d/%d", tail.Next, tail.Visible, next, l.tail.Visible)
	}
	return nil
}

// open returns the segment that is written.
func (l *Log) open() *segment {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.segments[len(l.segments)-1]
}

// last returns the last offset of segment i. It is told from what comes behind
// the segment: a Rollback that fails leaves a list of which no file was read.
// Callers hold mu.
func (l *Log) last(i int) change.Offset {
	if i < len(l.segments)-1 {
		return l.history.Before(l.segments[i+1].first)
	}
	return l.history.Before(l.tail.Next)
}

var errNeedsRollback = errors.New("an earlier commit failed, and what it left has not been cut off yet")

// ready clears what an earlier failure left, before a commit.
func (l *Log) ready() error {
	if l.files == filesUnknown {
		return errNeedsRollback
	}
	if l.leftover != "" {
		if err := boltfile.Remove(l.leftover); err != nil {
			return err
		}
		l.leftover = ""
	}
	if l.files == filesKnown {
		return nil
	}
	// What bbolt holds in memory must be what the disk holds.
	s := l.open()
	if err := s.damage(s.db.Reopen()); err != nil {
		l.files = filesUnknown
		return fmt.Errorf("reopen after a failed seal: %w", err)
	}
	l.files = filesKnown
	return nil
}

// exclude waits until no reader is inside the segments, keeps new ones out, and
// returns what lets them in again. Readers copy one batch, so this is short.
// Callers hold mu.
func (l *Log) exclude(segs ...*segment) func() {
	l.exclusive = true
	for slices.ContainsFunc(segs, func(s *segment) bool { return s.refs > 0 }) {
		l.idle.Wait()
	}
	return func() {
		l.exclusive = false
		l.idle.Broadcast()
	}
}

// Rotate seals the open segment and begins the next one. It does nothing on an
// empty segment.
func (l *Log) Rotate() error {
	s, tail := l.open(), l.Tail()
	if tail.Next == s.first {
		return nil
	}
	if err := l.seal(s, tail); err != nil {
		return err
	}
	next, err := l.create(tail)
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.segments = append(l.segments, next)
	s.created = time.Now()
	l.sum, l.blocks, l.written = 0, 0, 0
	l.touch(s)
	l.show()
	l.mu.Unlock()
	l.opt.crash("rotate.done")
	return nil
}

// seal ends the open segment.
func (l *Log) seal(s *segment, tail Tail) error {
	if err := l.ready(); err != nil {
		return err
	}
	l.opt.crash("rotate.begin")
	err := s.update(func(tx *bolt.Tx) error {
		v := encodeSeal(seal{blocks: l.blocks, last: tail.Next - 1, sum: l.sum})
		return tx.Bucket(bucketMeta).Put(keySeal, protect(v))
	})
	if err == nil {
		err = l.opt.fault("rotate.seal")
	}
	if err != nil {
		l.files = filesReopen
		return fmt.Errorf("seal %s: %w", s.path, err)
	}
	l.opt.crash("rotate.sealed")
	return nil
}

// create makes the segment that carries on from tail. A file that came to be in
// vain must not keep its name.
func (l *Log) create(tail Tail) (*segment, error) {
	s, err := createSegment(l.dir, tail, l.history, l.dict, l.topics, l.opt)
	if err == nil {
		return s, nil
	}
	if rerr := errors.Join(l.opt.fault("segment.unname"), boltfile.Remove(s.path)); rerr != nil {
		l.leftover = s.path
		err = errors.Join(err, rerr)
	}
	return nil, err
}

// Close unmaps every segment. Readers get ErrClosed.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	var errs []error
	for _, s := range l.segments {
		if s.refs == 0 {
			errs = append(errs, s.close())
		} else {
			s.dropped = true // the last reader closes it
		}
	}
	l.mu.Unlock()
	// The decompressor is left to the collector: readers may be inside it.
	return errors.Join(errs...)
}
