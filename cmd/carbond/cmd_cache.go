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

func cmdCache(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cache",
		Short: "List the cache of replies: keys, age, size, hits",
		Long: "Lists what the running daemon's cache of encoded replies holds, the last used first: the key (call and\n" +
			"filter), its age and the time until it is made again even if nothing changes, both in seconds, its\n" +
			"memory in bytes, and how many calls it has answered. The calls need the scope admin.",
		Example: "  carbond cache\n  carbond cache --format jsonl | jq .key\n  carbond cache flush",
		Args:    unknownCommand,
	}
	listing(a, cmd, client.Columns{Names: []string{"key", "age", "ttl", "bytes", "hits"}}, func(ctx context.Context, conn *grpc.ClientConn) (rows [][]any, err error) {
		r, err := pb.NewAdminServiceClient(conn).ListCache(ctx, &pb.ListCacheRequest{})
		for _, e := range r.GetEntries() {
			rows = append(rows, []any{client.Key(e.GetKey()), seconds(e.GetAgeMs()), seconds(e.GetTtlMs()), e.GetBytes(), e.GetHits()})
		}
		return rows, err
	})
	cmd.AddCommand(cmdCacheFlush(a))
	return cmd
}

// listing lets a command ask the daemon once and print the rows of the answer.
func listing(a *app, cmd *cobra.Command, columns client.Columns, ask func(context.Context, *grpc.ClientConn) ([][]any, error)) {
	c := client.Flags(cmd, version)
	form := client.FormFlags(cmd, a.getenv)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		p, err := client.NewPrinter(a.out, form, columns)
		if err != nil {
			return err
		}
		conn, err := c.Dial()
		if err != nil {
			return err
		}
		defer conn.Close()
		rows, err := ask(cmd.Context(), conn)
		if err != nil {
			return c.Explain(err)
		}
		return printAll(p, rows)
	}
}

func printAll(p client.Printer, rows [][]any) error {
	for _, row := range rows {
		if err := p.Row(row); err != nil {
			return err
		}
	}
	return p.End()
}

func seconds(ms int64) float64 { return (time.Duration(ms) * time.Millisecond).Seconds() }

func cmdCacheFlush(a *app) *cobra.Command {
	var c *client.Client
	cmd := &cobra.Command{
		Use:     "flush",
		Short:   "Forget every cached reply",
		Long:    "Makes the running daemon forget every cached reply; the next calls make them again. A reply is never\nolder than the data, so this is for measuring, and for memory. The call needs the scope admin.",
		Example: "  carbond cache flush",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			conn, err := c.Dial()
			if err != nil {
				return err
			}
			defer conn.Close()
			r, err := pb.NewAdminServiceClient(conn).FlushCache(cmd.Context(), &pb.FlushCacheRequest{})
			if err != nil {
				return c.Explain(err)
			}
			_, err = fmt.Fprintf(a.out, "forgot %d replies, %s\n", r.GetEntries(), client.Bytes(r.GetBytes()))
			return err
		},
	}
	c = client.Flags(cmd, version)
	return cmd
}
