package rpc_test

import (
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	pb "carbond/proto/carbon"
	"carbond/store/change"
)

// TestViewFields holds the definitions of the views to the proto file: each field
// of a row's message is defined, under its name, number and type, and no other.
func TestViewFields(t *testing.T) {
	kinds := map[uint32]protoreflect.Kind{
		change.OIDText: protoreflect.StringKind, change.OIDInt4: protoreflect.Int32Kind, change.OIDInt8: protoreflect.Int64Kind,
		change.OIDFloat8: protoreflect.DoubleKind, change.OIDBool: protoreflect.BoolKind,
	}
	for _, tt := range []struct {
		view *change.ViewDef
		row  proto.Message
	}{
		{&change.Projects.ViewDef, new(pb.ProjectItem)},
		{&change.ProjectDetails.ViewDef, new(pb.ProjectDetail)},
		{&change.VintageSupplies.ViewDef, new(pb.VintageSupply)},
		{&change.NewsItems.ViewDef, new(pb.NewsItem)},
		{&change.Quotes.ViewDef, new(pb.FinanceItem)},
	} {
		fields := tt.row.ProtoReflect().Descriptor().Fields()
		if n := len(tt.view.Fields) + len(tt.view.Many); fields.Len() != n {
			t.Errorf("%s: %d fields, %d in the proto file", tt.view.Name, n, fields.Len())
		}
		for _, m := range tt.view.Many {
			want := fields.ByNumber(protoreflect.FieldNumber(m.Number))
			if want == nil || string(want.Name()) != m.Name || !want.IsList() || want.Kind() != protoreflect.MessageKind {
				t.Errorf("%s: field %s = %d is %v in the proto file", tt.view.Name, m.Name, m.Number, want)
			}
		}
		for _, f := range tt.view.Fields {
			want := fields.ByNumber(protoreflect.FieldNumber(f.Number))
			if want == nil || string(want.Name()) != f.Name || want.Kind() != kinds[f.Type] {
				t.Errorf("%s: field %s = %d is %v in the proto file", tt.view.Name, f.Name, f.Number, want)
			}
		}
	}
}
