package rpc

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash/fnv"

	"carbond/store/change"
)

// maxToken bounds a page token as text. A Postgres primary key is at most 2,704
// bytes; embedded mode has no such limit, but no feed writes keys this long.
const maxToken = 16 << 10

// errToken is the error of every token that this server did not make for this
// query. Why is none of the caller's business: tokens are opaque.
var errToken = errors.New("is not a next_page_token of this call and filter")

// A token is base64url of: a format byte, 8 bytes of checksum, the body. The
// checksum covers format, call, filter and body, so that a token works only
// with the query it was made for. It guards against mistakes, not against
// forgery: a token says where to go on and gives no right to anything, so there
// is no key, and tokens outlive restarts and work on every machine of a fleet.
const tokenFormat = 1

var tokenEncoding = base64.RawURLEncoding.Strict()

func tokenSum(call, filter string, body []byte) (sum [8]byte) {
	h := sha256.New()
	var n [8]byte
	for _, part := range []string{"carbond page token", string(rune(tokenFormat)), call, filter} {
		binary.BigEndian.PutUint64(n[:], uint64(len(part)))
		h.Write(n[:])
		h.Write([]byte(part))
	}
	h.Write(body)
	copy(sum[:], h.Sum(nil))
	return sum
}

func encodeToken(call, filter string, body []byte) string {
	sum := tokenSum(call, filter, body)
	b := make([]byte, 0, 1+len(sum)+len(body))
	b = append(b, tokenFormat)
	b = append(b, sum[:]...)
	b = append(b, body...)
	return tokenEncoding.EncodeToString(b)
}

func decodeToken(call, filter, token string) ([]byte, error) {
	if len(token) > maxToken {
		return nil, errToken
	}
	b, err := tokenEncoding.DecodeString(token)
	if err != nil || len(b) < 9 || b[0] != tokenFormat {
		return nil, errToken
	}
	if tokenSum(call, filter, b[9:]) != [8]byte(b[1:9]) {
		return nil, errToken
	}
	return b[9:], nil
}

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
		return newsMark{}, errToken
	}
	m := newsMark{next: int(b[0])}
	for b = b[1:]; len(b) > 0; b = b[8:] {
		m.last = append(m.last, binary.BigEndian.Uint64(b))
	}
	return m, nil
}
