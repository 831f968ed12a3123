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
	var rows registry.Rows
	var rule registry.Rule
	preview := false
	for n := 0; ; n++ {
		m, err := in.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if n == 0 {
			preview, rule = m.GetPreview(), registry.Rule{Overwrite: m.GetOverwrite(), Replace: m.GetReplace(), Units: m.GetReplaceVintages()}
		}
		rows.Projects, err = appendRows(rows.Projects, registry.Fields(), m.GetRows())
		if err == nil {
			rows.Vintages, err = appendRows(rows.Vintages, registry.VintageFields(), m.GetVintages())
		}
		if err != nil {
			return err
		}
	}
	var w feeds.Writer = o.d.store
	if o.d.pool != nil {
		w = postgres.New(o.d.pool)
	}
	n, note, err := Import(in.Context(), w, rows, rule, preview)
	if err != nil {
		return status.Error(codes.FailedPrecondition, o.d.opt.Redaction.Text(err.Error()))
	}
	return in.SendAndClose(&pb.ImportProjectsResponse{
		Inserted: int32(n.Inserted), Updated: int32(n.Updated), Deleted: int32(n.Deleted), Unchanged: int32(n.Unchanged), Note: note,
	})
}

// appendRows appends rows of a table, of which those columns can be imported.
func appendRows(rows []change.Row, columns []string, parts []*pb.ImportRow) ([]change.Row, error) {
	for _, r := range parts {
		for c := range r.GetColumns() {
			if !slices.Contains(columns, c) {
				return nil, status.Errorf(codes.InvalidArgument, "column %q cannot be imported", c)
			}
		}
		values := make([]change.Value, len(columns))
		for i, c := range columns {
			if v, ok := r.GetColumns()[c]; ok {
				values[i] = change.T(v)
			}
		}
		if rows = append(rows, change.NewRow(values...)); len(rows) > maxImport {
			return nil, status.Errorf(codes.InvalidArgument, "more than %d rows", maxImport)
		}
	}
	return rows, nil
}

// Import makes the tables hold rows, in one transaction, or says what that would change. note
// says what was left out.
func Import(ctx context.Context, w feeds.Writer, rows registry.Rows, rule registry.Rule, preview bool) (n change.Written, note string, err error) {
	edits, note, err := registry.Edits(ctx, w, rows, rule)
	if err != nil {
		return n, "", err
	}
	if preview {
		_, n, err = w.Preview(ctx, edits)
	} else {
		n, err = w.Write(ctx, edits)
	}
	return n, note, err
}
