package web

import (
	"google.golang.org/protobuf/proto"

	pb "carbond/proto/carbon"
	"carbond/store/change"
)

// route is one address of the API. What the description of the API says follows from
// the table of routes.
type route struct {
	path    string   // as net/http has it
	inPath  []string // fields of the message that the path names
	summary string
	request func() proto.Message // the message of the call, whose fields are the parameters; nil for none
	extra   []string             // parameters that are no fields of it
	own     bool                 // it reads its parameters itself
	serve   func(*call) error
}

// listExtra are the parameters of every list.
var listExtra = []string{paramFormat, paramGuard, paramAsOf, paramMinLSN}

// routes lists the addresses.
func routes() []route {
	return []route{
		{
			path: "/v1/projects", summary: "Projects, in the order of project_id or as asked.",
			request: func() proto.Message { return new(pb.ProjectQuery) }, extra: listExtra, serve: (*call).list,
		},
		{
			path: "/v1/projects/{project_id}", inPath: []string{"project_id"}, summary: "All that is known of one project. With a slash behind it any id is an id: /v1/projects/watch/ is the project called watch.",
			request: func() proto.Message { return new(pb.ProjectDetailQuery) }, extra: listExtra, serve: (*call).project,
		},
		{
			path: "/v1/projects/{project_id}/history", inPath: []string{"project_id"},
			summary: "Changes of a project, oldest first, with the rows before and after. One request reads at most 64 MiB of the changelog: go on while there is a nextPageToken.",
			request: func() proto.Message { return new(pb.GetProjectHistoryRequest) }, extra: []string{paramFormat, paramGuard},
			serve: unary(pb.CarbonService_GetProjectHistory_FullMethodName, func() proto.Message { return new(pb.GetProjectHistoryResponse) }),
		},
		{
			path: "/v1/news", summary: "All news, newest first, in pages of 100 or of page_size.",
			request: func() proto.Message { return &pb.NewsQuery{Archive: true} }, extra: listExtra, serve: (*call).list,
		},
		{
			path: "/v1/finance", summary: "The latest row of each ticker.",
			request: func() proto.Message { return new(pb.FinanceQuery) }, extra: listExtra, serve: (*call).list,
		},
		{
			path: "/v1/finance/{ticker}/history", inPath: []string{"ticker"},
			summary: "Rows of a ticker by time, or what they come to in buckets of a minute, an hour or a day.",
			request: func() proto.Message { return new(pb.GetPriceHistoryRequest) }, extra: []string{paramFormat, paramGuard, paramMinLSN},
			serve: unary(pb.CarbonService_GetPriceHistory_FullMethodName, func() proto.Message { return new(pb.GetPriceHistoryResponse) }),
		},
		{
			path: "/v1/totals", summary: "Projects and their supply by group, or news by source.",
			request: func() proto.Message { return new(pb.GetTotalsRequest) }, extra: listExtra,
			serve: unary(pb.CarbonService_GetTotals_FullMethodName, func() proto.Message { return new(pb.GetTotalsResponse) }),
		},
		watchRoute("/v1/projects/watch", "projects", change.ViewProjects, func() proto.Message { return new(pb.WatchProjectsRequest) }),
		watchRoute("/v1/news/watch", "the newest 100 news", change.ViewNews, func() proto.Message { return new(pb.WatchNewsRequest) }),
		watchRoute("/v1/finance/watch", "the latest row of each ticker", change.ViewFinance, func() proto.Message { return new(pb.WatchFinanceDataRequest) }),
		{
			path: "/v1/topics", summary: "Topics of the changelog.",
			request: func() proto.Message { return new(pb.ListTopicsRequest) }, extra: []string{paramFormat, paramGuard},
			serve: unary(pb.ChangelogService_ListTopics_FullMethodName, func() proto.Message { return new(pb.ListTopicsResponse) }),
		},
		{
			path: "/v1/topics/{topic}", inPath: []string{"topic"}, own: true, extra: []string{"from", "max", paramFormat}, serve: (*call).topic,
			summary: "Records of a topic in commit order: Debezium's envelopes with their keys, or plain rows (format=row). Go on at nextOffset.",
		},
		{
			path: "/v1/topics/{topic}/watch", inPath: []string{"topic"}, own: true, extra: []string{"from", paramFormat}, serve: (*call).watchTopic,
			summary: "Server-Sent Events: the records of a topic from then on, or from a place, an event for each transaction. The header Last-Event-ID resumes; one that is gone gets the event reset and all that is kept.",
		},
		{
			path: "/v1/openapi.json", summary: "This description, as OpenAPI 3.1.", serve: (*call).openAPI,
		},
	}
}

func watchRoute(path, what string, v change.View, request func() proto.Message) route {
	return route{
		path: path, request: request, serve: watchView(v),
		summary: "Server-Sent Events: a snapshot of " + what + ", then every change, an event for each transaction. The header Last-Event-ID resumes; one that is gone gets the event reset and a new snapshot.",
	}
}
