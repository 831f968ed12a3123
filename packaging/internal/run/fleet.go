package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"carbond/packaging/internal/exposition"
	"carbond/replicate/pgtest"
)

// Fleet is carbond in its two modes, so that together they show every metric:
// embedded has a feed that works, view files and a consumer group; postgres has
// replication, certificates, and a feed and view files that cannot work.
type Fleet struct {
	Embedded, Postgres *Daemon
	Upstream           *Upstream
	Server             *pgtest.Cluster
	Config             string // the file that Postgres was started with
}

// StartFleet starts both under dir. expires is when the certificate does.
func StartFleet(ctx context.Context, binary, dir string, expires time.Time) (*Fleet, error) {
	f := &Fleet{Config: filepath.Join(dir, "carbond.yaml")}
	cert, key, err := certificate(dir, expires)
	if err != nil {
		return f, err
	}
	if err := os.WriteFile(f.Config, []byte("log:\n  level: info\n"), 0o600); err != nil {
		return f, err
	}
	if f.Server, err = pgtest.Launch("max_slot_wal_keep_size=1GB"); err != nil {
		return f, err
	}
	f.Upstream = StartUpstream(ctx)
	homes := [2]string{filepath.Join(dir, "embedded"), filepath.Join(dir, "postgres")}
	for _, home := range homes {
		if err := os.Mkdir(home, 0o700); err != nil {
			return f, err
		}
	}
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("a-text-for-webhooks"), 0o600); err != nil {
		return f, err
	}
	if f.Embedded, err = StartDaemon(ctx, "http", binary, "serve", homes[0], "CARBOND_CONFIG="+os.DevNull,
		"CARBOND_FEEDS_ENABLED=news", "CARBOND_FEEDS_NEWS_URLS=here="+f.Upstream.URL, "CARBOND_FEEDS_INTERVAL=1s",
		"CARBOND_KAFKA_LISTEN=127.0.0.1:0", "CARBOND_VIEWS_JSONL_DIR="+filepath.Join(homes[0], "views"),
		"CARBOND_WEBHOOKS_URLS=here="+f.Upstream.URL, "CARBOND_WEBHOOKS_VIEWS=here=finance", "CARBOND_WEBHOOKS_SECRET_FILE="+secret); err != nil {
		return f, err
	}
	// Lag exists for groups alone: the first consumer makes one.
	err = f.Embedded.Until(ctx, 30*time.Second, func(ctx context.Context) error {
		if err := f.Embedded.Tell(ctx, binary, "consume", "carbon.public.news", "--group", "desk", "--max", "1"); err != nil {
			return err
		}
		return f.Embedded.Tell(ctx, binary, "groups", "reset", "desk", "--to", "earliest")
	})
	if err != nil {
		return f, err
	}
	f.Postgres, err = StartDaemon(ctx, "https", binary, "serve", homes[1], "CARBOND_CONFIG="+f.Config,
		"CARBOND_POSTGRES_URL="+f.Server.URL("postgres"), "CARBOND_POSTGRES_MAX_RETAINED_WAL=100GB", "CARBOND_FLEET_NAME=desk", "CARBOND_FLEET_JOIN=127.0.0.1:9", "CARBOND_GRPC_TLS_CERT="+cert, "CARBOND_GRPC_TLS_KEY="+key,
		"CARBOND_HTTP_TLS_CERT="+cert, "CARBOND_HTTP_TLS_KEY="+key,
		// A feed that cannot succeed: nothing listens on the discard port.
		"CARBOND_FEEDS_ENABLED=news", "CARBOND_FEEDS_NEWS_URLS=gone=http://127.0.0.1:9/feed", "CARBOND_FEEDS_INTERVAL=1s",
		// View files that cannot be written: a folder inside a file.
		"CARBOND_VIEWS_JSONL_DIR="+filepath.Join(cert, "views"))
	if err != nil {
		return f, err
	}
	// The daemon makes the tables.
	return f, f.Postgres.Until(ctx, 30*time.Second, func(ctx context.Context) error {
		return execute(ctx, f.Server.URL("postgres"), `INSERT INTO finance (ticker, price, "timestamp") VALUES ('SAMPLE', 1, 1) ON CONFLICT DO NOTHING`)
	})
}

// Families is the catalogue of both daemons. It waits until the feed has
// succeeded and Postgres is followed, since some metrics exist from then.
func (f *Fleet) Families(ctx context.Context) (map[string]*exposition.Family, error) {
	var all map[string]*exposition.Family
	err := f.Postgres.Until(ctx, time.Minute, func(ctx context.Context) error {
		all = map[string]*exposition.Family{}
		for _, d := range []*Daemon{f.Embedded, f.Postgres} {
			text, err := d.Metrics(ctx)
			if err != nil {
				return err
			}
			if err := exposition.Parse(string(text), all); err != nil {
				return err
			}
		}
		var missing []error
		for _, late := range []string{
			"carbond_feed_last_success_timestamp_seconds", "carbond_replication_slot_safe_wal_bytes",
			"carbond_replication_last_level_timestamp_seconds", "carbond_replication_slot_wal_status_info",
			"carbond_changelog_consumer_lag_seconds", "carbond_finance_price",
		} {
			if all[late] == nil {
				missing = append(missing, fmt.Errorf("no metric %s", late))
			}
		}
		return errors.Join(missing...)
	})
	return all, err
}

// Wait returns when everything that was started has ended.
func (f *Fleet) Wait() {
	if f == nil {
		return
	}
	for _, d := range []*Daemon{f.Embedded, f.Postgres} {
		if d != nil {
			d.Wait()
		}
	}
	if f.Server != nil {
		_ = f.Server.Remove() // a folder left in the temporary one harms nobody
	}
}

// execute runs SQL by psql.
func execute(ctx context.Context, url, sql string) error {
	out, err := exec.CommandContext(ctx, "psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-c", sql, url).CombinedOutput()
	if err != nil {
		return fmt.Errorf("psql: %w: %s", err, out)
	}
	return nil
}
