package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"carbond/cmd/carbond/internal/client"
	pb "carbond/proto/carbon"
)

func cmdFleet(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "fleet",
		Short: "List the nodes of the fleet, and compare their changelogs",
		Long: "Lists the nodes of the fleet (fleet.name) that the daemon belongs to, that one first: the slot by\n" +
			"which a node goes, whether it is ready, whether feeds and webhooks run there (lease), its position,\n" +
			"its lag in seconds, the checksum of its changelog up to its offset, and the WAL that its slot keeps\n" +
			"on the server. Nodes of one history have equal checksums at equal offsets.",
		Example: "  carbond fleet\n  carbond fleet verify\n  carbond fleet leave",
		Args:    unknownCommand,
	}
	listing(a, cmd, client.Columns{
		Names: []string{"node", "address", "ready", "lease", "offset", "lsn", "lag_seconds", "checksum", "history", "retained_wal_bytes", "version", "remark"},
		Brief: []int{0, 1, 2, 3, 4, 5, 6, 7, 11},
	}, func(ctx context.Context, conn *grpc.ClientConn) (rows [][]any, err error) {
		r, err := pb.NewFleetServiceClient(conn).ListNodes(ctx, &pb.ListNodesRequest{})
		for _, n := range r.GetNodes() {
			rows = append(rows, nodeRow(n))
		}
		return rows, err
	})
	cmd.AddCommand(cmdFleetVerify(a), cmdFleetLeave(a))
	return cmd
}

func nodeRow(n *pb.FleetNode) []any {
	var address any // nil for the node that was asked
	if n.GetAddress() != "" {
		address = n.GetAddress()
	}
	v := n.GetNode()
	if v == nil {
		return []any{nil, address, false, nil, nil, nil, nil, nil, nil, nil, nil, n.GetError()}
	}
	remark := v.GetReason()
	if d := v.GetDifference(); d != "" {
		remark = d
	}
	return []any{
		client.Key(v.GetSlot()), address, v.GetReady(), v.GetLease(), client.Offset(v.GetOffset()), v.GetLsn(), tenths(v.GetLagSeconds()),
		fmt.Sprintf("%016x", v.GetChecksum()), v.GetHistory(), v.GetRetainedWalBytes(), v.GetVersion(), remark,
	}
}

func cmdFleetVerify(a *app) *cobra.Command {
	var c *client.Client
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Compare the changelogs of all nodes now",
		Long: "Compares the changelogs of all nodes at the last offset that all have, and names the first offset\n" +
			"that differs. Exit code 1 when one differs, or does not answer.",
		Example: "  carbond fleet verify",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			conn, err := c.Dial()
			if err != nil {
				return err
			}
			defer conn.Close()
			r, err := pb.NewFleetServiceClient(conn).ListNodes(cmd.Context(), &pb.ListNodesRequest{})
			if err != nil {
				return c.Explain(err)
			}
			silent := 0
			for _, n := range r.GetNodes() {
				if n.GetNode() == nil {
					silent++
					fmt.Fprintf(a.out, "no answer: %s\n", client.Plain(n.GetError()))
				}
			}
			switch nodes := len(r.GetNodes()); {
			case r.GetDifference() != "":
				fmt.Fprintf(a.out, "different: %s\n", client.Plain(r.GetDifference()))
			case silent > 0:
				fmt.Fprintf(a.out, "%d of %d nodes have the same changelog\n", nodes-silent, nodes)
			default:
				_, err := fmt.Fprintf(a.out, "all %d nodes have the same changelog\n", nodes)
				return err
			}
			return errQuiet
		},
	}
	c = client.Flags(cmd, version)
	return cmd
}

// cmdFleetLeave is teardown under the name that one looks for here: it leaves the
// publication to the slots of the other nodes.
func cmdFleetLeave(a *app) *cobra.Command {
	cmd := cmdTeardown(a)
	cmd.Use, cmd.Short = "leave", "Drop the replication slot of this node"
	cmd.Long = "Drops the slot of this node in Postgres, as carbond teardown does, so that the server keeps no WAL\n" +
		"for a node that is gone for good. The publication stays for the others. Stop the daemon first, and\n" +
		"take the node out of fleet.join of the others. Asks before it acts, unless --yes is given."
	cmd.Example = "  systemctl stop carbond && carbond fleet leave"
	return cmd
}
