package watch

import (
	"time"

	pb "carbond/proto/carbon"
	"carbond/rpc/internal/hub"
	"carbond/rpc/internal/wire"
	"carbond/store/change"
)

// Place is the place in a resume token.
type Place struct {
	Offset     change.Offset
	LSN        change.LSN
	CommitTime time.Time
	History    string
}

func (p Place) head() hub.Head {
	return hub.Head{Offset: p.Offset, LSN: p.LSN, CommitTime: p.CommitTime, Last: true}
}

// EncodePlace makes a resume token.
func EncodePlace(view, filter string, p Place) string {
	at := placeOf(p.head())
	at.history = p.History
	return encodePlace(hub.Key{View: change.View(view), Filter: filter}, at)
}

// DecodePlace reads a resume token.
func DecodePlace(view, filter, token string) (Place, error) {
	p, err := decodePlace(hub.Key{View: change.View(view), Filter: filter}, token)
	h := p.head()
	return Place{h.Offset, h.LSN, h.CommitTime, p.history}, err
}

// Marshal encodes a message of one delta as the server sends it.
func Marshal(v change.View, kind pb.WatchKind, p Place, token string, end bool, d *change.Delta) ([]byte, error) {
	h := head{kind: kind, head: p.head(), token: token, end: end}
	b, err := wire.NewCodec().Marshal(h.message(v, appendDelta(nil, d)))
	if err != nil {
		return nil, err
	}
	return b.Materialize(), nil
}
