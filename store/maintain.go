package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"sync"
	"time"

	"carbond/store/change"
	"carbond/store/internal/changelog"
	"carbond/store/internal/checkpoint"
	"carbond/store/internal/keyfilter"
	"carbond/store/internal/record"
	"carbond/store/internal/view"
)

// batchBytes bounds the memory of one checkpoint commit. Of keys in no order
// each costs bbolt a page of its own, some twenty times the bytes of the row. A
// checkpoint may stop inside a transaction: a start replays to the high-water
// mark before it serves.
const batchBytes = 1 << 20

type checkpointer struct {
	busy sync.Mutex // held by the one who reads or writes the file, for seconds

	mu      sync.Mutex // guards what follows, for moments; file changes under both
	file    *checkpoint.File
	applied change.Offset
	done    time.Time
}

func (c *checkpointer) close() error {
	c.busy.Lock()
	defer c.busy.Unlock()
	if c.file == nil {
		return nil
	}
	f := c.file
	c.mu.Lock()
	c.file = nil
	c.mu.Unlock()
	return f.Close()
}

func (c *checkpointer) set(applied change.Offset) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.applied = applied
}

// at returns the offset at which the checkpoint stands.
func (c *checkpointer) at() change.Offset {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.applied
}

// stats returns the size of the file and the bytes in it that are free.
func (c *checkpointer) stats() (size, free int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.file == nil {
		return 0, 0
	}
	return c.file.Stats()
}

// copyTo copies the file as the last commit left it, by way of a nameless file
// in dir: a slow receiver would keep checkpoints and Close waiting.
func (c *checkpointer) copyTo(dir string, open func(int64) (io.Writer, error)) error {
	spool, err := os.CreateTemp(dir, "backup-*.tmp")
	if err != nil {
		return fmt.Errorf("copy checkpoint: %w", err)
	}
	defer spool.Close()
	if err := os.Remove(spool.Name()); err != nil {
		return fmt.Errorf("copy checkpoint: %w", err)
	}
	var size int64
	err = func() error {
		c.busy.Lock()
		defer c.busy.Unlock()
		if c.file == nil {
			return change.ErrClosed
		}
		return c.file.CopyTo(func(n int64) (io.Writer, error) {
			size = n
			return spool, nil
		})
	}()
	if err != nil {
		return fmt.Errorf("copy checkpoint: %w", err)
	}
	if _, err := spool.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("copy checkpoint: %w", err)
	}
	w, err := open(size)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, spool)
	return err
}

// maintain writes a checkpoint if there is something to write, then applies
// retention. Failures are reported and tried again; data is safe in the log.
func (s *Store) maintain(ctx context.Context) {
	if err := s.checkpoint(ctx); err != nil && ctx.Err() == nil {
		s.met.checkpointFailed()
		s.log.Warn("cannot write the checkpoint; the changelog is not affected, starts take longer", "error", err)
	}
	if err := s.trim(time.Now()); err != nil {
		s.log.Warn("cannot drop old changelog segments", "error", err)
	}
	s.lookBack()
	if s.opt.Compress && s.backups.Load() == 0 {
		if _, err := s.changelog.Compress(); err != nil {
			s.log.Warn("cannot compress a changelog segment; it stays as it is", "error", err)
		}
	}
	s.filterNext(ctx)
}

// filterNext makes the key filter of the oldest segment that has none and that will not
// change any more. One that cannot be made is left for the next start: histories read
// the segment instead.
func (s *Store) filterNext(ctx context.Context) {
	end, done := s.Position().Offset, change.Offset(s.filtered.Load())
	for _, g := range s.changelog.Segments() {
		if !g.Sealed || g.Last > end {
			return
		}
		if g.Last <= done {
			continue
		}
		path := keyfilter.Path(s.changelog.Dir(), g.First)
		_, err := os.Stat(path)
		missing := errors.Is(err, fs.ErrNotExist)
		if missing {
			err := s.filter(ctx, g, path)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				s.log.Warn("cannot make the key filter of a changelog segment; histories of projects read all of it", "segment", g.Path, "error", err)
			}
		}
		s.filtered.CompareAndSwap(uint64(done), uint64(g.Last)) // a damaged one that was removed meanwhile resets it
		if missing {
			return // one at a time
		}
		done = g.Last
	}
}

// filter makes the key filter of a segment from its blocks.
func (s *Store) filter(ctx context.Context, g changelog.Segment, path string) error {
	b, r := keyfilter.NewBuilder(g.First), s.newReader(g.First)
	for at := g.First; at <= g.Last; {
		if err := ctx.Err(); err != nil {
			return err
		}
		blocks, err := s.changelog.Read(at, batchBytes/8)
		if err != nil {
			return err
		}
		for _, block := range blocks {
			if err := projectsIn(block, r.schema, b.Add); err != nil {
				return err
			}
			at = block.Last() + 1
			b.Block(block.Last(), len(block.Data))
		}
	}
	return b.Write(path, g.Last)
}

// checkpoint brings the checkpoint file to the published offset, reading the
// changelog only.
func (s *Store) checkpoint(ctx context.Context) error {
	c := &s.ckpt
	c.busy.Lock()
	defer c.busy.Unlock()
	end := s.Position().Offset
	if c.file == nil || c.applied >= end {
		return nil
	}
	began := time.Now()
	at, err := c.file.Applied() // a commit that failed may be there nevertheless
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	c.set(at)
	for c.applied < end { // written under busy only
		if ctx.Err() != nil {
			return ctx.Err()
		}
		b, upTo, err := s.collect(c.applied+1, end)
		if err != nil {
			return fmt.Errorf("checkpoint: %w", err)
		}
		s.crash("checkpoint.begin")
		if err := c.file.Apply(b, upTo); err != nil {
			return err
		}
		s.crash("checkpoint.done")
		c.set(upTo)
	}
	c.mu.Lock()
	c.done = time.Now()
	c.mu.Unlock()
	s.met.checkpointed(time.Since(began))
	return nil
}

func (s *Store) crash(point string) {
	if s.opt.Crash != nil {
		s.opt.Crash(point)
	}
}

// collect reads the log from an offset on into a batch, and returns the offset
// that the batch leads to.
func (s *Store) collect(from, end change.Offset) (*checkpoint.Batch, change.Offset, error) {
	c := &collector{batch: checkpoint.NewBatch(), schemas: map[uint32]*view.Schema{}}
	relations := s.changelog.Dictionary()
	c.relation = func(number uint32) (*view.Schema, error) {
		d := newDictionary()
		w, ok := relations[number]
		if !ok {
			return nil, fmt.Errorf("relation %d is not in the dictionary", number)
		}
		if err := d.load(number, w); err != nil {
			return nil, err
		}
		sh := d.byNumber[number]
		if sh.Table != view.Plain {
			c.batch.Relation(number, w)
		}
		return sh, nil
	}
	at := from
	for at <= end && c.batch.Bytes() < batchBytes {
		blocks, err := s.changelog.Read(at, batchBytes/8)
		if err != nil {
			return nil, 0, err
		}
		if len(blocks) == 0 {
			break
		}
		for _, b := range blocks {
			for it, err := range record.All(b.Data, b.First) {
				if err == nil && !it.Ends && it.Offset >= from {
					err = c.add(it.Entry)
				}
				if err != nil {
					return nil, 0, fmt.Errorf("offset %d: %w", it.Offset, err)
				}
			}
			at = b.Last() + 1
		}
	}
	return c.batch, at - 1, nil
}

// collector turns records into a checkpoint batch.
type collector struct {
	batch    *checkpoint.Batch
	schemas  map[uint32]*view.Schema
	relation func(uint32) (*view.Schema, error)
}

func (c *collector) add(e record.Entry) (err error) {
	if e.Op == change.Retract || e.Op == change.Removed {
		return nil
	}
	sh := c.schemas[e.Relation]
	if sh == nil {
		if sh, err = c.relation(e.Relation); err != nil {
			return err
		}
		c.schemas[e.Relation] = sh
	}
	if sh.Table == view.Plain {
		return nil
	}
	table := byte('0' + sh.Table)
	switch e.Op {
	case change.Truncate:
		c.batch.Clear(table)
		return nil
	case change.Delete:
		key, err := sh.Key(e.Before)
		if err != nil {
			return err
		}
		c.batch.Delete(table, key)
		return nil
	}
	key, err := sh.Key(e.After)
	if err != nil {
		return err
	}
	c.batch.Put(table, key, e.Relation, e.After)
	return nil
}

// trim applies the retention policy, never to a segment that the checkpoint has not
// passed: the records of tables without a view go first.
func (s *Store) trim(now time.Time) error {
	s.trimming.Lock()
	defer s.trimming.Unlock()
	r := *s.retain.Load()
	if s.backups.Load() > 0 {
		return nil
	}
	applied, held := s.ckpt.at(), s.held(r)
	var plain int64
	if r.TablesBytes > 0 && s.Snapshot().tail.Plain > 0 {
		var err error
		if plain, err = s.strip(r, applied, held); err != nil {
			return err
		}
	}
	if r.Age <= 0 && r.Bytes <= 0 {
		return nil
	}
	segs := s.changelog.Segments()
	total := size(segs)
	for _, g := range segs {
		old := r.Age > 0 && now.Sub(g.Written) > r.Age
		big := r.Bytes > 0 && total-plain > r.Bytes
		if !g.Sealed || g.Last > applied || !old && !big {
			return nil
		}
		if r.holds(g, held, total) {
			return nil
		}
		if err := s.changelog.DropOldest(); err != nil {
			return err
		}
		if err := os.Remove(keyfilter.Path(s.changelog.Dir(), g.First)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		total -= g.Bytes
		s.met.dropped()
		s.log.Info("dropped an old changelog segment", "segment", g.Path, "first_offset", uint64(g.First), "last_offset", uint64(g.Last))
	}
	return nil
}

func size(segs []changelog.Segment) (n int64) {
	for _, g := range segs {
		n += g.Bytes
	}
	return n
}

// holds reports whether groups that have read up to held need a segment, in a log of
// so many bytes.
func (r Retention) holds(g changelog.Segment, held change.Offset, total int64) bool {
	return g.Last > held && (r.HoldBytes <= 0 || total <= r.HoldBytes)
}

// held returns the offset up to which no held group needs the log any more.
func (s *Store) held(r Retention) change.Offset {
	at := change.Offset(math.MaxUint64)
	for _, name := range r.Hold {
		g, _ := s.groups.Get(name)
		for _, c := range g.Topics {
			at = min(at, c.Offset)
		}
	}
	return at
}

// Gone reports what retention has taken of a topic: the oldest offset that is kept,
// and the last change before it, 0 for none. When the log begins inside a
// transaction nobody knows whose changes are gone; then every table's may be.
func (s *Store) Gone(topic string) (oldest, last change.Offset, err error) {
	starts, err := s.starts(topic)
	if err != nil {
		return 0, 0, fmt.Errorf("read where topic %s begins: %w", topic, err)
	}
	first := starts[0]
	at, _, err := s.topicAtStart(first, topic)
	if s.History().After(first.Visible) < first.Next {
		at.Last = first.Next - 1
	}
	return first.Next, at.Last, err
}
