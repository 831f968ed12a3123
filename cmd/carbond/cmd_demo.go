package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"carbond/cmd/carbond/internal/config"
	"carbond/cmd/carbond/internal/daemon"
)

func cmdDemo(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "demo",
		Short: "Run offline with SAMPLE DATA in a temporary data directory",
		Long: "Runs the daemon in embedded mode with sample data that moves, without network and without touching\n" +
			"your data: the data directory is temporary and goes when the demo ends (Ctrl-C).",
		Example:     "  carbond demo\n  carbond demo --grpc-listen 127.0.0.1:0 --http-listen 127.0.0.1:0",
		Args:        noArgs,
		Annotations: map[string]string{daemonMark: "yes"},
		RunE: func(cmd *cobra.Command, _ []string) error {
			return demo(a, cmd.Context(), overridden(cmd.Flags()))
		},
	}
	addOverrides(c.Flags(), "grpc-listen", "http-listen", "log-level")
	return c
}

func demo(a *app, ctx context.Context, flags map[string]string) (err error) {
	dir, err := os.MkdirTemp("", "carbond-demo-")
	if err != nil {
		return fmt.Errorf("make a temporary data directory: %w", err)
	}
	defer func() {
		if e := os.RemoveAll(dir); e != nil && err == nil {
			err = e
		}
	}()
	// Whatever is configured, a demo touches neither a database nor the net.
	flags["data_dir"], flags["postgres.url"], flags["postgres.password"], flags["feeds.enabled"] = dir, "", "", strings.Join(config.FeedNames(), ",")
	cfg, err := a.load(flags)
	if err != nil {
		return err
	}
	if cfg.Origin("log.level") == "default" {
		cfg.Log.Level = "warn" // what to try should stand out
	}
	opt := a.surroundings(cfg, flags)
	opt.Sample = true
	opt.Up = func(ctx context.Context, d *daemon.Daemon) { d.Welcome(ctx, a.out) }
	return daemon.Run(ctx, cfg, opt)
}
