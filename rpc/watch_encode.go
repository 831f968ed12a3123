package rpc

import (
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	pb "carbond/proto/carbon"
	"carbond/rpc/internal/hub"
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
	return appendBytes(b, fieldDeltas, func(b []byte) []byte {
		b = appendInt(b, 1, int64(d.Diff))
		at := len(b)
		switch {
		case d.Project != nil:
			b = appendRow(b, &change.Projects, d.Project)
		case d.News != nil:
			b = appendRow(b, &change.NewsItems, d.News)
		default:
			b = appendRow(b, &change.Quotes, d.Quote)
		}
		// The encoders write the field items = 1; here the item is field 2. Both
		// tags are one byte.
		b[at] = byte(protowire.EncodeTag(2, protowire.BytesType))
		return b
	})
}

// watchHead is what the head of a message says.
type watchHead struct {
	kind  pb.WatchKind
	head  hub.Head
	token string
	end   bool // snapshot_end
}

func (h *watchHead) append(b []byte) []byte {
	return appendBytes(b, fieldHead, func(b []byte) []byte {
		b = appendInt(b, 1, int64(h.kind))
		b = appendInt(b, 2, int64(h.head.Offset))
		b = appendString(b, 3, h.head.LSN.String())
		if !h.head.CommitTime.IsZero() {
			b = appendInt(b, 4, h.head.CommitTime.UnixMilli())
		}
		b = appendString(b, 5, h.token)
		if h.end {
			b = appendInt(b, 6, 1)
		}
		return b
	})
}

// message makes a message of a head and encoded deltas.
func (h *watchHead) message(v change.View, deltas []byte) proto.Message {
	b := h.append(make([]byte, 0, 160+len(deltas)))
	return watchMessage(v, append(b, deltas...))
}

// watchMessage makes the message of a Watch call around encoded bytes.
func watchMessage(v change.View, raw []byte) proto.Message {
	var m proto.Message
	switch v {
	case change.ViewNews:
		m = new(pb.WatchNewsResponse)
	case change.ViewFinance:
		m = new(pb.WatchFinanceDataResponse)
	default:
		m = new(pb.WatchProjectsResponse)
	}
	m.ProtoReflect().SetUnknown(raw)
	return m
}
