package changelog

import (
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"slices"

	"github.com/klauspost/compress/zstd"
	bolt "go.etcd.io/bbolt"

	"carbond/store/change"
)

// Check walks every segment of a closed log read-only: bbolt's own structure,
// header, dictionary, every block's checksum, the run of offsets inside and
// across segments, seals and tail. visit sees every block, in order, with the
// segment's dictionary. It goes on after damage and returns all of it.
func Check(dir string, visit func(Block, map[uint32][]byte) error) (Tail, []error) {
	segs, err := scanReadOnly(dir)
	if err != nil {
		return Tail{}, []error{err}
	}
	h := lineage(segs)
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxPayload))
	if err != nil {
		return Tail{}, []error{err}
	}
	defer dec.Close()
	c := checker{dec: dec, visit: visit}
	for i, s := range segs {
		if i > 0 && s.first != h.After(c.next-1) {
			c.add(s.misplaced(c.next))
		}
		c.next = s.first
		c.segment(s, i < len(segs)-1)
	}
	return c.tail, c.errs
}

// Files returns the number of segments in dir, the offset at which the oldest
// begins, 0 when there is none, and the history of the log.
func Files(dir string) (n int, oldest change.Offset, h change.History, err error) {
	segs, err := scanReadOnly(dir)
	if err != nil || len(segs) == 0 {
		return 0, 0, h, err
	}
	return len(segs), segs[0].first, lineage(segs), nil
}

// LastTail reads the tail of a closed log without changing anything.
func LastTail(dir string) (t Tail, err error) {
	segs, err := scanReadOnly(dir)
	if err != nil || len(segs) == 0 {
		return t, err
	}
	s := segs[len(segs)-1]
	if err := s.open(true, Options{}); err != nil {
		return t, err
	}
	err = s.view(func(tx *bolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		if meta == nil {
			return s.corrupt(0, -1, errors.New("buckets are missing"))
		}
		t, err = decodeTail(meta.Get(keyTail))
		return err
	})
	return t, errors.Join(err, s.close())
}

// lineage returns what the newest segment that can be read says of the log's
// history.
func lineage(segs []*segment) change.History {
	for _, s := range slices.Backward(segs) {
		if _, h, _, ok := s.ends(); ok {
			return h
		}
	}
	return change.History{First: 1}
}

func scanReadOnly(dir string) ([]*segment, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read log directory: %w", err)
	}
	var segs []*segment
	for _, e := range entries { // ReadDir sorts by name, and names sort by offset
		if first, ok := parseSegmentName(e.Name()); ok {
			segs = append(segs, &segment{path: dir + string(os.PathSeparator) + e.Name(), first: first})
		}
	}
	return segs, nil
}

type checker struct {
	dec   *zstd.Decoder
	visit func(Block, map[uint32][]byte) error
	errs  []error
	next  change.Offset
	tail  Tail
}

func (c *checker) add(err error) {
	if err != nil {
		c.errs = append(c.errs, err)
	}
}

func (c *checker) segment(s *segment, mustSeal bool) {
	if err := s.open(true, Options{}); err != nil {
		c.add(err)
		return
	}
	defer s.close()
	for _, err := range s.db.Check() {
		c.add(s.damage(err))
	}
	c.add(s.view(func(tx *bolt.Tx) error {
		meta, dict, blocks := tx.Bucket(bucketMeta), tx.Bucket(bucketDict), tx.Bucket(bucketBlocks)
		if meta == nil || dict == nil || blocks == nil {
			return s.corrupt(0, -1, errors.New("buckets are missing"))
		}
		v := meta.Get(keyHeader)
		if first, _, err := decodeHeader(v); err != nil || first != s.first {
			c.add(s.corrupt(0, s.place(v), fmt.Errorf("header with first offset %d: %w", first, err)))
		}
		v = meta.Get(keyTail)
		tail, err := decodeTail(v)
		if err != nil {
			c.add(s.corrupt(0, s.place(v), err))
		}
		v = meta.Get(keyHistory)
		if _, err := decodeHistory(v); err != nil {
			c.add(s.corrupt(0, s.place(v), err))
		}
		for _, name := range [][]byte{bucketTopics, bucketStart} {
			c.add(s.readTopics(tx.Bucket(name), map[string][]byte{}))
		}
		relations := map[uint32][]byte{}
		c.add(s.readDict(dict, relations))
		got := c.blocks(s, blocks, relations)
		c.seal(s, meta.Get(keySeal), got, mustSeal)
		if err == nil && tail.Next != c.next {
			c.add(s.corrupt(c.next, -1, fmt.Errorf("tail says %d is next, the blocks say %d", tail.Next, c.next)))
		}
		c.tail = tail
		return nil
	}))
}

func (c *checker) blocks(s *segment, blocks *bolt.Bucket, relations map[uint32][]byte) (got seal) {
	cur := blocks.Cursor()
	for k, v := cur.First(); k != nil; k, v = cur.Next() {
		got.blocks++
		got.sum = crc32.Update(got.sum, castagnoli, v)
		b, err := decodeFrame(k, v, c.dec)
		if err != nil {
			c.add(s.corrupt(b.First, s.place(v), err))
			continue
		}
		if b.First != c.next {
			c.add(s.corrupt(c.next, s.place(v), fmt.Errorf("gap: next block is at %d", b.First)))
		}
		c.next = b.Last() + 1
		if c.visit != nil {
			if err := c.visit(b, relations); err != nil {
				c.add(s.corrupt(b.First, s.place(v), err))
			}
		}
	}
	got.last = c.next - 1
	return got
}

func (c *checker) seal(s *segment, v []byte, got seal, must bool) {
	if v == nil {
		if must {
			c.add(s.corrupt(0, -1, errors.New("an old segment is not sealed")))
		}
		return
	}
	want, err := decodeSeal(v)
	if err != nil {
		c.add(s.corrupt(0, s.place(v), err))
		return
	}
	got.flags = want.flags
	if want != got {
		c.add(s.corrupt(0, s.place(v), fmt.Errorf("seal says %d blocks to offset %d (%08x), the blocks say %d to %d (%08x)",
			want.blocks, want.last, want.sum, got.blocks, got.last, got.sum)))
	}
}
