package rpc

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	pb "carbond/proto/carbon"
	"carbond/rpc/internal/cache"
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
	m, err := s.list(ctx, projects, q.Country, q)
	return reply[*pb.ProjectResponse](m, err)
}

// GetNews implements carbon.CarbonService.
func (s service) GetNews(ctx context.Context, q *pb.NewsQuery) (*pb.NewsResponse, error) {
	m, err := s.list(ctx, news, q.Source, q)
	return reply[*pb.NewsResponse](m, err)
}

// GetFinanceData implements carbon.CarbonService.
func (s service) GetFinanceData(ctx context.Context, q *pb.FinanceQuery) (*pb.FinanceResponse, error) {
	m, err := s.list(ctx, finance, q.Ticker, q)
	return reply[*pb.FinanceResponse](m, err)
}

// GetNonStreamingProjects implements carbon.CarbonService.
func (s service) GetNonStreamingProjects(ctx context.Context, q *pb.ProjectQuery) (*pb.ProjectResponse, error) {
	m, err := s.list(ctx, projectsSQL, q.Country, q)
	return reply[*pb.ProjectResponse](m, err)
}

// GetNonStreamingNews implements carbon.CarbonService.
func (s service) GetNonStreamingNews(ctx context.Context, q *pb.NewsQuery) (*pb.NewsResponse, error) {
	m, err := s.list(ctx, newsSQL, q.Source, q)
	return reply[*pb.NewsResponse](m, err)
}

// GetNonStreamingFinanceData implements carbon.CarbonService.
func (s service) GetNonStreamingFinanceData(ctx context.Context, q *pb.FinanceQuery) (*pb.FinanceResponse, error) {
	m, err := s.list(ctx, financeSQL, q.Ticker, q)
	return reply[*pb.FinanceResponse](m, err)
}

func reply[M proto.Message](m proto.Message, err error) (M, error) {
	if err != nil {
		var none M
		return none, err
	}
	return m.(M), nil
}

// newReply makes the reply message of a view around encoded bytes.
func newReply(v change.View, raw []byte) proto.Message {
	var m proto.Message
	switch v {
	case change.ViewNews:
		m = new(pb.NewsResponse)
	case change.ViewFinance:
		m = new(pb.FinanceResponse)
	default:
		m = new(pb.ProjectResponse)
	}
	m.ProtoReflect().SetUnknown(raw)
	return m
}

// listQuery is what the queries of the list calls have in common.
type listQuery interface {
	GetPageSize() int32
	GetPageToken() string
	GetAsOfOffset() uint64
	GetAsOfTime() string
}

// list answers a list call.
func (s service) list(ctx context.Context, l list, filter string, q listQuery) (proto.Message, error) {
	lsn, err := wantedLSN(ctx, HeaderAtLSN)
	if err != nil {
		return nil, err
	}
	if at := (asOf{q.GetAsOfOffset(), q.GetAsOfTime(), lsn}); at.set() {
		return s.listAsOf(ctx, l, filter, q, at)
	}
	pg, err := s.checkQuery(l, filter, q.GetPageSize(), q.GetPageToken(), asOf{})
	if err != nil {
		return nil, err
	}
	noCache, err := s.conditions(ctx)
	if err != nil {
		return nil, err
	}
	direct := l.sql && s.opt.Pool != nil
	snap := s.reader.Snapshot()
	if snap == nil && direct {
		snap, noCache = emptySnapshot{}, true // SQL needs no view, but a cached answer does
	}
	if snap == nil {
		return nil, rpcerr.NotLoaded()
	}
	// The version is read before any SQL runs: what the SQL sees is then at
	// least as new as the version says, and the first change after it ends the
	// entry. A version of the whole view covers every filter.
	var version cacheVersion
	if direct {
		version.version = snap.Version(l.view, "")
	} else {
		version.version = snap.Version(l.view, filter)
	}
	load := func(ctx context.Context) (cache.Item[proto.Message], error) {
		return s.load(ctx, l, snap, filter, pg, direct)
	}
	m, from, err := s.get(ctx, cache.Key{View: l.key, Filter: filter}, version, load, noCache || pg.size > 0 || pg.resume)
	s.header(ctx, snap, from)
	return m, err
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
	if q.ProjectId == "" {
		return nil, rpcerr.BadField("project_id", "is empty")
	}
	if err := rpcerr.CheckText("project_id", q.ProjectId); err != nil {
		return nil, err
	}
	noCache, err := s.conditions(ctx)
	if err != nil {
		return nil, err
	}
	snap := s.reader.Snapshot()
	if snap == nil {
		return nil, rpcerr.NotLoaded()
	}
	d, ok := snap.Project(q.ProjectId)
	if !ok {
		// Not cached: a client could fill the cache with names of nothing.
		s.header(ctx, snap, bypass)
		return nil, rpcerr.New(codes.NotFound, "no project has this project_id", rpcerr.Info(rpcerr.ReasonNoSuchProject))
	}
	raw := wire.AppendRow(nil, &change.ProjectDetails.ViewDef, &d)
	version := cacheVersion{row: string(raw)} // d itself would keep the rows beside it
	load := func(context.Context) (cache.Item[proto.Message], error) {
		m := new(pb.ProjectDetailResponse)
		m.ProtoReflect().SetUnknown(raw)
		// The version counts too.
		return cache.Item[proto.Message]{Value: m, Size: 2 * len(raw), Keep: true}, nil
	}
	m, from, err := s.get(ctx, cache.Key{View: projectKey, Filter: q.ProjectId}, version, load, noCache)
	s.header(ctx, snap, from)
	return reply[*pb.ProjectDetailResponse](m, err)
}
