package kafka

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"slices"
	"strconv"
	"time"

	"github.com/klauspost/compress/zstd"

	"carbond/rpc/internal/changelog"
	"carbond/rpc/internal/debezium"
	"carbond/store/change"
)

// batch is a run of messages of a topic as it goes over the wire: a record batch
// of format 2.
type batch struct {
	first, next uint64 // messages
	data        []byte
	size        int // before compression: what a client has to hold
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// batchHeader is the number of bytes before the records.
const batchHeader = 61

// maxScratch bounds the memory that a builder keeps for the next batch.
const maxScratch = 1 << 20

// batchBuilder writes record batches. It belongs to one goroutine; its memory is
// used again, as what is kept of a batch is a copy of its size.
type batchBuilder struct {
	encoder *debezium.Encoder
	out     []byte
	tail    []byte // scratch for the headers of a record
	value   []byte // scratch for a key and a value
	first   uint64
	count   uint32
	base    int64 // time of the first record
	latest  int64
}

// begin starts a batch at a message. Times in it count from base, in milliseconds.
func (b *batchBuilder) begin(first uint64, e *debezium.Encoder) {
	if cap(b.out)+cap(b.value) > maxScratch {
		*b = batchBuilder{} // there was a very long record
	}
	b.encoder, b.out = e, append(b.out[:0], make([]byte, batchHeader)...)
	b.first, b.count, b.latest = first, 0, 0
}

// add appends a record: its message, and for a deletion the tombstone behind it.
// skip leaves out the first message, for a reader that has had it.
func (b *batchBuilder) add(p *changelog.Placed, skip bool) {
	ms := millis(p.CommitTime)
	if b.count == 0 {
		b.base = ms
	}
	b.latest = max(b.latest, ms)
	b.value = b.encoder.AppendKey(b.value[:0], &p.Record)
	k := len(b.value)
	if !skip {
		b.value = b.encoder.AppendValue(b.value, &p.Record, p.At)
		b.record(p, ms, b.value[:k], b.value[k:])
	}
	if p.Op == change.Delete {
		b.record(p, ms, b.value[:k], nil)
	}
}

// record appends one record. An empty key is null, as of a TRUNCATE; a nil value
// is a tombstone.
func (b *batchBuilder) record(p *changelog.Placed, ms int64, key, value []byte) {
	if len(key) == 0 {
		key = nil
	}
	// What has any length goes straight behind its size, which the rest tells.
	var text [24]byte
	tail := append(b.tail[:0], 3<<1) // a varint
	tail = appendHeader(tail, "offset", strconv.AppendUint(text[:0], uint64(p.Offset), 10))
	tail = appendHeader(tail, "lsn", []byte(p.LSN.String()))
	tail = appendHeader(tail, "txid", strconv.AppendUint(text[:0], uint64(p.XID), 10))
	head := append(text[:0], 0) // attributes
	head = binary.AppendVarint(head, ms-b.base)
	head = binary.AppendVarint(head, int64(b.count))
	b.out = binary.AppendVarint(b.out, int64(len(head)+bytesSize(key)+bytesSize(value)+len(tail)))
	b.out = append(b.out, head...)
	b.out = appendBytes(appendBytes(b.out, key), value)
	b.out = append(b.out, tail...)
	b.tail = tail
	b.count++
}

// bytesSize is what appendBytes appends.
func bytesSize(v []byte) int {
	if v == nil {
		return 1
	}
	n := 1
	for u := uint64(len(v)) << 1; u >= 0x80; u >>= 7 {
		n++
	}
	return n + len(v)
}

func appendBytes(b, v []byte) []byte {
	if v == nil {
		return binary.AppendVarint(b, -1)
	}
	return append(binary.AppendVarint(b, int64(len(v))), v...)
}

func appendHeader(b []byte, name string, value []byte) []byte {
	b = append(binary.AppendVarint(b, int64(len(name))), name...)
	return appendBytes(b, value)
}

// codecZstd is the attribute of a batch whose records are compressed so.
const codecZstd = 4

// end returns the finished batch, its records compressed where that makes it smaller
// and enc is not nil.
func (b *batchBuilder) end(epoch int32, enc *zstd.Encoder) *batch {
	h, be, codec := b.out, binary.BigEndian, uint16(0)
	if enc != nil {
		if packed := enc.EncodeAll(h[batchHeader:], slices.Clone(h[:batchHeader])); len(packed) < len(h) {
			h, codec = packed, codecZstd
		}
	}
	h = bytes.Clone(h)
	be.PutUint64(h[0:], b.first)
	be.PutUint32(h[8:], uint32(len(h)-12))
	be.PutUint32(h[12:], uint32(epoch))
	h[16] = 2                   // format
	be.PutUint16(h[21:], codec) // attributes; time of creation
	be.PutUint32(h[23:], b.count-1)
	be.PutUint64(h[27:], uint64(b.base))
	be.PutUint64(h[35:], uint64(b.latest))
	be.PutUint64(h[43:], ^uint64(0)) // no producer id,
	be.PutUint16(h[51:], ^uint16(0)) // epoch
	be.PutUint32(h[53:], ^uint32(0)) // or sequence
	be.PutUint32(h[57:], b.count)
	be.PutUint32(h[17:], crc32.Checksum(h[21:], castagnoli))
	return &batch{first: b.first, next: b.first + uint64(b.count), data: h, size: len(b.out)}
}

// millis is a commit time as Kafka has it, 0 for none.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}
