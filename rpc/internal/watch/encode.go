package watch

import (
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	pb "carbond/proto/carbon"
	"carbond/rpc/internal/hub"
	"carbond/rpc/internal/wire"
	"carbond/store/change"
)

// Field numbers of the Watch messages, as carbon_service.proto has them. The
// twin test compares with the generated messages.
const (
	fieldHead   protowire.Number = 1
	fieldDeltas protowire.Number = 2
)

// appendDelta appends a delta as an element of the field deltas. The item comes
// from the encoders of the Get calls.
func appendDelta(b []byte, d *change.Delta) []byte {
	return wire.AppendBytes(b, fieldDeltas, func(b []byte) []byte {
		b = wire.AppendInt(b, 1, int64(d.Diff))
		at := len(b)
		view, row := d.Row()
		b = wire.AppendRow(b, view, row)
		// The encoders write the field items = 1; here the item is field 2. Both
		// tags are one byte.
		b[at] = byte(protowire.EncodeTag(2, protowire.BytesType))
		return b
	})
}

// watchHead is what the head of a message says.
type head struct {
	kind  pb.WatchKind
	head  hub.Head
	token string
	end   bool // snapshot_end
}

func (h *head) append(b []byte) []byte {
	return wire.AppendBytes(b, fieldHead, func(b []byte) []byte {
		b = wire.AppendInt(b, 1, int64(h.kind))
		b = wire.AppendInt(b, 2, int64(h.head.Offset))
		b = wire.AppendString(b, 3, h.head.LSN.String())
		if !h.head.CommitTime.IsZero() {
			b = wire.AppendInt(b, 4, h.head.CommitTime.UnixMilli())
		}
		b = wire.AppendString(b, 5, h.token)
		if h.end {
			b = wire.AppendInt(b, 6, 1)
		}
		return b
	})
}

// message makes a message of a head and encoded deltas.
func (h *head) message(v change.View, deltas []byte) proto.Message {
	b := h.append(make([]byte, 0, 160+len(deltas)))
	return wire.WatchMessage(v, append(b, deltas...))
}
