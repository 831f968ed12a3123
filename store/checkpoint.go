package store

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"carbond/store/change"
	"carbond/store/internal/checkpoint"
	"carbond/store/internal/record"
	"carbond/store/internal/view"
)

// batchBytes bounds the memory of one checkpoint commit. A checkpoint may stop
// inside a transaction: a start replays to the high-water mark before it serves.
const batchBytes = 16 << 20

type checkpointer struct {
	mu      sync.Mutex // guards what follows
	file    *checkpoint.File
	applied change.Offset
	done    time.Time
	took    time.Duration
}

func (c *checkpointer) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.file == nil {
		return nil
	}
	f := c.file
	c.file = nil
	return f.Close()
}

// at returns the offset at which the checkpoint stands.
func (c *checkpointer) at() change.Offset {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.applied
}

// copyTo copies the file as the last commit left it. The next checkpoint waits
// for the copy to begin, not for its end.
func (c *checkpointer) copyTo(open func(int64) (io.Writer, error)) error {
	c.mu.Lock()
	f := c.file
	c.mu.Unlock()
	if f == nil {
		return ErrClosed
	}
	return f.CopyTo(open)
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
	if s.opt.Compress && s.backups.Load() == 0 {
		if _, err := s.changelog.Compress(); err != nil {
			s.log.Warn("cannot compress a changelog segment; it stays as it is", "error", err)
		}
	}
}

// checkpoint brings the checkpoint file to the published offset, reading the
// changelog only.
func (s *Store) checkpoint(ctx context.Context) error {
	c := &s.ckpt
	c.mu.Lock()
	defer c.mu.Unlock()
	end := s.Position().Offset
	if c.file == nil || c.applied >= end {
		return nil
	}
	began := time.Now()
	for c.applied < end && ctx.Err() == nil {
		b, upTo, err := s.collect(c.applied+1, end)
		if err != nil {
			return fmt.Errorf("checkpoint: %w", err)
		}
		s.crash("checkpoint.begin")
		if err := c.file.Apply(b, upTo); err != nil {
			return err
		}
		s.crash("checkpoint.done")
		c.applied = upTo
	}
	c.done, c.took = time.Now(), time.Since(began)
	s.met.checkpointed(c.took)
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
	c := &collector{batch: checkpoint.NewBatch(), shapes: map[uint32]*view.Shape{}, from: from}
	words := s.changelog.Dictionary()
	c.word = func(number uint32) (*view.Shape, error) {
		d := newShapes()
		w, ok := words[number]
		if !ok {
			return nil, fmt.Errorf("relation %d is not in the dictionary", number)
		}
		if err := d.load(number, w); err != nil {
			return nil, err
		}
		c.batch.Word(number, w)
		return d.byNumber[number], nil
	}
	at := from
	for at <= end && c.batch.Bytes() < batchBytes {
		blocks, err := s.changelog.Read(at, readBytes)
		if err != nil {
			return nil, 0, err
		}
		if len(blocks) == 0 {
			break
		}
		for _, b := range blocks {
			c.next = b.First
			if err := record.Decode(b.Data, c); err != nil {
				return nil, 0, fmt.Errorf("offset %d: %w", c.next, err)
			}
			at = b.Last() + 1
		}
	}
	return c.batch, at - 1, nil
}

// collector turns records into a checkpoint batch.
type collector struct {
	batch  *checkpoint.Batch
	shapes map[uint32]*view.Shape
	word   func(uint32) (*view.Shape, error)
	next   change.Offset
	from   change.Offset
}

// Change implements record.Visitor.
func (c *collector) Change(_ record.Txn, _ uint64, e record.Entry) (err error) {
	at := c.next
	c.next++
	if at < c.from || e.Op == change.Retract {
		return nil
	}
	sh := c.shapes[e.Relation]
	if sh == nil {
		if sh, err = c.word(e.Relation); err != nil {
			return err
		}
		c.shapes[e.Relation] = sh
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

// End implements record.Visitor.
func (c *collector) End(record.Txn, change.LSN) error { return nil }
