package daemon

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"carbond/feeds"
	pb "carbond/proto/carbon"
	"carbond/store/change"
)

// operator is carbon.AdminService. Its errors and notes pass the redactor: a feed's
// address may hold a key.
type operator struct {
	pb.UnimplementedAdminServiceServer
	d *Daemon
}

// PollFeed implements pb.AdminServiceServer.
func (o operator) PollFeed(ctx context.Context, req *pb.PollFeedRequest) (*pb.PollFeedResponse, error) {
	if o.d.feeds == nil {
		return nil, status.Error(codes.NotFound, "no feed is on (feeds.enabled)")
	}
	if req.GetFeed() == "" {
		return nil, status.Error(codes.InvalidArgument, "feed is empty: name one")
	}
	r, err := o.d.feeds.Fetch(ctx, req.GetFeed(), false)
	switch {
	case errors.Is(err, feeds.ErrUnknownFeed):
		return nil, status.Error(codes.NotFound, err.Error())
	case ctx.Err() != nil:
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	out := &pb.PollFeedResponse{
		Items: int32(r.Items), Inserted: int32(r.Written.Inserted), Updated: int32(r.Written.Updated), Deleted: int32(r.Written.Deleted),
		Unchanged: int32(r.Written.Unchanged), Requests: int32(r.Requests), DurationMs: r.Duration.Milliseconds(),
		NotModified: r.Upstream == "not modified", LeftOut: r.LeftOut,
	}
	for _, n := range r.Notes {
		out.Notes = append(out.Notes, o.d.opt.Redaction.Text(n))
	}
	if err != nil {
		out.Error = o.d.opt.Redaction.Text(err.Error())
		if advice := feeds.Advice(err); advice != "" {
			out.Error += "; " + advice
		}
	}
	return out, nil
}

// ListCache implements pb.AdminServiceServer.
func (o operator) ListCache(context.Context, *pb.ListCacheRequest) (*pb.ListCacheResponse, error) {
	out := &pb.ListCacheResponse{}
	for _, e := range o.d.api.Cache() {
		out.Entries = append(out.Entries, &pb.CacheEntry{
			Key: e.Key, AgeMs: e.Age.Milliseconds(), TtlMs: e.TTL.Milliseconds(), Bytes: e.Bytes, Hits: e.Hits,
		})
	}
	return out, nil
}

// FlushCache implements pb.AdminServiceServer.
func (o operator) FlushCache(context.Context, *pb.FlushCacheRequest) (*pb.FlushCacheResponse, error) {
	n, bytes := o.d.api.FlushCache()
	o.d.log.Info("cache flushed", "entries", n, "bytes", bytes)
	return &pb.FlushCacheResponse{Entries: int32(n), Bytes: bytes}, nil
}

// resnapshotEvery is the time between two messages of progress.
const resnapshotEvery = time.Second

// Resnapshot implements pb.AdminServiceServer.
func (o operator) Resnapshot(req *pb.ResnapshotRequest, out pb.AdminService_ResnapshotServer) error {
	if o.d.source == nil {
		return status.Error(codes.FailedPrecondition, "there is no Postgres to copy from: carbond is in embedded mode")
	}
	if req.GetTable() == "" {
		return status.Error(codes.InvalidArgument, "table is empty: name one")
	}
	ended := make(chan error, 1)
	go func() { ended <- o.d.source.Resnapshot(out.Context(), req.GetTable()) }()
	for {
		select {
		case err := <-ended:
			switch {
			case errors.Is(err, change.ErrTopicUnknown):
				return status.Error(codes.NotFound, err.Error())
			case out.Context().Err() != nil:
				return status.FromContextError(out.Context().Err()).Err()
			case err != nil:
				return status.Error(codes.Unavailable, o.d.opt.Redaction.Text(err.Error()))
			}
			return nil
		case <-time.After(resnapshotEvery):
			if c := o.d.source.Status().Copy; c != nil {
				if err := out.Send(&pb.ResnapshotProgress{Table: c.Table, Rows: c.Rows, Expected: c.Expected}); err != nil {
					return err
				}
			}
		}
	}
}
