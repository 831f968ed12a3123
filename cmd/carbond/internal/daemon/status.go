package daemon

import (
	"io/fs"
	"path/filepath"
	"sync"
	"time"

	"carbond/cmd/carbond/internal/admin"
	"carbond/feeds"
	"carbond/replicate"
	"carbond/store"
	"carbond/store/change"
)

const (
	statusFor   = time.Second     // a look at the status is used for that long, however many pages ask
	groupsFor   = 5 * time.Second // the age of a group's lag is read from the log
	shownGroups = 100
)

// report collects what /status.json and the pages show.
type report struct {
	version admin.Version
	mode    string
	started time.Time
	conf    *settings
	redact  func(string) string
	listen  *listeners
	store   *store.Store
	source  *replicate.Replicator // nil without Postgres
	feeds   *feeds.Runner         // nil when no feed is on
	health  *health

	mu       sync.Mutex // guards what follows, which is dear to look at
	last     admin.Status
	lastAt   time.Time
	groups   []change.Group
	groupsAt time.Time
}

// status collects what /status.json and the pages show. Nothing in it
// is secret: texts of errors pass the redactor.
func (r *report) status() admin.Status {
	r.mu.Lock()
	groups := r.recentGroups()
	r.mu.Unlock()
	return r.statusWith(groups)
}

// recent is status, looked at no more than once in statusFor.
func (r *report) recent() admin.Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.lastAt) >= statusFor {
		r.last, r.lastAt = r.statusWith(r.recentGroups()), time.Now()
	}
	return r.last
}

// recentGroups lists the groups; a look is used for groupsFor. The caller holds mu.
func (r *report) recentGroups() []change.Group {
	if time.Since(r.groupsAt) >= groupsFor {
		r.groups, r.groupsAt = r.store.Groups(), time.Now()
	}
	return r.groups
}

func (r *report) statusWith(groups []change.Group) admin.Status {
	cfg := r.conf.cfg.Load()
	ready := r.health.readiness()
	ready.Reason = r.redact(ready.Reason)
	for i := range ready.Checks {
		ready.Checks[i].Reason = r.redact(ready.Checks[i].Reason)
	}
	g := cfg.GRPC
	s := admin.Status{
		Version:   r.version,
		Mode:      r.mode,
		Sample:    r.mode == modeDemo,
		Started:   r.started.UTC(),
		UptimeSec: time.Since(r.started).Seconds(),
		Readiness: ready,
		Data:      admin.Data{Dir: cfg.DataDir, Bytes: dirBytes(cfg.DataDir)},
		Position:  r.position(),
		Listen: admin.Listen{
			GRPC: r.listen.grpc.Addr().String(), HTTP: r.listen.http.Addr().String(),
			TLS: g.TLS.Enabled(), ClientCert: g.TLS.ClientCA != "", Token: g.TokensFile != "",
		},
		Config: admin.Config{File: cfg.File()},
	}
	s.Data.Free, _ = freeBytes(cfg.DataDir)
	read := r.conf.reload.Load()
	s.Config.ReloadedAt, s.Config.ReloadOK = read.at.UTC(), read.ok
	topics := r.store.Topics()
	s.Topics = topicStatus(topics)
	s.Views = viewStatus(r.store.Snapshot(), topics)
	s.Groups = groupStatus(groups[:min(len(groups), shownGroups)])
	s.GroupsLeft = len(groups) - len(s.Groups)
	if r.source != nil {
		p := r.source.Status()
		s.Replication = &admin.Replication{
			State: string(p.Phase), Reason: r.redact(p.Reason), Connected: p.Connected,
			LagBytes: p.LagBytes, LagSeconds: p.LagSeconds,
			SlotRetained: p.SlotRetained, SlotSafe: p.SlotSafe, WALStatus: p.WALStatus,
		}
	}
	s.Feeds = r.feedStatus()
	return s
}

func topicStatus(all []change.Topic) []admin.Topic {
	out := make([]admin.Topic, len(all))
	for i, t := range all {
		out[i] = admin.Topic{Name: t.Name, First: uint64(t.First), Next: uint64(t.Next), Records: t.Records, Bytes: t.Bytes, ChangedAt: known(t.Last)}
	}
	return out
}

// viewStatus lists the views. A view last changed when one of its tables did:
// changes that leave its rows as they are are rare.
func viewStatus(snap *store.Snapshot, topics []change.Topic) []admin.View {
	last := map[string]time.Time{}
	for _, t := range topics {
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

func (r *report) position() admin.Position {
	p := r.store.Position()
	out := admin.Position{Offset: uint64(p.Offset), History: r.store.History().ID, SystemID: p.Source.SystemID, Database: p.Source.Database, Slot: p.Source.Slot}
	if p.LSN > 0 {
		out.LSN = p.LSN.String()
	}
	if !p.CommitTime.IsZero() {
		at, age := p.CommitTime.UTC(), time.Since(p.CommitTime).Seconds()
		out.CommitTime, out.AgeSec = &at, &age
	}
	return out
}

func (r *report) feedStatus() []admin.Feed {
	if r.feeds == nil {
		return nil
	}
	var out []admin.Feed
	for _, f := range r.feeds.Status() {
		state := f.State
		if f.Stale {
			state += ", stale"
		}
		out = append(out, admin.Feed{
			Name: f.Name, Table: f.Table, State: state, Items: f.Items, Failures: f.Failures, Stale: f.Stale,
			LastSuccess: known(f.LastSuccess), NextDue: known(f.NextDue), LastError: r.redact(f.LastError), Advice: f.Advice, Notes: f.Notes,
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
