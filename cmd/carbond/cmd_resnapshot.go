package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"carbond/cmd/carbond/internal/client"
	pb "carbond/proto/carbon"
)

func cmdResnapshot(a *app) *cobra.Command {
	var c *client.Client
	cmd := &cobra.Command{
		Use:   "resnapshot TABLE...",
		Short: "Copy tables again, beside the stream",
		Long: "Makes the running daemon copy tables again, one after the other, while it goes on: those of the views as\n" +
			"differences, others as records of op r. A table is a topic, schema.table, or one of the views' tables alone.\n" +
			"The daemon leaves Postgres as much time as it takes. The copy goes on when this command is ended. The call\nneeds the scope admin.",
		Example: "  carbond resnapshot verra\n  carbond resnapshot public.orders carbon.shop.customers",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			conn, err := c.Dial()
			if err != nil {
				return err
			}
			defer conn.Close()
			for _, table := range args {
				stream, err := pb.NewAdminServiceClient(conn).Resnapshot(cmd.Context(), &pb.ResnapshotRequest{Table: table})
				if err != nil {
					return c.Explain(err)
				}
				for {
					p, err := stream.Recv()
					if errors.Is(err, io.EOF) {
						break
					}
					if err != nil {
						return c.Explain(err)
					}
					of := ""
					if p.Expected > 0 {
						of = fmt.Sprintf(" of about %d", p.Expected)
					}
					fmt.Fprintf(a.err, "%s: %d%s rows\n", client.Plain(p.Table), p.Rows, of)
				}
				if _, err := fmt.Fprintf(a.out, "%s: copied again\n", client.Plain(table)); err != nil {
					return err
				}
			}
			return nil
		},
	}
	c = client.Flags(cmd, version)
	return cmd
}
