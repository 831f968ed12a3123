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
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/peer"

	"carbond/rpc/internal/admission"
	"carbond/rpc/internal/changelog"
	"carbond/rpc/internal/debezium"
	"carbond/rpc/internal/throttle"
	"carbond/store/change"
)

// Log is what the listener reads and keeps, beside what the changelog service
// does. Its methods are called by many goroutines at once.
type Log interface {
	changelog.Log
	// Topic returns a topic by name.
	Topic(name string) (change.Topic, bool)
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
	Compress  bool   // batches for clients whose requests say that they read zstd
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

	batches *batches
	scans   chan struct{}     // one slot for each reading of the log that looks for a place
	large   chan struct{}     // one slot for each request that is not small, while it is read
	sending atomic.Int64      // bytes of batches that clients have not taken yet
	quiet   throttle.Throttle // of refused connections

	mu   sync.Mutex        // guards what follows
	kept [2]change.Offset  // where the log began, for all and for tables without a view, when lows was learnt
	lows map[string]uint64 // the first message of each topic
}

// New makes a server. It starts nothing.
func New(log Log, opt Options) (*Server, error) {
	opt = opt.withDefaults()
	if _, err := debezium.NewEncoder(opt.Format); err != nil {
		return nil, fmt.Errorf("kafka.format %w", err)
	}
	s := &Server{
		log: log, opt: opt, met: newMetrics(), conns: admission.NewQuota(opt.MaxConnections, opt.PeerShare),
		scans: make(chan struct{}, maxScans), large: make(chan struct{}, maxLarge),
	}
	s.batches = newBatches(s, opt.CacheBytes)
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
	if err := s.met.register(opt.Registerer, s); err != nil {
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
		switch {
		case err == nil:
		case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			return nil
		case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ECONNABORTED), errors.Is(err, syscall.ENOBUFS):
			s.refuse("", err)
			select { // files become free when others are closed
			case <-time.After(acceptPause):
			case <-ctx.Done():
			}
			continue
		default:
			return fmt.Errorf("accept Kafka clients: %w", err)
		}
		release, err := s.conns.Take(peer.NewContext(ctx, &peer.Peer{Addr: c.RemoteAddr()}))
		if err != nil {
			s.refuse(c.RemoteAddr().String(), err)
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

// acceptPause is the time after which a connection is accepted again when the
// system had none to give.
const acceptPause = 50 * time.Millisecond

// refuse tells of a connection that is not served.
func (s *Server) refuse(peer string, why error) {
	s.met.refused.Inc()
	if before, ok := s.quiet.Allow(time.Now()); ok {
		s.opt.Log.Warn("Kafka connection refused", "peer", peer, "error", why, "suppressed", before)
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
func (s *Server) epoch() int32 {
	all := s.log.History().Epochs()
	return all[len(all)-1]
}

// root is the id of the first history of the data: restores keep it.
func root(h change.History) string {
	if len(h.Parents) > 0 {
		return h.Parents[0].ID
	}
	return h.ID
}

// low returns the first message of a topic that is kept. It asks the log only when
// retention has taken something since.
func (s *Server) low(ctx context.Context, topic string) (uint64, error) {
	kept := [2]change.Offset{s.log.Oldest(), s.log.Floor()}
	s.mu.Lock()
	if s.kept != kept || s.lows == nil {
		s.kept, s.lows = kept, map[string]uint64{}
	}
	low, known := s.lows[topic]
	s.mu.Unlock()
	if known {
		return low, nil
	}
	low, _, err := s.log.Messages(ctx, topic)
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept == kept {
		s.lows[topic] = low
	}
	return low, nil
}
