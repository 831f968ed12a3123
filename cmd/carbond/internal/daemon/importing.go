package daemon

import (
	"context"
	"errors"
	"io"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"carbond/feeds"
	"carbond/feeds/postgres"
	"carbond/feeds/registry"
	pb "carbond/proto/carbon"
	"carbond/store/change"
)

// maxImport bounds the rows of one import, which are held until the last has come.
const maxImport = 1_000_000

// ImportProjects implements pb.AdminServiceServer.
func (o operator) ImportProjects(in grpc.ClientStreamingServer[pb.ImportProjectsRequest, pb.ImportProjectsResponse]) error {
	var rows []change.Row
	var rule registry.Rule
	preview, columns := false, registry.Fields()
	for n := 0; ; n++ {
		m, err := in.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if n == 0 {
			preview, rule = m.GetPreview(), registry.Rule{Overwrite: m.GetOverwrite(), Replace: m.GetReplace()}
		}
		for _, r := range m.GetRows() {
			for c := range r.GetColumns() {
				if !slices.Contains(columns, c) {
					return status.Errorf(codes.InvalidArgument, "column %q cannot be imported", c)
				}
			}
			values := make([]change.Value, len(columns))
			for i, c := range columns {
				if v, ok := r.GetColumns()[c]; ok {
					values[i] = change.T(v)
				}
			}
			if rows = append(rows, change.NewRow(values...)); len(rows) > maxImport {
				return status.Errorf(codes.InvalidArgument, "more than %d rows", maxImport)
			}
		}
	}
	var w feeds.Writer = o.d.store
	if o.d.pool != nil {
		w = postgres.New(o.d.pool)
	}
	n, err := Import(in.Context(), w, rows, rule, preview)
	if err != nil {
		return status.Error(codes.FailedPrecondition, o.d.opt.Redaction.Text(err.Error()))
	}
	return in.SendAndClose(&pb.ImportProjectsResponse{
		Inserted: int32(n.Inserted), Updated: int32(n.Updated), Deleted: int32(n.Deleted), Unchanged: int32(n.Unchanged),
	})
}

// Import makes the projects hold rows of registry.Fields, in one transaction, or says
// what that would change.
func Import(ctx context.Context, w feeds.Writer, rows []change.Row, rule registry.Rule, preview bool) (change.Written, error) {
	edits, err := registry.Edits(ctx, w, rows, rule)
	if err != nil {
		return change.Written{}, err
	}
	if preview {
		_, n, err := w.Preview(ctx, edits)
		return n, err
	}
	return w.Write(ctx, edits)
}
