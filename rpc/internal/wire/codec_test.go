package wire_test

import (
	"testing"

	"google.golang.org/protobuf/proto"

	pb "carbond/proto/carbon"
	"carbond/rpc/internal/wire"
	"carbond/store/change"
)

// TestCodec hands encoded messages of every view on without a copy, and encodes
// those that have fields too.
func TestCodec(t *testing.T) {
	codec := wire.NewCodec()
	for _, v := range change.Views() {
		raw := wire.AppendRow(nil, v.Def(), v.Def().NewRow())
		for _, m := range []proto.Message{wire.Reply(v, raw), wire.WatchMessage(v, raw)} {
			data, err := codec.Marshal(m)
			if err != nil || len(data) != 1 || len(raw) == 0 || &data[0].ReadOnlyData()[0] != &raw[0] {
				t.Errorf("%T: %v, %v: the bytes are copied", m, data, err)
			}
		}
	}
	m := &pb.ProjectResponse{NextPageToken: "next"}
	m.ProtoReflect().SetUnknown(wire.AppendRow(nil, &change.Projects.ViewDef, &change.Project{ProjectID: "a"}))
	data, err := codec.Marshal(m)
	var got pb.ProjectResponse
	if err != nil || proto.Unmarshal(data.Materialize(), &got) != nil || got.NextPageToken != "next" || len(got.Items) != 1 {
		t.Errorf("%v, %v", &got, err)
	}
}
