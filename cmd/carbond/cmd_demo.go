package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"carbond/cmd/carbond/internal/client"
	"carbond/cmd/carbond/internal/config"
	"carbond/cmd/carbond/internal/daemon"
	"carbond/feeds/finance"
	"carbond/feeds/sample"
)

func cmdDemo(a *app) *cobra.Command {
	var speed int
	c := &cobra.Command{
		Use:   "demo",
		Short: "Run offline with SAMPLE DATA in a temporary data directory",
		Long: "Runs the daemon in embedded mode with sample data that moves, without network and without touching\n" +
			"your data: the data directory is temporary and goes when the demo ends (Ctrl-C). The market is invented, but\n" +
			"keeps the pace of a real one, from the opening of New York on: six and a half hours of trading, nights, weekends,\n" +
			"a story every few minutes; --speed makes it faster. However long it runs, it stays small: it keeps the prices of\n" +
			"two days of the market (one hour at least), and 64 MiB of changelog unless CARBOND_RETENTION_BYTES says otherwise.",
		Example: "  carbond demo\n  carbond demo --speed 60\n  carbond demo --grpc-listen 127.0.0.1:0 --http-listen 127.0.0.1:0",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if speed < 1 || speed > maxSpeed {
				return client.Usage(fmt.Errorf("--speed %d: want 1 to %d", speed, maxSpeed))
			}
			return demo(a, cmd.Context(), speed, overridden(cmd.Flags()))
		},
	}
	c.Flags().IntVar(&speed, "speed", 1, "let the market move `N` times faster than life")
	addOverrides(c.Flags(), "grpc-listen", "http-listen", "log-level")
	return c
}

// maxSpeed keeps what happens in two days of the market more than what happens
// between two looks of pruning, so that a demo at any speed stays small.
const maxSpeed = 1000

func demo(a *app, ctx context.Context, speed int, flags map[string]string) (err error) {
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
	// It begins when the market opens, so that prices move whenever somebody tries it.
	bell := finance.NextOpen(time.Now().UTC().Truncate(24 * time.Hour))
	world := sample.New(sample.Options{Seed: 1, Speed: float64(speed), Calendar: bell})
	urls, stop, err := upstreams(ctx, world)
	if err != nil {
		return err
	}
	defer func() {
		if e := stop(); e != nil && err == nil {
			err = e
		}
	}()
	// Whatever is configured, a demo touches neither a database nor the net, and its feeds
	// are as they are by default, but for where they read.
	for _, k := range config.Default().Keys() {
		if strings.HasPrefix(k.Name, "feeds.") {
			flags[k.Name] = k.Default
		}
	}
	maps.Copy(flags, urls)
	maps.Copy(flags, map[string]string{
		"data_dir": dir, "postgres.url": "", "postgres.password": "", "feeds.interval": "2s", "feeds.verra_sweep": "1m",
		// By the age that they have in the market.
		"feeds.finance_history": max(48*time.Hour/time.Duration(speed), time.Hour).String(),
		"feeds.news_history":    max(30*24*time.Hour/time.Duration(speed), 24*time.Hour).String(),
	})
	// Who wants more of the changelog says so in the environment.
	a.env = append([]string{"CARBOND_RETENTION_BYTES=64MiB", "CARBOND_STORE_SEGMENT_BYTES=8MiB"}, a.env...)
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

// upstreams serves the world on loopback, each upstream at an address of its own, as each
// feed has its host, and returns the keys that lead the feeds there.
func upstreams(ctx context.Context, world *sample.World) (keys map[string]string, stop func() error, err error) {
	var lc net.ListenConfig
	listeners, urls := make([]net.Listener, 4), make([]sample.URLs, 4)
	for i := range listeners {
		if listeners[i], err = lc.Listen(ctx, "tcp", "127.0.0.1:0"); err != nil {
			for _, l := range listeners[:i] {
				_ = l.Close()
			}
			return nil, nil, fmt.Errorf("listen for the sample upstreams: %w", err)
		}
		urls[i] = world.URLs("http://" + listeners[i].Addr().String())
	}
	var feeds []string
	for _, n := range urls[3].News {
		feeds = append(feeds, n.Name+"="+n.URL)
	}
	keys = map[string]string{
		"feeds.verra_url": urls[0].Verra, "feeds.carbonmark_url": urls[1].Carbonmark, "feeds.finance_url": urls[2].Finance,
		"feeds.finance_cookie_url": urls[2].Cookie, "feeds.news_urls": strings.Join(feeds, ","),
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // they outlast the feeds
	done := make(chan error, 1)
	go func() { done <- world.Run(ctx, listeners...) }()
	return keys, func() error {
		cancel()
		return <-done
	}, nil
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
