package rpc

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	pb "carbond/proto/carbon"
	"carbond/store/change"
)

// ChangelogName is the health service name of carbon.ChangelogService.
const ChangelogName = "carbon.ChangelogService"

// Changelog is what carbon.ChangelogService reads and keeps. Its methods are
// called by many goroutines at once. Errors that mean something to a caller are
// a *LogError; others are INTERNAL.
type Changelog interface {
	// Topics lists the topics with their figures.
	Topics() []LogTopic
	// Gone returns the oldest offset that is kept, and of each table the last
	// change before it, or one behind it where that is not known.
	Gone() (oldest change.Offset, last map[string]change.Offset, err error)
	// Bounds returns the oldest offset that is kept, or that the first change
	// will get, and the newest that is visible, which ends a transaction; 0 for
	// none.
	Bounds() (oldest, newest change.Offset)
	// History says which offsets mean what.
	History() change.History
	// Source says where the changes come from.
	Source() change.Source
	// Changed returns a channel that is closed when there is more to read, and
	// false when there never will be. Take it before reading.
	Changed() (<-chan struct{}, bool)
	// NewReader returns a reader that begins at an offset.
	NewReader(from change.Offset) LogReader
	// AtTime returns the last offset before the first transaction that was
	// committed after t.
	AtTime(ctx context.Context, t time.Time) (change.Offset, error)

	// Join makes a member the consumer of a group.
	Join(group, member string) (LogMember, error)
	// Committed returns what a group has dealt with in a topic, 0 for nothing.
	Committed(group, topic string) change.Offset
	// CommitOffset stores a commit durably.
	CommitOffset(ctx context.Context, c LogCommit) error
	// Groups lists the groups by name.
	Groups() []LogGroup
	// ResetGroup makes at the last offset that counts as dealt with.
	ResetGroup(ctx context.Context, group string, topics []string, at change.Offset) error
	// DeleteGroup forgets a group.
	DeleteGroup(group string) error

	// Backup writes a consistent copy of everything to w while writing goes on.
	Backup(ctx context.Context, w io.Writer) error
}

// LogReader reads records in order. It belongs to one goroutine.
type LogReader interface {
	// Next is the offset at which the reader stands.
	Next() change.Offset
	// Read returns the next records, those of about maxBytes of the log, or none
	// at its end.
	Read(maxBytes int) ([]change.Record, error)
}

// LogTopic describes a topic.
type LogTopic struct {
	Name    string
	First   change.Offset // oldest offset that is kept, Next when none of this topic is
	Next    change.Offset // one past the topic's last change
	Records uint64        // changes ever written
	Bytes   uint64        // of their rows
	Last    time.Time     // commit time of the last, zero for none
}

// LogCommit says that a group has dealt with a topic up to an offset.
type LogCommit struct {
	Group      string
	Generation uint64
	Member     string // who got the generation; "" is not checked
	Topic      string
	Offset     change.Offset
}

// LogMember is a consumer's hold on its group.
type LogMember struct {
	Generation uint64
	Fenced     <-chan struct{} // closed when another member has taken over
	Leave      func()
}

// LogGroup is a group of consumers.
type LogGroup struct {
	Name       string
	Generation uint64
	Active     string // member that consumes now, "" for none
	Topics     []LogGroupTopic
}

// LogGroupTopic is a group's place in a topic.
type LogGroupTopic struct {
	Topic     string
	Committed change.Offset
	Lag       uint64
	LagTime   time.Duration
	At        time.Time
}

// changelog is carbon.ChangelogService.
type changelog struct {
	pb.UnimplementedChangelogServiceServer
	log      Changelog
	opt      Options
	core     *core
	draining <-chan struct{}
	metrics  *changelogMetrics

	consumers *quota        // one slot for each Consume stream
	backup    chan struct{} // one slot: a copy holds back retention
}

// newChangelog makes the service; nil without a Changelog.
func newChangelog(c *core, draining <-chan struct{}) (*changelog, error) {
	if c.opt.Changelog == nil {
		return nil, nil
	}
	s := &changelog{
		log: c.opt.Changelog, opt: c.opt, core: c, draining: draining,
		consumers: newQuota(c.opt.MaxConsumers, c.opt.PeerShare), backup: make(chan struct{}, 1),
	}
	s.metrics = newChangelogMetrics(s)
	if err := s.metrics.register(c.opt.Registerer); err != nil {
		return nil, fmt.Errorf("register changelog metrics: %w", err)
	}
	return s, nil
}

// register adds the service to a server; nothing for a nil changelog.
func (s *changelog) register(r grpc.ServiceRegistrar) {
	if s != nil {
		pb.RegisterChangelogServiceServer(r, s)
	}
}

// changelogRead are the calls for which the scope read is enough. Moving and
// forgetting a group and copying everything need admin; a commit does not: a
// consumer must be able to say how far it is, and the generation keeps it from
// speaking for another.
func changelogRead(method string) bool {
	switch method {
	case pb.ChangelogService_ListTopics_FullMethodName, pb.ChangelogService_Consume_FullMethodName,
		pb.ChangelogService_CommitOffset_FullMethodName, pb.ChangelogService_ListGroups_FullMethodName:
		return true
	}
	return false
}

// ListTopics implements carbon.ChangelogService.
func (s *changelog) ListTopics(context.Context, *pb.ListTopicsRequest) (*pb.ListTopicsResponse, error) {
	h := s.log.History()
	out := &pb.ListTopicsResponse{History: &pb.History{Id: h.ID, First: uint64(h.First)}}
	for _, p := range h.Parents {
		out.History.Parents = append(out.History.Parents, &pb.HistoryParent{Id: p.ID, Last: uint64(p.Last)})
	}
	for _, t := range s.log.Topics() {
		p := &pb.Topic{Name: t.Name, First: uint64(t.First), Next: uint64(t.Next), Records: t.Records, Bytes: t.Bytes}
		if !t.Last.IsZero() {
			p.LastChangeMs = t.Last.UnixMilli()
		}
		out.Topics = append(out.Topics, p)
	}
	return out, nil
}

// topics returns the wanted topics in the order of the list, all for none.
func (s *changelog) topics(names []string) ([]LogTopic, error) {
	all := s.log.Topics()
	if len(names) == 0 {
		return all, nil
	}
	var out []LogTopic
	for _, t := range all {
		for _, n := range names {
			if n == t.Name {
				out = append(out, t)
				break
			}
		}
	}
	for _, n := range names {
		if err := known(all, n); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// known checks that a topic is there.
func known(all []LogTopic, name string) error {
	list := ""
	for _, t := range all {
		if t.Name == name {
			return nil
		}
		list += " " + t.Name
	}
	if err := checkText("topic", name, maxFilter); err != nil {
		return err
	}
	return fault(&LogError{Kind: FaultTopic, Err: fmt.Errorf("no topic %q; the topics are%s", name, list)})
}

// changelogMetrics are those of the service.
type changelogMetrics struct {
	consumers prometheus.Gauge
	fenced    prometheus.Counter
	groups    *groupCollector
}

func newChangelogMetrics(s *changelog) *changelogMetrics {
	return &changelogMetrics{
		consumers: prometheus.NewGauge(prometheus.GaugeOpts{Name: "carbond_changelog_consumers", Help: "Open Consume streams."}),
		fenced: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "carbond_changelog_consumers_fenced_total", Help: "Consume streams that ended because another member of the group took over.",
		}),
		groups: newGroupCollector(s.log, s.opt.Now),
	}
}

func (m *changelogMetrics) register(r prometheus.Registerer) error {
	for _, c := range []prometheus.Collector{m.consumers, m.fenced, m.groups} {
		if err := r.Register(c); err != nil {
			return err
		}
	}
	return nil
}
