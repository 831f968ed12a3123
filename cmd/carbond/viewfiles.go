package main

import (
	"context"

	"carbond/cmd/carbond/internal/config"
	"carbond/cmd/carbond/internal/viewfile"
)

// buildViews makes the writer of view files. It touches no file: a directory
// that cannot be written must not keep the daemon from serving.
func (d *daemon) buildViews(_ context.Context, cfg *config.Config) error {
	v := cfg.Views
	if v.JSONLDir == "" {
		return nil
	}
	d.views = viewfile.New(v.JSONLDir, d.store, viewfile.Options{
		Logger: d.log.With("stage", "viewfile"), Registerer: d.met.reg,
		RotateBytes: v.RotateBytes, Keep: v.Keep, Sync: v.Sync,
	})
	return nil
}
