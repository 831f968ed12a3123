package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"carbond/cmd/carbond/internal/client"
	"carbond/cmd/carbond/internal/config"
	"carbond/replicate/schema"
)

func cmdHealthcheck(a *app) *cobra.Command {
	var (
		c       *client.Client
		service string
		timeout time.Duration
		quiet   bool
		ready   string
	)
	cmd := &cobra.Command{
		Use:   "healthcheck",
		Short: "Exit 0 when the daemon is SERVING",
		Long: "Asks grpc.health.v1 of the daemon. Exit code 0 only for SERVING; 1 for NOT_SERVING, an\n" +
			"unknown service and no answer. /readyz?verbose of the HTTP listener gives the reasons.\n" +
			"Without connection flags it asks the daemon that the configuration describes, on this machine; when\n" +
			"its gRPC listener wants certificates of clients, by /readyz of the HTTP listener.",
		Example: "  carbond healthcheck\n  carbond healthcheck --addr 10.0.0.7:50051 --tls-ca ca.crt --service carbon.CarbonService",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !anyChanged(cmd.Flags(), "addr", "tls", "tls-ca", "tls-cert", "tls-key", "tls-server-name") {
				ready = ownAddress(a, c)
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			ask := func() (healthpb.HealthCheckResponse_ServingStatus, error) { return health(ctx, c, service) }
			if ready != "" && !cmd.Flags().Changed("service") {
				// /readyz says the same as the health service.
				ask = func() (healthpb.HealthCheckResponse_ServingStatus, error) {
					resp, err := getReady(ctx, ready)
					if err != nil {
						return 0, err
					}
					if err := resp.Body.Close(); err != nil {
						return 0, err
					}
					if resp.StatusCode != http.StatusOK {
						return healthpb.HealthCheckResponse_NOT_SERVING, nil
					}
					return healthpb.HealthCheckResponse_SERVING, nil
				}
			}
			state, err := ask()
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
	c = client.Flags(cmd, version)
	cmd.Flags().StringVar(&service, "service", "carbon.CarbonService", "`NAME` of the gRPC service; empty asks for the process")
	cmd.Flags().DurationVar(&timeout, "timeout", 3*time.Second, "longest wait")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "print nothing when SERVING")
	return cmd
}

func anyChanged(f *pflag.FlagSet, names ...string) bool {
	for _, n := range names {
		if f.Changed(n) {
			return true
		}
	}
	return false
}

// ownAddress points the client at the daemon that the configuration describes,
// so that one HEALTHCHECK line fits every configuration. A configuration that
// does not load leaves the default address: serve complains about it already.
//
// A listener that wants certificates of clients refuses us, who have only that
// of a server. Where the HTTP listener does not, ready is the URL to ask there.
func ownAddress(a *app, c *client.Client) (ready string) {
	cfg, _, err := config.Load(a.sources(nil))
	if err != nil {
		return ""
	}
	addr, ok := onThisMachine(cfg.GRPC.Listen)
	if !ok {
		return ""
	}
	c.Addr = addr
	// The certificate names the machine, not the loopback address, and what it
	// would protect does not leave the machine.
	c.Own = cfg.GRPC.TLS.Enabled()
	c.TLS = c.Own
	if cfg.GRPC.TLS.ClientCA == "" {
		return ""
	}
	// Accepted where one authority signs for both sides.
	c.Cert, c.Key = cfg.GRPC.TLS.Cert, cfg.GRPC.TLS.Key
	ready, _ = readyURL(a, cfg)
	return ready
}

// readyURL returns where the daemon of a configuration says whether it is
// ready; not ok when its HTTP listener wants a certificate that we have not.
func readyURL(a *app, cfg *config.Config) (url string, ok bool) {
	addr, ok := onThisMachine(cfg.HTTP.Listen)
	switch {
	case !ok || cfg.HTTP.TLS.ClientCA != "":
		return "", false
	case cfg.HTTP.TLS.Enabled():
		return "https://" + addr + "/readyz", true
	}
	return "http://" + addr + "/readyz", true
}

// onThisMachine returns where a listener is reached from its own machine; not ok
// when its port is not known beforehand.
func onThisMachine(listen string) (addr string, ok bool) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil || port == "0" {
		return "", false
	}
	if ip := net.ParseIP(host); host == "" || (ip != nil && ip.IsUnspecified()) {
		host = "127.0.0.1"
		if ip != nil && ip.To4() == nil {
			host = "::1"
		}
	}
	return net.JoinHostPort(host, port), true
}

func getReady(ctx context.Context, url string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true}, //nolint:gosec // see ownAddress
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the daemon: %w", err)
	}
	return resp, nil
}

// askReasons asks the daemon why it is not ready.
func askReasons(ctx context.Context, url string) schema.Finding {
	f := schema.Finding{Name: "daemon"}
	var said struct {
		Ready  bool
		Checks []struct{ Name, Reason string }
	}
	resp, err := getReady(ctx, url+"?verbose")
	if err == nil {
		err = errors.Join(json.NewDecoder(resp.Body).Decode(&said), resp.Body.Close())
	}
	if err != nil {
		f.Warning, f.Detail, f.Advice = true, err.Error(), "carbond healthcheck"
		return f
	}
	f.OK, f.Detail = said.Ready, "the daemon that has the data directory open is ready"
	if f.OK {
		return f
	}
	f.Detail = "the daemon that has the data directory open is not ready"
	for _, c := range said.Checks {
		if c.Reason != "" {
			f.Detail += "; " + c.Name + ": " + c.Reason
		}
	}
	return f
}

// health asks once.
func health(ctx context.Context, c *client.Client, service string) (healthpb.HealthCheckResponse_ServingStatus, error) {
	conn, err := c.Dial()
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	resp, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{Service: service})
	if err != nil {
		return 0, c.Explain(err)
	}
	return resp.GetStatus(), nil
}
