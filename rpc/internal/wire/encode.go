package wire

import (
	"math"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	pb "carbond/proto/carbon"
	"carbond/store/change"
)

// Field numbers of the replies, as carbon_service.proto has them. The twin test
// compares every encoder with proto.Marshal of the generated messages.
const (
	fieldItems     protowire.Number = 1
	FieldCount     protowire.Number = 2
	FieldNextToken protowire.Number = 16
)

// messages make the messages of the calls of a view.
var messages = map[change.View]struct{ reply, watch func() proto.Message }{
	change.ViewProjects: {func() proto.Message { return new(pb.ProjectResponse) }, func() proto.Message { return new(pb.WatchProjectsResponse) }},
	change.ViewNews:     {func() proto.Message { return new(pb.NewsResponse) }, func() proto.Message { return new(pb.WatchNewsResponse) }},
	change.ViewFinance:  {func() proto.Message { return new(pb.FinanceResponse) }, func() proto.Message { return new(pb.WatchFinanceDataResponse) }},
}

// Reply makes the message that a list call answers with around encoded bytes.
func Reply(v change.View, raw []byte) proto.Message { return around(messages[v].reply(), raw) }

// WatchMessage makes a message of a Watch call around encoded bytes.
func WatchMessage(v change.View, raw []byte) proto.Message {
	return around(messages[v].watch(), raw)
}

func around(m proto.Message, raw []byte) proto.Message {
	m.ProtoReflect().SetUnknown(raw)
	return m
}

// AppendBytes appends a field of bytes that encode appends. They are encoded first and
// moved by the few bytes that their length needs: cheaper than sizing every field twice.
func AppendBytes(b []byte, field protowire.Number, encode func([]byte) []byte) []byte {
	b = protowire.AppendTag(b, field, protowire.BytesType)
	b = append(b, 0) // one byte is enough for items under 128 bytes
	start := len(b)
	b = encode(b)
	n := len(b) - start
	if n < 0x80 {
		b[start-1] = byte(n)
		return b
	}
	var head [10]byte
	h := protowire.AppendVarint(head[:0], uint64(n))
	b = append(b, h[1:]...) // room
	copy(b[start-1+len(h):], b[start:start+n])
	copy(b[start-1:], h)
	return b
}

// AppendRow appends a row of a view, a pointer, as an item.
func AppendRow(b []byte, v *change.ViewDef, row any) []byte {
	return AppendBytes(b, fieldItems, func(b []byte) []byte { return appendFields(b, v, row) })
}

func appendFields(b []byte, v *change.ViewDef, row any) []byte {
	nulls := v.Null(row)
	for i := range v.Fields {
		n := protowire.Number(v.Fields[i].Number)
		switch x := v.Value(row, i).(type) {
		case *string:
			b = AppendString(b, n, *x)
		case *int32:
			b = AppendInt(b, n, int64(*x))
		case *int64:
			b = AppendInt(b, n, *x)
		case *float64:
			there := math.Float64bits(*x) != 0 // negative zero is not the default value
			if v.Fields[i].Null {
				there = !nulls.Has(i)
			}
			if there {
				b = appendDouble(b, n, *x)
			}
		case *bool:
			there := *x
			if v.Fields[i].Null {
				there = !nulls.Has(i)
			}
			if there {
				b = protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), protowire.EncodeBool(*x))
			}
		}
	}
	for _, m := range v.Many {
		for part := range m.Rows(row) {
			b = AppendBytes(b, protowire.Number(m.Number), func(b []byte) []byte { return appendFields(b, m.View, part) })
		}
	}
	return b
}

// AppendString appends a field of text, nothing for "". It replaces bytes that are not UTF-8, which a database with the
// encoding SQL_ASCII may hold: a proto3 client refuses the whole reply else.
func AppendString(b []byte, n protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	b = protowire.AppendTag(b, n, protowire.BytesType)
	return protowire.AppendString(b, s)
}

// AppendInt appends a field of an integer, nothing for 0.
func AppendInt(b []byte, n protowire.Number, v int64) []byte {
	if v == 0 {
		return b
	}
	b = protowire.AppendTag(b, n, protowire.VarintType)
	return protowire.AppendVarint(b, uint64(v)) // negative: ten bytes, as proto3 has it
}

func appendDouble(b []byte, n protowire.Number, v float64) []byte {
	b = protowire.AppendTag(b, n, protowire.Fixed64Type)
	return protowire.AppendFixed64(b, math.Float64bits(v))
}
