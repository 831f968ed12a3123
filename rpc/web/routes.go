package web

import (
	"google.golang.org/protobuf/proto"

	pb "carbond/proto/carbon"
)

// route is one address of the API. What the description of the API says follows from
// the table of routes.
type route struct {
	path    string   // as net/http has it
	inPath  []string // fields of the message that the path names
	summary string
	request func() proto.Message // the message of the call, whose fields are the parameters; nil for none
	extra   []string             // parameters that are no fields of it
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
			path: "/v1/projects/{project_id}", inPath: []string{"project_id"}, summary: "All that is known of one project.",
			request: func() proto.Message { return new(pb.ProjectDetailQuery) }, extra: listExtra, serve: (*call).project,
		},
		{
			path: "/v1/news", summary: "News, newest first.",
			request: func() proto.Message { return new(pb.NewsQuery) }, extra: listExtra, serve: (*call).list,
		},
		{
			path: "/v1/finance", summary: "The latest row of each ticker.",
			request: func() proto.Message { return new(pb.FinanceQuery) }, extra: listExtra, serve: (*call).list,
		},
	}
}
