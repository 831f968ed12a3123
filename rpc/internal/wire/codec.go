// Package wire encodes replies by hand, row by row, without building messages, and
// makes the codec that sends the bytes as they are. Page and resume tokens are
// made here too.
package wire

import (
	"errors"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	protobuf "google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// codec is the protobuf codec of grpc-go with one shortcut: a reply that holds
// its encoded form, and nothing else, in its unknown fields is sent as it
// stands, without a copy.
//
// Such a message is a complete protobuf message like any other: interceptors,
// loggers and proto.Marshal see the same bytes. So the generated handlers stay,
// and nothing but this file knows of the shortcut.
type codec struct{ encoding.CodecV2 }

// NewCodec returns the codec of a server.
func NewCodec() codec { return codec{encoding.GetCodecV2(proto.Name)} }

// Marshal implements encoding.CodecV2. The bytes belong to the cache and are
// shared by any number of calls; gRPC reads them only, and a SliceBuffer is
// never given back to a pool.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if m, ok := v.(protobuf.Message); ok {
		if raw := m.ProtoReflect().GetUnknown(); len(raw) > 0 && protobuf.Size(m) == len(raw) {
			return mem.BufferSlice{mem.SliceBuffer(raw)}, nil
		}
	}
	return c.CodecV2.Marshal(v)
}

// Unmarshal implements encoding.CodecV2. gRPC answers INTERNAL to what it cannot
// read, before any interceptor, and the daemon calls that its own defect. So such a
// message comes through, marked: see Malformed.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	err := c.CodecV2.Unmarshal(data, v)
	m, ok := v.(interface {
		Reset()
		ProtoReflect() protoreflect.Message
	})
	if err == nil || !ok {
		return err
	}
	m.Reset()
	m.ProtoReflect().SetUnknown(append([]byte{0}, err.Error()...))
	return nil
}

// Malformed returns why a message that the codec has read is none. No message that
// could be read has an unknown field of number 0.
func Malformed(v any) error {
	m, ok := v.(protoreflect.ProtoMessage)
	if !ok {
		return nil
	}
	if raw := m.ProtoReflect().GetUnknown(); len(raw) > 0 && raw[0] == 0 {
		return errors.New(string(raw[1:]))
	}
	return nil
}
