package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"carbond/cmd/carbond/internal/client"
	pb "carbond/proto/carbon"
)

func cmdGroups(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "groups",
		Short: "List the consumer groups with their committed offsets and lag",
		Long: "Lists the consumer groups of the running daemon, a line for each topic: the last offset that was\n" +
			"committed, the records behind it, the age of the oldest of them and the member that consumes now.",
		Example: "  carbond groups\n  carbond groups reset desk --to earliest",
		Args:    unknownCommand,
	}
	listing(a, cmd, groupColumns(), func(ctx context.Context, conn *grpc.ClientConn) (rows [][]any, err error) {
		r, err := pb.NewChangelogServiceClient(conn).ListGroups(ctx, &pb.ListGroupsRequest{})
		for _, g := range r.GetGroups() {
			rows = append(rows, groupRows(g, r.GetHistory())...)
		}
		return rows, err
	})
	cmd.AddCommand(cmdGroupsReset(a))
	return cmd
}

func groupColumns() client.Columns {
	return client.Columns{
		Names: []string{"group", "generation", "member", "topic", "committed", "lag", "lag_seconds", "committed_at", "history"},
		Brief: []int{0, 2, 3, 4, 5, 6, 7},
	}
}

// groupRows has a row for each topic of a group, and one for a group without.
func groupRows(g *pb.Group, history string) (rows [][]any) {
	var member any // nil for none
	if m := g.GetActiveMember(); m != "" {
		member = m
	}
	if len(g.GetTopics()) == 0 {
		return [][]any{{client.Key(g.GetName()), g.GetGeneration(), member, nil, nil, nil, nil, nil, history}}
	}
	for _, t := range g.GetTopics() {
		rows = append(rows, []any{client.Key(g.GetName()), g.GetGeneration(), member, t.GetTopic(), client.Offset(t.GetCommitted()), t.GetLagRecords(), tenths(t.GetLagSeconds()), moment(t.GetCommittedMs()), history})
	}
	return rows
}

// tenths rounds seconds to tenths, which are enough to look at.
func tenths(seconds float64) float64 {
	return time.Duration(seconds * float64(time.Second)).Round(100 * time.Millisecond).Seconds()
}

func cmdGroupsReset(a *app) *cobra.Command {
	var (
		c      *client.Client
		form   *client.Form
		to     string
		forget bool
	)
	cmd := &cobra.Command{
		Use:   "reset GROUP [TOPIC]",
		Short: "Move a consumer group to another place, or forget it",
		Long: "Moves a consumer group that has no consumer to another place, in one topic or in all. An OFFSET is\n" +
			"that of the first change the group reads next, as with consume --from.",
		Example: "  carbond groups reset desk --to earliest\n  carbond groups reset desk carbon.public.news --to 2024-05-01T00:00:00Z\n  carbond groups reset desk --delete",
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) == 0:
				return client.Usage(errors.New("GROUP is missing"))
			case len(args) > 2:
				return client.Usage(fmt.Errorf("unexpected argument %q", args[2]))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			req, err := resetRequest(args, to, forget, time.Now())
			if err != nil {
				return err
			}
			conn, err := c.Dial()
			if err != nil {
				return err
			}
			defer conn.Close()
			r, err := pb.NewChangelogServiceClient(conn).ResetGroup(cmd.Context(), req)
			if err != nil {
				return c.Explain(err)
			}
			if forget {
				_, err := fmt.Fprintf(a.out, "group %s is forgotten\n", client.Plain(args[0]))
				return err
			}
			p, err := client.NewPrinter(a.out, form, groupColumns())
			if err != nil {
				return err
			}
			return printAll(p, groupRows(r.GetGroup(), ""))
		},
	}
	c = client.Flags(cmd, version)
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, start string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 0 {
			return completeGroups(c)(cmd, args, start)
		}
		return completeTopics(c)(cmd, args, start)
	}
	form = client.FormFlags(cmd, a.getenv)
	cmd.Flags().StringVar(&to, "to", "", "`PLACE`: earliest, latest, an OFFSET, a TIME (RFC 3339 or a date) or an age such as -1h")
	cmd.Flags().BoolVar(&forget, "delete", false, "forget the group")
	return cmd
}

func resetRequest(args []string, to string, forget bool, now time.Time) (*pb.ResetGroupRequest, error) {
	req := &pb.ResetGroupRequest{Group: args[0]}
	if len(args) > 1 {
		req.Topic = topicNames(args[1:])[0]
	}
	switch {
	case forget && to != "":
		return nil, client.Usage(errors.New("--to and --delete exclude each other"))
	case forget && req.Topic != "":
		return nil, client.Usage(errors.New("--delete forgets the whole group: leave TOPIC out"))
	case forget:
		req.To = &pb.ResetGroupRequest_Delete{Delete: true}
		return req, nil
	case to == "":
		return nil, client.Usage(errors.New("--to or --delete is missing"))
	}
	p, err := parsePlace("--to", to, now)
	if err != nil {
		return nil, err
	}
	switch {
	case p.earliest:
		req.To = &pb.ResetGroupRequest_Earliest{Earliest: true}
	case p.latest:
		req.To = &pb.ResetGroupRequest_Latest{Latest: true}
	case p.time != "":
		req.To = &pb.ResetGroupRequest_Time{Time: p.time}
	default:
		req.To = &pb.ResetGroupRequest_Offset{Offset: max(p.offset, 1) - 1}
	}
	return req, nil
}
