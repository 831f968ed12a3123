package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

func (a *app) cmdHealthcheck() *cobra.Command {
	var (
		c       *client
		service string
		timeout time.Duration
		quiet   bool
	)
	cmd := &cobra.Command{
		Use:   "healthcheck",
		Short: "Exit 0 when the daemon is SERVING",
		Long: "Asks grpc.health.v1 of the daemon. Exit code 0 only for SERVING; 1 for NOT_SERVING, an\n" +
			"unknown service and no answer. /readyz?verbose of the HTTP listener tells the reasons.",
		Example: "  carbond healthcheck\n  carbond healthcheck --addr 10.0.0.7:50051 --tls-ca ca.crt --service carbon.CarbonService",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			state, err := c.health(ctx, service)
			if err != nil {
				return err
			}
			if !quiet || state != healthpb.HealthCheckResponse_SERVING {
				fmt.Fprintln(a.out, state)
			}
			if state != healthpb.HealthCheckResponse_SERVING {
				return errQuiet
			}
			return nil
		},
	}
	c = addClientFlags(cmd)
	cmd.Flags().StringVar(&service, "service", "carbon.CarbonService", "`NAME` of the gRPC service; empty asks for the process")
	cmd.Flags().DurationVar(&timeout, "timeout", 3*time.Second, "longest wait")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "print nothing when SERVING")
	return cmd
}

// health asks once.
func (c *client) health(ctx context.Context, service string) (healthpb.HealthCheckResponse_ServingStatus, error) {
	conn, err := c.dial()
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	resp, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{Service: service})
	if err != nil {
		return 0, c.explain(err)
	}
	return resp.GetStatus(), nil
}
