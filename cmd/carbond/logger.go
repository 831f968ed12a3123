package main

import (
	"log/slog"

	"carbond/cmd/carbond/internal/config"
	"carbond/cmd/carbond/internal/logging"
)

// logger returns the daemon's logger and the level that a reload may change.
func (a *app) logger(cfg *config.Config) (*slog.Logger, *slog.LevelVar) {
	level := new(slog.LevelVar)
	level.Set(logLevel(cfg))
	return logging.New(a.err, logging.Options{
		Format:  cfg.Log.Format,
		Level:   level,
		Journal: logging.ToJournal(a.errFile, a.getenv("JOURNAL_STREAM")),
		Redact:  func(s string) string { return a.redact(s) },
	}), level
}

func logLevel(cfg *config.Config) slog.Level {
	switch cfg.Log.Level {
	case "debug":
		return slog.LevelDebug
	case "warn":
		return slog.LevelWarn
	case "error":
		return slog.LevelError
	}
	return slog.LevelInfo
}
