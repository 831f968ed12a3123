package watch

import (
	"encoding/binary"
	"errors"
	"time"

	"carbond/rpc/internal/hub"
	"carbond/rpc/internal/wire"
	"carbond/store/change"
)

// errResumeToken is the error of every token that this server did not make for
// this call and filter.
var errResumeToken = errors.New("is not a resume_token of this call and filter")

// place is what a resume token holds: an end of a transaction in the changelog,
// and the history that it is in. Earlier versions wrote no history; then the
// commit time tells a place from one with the same offset in another one.
type place struct {
	offset  change.Offset
	lsn     change.LSN
	commit  int64 // microseconds since 1970, 0 = not known
	history string
}

func placeOf(h hub.Head) place {
	p := place{offset: h.Offset, lsn: h.LSN}
	if !h.CommitTime.IsZero() {
		p.commit = h.CommitTime.UnixMicro()
	}
	return p
}

func (p place) head() hub.Head {
	h := hub.Head{Offset: p.offset, LSN: p.lsn, Last: true}
	if p.commit != 0 {
		h.CommitTime = time.UnixMicro(p.commit).UTC()
	}
	return h
}

// maxHistory is the longest id of a history.
const maxHistory = 64

// token makes a token of a place in the history of now.
func (w *Service) token(k hub.Key, h hub.Head) string {
	p := placeOf(h)
	p.history = w.opt.History.History().ID
	return encodePlace(k, p)
}

// watchCall is what tokens of a view are bound to beside the filter.
func watchCall(v change.View) string { return "watch " + string(v) }

func encodePlace(k hub.Key, p place) string {
	var b [3 * binary.MaxVarintLen64]byte
	body := binary.AppendUvarint(b[:0], uint64(p.offset))
	body = binary.AppendUvarint(body, uint64(p.lsn))
	body = append(binary.AppendVarint(body, p.commit), p.history...)
	return wire.EncodeToken(watchCall(k.View), k.Filter, body)
}

func decodePlace(k hub.Key, token string) (place, error) {
	body, err := wire.DecodeToken(watchCall(k.View), k.Filter, token)
	if err != nil {
		return place{}, errResumeToken
	}
	off, n := binary.Uvarint(body)
	if n <= 0 {
		return place{}, errResumeToken
	}
	lsn, m := binary.Uvarint(body[n:])
	if m <= 0 {
		return place{}, errResumeToken
	}
	commit, l := binary.Varint(body[n+m:])
	p := place{offset: change.Offset(off), lsn: change.LSN(lsn), commit: commit}
	if l > 0 {
		p.history = string(body[n+m+l:])
	}
	if l <= 0 || len(p.history) > maxHistory || off > 1<<63 || encodePlace(k, p) != token {
		return place{}, errResumeToken
	}
	return p, nil
}
