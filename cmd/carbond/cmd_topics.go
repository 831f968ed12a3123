package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"carbond/cmd/carbond/internal/client"
	pb "carbond/proto/carbon"
)

func cmdTopics(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "topics",
		Short: "List the topics of the changelog",
		Long: "Lists the topics of the running daemon's changelog. FIRST is the oldest offset from which on the topic\n" +
			"is kept (retention.tables_bytes is for tables without a view) and\n" +
			"NEXT one past the topic's last change; offsets count over all topics, so those of one are not\n" +
			"dense. RECORDS and BYTES are of everything ever written, LAST is the last change's commit time,\n" +
			"and SINCE that of the oldest record at FIRST: what of the topic is younger is there.\n" +
			"The other formats have the id of the changelog's history too: a consumer that keeps offsets of its own\n" +
			"keeps it beside them (consume --history), to be told when the data directory was restored.",
		Example: "  carbond topics\n  carbond topics --format jsonl | jq .next",
		Args:    noArgs,
	}
	columns := client.Columns{Names: []string{"topic", "first", "next", "records", "bytes", "last", "history", "since"}, Brief: []int{0, 1, 2, 3, 4, 5, 7}}
	listing(a, cmd, columns, func(ctx context.Context, conn *grpc.ClientConn) (rows [][]any, err error) {
		r, err := pb.NewChangelogServiceClient(conn).ListTopics(ctx, &pb.ListTopicsRequest{})
		for _, t := range r.GetTopics() {
			rows = append(rows, []any{client.Key(t.GetName()), client.Offset(t.GetFirst()), client.Offset(t.GetNext()), t.GetRecords(), t.GetBytes(), moment(t.GetLastChangeMs()), r.GetHistory().GetId(), moment(t.GetFirstMs())})
		}
		return rows, err
	})
	return cmd
}

// moment is a time in milliseconds since 1970, 0 for none.
func moment(ms int64) (t time.Time) {
	if ms != 0 {
		t = time.UnixMilli(ms)
	}
	return t
}
