package kafka

import (
	"context"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"carbond/rpc/internal/changelog"
	"carbond/rpc/internal/debezium"
)

const (
	// batchBytes is where a batch is cut.
	batchBytes = 256 << 10
	// pieceBytes is how much of the log is read at a time.
	pieceBytes = 128 << 10
	// maxCursors bounds the places of a topic at which reading can go on without
	// looking for them.
	maxCursors = 16
)

// topicReader gives the batches of a topic. Each is made once, however many
// clients read it, while it is kept.
type topicReader struct {
	*Server
	topic string

	state   sync.Mutex // guards what follows
	cursors []*cursor  // least recently used first
	making  map[uint64]chan struct{}
}

// cursor is a place in a topic at which reading can go on.
type cursor struct {
	changelog *changelog.Cursor
	builder   batchBuilder
	next      uint64 // message
	left      []changelog.Placed
}

// batch returns the batch that begins at a message, nil when there is nothing yet.
func (t *topicReader) batch(ctx context.Context, first uint64, epoch int32) (*batch, error) {
	for {
		key := batchKey{t.topic, epoch, first}
		if b := t.cache.get(key); b != nil {
			return b, nil
		}
		t.state.Lock()
		busy := t.making[first]
		if busy == nil {
			if t.making == nil {
				t.making = map[uint64]chan struct{}{}
			}
			done := make(chan struct{})
			t.making[first] = done
			c := t.take(first)
			t.state.Unlock()
			b, err := t.make(ctx, c, first, epoch)
			if b != nil {
				t.cache.add(key, b)
			}
			t.state.Lock()
			delete(t.making, first)
			t.state.Unlock()
			close(done)
			return b, err
		}
		t.state.Unlock()
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// take returns the cursor that stands at a message, nil for none. Callers hold state.
func (t *topicReader) take(first uint64) *cursor {
	for i, c := range t.cursors {
		if c.next == first {
			t.cursors = append(t.cursors[:i], t.cursors[i+1:]...)
			return c
		}
	}
	return nil
}

// make reads and encodes a batch, from a cursor or from where the message is.
func (t *topicReader) make(ctx context.Context, c *cursor, first uint64, epoch int32) (*batch, error) {
	skip := false
	if c == nil {
		done, err := t.scan(ctx)
		if err != nil {
			return nil, err
		}
		at, begins, err := t.log.FindMessage(ctx, t.topic, first)
		done()
		if err != nil {
			return nil, err
		}
		e, err := debezium.NewEncoder(t.opt.Format)
		if err != nil {
			return nil, err
		}
		e.Source = debezium.Source{Version: t.opt.Version, Database: t.log.Position().Source.Database}
		c = &cursor{changelog: changelog.NewCursor(t.log, t.topic, at), builder: batchBuilder{encoder: e}, next: first}
		skip = begins < first // the message is the tombstone of that record
	}
	b := &c.builder
	b.begin(first)
	for {
		for len(c.left) > 0 && len(b.out) < batchBytes {
			b.add(&c.left[0], skip)
			c.left, skip = c.left[1:], false
		}
		if len(c.left) > 0 || b.count > 0 && len(b.out) >= batchBytes {
			break
		}
		var more bool
		var err error
		if c.left, more, err = c.changelog.Read(pieceBytes); err != nil {
			return nil, err
		}
		if !more || ctx.Err() != nil {
			break
		}
	}
	var out *batch
	if b.count > 0 {
		out = b.end(epoch)
		c.next = out.next
		t.met.batches.Inc()
	}
	t.state.Lock()
	defer t.state.Unlock()
	if t.cursors = append(t.cursors, c); len(t.cursors) > maxCursors {
		t.cursors = t.cursors[1:]
	}
	return out, ctx.Err()
}

// batchKey names a batch.
type batchKey struct {
	topic string
	epoch int32
	first uint64
}

// batchCache keeps the batches that were used last, up to a number of bytes.
type batchCache struct {
	mu    sync.Mutex // guards what follows
	lru   *simplelru.LRU[batchKey, *batch]
	bytes int64
	max   int64
}

func newBatchCache(max int64) *batchCache {
	c := &batchCache{max: max}
	// Bounded by bytes; each batch has some hundred at least.
	c.lru, _ = simplelru.NewLRU(int(max/128)+1, func(_ batchKey, b *batch) { c.bytes -= int64(len(b.data)) }) // errs only below 1
	return c
}

func (c *batchCache) get(k batchKey) *batch {
	c.mu.Lock()
	defer c.mu.Unlock()
	b, _ := c.lru.Get(k)
	return b
}

func (c *batchCache) add(k batchKey, b *batch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lru.Remove(k)
	c.lru.Add(k, b)
	for c.bytes += int64(len(b.data)); c.bytes > c.max && c.lru.Len() > 1; {
		c.lru.RemoveOldest()
	}
}
