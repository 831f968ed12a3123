package main

import (
	"log/slog"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"carbond/cmd/carbond/internal/admin"
	"carbond/cmd/carbond/internal/daemon"
)

// overrides are flags that stand for configuration keys.
var overrides = map[string]string{
	"data-dir":    "data_dir",
	"grpc-listen": "grpc.listen",
	"http-listen": "http.listen",
	"log-level":   "log.level",
}

func addOverrides(f *pflag.FlagSet, names ...string) {
	usage := map[string]string{
		"data-dir":    "data directory, `DIR` in place of data_dir",
		"grpc-listen": "`HOST:PORT` in place of grpc.listen",
		"http-listen": "`HOST:PORT` in place of http.listen",
		"log-level":   "`LEVEL` in place of log.level",
	}
	for _, n := range names {
		f.String(n, "", usage[n])
	}
}

// overridden returns the keys that flags set.
func overridden(f *pflag.FlagSet) map[string]string {
	out := map[string]string{}
	f.Visit(func(fl *pflag.Flag) {
		if key, ok := overrides[fl.Name]; ok {
			out[key] = fl.Value.String()
		}
	})
	return out
}

func cmdServe(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run the daemon",
		Long: "Runs the daemon: in postgres mode when postgres.url is set, else in embedded mode.\n" +
			"SIGHUP reloads configuration, certificates, tokens and log level; an invalid file keeps the\n" +
			"old one. SIGTERM drains and stops within 10 s; a second one cuts the waits.",
		Example: "  carbond serve\n  CARBOND_POSTGRES_URL=postgres://carbond@localhost/carbon carbond serve --data-dir ./data",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			flags := overridden(cmd.Flags())
			cfg, level, err := a.loadDaemon(cmd.Context(), flags)
			if err != nil {
				return err
			}
			return daemon.Run(cmd.Context(), cfg, a.surroundings(level, flags))
		},
	}
	addOverrides(c.Flags(), "data-dir", "grpc-listen", "http-listen", "log-level")
	return c
}

// surroundings are what a daemon depends on besides its configuration. flags are
// those that stand for keys, also at a reload. From here on signals are the daemon's.
func (a *app) surroundings(level *slog.LevelVar, flags map[string]string) daemon.Options {
	close(a.asked)
	b := build()
	return daemon.Options{
		Sources: a.sources(flags), Redaction: &a.secrets, Version: admin.Version{Version: b.Version, Revision: b.Revision, Date: b.Date, Go: b.Go}, Log: a.log, Level: level,
		Getenv: a.getenv, PID: a.pid, Signals: a.signals, Gzip: a.gzip,
	}
}
