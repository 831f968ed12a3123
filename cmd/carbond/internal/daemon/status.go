package daemon

import (
	"io/fs"
	"path/filepath"
	"time"

	"carbond/cmd/carbond/internal/admin"
	"carbond/store/change"
)

// status collects what /status.json and the pages show. Nothing in it
// is secret: texts of errors pass the redactor.
func (d *Daemon) status() admin.Status {
	d.looks.mu.Lock()
	groups := d.recentGroups()
	d.looks.mu.Unlock()
	return d.statusWith(groups)
}

func (d *Daemon) statusWith(groups []change.Group) admin.Status {
	cfg := d.cfg.Load()
	ready := d.readiness()
	ready.Reason = d.opt.Redaction.Text(ready.Reason)
	for i := range ready.Checks {
		ready.Checks[i].Reason = d.opt.Redaction.Text(ready.Checks[i].Reason)
	}
	g := d.cfg.Load().GRPC
	s := admin.Status{
		Version:   d.opt.Version,
		Mode:      d.mode,
		Sample:    d.mode == modeDemo,
		Started:   d.started.UTC(),
		UptimeSec: time.Since(d.started).Seconds(),
		Readiness: ready,
		Data:      admin.Data{Dir: cfg.DataDir, Bytes: dirBytes(cfg.DataDir)},
		Position:  d.position(),
		Listen: admin.Listen{
			GRPC: d.grpcListener.Addr().String(), HTTP: d.httpListener.Addr().String(),
			TLS: g.TLS.Enabled(), ClientCert: g.TLS.ClientCA != "", Token: g.TokensFile != "",
		},
		Config: admin.Config{File: cfg.File()},
	}
	s.Data.Free, _ = freeBytes(cfg.DataDir)
	if r := d.reload.Load(); r != nil {
		s.Config.ReloadedAt, s.Config.ReloadOK = r.at.UTC(), r.ok
	}
	s.Topics = d.topics()
	s.Views = d.viewStatus()
	s.Groups = groupStatus(groups[:min(len(groups), shownGroups)])
	s.GroupsLeft = len(groups) - len(s.Groups)
	if d.source != nil {
		r := d.source.Status()
		s.Replication = &admin.Replication{
			State: string(r.Phase), Reason: d.opt.Redaction.Text(r.Reason), Connected: r.Connected,
			LagBytes: r.LagBytes, LagSeconds: r.LagSeconds,
			SlotRetained: r.SlotRetained, SlotSafe: r.SlotSafe, WALStatus: r.WALStatus,
		}
	}
	s.Feeds = d.feedStatus()
	return s
}

func (d *Daemon) topics() []admin.Topic {
	all := d.store.Topics()
	out := make([]admin.Topic, len(all))
	for i, t := range all {
		out[i] = admin.Topic{Name: t.Name, First: uint64(t.First), Next: uint64(t.Next), Records: t.Records, Bytes: t.Bytes, ChangedAt: known(t.Last)}
	}
	return out
}

// viewStatus lists the views. A view last changed when one of its tables did:
// changes that leave its rows as they are are rare.
func (d *Daemon) viewStatus() []admin.View {
	snap := d.store.Snapshot()
	last := map[string]time.Time{}
	for _, t := range d.store.Topics() {
		last[t.Table] = t.Last
	}
	if last[change.Verra].Before(last[change.Carbonmark]) {
		last[change.Verra] = last[change.Carbonmark]
	}
	var out []admin.View
	for _, v := range change.Views() {
		s := admin.View{Name: string(v), Rows: snap.ViewRows(v), ChangedAt: known(last[v.Def().Tables[0]])}
		if s.ChangedAt != nil { // a version counts from 1, before any change
			s.Offset = uint64(snap.Version(v, ""))
		}
		out = append(out, s)
	}
	return out
}

func groupStatus(groups []change.Group) []admin.Group {
	var out []admin.Group
	for _, g := range groups {
		s := admin.Group{Name: g.Name, Active: g.Active, Topics: []admin.GroupTopic{}}
		for _, t := range g.Topics {
			s.Topics = append(s.Topics, admin.GroupTopic{Topic: t.Topic, Committed: uint64(t.Committed), Lag: t.Lag, LagSeconds: t.LagTime.Seconds()})
		}
		out = append(out, s)
	}
	return out
}

func (d *Daemon) position() admin.Position {
	p := d.store.Position()
	out := admin.Position{Offset: uint64(p.Offset), History: d.store.History().ID, SystemID: p.Source.SystemID, Database: p.Source.Database, Slot: p.Source.Slot}
	if p.LSN > 0 {
		out.LSN = p.LSN.String()
	}
	if !p.CommitTime.IsZero() {
		at, age := p.CommitTime.UTC(), time.Since(p.CommitTime).Seconds()
		out.CommitTime, out.AgeSec = &at, &age
	}
	return out
}

func (d *Daemon) feedStatus() []admin.Feed {
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
			LastSuccess: known(f.LastSuccess), NextDue: known(f.NextDue), LastError: d.opt.Redaction.Text(f.LastError), Advice: f.Advice, Notes: f.Notes,
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
