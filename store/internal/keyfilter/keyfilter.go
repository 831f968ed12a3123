// Package keyfilter says which parts of a sealed segment may hold changes of a key,
// so that the history of one key in a large log reads little of it.
//
// A filter is a small file beside the segment, made from it and from nothing else: a
// Bloom filter for each span of about SpanBytes. It may say yes in vain, about three
// times in a thousand, and never no. A reader that finds it missing or damaged reads
// the segment. It stays true while the segment has its offsets, whatever form its frames
// have: an offset is never given to another change.
package keyfilter

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"carbond/store/change"
	"carbond/store/durable"
	"carbond/store/internal/boltfile"
)

const (
	// SpanBytes is the size from which on a span ends with the block, before compression.
	SpanBytes = 64 << 10

	version = 1
	head    = 1 + 8 // version, first offset
	// keyBits for each key and probes make three false answers in a thousand.
	keyBits, probes = 12, 8
)

// ErrDamaged is wrapped when a filter is not what was written, or of another segment.
var ErrDamaged = errors.New("damaged key filter; remove the file, the daemon makes it again")

// Path returns the name of the filter of the segment in dir that begins at first.
func Path(dir string, first change.Offset) string {
	return filepath.Join(dir, fmt.Sprintf("%020d.keys", uint64(first)))
}

// Builder collects the keys of a segment, block by block.
type Builder struct {
	out   []byte
	last  change.Offset // of the span before
	bytes int           // of the span that is collected
	keys  map[uint64]struct{}
}

// NewBuilder begins the filter of a segment whose first offset is first.
func NewBuilder(first change.Offset) *Builder {
	return &Builder{out: binary.BigEndian.AppendUint64([]byte{version}, uint64(first)), last: first - 1, keys: map[uint64]struct{}{}}
}

// Add notes a key of the next block.
func (b *Builder) Add(key string) { b.keys[hash(key)] = struct{}{} }

// Block ends a block of so many bytes, the last offset of which is last.
func (b *Builder) Block(last change.Offset, bytes int) {
	if b.bytes += bytes; b.bytes >= SpanBytes {
		b.cut(last)
	}
}

func (b *Builder) cut(last change.Offset) {
	bloom := make([]byte, (len(b.keys)*keyBits+7)/8)
	for k := range b.keys {
		for i := range uint64(probes) {
			at := probe(k, i, bloom)
			bloom[at/8] |= 1 << (at % 8)
		}
	}
	b.out = binary.AppendUvarint(b.out, uint64(last-b.last))
	b.out = binary.AppendUvarint(b.out, uint64(len(bloom)))
	b.out = append(b.out, bloom...)
	b.last, b.bytes = last, 0
	clear(b.keys)
}

// Write ends the filter at the segment's last offset and makes it the file at path.
func (b *Builder) Write(path string, last change.Offset) error {
	if b.last < last {
		b.cut(last)
	}
	return durable.Replace(path, boltfile.Protect(nil, b.out), 0o640)
}

// Filter is the filter of a segment.
type Filter struct {
	First, Last change.Offset
	Bytes       int // of the file
	spans       []span
}

type span struct {
	last  change.Offset
	bloom []byte
}

// Read reads the filter of the segment in dir that begins at first. Errors:
// fs.ErrNotExist, ErrDamaged.
func Read(dir string, first change.Offset) (*Filter, error) {
	path := Path(dir, first)
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	f, err := decode(raw)
	if err == nil && f.First != first {
		err = fmt.Errorf("it is of the segment at offset %d", f.First)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", path, ErrDamaged, err)
	}
	return f, nil
}

func decode(raw []byte) (*Filter, error) {
	b, err := boltfile.Unprotect(nil, raw)
	if err != nil {
		return nil, err
	}
	if len(b) < head || b[0] != version {
		return nil, errors.New("unknown form")
	}
	f := &Filter{First: change.Offset(binary.BigEndian.Uint64(b[1:])), Bytes: len(raw)}
	f.Last = f.First - 1
	for b = b[head:]; len(b) > 0; {
		offsets, n := binary.Uvarint(b)
		if n <= 0 || offsets == 0 {
			return nil, errors.New("span without changes")
		}
		size, m := binary.Uvarint(b[n:])
		if m <= 0 || size > uint64(len(b)-n-m) {
			return nil, errors.New("span cut short")
		}
		f.Last += change.Offset(offsets)
		end := n + m + int(size)
		f.spans = append(f.spans, span{f.Last, b[n+m : end]})
		b = b[end:]
	}
	return f, nil
}

// Next returns the first offset from at on where a change of the key may be; false when
// the segment has none from there on.
func (f *Filter) Next(key string, at change.Offset) (change.Offset, bool) {
	k := hash(key)
	i, _ := slices.BinarySearchFunc(f.spans, at, func(s span, at change.Offset) int { return cmp.Compare(s.last, at) })
	for ; i < len(f.spans); i++ {
		if f.spans[i].may(k) {
			if i > 0 {
				at = max(at, f.spans[i-1].last+1)
			}
			return max(at, f.First), true
		}
	}
	return 0, false
}

func (s span) may(k uint64) bool {
	for i := range uint64(probes) {
		if len(s.bloom) == 0 {
			return false
		}
		if at := probe(k, i, s.bloom); s.bloom[at/8]&(1<<(at%8)) == 0 {
			return false
		}
	}
	return true
}

// probe is the place of the i-th bit of a hash.
func probe(k, i uint64, bloom []byte) uint64 {
	return (k + i*(k>>32|k<<32|1)) % uint64(8*len(bloom))
}

// hash is FNV-1a and a mixing step: it is on disk, so it never changes.
func hash(key string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(key) {
		h = (h ^ uint64(key[i])) * 1099511628211
	}
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}
