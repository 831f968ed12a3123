package rpc_test

import (
	"path/filepath"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	pb "carbond/proto/carbon"
	"carbond/rpc"
	"carbond/rpc/rpcerr"
)

// TestWatchWithoutHistory: a server that keeps none says so.
func TestWatchWithoutHistory(t *testing.T) {
	c, _ := serve(t, newReader(sample()), rpc.Options{})
	s, err := c.WatchNews(t.Context(), &pb.WatchNewsRequest{})
	if err == nil {
		_, err = s.Recv()
	}
	wantStatus(t, err, codes.Unimplemented, rpcerr.ReasonAsOf)
}

func TestWatchNeedsRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tokens")
	write(t, file, []byte("ui read 0123456789abcdef\n"))
	c, _ := serve(t, newReader(sample()), rpc.Options{TokensFile: file})
	s, err := c.WatchProjects(t.Context(), &pb.WatchProjectsRequest{})
	if err == nil {
		_, err = s.Recv()
	}
	wantStatus(t, err, codes.Unauthenticated, rpcerr.ReasonTokenMissing)
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer 0123456789abcdef")
	if s, err = c.WatchProjects(ctx, &pb.WatchProjectsRequest{}); err == nil {
		_, err = s.Recv()
	}
	wantStatus(t, err, codes.Unimplemented, rpcerr.ReasonAsOf) // past the guard
}
