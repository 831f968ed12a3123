package kafka

import (
	"context"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/klauspost/compress/zstd"

	"carbond/rpc/internal/changelog"
	"carbond/rpc/internal/debezium"
)

const (
	// batchBytes is where a batch is cut.
	batchBytes = 256 << 10
	// pieceBytes is how much of the log is read at a time.
	pieceBytes = 128 << 10
	// maxPieces is how much of the log is read for a batch that is not full: a
	// client waits for it, and other topics can lie between.
	maxPieces = 64
	// maxCursors bounds the places at which reading can go on without looking for
	// them.
	maxCursors = 64
)

// batchKey names a batch: that of a topic in an epoch that begins at a message.
type batchKey struct {
	topic  string
	epoch  int32
	first  uint64
	packed bool // compressed
}

// batches makes the batches of all topics. Each is made once, however many clients
// read it, while it is kept.
type batches struct {
	srv *Server

	mu      sync.Mutex // guards what follows
	kept    *simplelru.LRU[batchKey, *batch]
	bytes   int64 // of what is kept, at most max
	max     int64
	cursors *simplelru.LRU[batchKey, *cursor] // by what they read next
	making  map[batchKey]chan struct{}

	builders sync.Pool
	zstd     *zstd.Encoder // for everybody
}

func newBatches(srv *Server, max int64) *batches {
	b := &batches{srv: srv, max: max, making: map[batchKey]chan struct{}{}, builders: sync.Pool{New: func() any { return new(batchBuilder) }}}
	// Bounded by bytes; each batch has some hundred at least. Both err only below 1.
	b.kept, _ = simplelru.NewLRU(int(max/128)+1, func(_ batchKey, old *batch) { b.bytes -= int64(cap(old.data)) })
	b.zstd, _ = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(batchBytes)) // these options are right
	b.cursors, _ = simplelru.NewLRU[batchKey, *cursor](maxCursors, nil)
	return b
}

// cursor is a place in a topic at which reading can go on.
type cursor struct {
	changelog *changelog.Cursor
	encoder   *debezium.Encoder
	left      []changelog.Placed
}

// get returns a batch, nil when there is nothing yet.
func (b *batches) get(ctx context.Context, key batchKey) (*batch, error) {
	for {
		b.mu.Lock()
		if have, ok := b.kept.Get(key); ok {
			b.mu.Unlock()
			return have, nil
		}
		busy := b.making[key]
		if busy == nil {
			done := make(chan struct{})
			b.making[key] = done
			c, _ := b.cursors.Get(key)
			b.cursors.Remove(key)
			b.mu.Unlock()
			out, err := b.make(ctx, c, key)
			b.mu.Lock()
			b.keep(key, out)
			delete(b.making, key)
			b.mu.Unlock()
			close(done)
			return out, err
		}
		b.mu.Unlock()
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// keep keeps a batch. Callers hold mu.
func (b *batches) keep(key batchKey, made *batch) {
	if made == nil {
		return
	}
	b.kept.Add(key, made)
	for b.bytes += int64(cap(made.data)); b.bytes > b.max && b.kept.Len() > 1; {
		b.kept.RemoveOldest()
	}
}

// make reads and encodes a batch, from a cursor or from where the message is.
func (b *batches) make(ctx context.Context, c *cursor, key batchKey) (out *batch, err error) {
	skip := false
	if c == nil {
		if c, skip, err = b.find(ctx, key); err != nil {
			return nil, err
		}
	}
	to := b.builders.Get().(*batchBuilder)
	defer b.builders.Put(to)
	to.begin(key.first, c.encoder)
	for pieces := 1; ; pieces++ {
		for len(c.left) > 0 && len(to.out) < batchBytes {
			to.add(&c.left[0], skip)
			c.left, skip = c.left[1:], false
		}
		if len(c.left) > 0 || to.count > 0 && (len(to.out) >= batchBytes || pieces > maxPieces) {
			break
		}
		var more bool
		if c.left, more, err = c.changelog.Read(pieceBytes); err != nil {
			return nil, err
		}
		if !more || ctx.Err() != nil {
			break
		}
	}
	if to.count > 0 {
		var enc *zstd.Encoder
		if key.packed {
			enc = b.zstd
		}
		out = to.end(key.epoch, enc)
		key.first = out.next
		b.srv.met.batches.Inc()
	}
	b.mu.Lock()
	b.cursors.Add(key, c)
	b.mu.Unlock()
	return out, ctx.Err()
}

// find makes a cursor that stands at a message. skip says that the message is the
// tombstone of the record at which it stands.
func (b *batches) find(ctx context.Context, key batchKey) (c *cursor, skip bool, err error) {
	done, err := b.srv.scan(ctx)
	if err != nil {
		return nil, false, err
	}
	at, begins, err := b.srv.log.FindMessage(ctx, key.topic, key.first)
	done()
	if err != nil {
		return nil, false, err
	}
	e, err := debezium.NewEncoder(b.srv.opt.Format)
	if err != nil {
		return nil, false, err
	}
	e.Source = debezium.Source{Version: b.srv.opt.Version, Database: b.srv.log.Position().Source.Database}
	return &cursor{changelog: changelog.NewCursor(b.srv.log, key.topic, at), encoder: e}, begins < key.first, nil
}
