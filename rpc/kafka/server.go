package kafka

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/peer"

	"carbond/rpc/internal/admission"
	"carbond/rpc/internal/changelog"
	"carbond/rpc/internal/debezium"
	"carbond/store/change"
)

// Log is what the listener reads and keeps, beside what the changelog service
// does. Its methods are called by many goroutines at once.
type Log interface {
	changelog.Log
	// Messages returns the number of the first message of a topic that is kept,
	// and that of the next one to come.
	Messages(ctx context.Context, topic string) (first, next uint64, err error)
	// MessagesUpTo returns how many messages the records up to an offset were.
	MessagesUpTo(ctx context.Context, topic string, at change.Offset) (uint64, error)
	// FindMessage returns the offset of the record that a message is, and the
	// number of that record's first message.
	FindMessage(ctx context.Context, topic string, number uint64) (at change.Offset, first uint64, err error)
	// Places returns what a group has committed, by topic.
	Places(group string) map[string]change.GroupTopic
	// Consumers returns the names of the groups, each with who consumes now.
	Consumers() map[string]string
	// JoinAlone holds a group for the members that are told apart here.
	JoinAlone(group, holder string) (change.Member, error)
	// CommitMessages stores where a group goes on; generation 0 is for a group
	// that nobody consumes.
	CommitMessages(ctx context.Context, group string, generation uint64, places map[string]change.MessagePlace) error
}

// Options configure a Server. The zero value serves plain text to everybody.
type Options struct {
	Log        *slog.Logger          // nil = discard
	Registerer prometheus.Registerer // nil = metrics are kept but not published

	Version   string // of carbond, for the source of change events
	Format    string // of keys and values, see `carbond consume --format`; default connect
	Advertise string // HOST:PORT that clients are told; default is the address that they connected to

	TLS *tls.Config // nil = plain text
	// Allows tells what the owner of a token may do, and whether that is to consume
	// for a group; nil = everybody may do everything. It is asked for each request,
	// so that a token can be withdrawn.
	Allows func(token, group string) (read, admin, consume bool)

	MaxConnections int           // at a time; default 1,024
	PeerShare      float64       // the part of them that one address may hold; default 0.75
	CacheBytes     int64         // of encoded batches; default 16 MiB
	MaxIdle        time.Duration // of a connection between requests; default 10 min
	MaxStall       time.Duration // for a client to send the rest of a request, or to take a piece of an answer; default 30 s
}

func (o Options) withDefaults() Options {
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if o.Registerer == nil {
		o.Registerer = prometheus.NewRegistry()
	}
	if o.Format == "" {
		o.Format = debezium.Connect
	}
	if o.MaxConnections <= 0 {
		o.MaxConnections = 1024
	}
	if o.PeerShare <= 0 {
		o.PeerShare = 0.75
	}
	if o.CacheBytes <= 0 {
		o.CacheBytes = 16 << 20
	}
	if o.MaxIdle <= 0 {
		o.MaxIdle = 10 * time.Minute
	}
	if o.MaxStall <= 0 {
		o.MaxStall = 30 * time.Second
	}
	return o
}

// Server is the listener. Its methods may be called from any goroutine.
type Server struct {
	log    Log
	opt    Options
	met    *metrics
	conns  *admission.Quota
	host   string // advertised, "" for the address of the connection
	port   int32
	groups *coordinator

	cache *batchCache
	scans chan struct{} // one slot for each reading of the log that looks for a place

	mu      sync.Mutex // guards what follows
	readers map[string]*topicReader
	oldest  change.Offset     // of the log, when lows was learnt
	lows    map[string]uint64 // the first message of each topic
}

// New makes a server. It starts nothing.
func New(log Log, opt Options) (*Server, error) {
	opt = opt.withDefaults()
	if _, err := debezium.NewEncoder(opt.Format); err != nil {
		return nil, fmt.Errorf("kafka.format %w", err)
	}
	s := &Server{
		log: log, opt: opt, met: newMetrics(), conns: admission.NewQuota(opt.MaxConnections, opt.PeerShare),
		readers: map[string]*topicReader{}, cache: newBatchCache(opt.CacheBytes), scans: make(chan struct{}, maxScans),
	}
	if opt.Advertise != "" {
		host, port, err := net.SplitHostPort(opt.Advertise)
		if err != nil {
			return nil, fmt.Errorf("kafka.advertise: %w", err)
		}
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || host == "" || n == 0 {
			return nil, fmt.Errorf("kafka.advertise: %q is not HOST:PORT", opt.Advertise)
		}
		s.host, s.port = host, int32(n)
	}
	s.groups = newCoordinator(log, s.opt.Log)
	if err := s.met.register(opt.Registerer, s.groups); err != nil {
		return nil, fmt.Errorf("register Kafka metrics: %w", err)
	}
	return s, nil
}

// Serve answers clients on lis, which it closes, until ctx ends.
func (s *Server) Serve(ctx context.Context, lis net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer func() {
		cancel()
		wg.Wait()
		s.groups.close()
	}()
	stop := context.AfterFunc(ctx, func() { _ = lis.Close() })
	defer stop()
	for {
		c, err := lis.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			return fmt.Errorf("accept Kafka clients: %w", err)
		}
		release, err := s.conns.Take(peer.NewContext(ctx, &peer.Peer{Addr: c.RemoteAddr()}))
		if err != nil {
			s.met.refused.Inc()
			s.opt.Log.Warn("Kafka connection refused", "peer", c.RemoteAddr().String(), "error", err)
			_ = c.Close()
			continue
		}
		wg.Go(func() {
			defer release()
			s.met.connections.Inc()
			defer s.met.connections.Dec()
			s.serve(ctx, c)
		})
	}
}

// maxScans is how many clients may have a place of the log looked for at a time: it
// can mean reading a segment, and must not take the processor from everybody else.
const maxScans = 2

// scan waits for a turn to look for a place of the log.
func (s *Server) scan(ctx context.Context) (done func(), err error) {
	select {
	case s.scans <- struct{}{}:
		return func() { <-s.scans }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// epoch is the leader epoch: it grows with each restore.
func (s *Server) epoch() int32 { return int32(len(s.log.History().Parents)) }

// root is the id of the first history of the data: restores keep it.
func root(h change.History) string {
	if len(h.Parents) > 0 {
		return h.Parents[0].ID
	}
	return h.ID
}

// topic returns a topic by name.
func (s *Server) topic(name string) (change.Topic, bool) {
	for _, t := range s.log.Topics() {
		if t.Name == name {
			return t, true
		}
	}
	return change.Topic{}, false
}

// bounds returns the first message of a topic that is kept, and the next to come.
// It asks the log only when retention has taken something since.
func (s *Server) bounds(ctx context.Context, topic string) (low, high uint64, err error) {
	oldest := s.log.Oldest()
	s.mu.Lock()
	if s.oldest != oldest || s.lows == nil {
		s.oldest, s.lows = oldest, map[string]uint64{}
	}
	low, known := s.lows[topic]
	s.mu.Unlock()
	if !known {
		if low, _, err = s.log.Messages(ctx, topic); err != nil {
			return 0, 0, err
		}
		s.mu.Lock()
		if s.oldest == oldest {
			s.lows[topic] = low
		}
		s.mu.Unlock()
	}
	t, _ := s.topic(topic)
	return low, t.Messages, nil
}

func (s *Server) reader(topic string) *topicReader {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.readers[topic]
	if r == nil {
		r = &topicReader{Server: s, topic: topic}
		s.readers[topic] = r
	}
	return r
}
