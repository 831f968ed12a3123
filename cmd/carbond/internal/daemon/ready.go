package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"carbond/cmd/carbond/internal/admin"
	"carbond/cmd/carbond/internal/config"
	"carbond/cmd/carbond/internal/fleet"
	"carbond/cmd/carbond/internal/systemd"
	"carbond/cmd/carbond/internal/trend"
	"carbond/cmd/carbond/internal/viewfile"
	"carbond/feeds"
	"carbond/replicate"
	"carbond/rpc"
	"carbond/store"
)

// verdict is the one answer to "is it ready": gRPC health, /readyz, the page and
// the metrics all show this one, taken every healthEvery.
type verdict struct {
	ok     bool
	since  time.Time // ok is so
	reason string    // why not, or a remark when ok
	remedy string
}

// health decides whether the daemon is ready, and says so to everybody.
type health struct {
	log     *slog.Logger
	conf    *settings
	store   *store.Store
	source  *replicate.Replicator // nil without Postgres
	feeds   *feeds.Runner         // nil when no feed is on
	views   *viewfile.Writer      // nil without views.jsonl_dir
	fleet   *fleet.Member         // nil without fleet.name
	api     *rpc.Server           // set before run
	met     *metrics
	notify  *systemd.Notifier
	started time.Time
	where   string // the mode and the address of the API

	last atomic.Pointer[verdict]
	age  atomic.Int64 // nanoseconds since the views were level with their source
}

func (d *Daemon) buildHealth(context.Context, *config.Config) error {
	d.health = &health{
		log: d.log, conf: d.conf, store: d.store, source: d.source, feeds: d.feeds, views: d.views, fleet: d.fleet, met: d.met, notify: d.notify,
		started: d.started, where: fmt.Sprintf("%s mode on %s", d.mode, d.listen.grpc.Addr()),
	}
	d.health.updateAge()
	d.met.watchAge(&d.health.age)
	return nil
}

// judge decides whether the views may be used: they hold a complete copy that
// still stands for its source, were level with it once since the start, and are
// not further behind than limits.lag_seconds. A short loss of the connection does
// not matter: taking every replica out of service for a restart of Postgres would
// make a pause an outage. A long one grows into lag.
func (h *health) judge() verdict {
	if h.source == nil {
		return verdict{ok: true, reason: "embedded: the store is the source"}
	}
	return judgeReplication(h.source.Status(), h.store.Position().Copied, h.conf.cfg.Load().Limits.LagSeconds)
}

func judgeReplication(s replicate.Status, copied bool, limit float64) verdict {
	state := string(s.Phase)
	if s.Reason != "" {
		state += ": " + s.Reason
	}
	const see = "The check replication says what it waits for."
	switch {
	case !copied:
		return verdict{reason: "the first copy of the tables is not complete (" + state + ")", remedy: see}
	case s.Kind.Gap():
		return verdict{reason: "the views may differ from Postgres, and streaming cannot mend that (" + state + ")"}
	case s.LastLevel.IsZero():
		return verdict{reason: "not yet level with Postgres since the start (" + state + ")", remedy: see}
	case limit > 0 && s.LagSeconds > limit:
		return verdict{reason: fmt.Sprintf("%.1f s behind Postgres, more than limits.lag_seconds %g (%s)", s.LagSeconds, limit, state), remedy: see}
	case !s.Connected:
		return verdict{ok: true, reason: fmt.Sprintf("serving data of %.1f s ago (%s)", s.LagSeconds, state)}
	}
	return verdict{ok: true}
}

// readiness is what /readyz says: the verdict, the age of the data beside it, and
// what each part of the daemon has to say. Only the verdict decides: old prices
// are better than none.
func (h *health) readiness() admin.Readiness {
	v := h.last.Load()
	if v == nil {
		v = &verdict{reason: "starting"}
	}
	return admin.Readiness{
		Ready: v.ok, Reason: v.reason,
		Fresh:  admin.Fresh{AgeSec: time.Duration(h.age.Load()).Seconds()},
		Checks: h.checks(v),
	}
}

func (h *health) checks(v *verdict) []admin.Check {
	out := []admin.Check{{Name: "views", OK: v.ok, Reason: v.reason, Remedy: v.remedy}}
	if h.source != nil {
		out = append(out, replicationCheck(h.source.Status()))
	}
	if n, first := h.store.Snapshot().Unfit(); n > 0 {
		out = append(out, admin.Check{
			Name: "values", OK: true, Warning: true,
			Reason: fmt.Sprintf("%d rows have a value that SQL cannot cast to the type of the view: %s; the view has the nearest value there, NonStreaming calls and verify fail", n, first),
			Remedy: "Correct the value, or give the column the type that carbond migrate creates it with.",
		})
	}
	out = append(out, diskCheck(h.conf.cfg.Load().DataDir))
	if h.feeds != nil {
		var said []string
		for _, f := range h.feeds.Status() {
			if s := feedTrouble(f); s != "" {
				said = append(said, s)
			}
		}
		out = append(out, admin.Check{Name: "feeds", OK: true, Warning: len(said) > 0, Reason: strings.Join(said, "; ")})
	}
	if h.views != nil {
		trouble := h.views.Trouble()
		out = append(out, admin.Check{Name: "viewfiles", OK: true, Warning: trouble != "", Reason: trouble})
	}
	if h.fleet != nil {
		out = append(out, fleetCheck(h.fleet.Finding()))
	}
	if r := h.conf.reload.Load(); r != nil && !r.ok {
		out = append(out, admin.Check{Name: "config", OK: true, Warning: true, Remedy: "Correct it, try it with carbond check-config, and send SIGHUP again.", Reason: "the last reload was refused, the old configuration is in force: " + r.reason})
	}
	return out
}

// replicationCheck says what stops the stream, and never that time alone mends
// what an operator has to.
func replicationCheck(s replicate.Status) admin.Check {
	c := admin.Check{Name: "replication", OK: s.Connected && !s.Kind.Gap(), Reason: s.Reason}
	switch {
	case s.Kind.Gap():
		// The reason ends with the remedy of its kind.
	case !s.Connected:
		c.Remedy = "It is tried again all the time; carbond doctor looks at Postgres and prints the SQL that repairs it."
	}
	if len(s.Warnings) > 0 {
		c.Warning = true
		c.Reason = strings.Trim(c.Reason+"; "+strings.Join(s.Warnings, "; "), "; ")
	}
	return c
}

// fleetCheck says what the last comparison with the other nodes came to.
func fleetCheck(f fleet.Finding) admin.Check {
	c := admin.Check{Name: "fleet", OK: f.Difference == "", Reason: f.Difference}
	switch {
	case f.Difference != "":
		c.Remedy = "Where more than half of the nodes agree, the others join again by themselves. Of two, stop the one that is wrong, remove its data_dir and start it: carbond verify compares each with Postgres."
	case f.Reachable < f.Peers:
		c.Warning = true
		c.Reason = fmt.Sprintf("%d of %d other nodes answer", f.Reachable, f.Peers)
		c.Remedy = "Start the others, or take them out of fleet.join: their slots keep WAL on the server."
	}
	return c
}

const (
	lowSpace = 64 << 20 // below it, writes are about to fail
	noSpace  = 1 << 20  // below it, they do
)

func diskCheck(dir string) admin.Check {
	free, known := freeBytes(dir)
	if !known {
		return admin.Check{Name: "disk", OK: true, Reason: "the free space for " + dir + " is not known"}
	}
	return judgeDisk(dir, free)
}

// judgeDisk says what free space means. On a full disk replication comes back
// and fails again and again: this check is what stays.
func judgeDisk(dir string, free uint64) admin.Check {
	c := admin.Check{Name: "disk", OK: free >= noSpace}
	if free < lowSpace {
		c.Warning = c.OK
		c.Remedy = "Free some space, or keep less: retention.age, retention.bytes, store.compress."
	}
	switch {
	case free < noSpace:
		c.Reason = fmt.Sprintf("no space left for %s: new changes cannot be kept, none is lost", dir)
	case free < lowSpace:
		c.Reason = fmt.Sprintf("only %d MiB free for %s: new changes soon cannot be kept", free>>20, dir)
	}
	return c
}

// feedTrouble is what is wrong with a feed, "" when nothing is.
func feedTrouble(f feeds.FeedStatus) string {
	switch {
	case f.Disabled != "":
		return f.Name + " is disabled: " + f.Disabled
	case f.Stale && f.LastSuccess.IsZero():
		return f.Name + " has not succeeded yet: " + f.LastError
	case f.Stale:
		return fmt.Sprintf("%s is stale since %s: %s", f.Name, f.LastSuccess.UTC().Format(time.RFC3339), f.LastError)
	case f.Failures > 0:
		return fmt.Sprintf("%s failed %d times in a row: %s", f.Name, f.Failures, f.LastError)
	}
	return ""
}

const healthEvery = 100 * time.Millisecond

// run keeps the health service and the gauges in step with judge, and
// has a sample taken for the trend now and then.
func (h *health) run(ctx context.Context, sample func()) error {
	t := time.NewTicker(healthEvery)
	defer t.Stop()
	for n := 0; ; n++ {
		h.update()
		if n%10 == 0 {
			// The checks of /readyz, as metrics.
			for _, c := range h.readiness().Checks {
				h.met.ready.WithLabelValues(c.Name).Set(flag(c.OK))
			}
		}
		if n%int(trend.Every/healthEvery) == 0 {
			sample()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

func (h *health) update() {
	v := h.judge()
	h.updateAge()
	old := h.last.Load()
	same := old != nil && old.ok == v.ok
	switch {
	case old == nil:
		v.since = h.started
	case same:
		v.since = old.since
	default:
		v.since = time.Now()
	}
	h.last.Store(&v)
	h.met.serving.Set(flag(v.ok))
	if same {
		return
	}
	h.setServing(true, v.ok)
	_ = h.notify.Status(h.line(v))
	switch {
	case v.ok:
		from := h.started
		if old != nil {
			from = old.since // the outage
		}
		h.log.Info("serving", "took", time.Since(from).Round(time.Millisecond), "reason", v.reason)
	case old == nil:
		h.log.Info("not serving yet", "reason", v.reason)
	default:
		h.log.Warn("not serving", "reason", v.reason)
	}
}

// setServing informs the health service. The name "" is the process, which is
// well as long as it runs, and so is the changelog: it holds what it holds. The
// API serves when its data is good.
func (h *health) setServing(process, api bool) {
	h.api.SetServing("", process)
	h.api.SetServing(rpc.ChangelogName, process)
	h.api.SetServing(rpc.Service, api)
}

func (h *health) updateAge() {
	if h.source != nil {
		h.age.Store(int64(sourceAge(h.source.Status(), h.store.Position().CommitTime, time.Now())))
	}
}

// sourceAge says how long ago the views were level with Postgres. Until they
// are again after a start, that is known only of the last commit that they hold.
func sourceAge(s replicate.Status, commit, now time.Time) time.Duration {
	lag := time.Duration(s.LagSeconds * float64(time.Second))
	if !s.LastLevel.IsZero() || commit.IsZero() {
		return lag
	}
	return max(lag, now.Sub(commit))
}

// line is what `systemctl status` shows.
func (h *health) line(v verdict) string {
	if !v.ok {
		return "not serving: " + v.reason
	}
	return "serving " + h.where
}
