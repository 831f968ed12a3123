package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"carbond/cmd/carbond/internal/client"
	pb "carbond/proto/carbon"
)

func cmdWebhooks(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "webhooks",
		Short: "List the webhooks with their state and lag",
		Long: "Lists the webhooks of the running daemon (webhooks.urls): what each is about, whether its deliveries\n" +
			"arrive (ok), are tried again (failing) or are not tried any more (stopped), and how far it is behind.\n" +
			"The calls need the scope admin.",
		Example: "  carbond webhooks\n  carbond webhooks test desk\n  carbond webhooks replay desk --from -1h",
		Args:    unknownCommand,
	}
	listing(a, cmd, client.Columns{
		Names: []string{"webhook", "state", "view", "filter", "rule", "committed", "lag", "lag_seconds", "failing_since", "error"},
		Brief: []int{0, 1, 2, 3, 4, 6, 7, 8, 9},
	}, func(ctx context.Context, conn *grpc.ClientConn) (rows [][]any, err error) {
		r, err := pb.NewAdminServiceClient(conn).ListWebhooks(ctx, &pb.ListWebhooksRequest{})
		for _, h := range r.GetHooks() {
			rows = append(rows, []any{
				client.Key(h.GetName()), client.Key(h.GetState()), h.GetView(), h.GetFilter(), h.GetRule(),
				client.Offset(h.GetCommitted()), h.GetLagRecords(), tenths(h.GetLagSeconds()), moment(h.GetFailingSinceMs()), h.GetError(),
			})
		}
		return rows, err
	})
	cmd.AddCommand(cmdWebhooksTest(a), cmdWebhooksReplay(a))
	return cmd
}

func cmdWebhooksTest(a *app) *cobra.Command {
	var c *client.Client
	cmd := &cobra.Command{
		Use:     "test NAME",
		Short:   "Post a test delivery to a webhook",
		Long:    "Has the running daemon post a signed delivery of type carbond.test once. Exit code 1 with what the\nreceiver answered when it did not take it. The call needs the scope admin.",
		Example: "  carbond webhooks test desk",
		Args:    oneArg("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			conn, err := c.Dial()
			if err != nil {
				return err
			}
			defer conn.Close()
			if _, err := pb.NewAdminServiceClient(conn).TestWebhook(cmd.Context(), &pb.TestWebhookRequest{Hook: args[0]}); err != nil {
				return c.Explain(err)
			}
			_, err = fmt.Fprintf(a.out, "webhook %s took the test\n", client.Plain(args[0]))
			return err
		},
	}
	c = client.Flags(cmd, version)
	return cmd
}

func cmdWebhooksReplay(a *app) *cobra.Command {
	var (
		c    *client.Client
		from string
	)
	cmd := &cobra.Command{
		Use:   "replay NAME --from PLACE",
		Short: "Let a webhook deliver again from a place of the changelog",
		Long: "Moves a webhook to a place of the changelog, from which it delivers again; a webhook that was stopped\n" +
			"goes on too. An OFFSET is that of the first change that is delivered. The call needs the scope admin.",
		Example: "  carbond webhooks replay desk --from -1h\n  carbond webhooks replay desk --from 2026-05-01T00:00:00Z",
		Args:    oneArg("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := parsePlace("--from", from, time.Now())
			if err != nil {
				return err
			}
			req := &pb.ReplayWebhookRequest{Hook: args[0]}
			switch {
			case p.earliest:
				req.From = &pb.ReplayWebhookRequest_Earliest{Earliest: true}
			case p.latest:
				req.From = &pb.ReplayWebhookRequest_Latest{Latest: true}
			case p.time != "":
				req.From = &pb.ReplayWebhookRequest_Time{Time: p.time}
			default:
				req.From = &pb.ReplayWebhookRequest_Offset{Offset: max(p.offset, 1) - 1}
			}
			conn, err := c.Dial()
			if err != nil {
				return err
			}
			defer conn.Close()
			r, err := pb.NewAdminServiceClient(conn).ReplayWebhook(cmd.Context(), req)
			if err != nil {
				return c.Explain(err)
			}
			_, err = fmt.Fprintf(a.out, "webhook %s goes on behind offset %d\n", client.Plain(args[0]), r.GetCommitted())
			return err
		},
	}
	c = client.Flags(cmd, version)
	cmd.Flags().StringVar(&from, "from", "", "`PLACE`: earliest, latest, an OFFSET, a TIME (RFC 3339 or a date) or an age such as -1h")
	return cmd
}
