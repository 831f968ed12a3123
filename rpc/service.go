package rpc

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	pb "carbond/proto/carbon"
	"carbond/rpc/internal/cache"
	"carbond/rpc/internal/form"
	"carbond/rpc/internal/watch"
	"carbond/rpc/internal/wire"
	"carbond/rpc/rpcerr"
	"carbond/store/change"
)

// service is carbon.CarbonService. Every list call is one row of this table.
type service struct {
	pb.UnimplementedCarbonServiceServer
	*core
}

// list is what tells one list call from another.
type list struct {
	view change.View
	key  string // of the cache, and the call that page tokens are bound to
	sql  bool   // a NonStreaming call
}

var (
	projects    = list{change.ViewProjects, "projects", false}
	news        = list{change.ViewNews, "news", false}
	finance     = list{change.ViewFinance, "finance", false}
	projectsSQL = list{change.ViewProjects, "nonstreaming_projects", true}
	newsSQL     = list{change.ViewNews, "nonstreaming_news", true}
	financeSQL  = list{change.ViewFinance, "nonstreaming_finance", true}
)

// projectKey is the cache view of GetProjectDetail.
const projectKey = "project"

// GetProjects implements carbon.CarbonService.
func (s service) GetProjects(ctx context.Context, q *pb.ProjectQuery) (*pb.ProjectResponse, error) {
	m, err := s.list(ctx, projects, q)
	return reply[*pb.ProjectResponse](m, err)
}

// GetNews implements carbon.CarbonService.
func (s service) GetNews(ctx context.Context, q *pb.NewsQuery) (*pb.NewsResponse, error) {
	m, err := s.list(ctx, news, q)
	return reply[*pb.NewsResponse](m, err)
}

// GetFinanceData implements carbon.CarbonService.
func (s service) GetFinanceData(ctx context.Context, q *pb.FinanceQuery) (*pb.FinanceResponse, error) {
	m, err := s.list(ctx, finance, q)
	return reply[*pb.FinanceResponse](m, err)
}

// GetNonStreamingProjects implements carbon.CarbonService.
func (s service) GetNonStreamingProjects(ctx context.Context, q *pb.ProjectQuery) (*pb.ProjectResponse, error) {
	m, err := s.list(ctx, projectsSQL, q)
	return reply[*pb.ProjectResponse](m, err)
}

// GetNonStreamingNews implements carbon.CarbonService.
func (s service) GetNonStreamingNews(ctx context.Context, q *pb.NewsQuery) (*pb.NewsResponse, error) {
	m, err := s.list(ctx, newsSQL, q)
	return reply[*pb.NewsResponse](m, err)
}

// GetNonStreamingFinanceData implements carbon.CarbonService.
func (s service) GetNonStreamingFinanceData(ctx context.Context, q *pb.FinanceQuery) (*pb.FinanceResponse, error) {
	m, err := s.list(ctx, financeSQL, q)
	return reply[*pb.FinanceResponse](m, err)
}

func reply[M proto.Message](m any, err error) (M, error) {
	if err != nil {
		var none M
		return none, err
	}
	return m.(M), nil
}

// list answers a list call.
func (s service) list(ctx context.Context, l list, q listQuery) (any, error) {
	r, err := s.read(ctx, l, q)
	if err != nil {
		return nil, err
	}
	return s.answer(ctx, &r, form.Proto)
}

// WatchProjects implements carbon.CarbonService.
func (s service) WatchProjects(q *pb.WatchProjectsRequest, ss grpc.ServerStreamingServer[pb.WatchProjectsResponse]) error {
	return s.watches.Serve(ss, watch.Query{View: projects.view, Filter: q.Country, Token: q.ResumeToken})
}

// WatchNews implements carbon.CarbonService.
func (s service) WatchNews(q *pb.WatchNewsRequest, ss grpc.ServerStreamingServer[pb.WatchNewsResponse]) error {
	return s.watches.Serve(ss, watch.Query{View: news.view, Filter: q.Source, Token: q.ResumeToken})
}

// WatchFinanceData implements carbon.CarbonService.
func (s service) WatchFinanceData(q *pb.WatchFinanceDataRequest, ss grpc.ServerStreamingServer[pb.WatchFinanceDataResponse]) error {
	return s.watches.Serve(ss, watch.Query{View: finance.view, Filter: q.Ticker, Token: q.ResumeToken})
}

// GetProjectDetail implements carbon.CarbonService. The encoded row is
// the version: that is exact, however much the rest of the view moves.
func (s service) GetProjectDetail(ctx context.Context, q *pb.ProjectDetailQuery) (*pb.ProjectDetailResponse, error) {
	d, snap, skip, err := s.project(ctx, q)
	if err != nil {
		return nil, err
	}
	raw := wire.AppendRow(nil, &change.ProjectDetails.ViewDef, d)
	version := cacheVersion{row: string(raw)} // d itself would keep the rows beside it
	load := func(context.Context) (cache.Item[any], error) {
		m := new(pb.ProjectDetailResponse)
		m.ProtoReflect().SetUnknown(raw)
		// The version counts too.
		return cache.Item[any]{Value: m, Size: 2 * len(raw), Keep: true}, nil
	}
	m, from, err := s.get(ctx, cache.Key{View: projectKey, Filter: q.ProjectId}, projectKey, version, load, skip)
	s.header(ctx, snap, from)
	return reply[*pb.ProjectDetailResponse](m, err)
}

// project finds the row that a query names. skip says that the caller wants no cached
// answer, or one as of then.
func (c *core) project(ctx context.Context, q *pb.ProjectDetailQuery) (d *change.ProjectDetail, snap change.ViewSnapshot, skip bool, err error) {
	if q.ProjectId == "" {
		return nil, nil, false, rpcerr.BadField("project_id", "is empty")
	}
	if err := rpcerr.CheckText("project_id", q.ProjectId); err != nil {
		return nil, nil, false, err
	}
	at := asOf{offset: q.AsOfOffset, time: q.AsOfTime}
	if at.set() {
		if err := c.checkAsOf(projects, at); err != nil {
			return nil, nil, false, err
		}
	}
	if skip, err = c.conditions(ctx); err != nil {
		return nil, nil, false, err
	}
	r := reading{snap: c.reader.Snapshot()}
	if at.set() {
		skip = true
		err = c.readPast(ctx, &r, at)
	} else if r.snap == nil {
		err = rpcerr.NotLoaded()
	}
	if err != nil {
		return nil, nil, false, err
	}
	row, ok := r.snap.Project(q.ProjectId)
	if !ok {
		// Not cached: a client could fill the cache with names of nothing.
		c.header(ctx, r.snap, bypass)
		return nil, nil, false, rpcerr.New(codes.NotFound, "no project has this project_id", rpcerr.Info(rpcerr.ReasonNoSuchProject))
	}
	return &row, r.snap, skip, nil
}
