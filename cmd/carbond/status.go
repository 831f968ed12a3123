package main

import (
	"io/fs"
	"path/filepath"
	"time"

	"carbond/cmd/carbond/internal/admin"
	"carbond/store/change"
)

// status collects what /status.json and the console page show. Nothing in it
// is secret: texts of errors pass the redactor.
func (d *daemon) status() admin.Status {
	b, cfg := build(), d.cfg.Load()
	checks := d.checks()
	ready := true
	for i := range checks {
		ready = ready && checks[i].OK
		checks[i].Reason = d.app.redact(checks[i].Reason)
	}
	s := admin.Status{
		Version:   admin.Version{Version: b.Version, Revision: b.Revision, Date: b.Date, Go: b.Go},
		Mode:      d.mode,
		Sample:    d.mode == modeDemo,
		Started:   d.started.UTC(),
		UptimeSec: time.Since(d.started).Seconds(),
		Ready:     ready,
		Checks:    checks,
		Data:      admin.Data{Dir: cfg.DataDir, Bytes: dirBytes(cfg.DataDir)},
		Position:  d.position(),
		Listen:    admin.Listen{GRPC: d.grpcListener.Addr().String(), HTTP: d.httpListener.Addr().String()},
		Config:    admin.Config{File: cfg.File()},
	}
	if r := d.reload.Load(); r != nil {
		s.Config.ReloadedAt, s.Config.ReloadOK = r.at.UTC(), r.ok
	}
	snap := d.store.Snapshot()
	for _, v := range change.Views() {
		s.Views = append(s.Views, admin.View{Name: string(v), Rows: snap.ViewRows(v)})
	}
	if d.source != nil {
		r := d.source.Status()
		s.Replication = &admin.Replication{
			State: string(r.Phase), Reason: d.app.redact(r.Reason), Connected: r.Connected,
			LagBytes: r.LagBytes, LagSeconds: r.LagSeconds,
		}
	}
	s.Feeds = d.feedStatus()
	return s
}

func (d *daemon) position() admin.Position {
	p := d.store.Position()
	out := admin.Position{Offset: uint64(p.Offset), SystemID: p.Source.SystemID, Database: p.Source.Database, Slot: p.Source.Slot}
	if p.LSN > 0 {
		out.LSN = p.LSN.String()
	}
	if !p.CommitTime.IsZero() {
		at, age := p.CommitTime.UTC(), time.Since(p.CommitTime).Seconds()
		out.CommitTime, out.AgeSec = &at, &age
	}
	return out
}

func (d *daemon) feedStatus() []admin.Feed {
	if d.feeds == nil {
		return nil
	}
	var out []admin.Feed
	for _, f := range d.feeds.Status() {
		state := f.State
		if f.Stale {
			state += ", stale"
		}
		out = append(out, admin.Feed{
			Name: f.Name, Table: f.Table, State: state, Items: f.Items, Failures: f.Failures, Stale: f.Stale,
			LastSuccess: known(f.LastSuccess), NextDue: known(f.NextDue), LastError: d.app.redact(f.LastError),
		})
	}
	return out
}

// known returns nil for the zero time.
func known(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// dirBytes adds up the files below a directory. There are few of them: one for
// each segment, the checkpoint and small state files.
func dirBytes(dir string) int64 {
	var sum int64
	_ = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return nil //nolint:nilerr // a segment may be unlinked meanwhile
		}
		if info, err := e.Info(); err == nil {
			sum += info.Size()
		}
		return nil
	})
	return sum
}
