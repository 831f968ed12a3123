// Package changelog is carbon.ChangelogService, which stands in for a broker:
// topics, consumer groups, streams of records, backups.
package changelog

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	pb "carbond/proto/carbon"
	"carbond/rpc/internal/admission"
	"carbond/rpc/rpcerr"
	"carbond/store/change"
)

// Log is what carbon.ChangelogService reads and keeps. Its methods are called by
// many goroutines at once. Errors that mean something to a caller wrap those of
// store/change; others are INTERNAL.
type Log interface {
	// Topics lists the topics with their figures.
	Topics() []change.Topic
	// Gone returns the oldest offset that is kept of a topic, and the last change
	// before it, or one behind it where that is not known.
	Gone(topic string) (oldest, last change.Offset, err error)
	// Oldest returns the oldest offset that is kept, or that the first change
	// will get.
	Oldest() change.Offset
	// Floor is Oldest of the tables without a view.
	Floor() change.Offset
	// Position returns the newest offset that is visible, which ends a
	// transaction, and where the changes come from.
	Position() change.Position
	// History says which offsets mean what.
	History() change.History
	// Changed returns a channel that is closed when there is more to read, and
	// false when there never will be. Take it before reading.
	Changed() (<-chan struct{}, bool)
	// NewReader returns a reader that begins at an offset.
	NewReader(from change.Offset) change.RecordReader
	// NewProjectReader returns a reader of the changes of one project.
	NewProjectReader(id string, from change.Offset) change.ProjectReader
	// FirstAfter returns the last offset before the first transaction that was
	// committed after t.
	FirstAfter(ctx context.Context, t time.Time) (change.Offset, error)

	// Join makes a member the consumer of a group.
	Join(group, member string) (change.Member, error)
	// Committed returns what a group has dealt with in a topic, 0 for nothing.
	Committed(group, topic string) change.Offset
	// CommitOffset stores a commit durably.
	CommitOffset(ctx context.Context, c change.GroupCommit) error
	// Groups lists the groups by name.
	Groups() []change.Group
	// ResetGroup makes at the last offset that counts as dealt with.
	ResetGroup(ctx context.Context, group string, topics []string, at change.Offset) error
	// DeleteGroup forgets a group.
	DeleteGroup(group string) error

	// Backup writes a consistent copy of everything to w while writing goes on.
	// The copy names the version of carbond that made it.
	Backup(ctx context.Context, w io.Writer, version string) error
}

// Options are what the service needs beside the log. All fields are set.
type Options struct {
	Draining   <-chan struct{}                            // closed when the daemon stops
	Failed     func(ctx context.Context, err error) error // logs an error that the caller cannot act upon; what he is told
	Registerer prometheus.Registerer
	Now        func() time.Time
	// MayUse refuses a call for a group that is not the caller's.
	MayUse func(ctx context.Context, group string) error

	Version      string // of carbond, for the source of change events
	MaxConsumers int
	MaxSendBytes int // of one message
	PeerShare    float64
	BackupStall  time.Duration
}

// Service is carbon.ChangelogService.
type Service struct {
	pb.UnimplementedChangelogServiceServer
	log     Log
	opt     Options
	metrics *metrics

	consumers *admission.Quota // one slot for each Consume stream
	backup    chan struct{}    // one slot: a copy holds back retention
}

// New makes the service.
func New(log Log, opt Options) (*Service, error) {
	s := &Service{log: log, opt: opt, consumers: admission.NewQuota(opt.MaxConsumers, opt.PeerShare), backup: make(chan struct{}, 1)}
	s.metrics = newMetrics(s)
	if err := s.metrics.register(opt.Registerer); err != nil {
		return nil, fmt.Errorf("register changelog metrics: %w", err)
	}
	return s, nil
}

// Register adds the service to a server.
func (s *Service) Register(r grpc.ServiceRegistrar) { pb.RegisterChangelogServiceServer(r, s) }

// ListTopics implements carbon.ChangelogService.
func (s *Service) ListTopics(context.Context, *pb.ListTopicsRequest) (*pb.ListTopicsResponse, error) {
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
		if !t.Since.IsZero() {
			p.FirstMs = t.Since.UnixMilli()
		}
		out.Topics = append(out.Topics, p)
	}
	return out, nil
}

// topics returns the wanted topics in the order of the list, all for none.
func (s *Service) topics(names []string) ([]change.Topic, error) {
	all := s.log.Topics()
	if len(names) == 0 {
		return all, nil
	}
	var out []change.Topic
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
func known(all []change.Topic, name string) error {
	list := ""
	for _, t := range all {
		if t.Name == name {
			return nil
		}
		list += " " + t.Name
	}
	if err := rpcerr.CheckText("topic", name); err != nil {
		return err
	}
	return refuse(codes.NotFound, rpcerr.ReasonNoTopic, fmt.Errorf("no topic %q; the topics are%s", name, list))
}

// metrics are those of the service.
type metrics struct {
	consumers prometheus.Gauge
	fenced    prometheus.Counter
	groups    *groupCollector
}

func newMetrics(s *Service) *metrics {
	return &metrics{
		consumers: prometheus.NewGauge(prometheus.GaugeOpts{Name: "carbond_changelog_consumers", Help: "Open Consume streams."}),
		fenced: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "carbond_changelog_consumers_fenced_total", Help: "Consume streams that ended because another member of the group took over.",
		}),
		groups: newGroupCollector(s.log, s.opt.Now),
	}
}

func (m *metrics) register(r prometheus.Registerer) error {
	for _, c := range []prometheus.Collector{m.consumers, m.fenced, m.groups} {
		if err := r.Register(c); err != nil {
			return err
		}
	}
	return nil
}
