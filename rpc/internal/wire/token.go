package wire

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
)

// maxToken bounds a page token as text. A Postgres primary key is at most 2,704
// bytes; embedded mode has no such limit, but no feed writes keys this long.
const maxToken = 16 << 10

// ErrToken is the error of every token that this server did not make for this
// query. Why is none of the caller's business: tokens are opaque.
var ErrToken = errors.New("is not a next_page_token of this call and filter")

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

// EncodeToken makes a token of body for a call and filter.
func EncodeToken(call, filter string, body []byte) string {
	sum := tokenSum(call, filter, body)
	b := make([]byte, 0, 1+len(sum)+len(body))
	b = append(b, tokenFormat)
	b = append(b, sum[:]...)
	b = append(b, body...)
	return tokenEncoding.EncodeToString(b)
}

// DecodeToken returns the body of a token that was made for call and filter.
func DecodeToken(call, filter, token string) ([]byte, error) {
	if len(token) > maxToken {
		return nil, ErrToken
	}
	b, err := tokenEncoding.DecodeString(token)
	if err != nil || len(b) < 9 || b[0] != tokenFormat {
		return nil, ErrToken
	}
	if tokenSum(call, filter, b[9:]) != [8]byte(b[1:9]) {
		return nil, ErrToken
	}
	return b[9:], nil
}
