// Package wire encodes replies by hand, row by row, without building messages, and
// makes the codec that sends the bytes as they are. Page and resume tokens are
// made here too.
package wire

import (
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/gzip" // clients may ask for gzip; the name is registered by the import
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"

	pb "carbond/proto/carbon"
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
	var raw []byte
	switch m := v.(type) {
	case *pb.ProjectResponse:
		if m.Items == nil && m.NextPageToken == "" {
			raw = m.ProtoReflect().GetUnknown()
		}
	case *pb.FinanceResponse:
		if m.Items == nil && m.Count == 0 && m.NextPageToken == "" {
			raw = m.ProtoReflect().GetUnknown()
		}
	case *pb.NewsResponse:
		if m.Items == nil && m.NextPageToken == "" {
			raw = m.ProtoReflect().GetUnknown()
		}
	case *pb.ProjectDetailResponse:
		if m.Project == nil {
			raw = m.ProtoReflect().GetUnknown()
		}
	case *pb.WatchProjectsResponse:
		if m.Head == nil && m.Deltas == nil {
			raw = m.ProtoReflect().GetUnknown()
		}
	case *pb.WatchNewsResponse:
		if m.Head == nil && m.Deltas == nil {
			raw = m.ProtoReflect().GetUnknown()
		}
	case *pb.WatchFinanceDataResponse:
		if m.Head == nil && m.Deltas == nil {
			raw = m.ProtoReflect().GetUnknown()
		}
	}
	if len(raw) > 0 {
		return mem.BufferSlice{mem.SliceBuffer(raw)}, nil
	}
	return c.CodecV2.Marshal(v)
}
