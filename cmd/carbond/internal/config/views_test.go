package config_test

import (
	"slices"
	"strings"
	"testing"

	"carbond/cmd/carbond/internal/config"
)

func TestHoldAndViews(t *testing.T) {
	load := func(env ...string) (*config.Config, string) {
		t.Helper()
		cfg, warnings, err := config.Load(config.Options{Env: env})
		if err != nil {
			t.Fatal(err)
		}
		var text []string
		for _, w := range warnings {
			text = append(text, w.String())
		}
		return cfg, strings.Join(text, "\n")
	}
	old, warned := load()
	if warned != "" || old.Views.JSONLDir != "" || old.Views.Keep != 7 || old.Retention.HoldBytes != 4<<30 {
		t.Errorf("defaults: %+v %+v %s", old.Views, old.Retention, warned)
	}
	cfg, warned := load("CARBOND_RETENTION_HOLD_GROUPS=desk, warehouse", "CARBOND_RETENTION_BYTES=8GiB", "CARBOND_VIEWS_JSONL_DIR=/x", "CARBOND_VIEWS_JSONL_ROTATE_BYTES=1MiB")
	if !slices.Equal(cfg.Retention.HoldGroups, []string{"desk", "warehouse"}) || cfg.Views.JSONLDir != "/x" || cfg.Views.RotateBytes != 1<<20 {
		t.Errorf("%+v %+v", cfg.Views, cfg.Retention)
	}
	if !strings.Contains(warned, "retention.hold_bytes is less than retention.bytes") {
		t.Errorf("warnings: %q", warned)
	}
	reload, restart := config.Changed(old, cfg)
	if !slices.Contains(reload, "retention.hold_groups") || !slices.Contains(restart, "views.jsonl_dir") {
		t.Errorf("reload %v, restart %v", reload, restart)
	}
}
