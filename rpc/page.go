package rpc

import (
	"encoding/binary"
	"hash/fnv"

	"carbond/rpc/internal/wire"
	"carbond/store/change"
)

// newsMark says where the next page of news begins. The order of news is not a
// key that a client could hold: published_at is not on the wire, items are
// deleted and newer ones push the others down. So a mark remembers the last
// items handed out, and the next page begins after the latest of them that is
// still there. When none is, it begins at the position of the earliest: then an
// item may come twice, but none that stays in the view is passed over.
type newsMark struct {
	next int      // items handed out so far, in view positions
	last []uint64 // hashes of the guids of the last ones, latest first
}

// newsMarks is the number of items that a mark remembers.
const newsMarks = 8

func hashGUID(guid string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(guid))
	return h.Sum64()
}

// mark returns the mark after items[:next].
func mark(items []change.NewsItem, next int) newsMark {
	m := newsMark{next: next}
	for i := next - 1; i >= 0 && len(m.last) < newsMarks; i-- {
		m.last = append(m.last, hashGUID(items[i].GUID))
	}
	return m
}

// start returns the position in items at which the page after m begins.
func (m newsMark) start(items []change.NewsItem) int {
	at := make(map[uint64]int, len(items))
	for i := range items {
		at[hashGUID(items[i].GUID)] = i
	}
	for _, h := range m.last {
		if i, ok := at[h]; ok {
			return i + 1
		}
	}
	return min(max(0, m.next-len(m.last)), len(items))
}

func (m newsMark) encode() []byte {
	b := []byte{byte(m.next)}
	for _, h := range m.last {
		b = binary.BigEndian.AppendUint64(b, h)
	}
	return b
}

func decodeMark(b []byte) (newsMark, error) {
	if len(b) < 1 || len(b)%8 != 1 || len(b) > 1+8*newsMarks || int(b[0]) > change.NewsLimit || int(b[0]) < len(b)/8 {
		return newsMark{}, wire.ErrToken
	}
	m := newsMark{next: int(b[0])}
	for b = b[1:]; len(b) > 0; b = b[8:] {
		m.last = append(m.last, binary.BigEndian.Uint64(b))
	}
	return m, nil
}
