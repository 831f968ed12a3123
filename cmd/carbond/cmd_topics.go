package main

import (
	"time"

	"github.com/spf13/cobra"

	"carbond/cmd/carbond/internal/client"
	pb "carbond/proto/carbon"
)

func cmdTopics(a *app) *cobra.Command {
	var (
		c    *client.Client
		form *client.Form
	)
	cmd := &cobra.Command{
		Use:   "topics",
		Short: "List the topics of the changelog",
		Long: "Lists the topics of the running daemon's changelog. FIRST is the oldest offset that is kept and\n" +
			"NEXT one past the topic's last change; offsets count over all topics, so those of one are not\n" +
			"dense. RECORDS and BYTES are of everything ever written, LAST is the last change's commit time.\n" +
			"The other formats have the id of the changelog's history too: a consumer that keeps offsets of its own\n" +
			"keeps it beside them (consume --history), to be told when the data directory was restored.",
		Example: "  carbond topics\n  carbond topics --format jsonl | jq .next",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := client.NewPrinter(a.out, form, client.Columns{
				Names: []string{"topic", "first", "next", "records", "bytes", "last", "history"}, Brief: []int{0, 1, 2, 3, 4, 5},
			})
			if err != nil {
				return err
			}
			conn, err := c.Dial()
			if err != nil {
				return err
			}
			defer conn.Close()
			r, err := pb.NewChangelogServiceClient(conn).ListTopics(cmd.Context(), &pb.ListTopicsRequest{})
			if err != nil {
				return c.Explain(err)
			}
			for _, t := range r.GetTopics() {
				if err := p.Row([]any{client.Key(t.GetName()), client.Offset(t.GetFirst()), client.Offset(t.GetNext()), t.GetRecords(), t.GetBytes(), moment(t.GetLastChangeMs()), r.GetHistory().GetId()}); err != nil {
					return err
				}
			}
			return p.End()
		},
	}
	c = client.Flags(cmd, version)
	form = client.FormFlags(cmd, a.getenv)
	return cmd
}

// moment is a time in milliseconds since 1970, 0 for none.
func moment(ms int64) (t time.Time) {
	if ms != 0 {
		t = time.UnixMilli(ms)
	}
	return t
}
