package daemon

import (
	"context"
	"path/filepath"
	"sync"
	"time"

	"carbond/cmd/carbond/internal/admin"
	"carbond/cmd/carbond/internal/config"
	"carbond/cmd/carbond/internal/console"
	"carbond/cmd/carbond/internal/trend"
	"carbond/rpc/web"
	"carbond/store/change"
)

const (
	statusFor   = time.Second     // a look at the status is used for that long, however many pages ask
	groupsFor   = 5 * time.Second // the age of a group's lag is read from the log
	shownGroups = 100
)

// looks remembers what is dear to look at, for the pages and /status.json.
type looks struct {
	mu       sync.Mutex // guards what follows
	status   admin.Status
	statusAt time.Time
	groups   []change.Group
	groupsAt time.Time
}

// buildConsole makes the pages.
func (d *Daemon) buildConsole(_ context.Context, cfg *config.Config) (err error) {
	if d.trend, err = trend.Open(filepath.Join(cfg.DataDir, "trend.jsonl"), time.Now()); err != nil {
		d.log.Warn("the history of health begins again", "error", err)
	}
	tokens := cfg.GRPC.TokensFile != ""
	d.door = web.NewDoor(d.api, web.DoorOptions{
		Tokens: tokens, Certificates: cfg.GRPC.TLS.ClientCA != "" && !tokens,
		Open: func() bool {
			open := d.cfg.Load().HTTP.Open
			return open == "true" || open == "no-tokens" && !tokens
		},
	})
	d.console = console.New(console.Options{
		Logger: d.log.With("stage", "http"),
		Status: d.recentStatus, Trend: d.trend.Samples,
		Door: d.door, API: d.api.Local(), Stream: d.api.Stream,
	})
	return nil
}

// recentStatus is status, looked at no more than once in statusFor.
func (d *Daemon) recentStatus() admin.Status {
	d.looks.mu.Lock()
	defer d.looks.mu.Unlock()
	if time.Since(d.looks.statusAt) >= statusFor {
		d.looks.status, d.looks.statusAt = d.statusWith(d.recentGroups()), time.Now()
	}
	return d.looks.status
}

// recentGroups lists the groups; a look is used for groupsFor. The caller holds mu.
func (d *Daemon) recentGroups() []change.Group {
	if time.Since(d.looks.groupsAt) >= groupsFor {
		d.looks.groups, d.looks.groupsAt = d.store.Groups(), time.Now()
	}
	return d.looks.groups
}

// sampleTrend notes how the daemon is now.
func (d *Daemon) sampleTrend() {
	s := trend.Sample{Unix: time.Now().Unix(), Offset: uint64(d.store.Position().Offset)}
	if v := d.health.Load(); v != nil {
		s.Ready = v.ok
	}
	if d.source != nil {
		s.Lag = d.source.Status().LagSeconds
	}
	for _, f := range d.feedStatus() {
		if f.Failing() {
			s.Failing = append(s.Failing, f.Name)
		}
	}
	if err := d.trend.Add(s); err != nil {
		d.log.Debug("note the health", "error", err) // a full disk is told elsewhere
	}
}
