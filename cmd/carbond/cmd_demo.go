package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

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
		Example: "  carbond demo\n  carbond demo --grpc-listen 127.0.0.1:0 --http-listen 127.0.0.1:0",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return demo(a, cmd.Context(), overridden(cmd.Flags()))
		},
	}
	addOverrides(c.Flags(), "grpc-listen", "http-listen", "log-level")
	return c
}

func demo(a *app, ctx context.Context, flags map[string]string) (err error) {
	removeDead(os.TempDir())
	dir, err := os.MkdirTemp("", fmt.Sprintf("%s%d-", demoPrefix, os.Getpid()))
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
	cfg, level, err := a.loadDaemon(ctx, flags)
	if err != nil {
		return err
	}
	if cfg.Origin("log.level") == "default" {
		level.Set(slog.LevelWarn) // what to try should stand out
	}
	opt := a.surroundings(level, flags)
	opt.Sample, opt.KafkaPort = true, 9092
	opt.Up = func(ctx context.Context, d *daemon.Daemon) { d.Welcome(ctx, a.out) }
	return daemon.Run(ctx, cfg, opt)
}

// demoPrefix begins the name of a demo's folder; its process follows.
const demoPrefix = "carbond-demo-"

// removeDead removes the folders of demos that were killed. What cannot be removed
// belongs to somebody else.
func removeDead(tmp string) {
	found, _ := filepath.Glob(filepath.Join(tmp, demoPrefix+"*")) // the pattern is valid
	for _, dir := range found {
		id, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), demoPrefix), "-")
		pid, err := strconv.Atoi(id)
		owner, ok := ownerOf(dir)
		if err != nil || pid <= 0 || !ok || int(owner.Uid) != os.Getuid() {
			continue
		}
		if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			_ = os.RemoveAll(dir)
		}
	}
}
