package main

import (
	"time"

	"carbond/cmd/carbond/internal/config"
	"carbond/cmd/carbond/internal/daemon"
	"carbond/replicate"
)

// errEmbedded is the answer of commands that need a database.
var errEmbedded error = noDatabase{}

// noDatabase is a fault of the configuration, as far as these commands go.
type noDatabase struct{}

// Error implements error.
func (noDatabase) Error() string {
	return "postgres.url is empty: this is embedded mode, there is no database to work on (set CARBOND_POSTGRES_URL or postgres.url)"
}

// Unwrap makes the exit code that of an invalid configuration.
func (noDatabase) Unwrap() error { return config.ErrInvalid }

// postgresTime bounds a command against a server that does not answer.
const postgresTime = 2 * time.Minute

// loadDatabase loads the configuration of a command that needs a database.
func loadDatabase(a *app) (*config.Config, replicate.Options, error) {
	cfg, err := a.load(nil)
	if err != nil {
		return nil, replicate.Options{}, err
	}
	if cfg.Embedded() {
		return cfg, replicate.Options{}, errEmbedded
	}
	if wrong := daemon.CheckURLs(cfg); wrong != nil {
		return cfg, replicate.Options{}, wrong
	}
	opt := daemon.ReplicateOptions(cfg)
	opt.Logger, _ = a.logger(cfg)
	return cfg, opt, nil
}
