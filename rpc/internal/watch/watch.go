// Package watch serves the Watch calls: a snapshot of a view, then every delta
// behind it, resumable by a token. The deltas come from rpc/internal/hub, which
// encodes each of them once.
package watch

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/tap"

	pb "carbond/proto/carbon"
	"carbond/rpc/internal/admission"
	"carbond/rpc/internal/hub"
	"carbond/rpc/internal/throttle"
	"carbond/rpc/rpcerr"
	"carbond/store/change"
)

// Options are what the Watch calls need. All fields are set.
type Options struct {
	Snapshot func() change.ViewSnapshot // the newest version, nil while nothing is loaded
	History  History                    // nil = there is nothing to watch
	// CatchUp is History.Follow for a watcher that reads old history.
	CatchUp  func(ctx context.Context, at change.Offset) (change.Follower, error)
	Draining <-chan struct{}
	Panicked func(where string, p any) error // logs a panic; what the caller is told
	Log      *slog.Logger
	Now      func() time.Time

	MaxWatchers int
	PeerShare   float64
	MaxCatchUps int
	RingBytes   int64
	Wakeups     int
	Progress    time.Duration
	SendTimeout time.Duration
}

// History is the part of the past that watchers need; see rpc.History.
type History interface {
	History() change.History
	Follow(ctx context.Context, at change.Offset) (change.Follower, error)
	CommitTime(at change.Offset) (t time.Time, ok bool, err error)
}

// Query is what one Watch call asks for.
type Query struct {
	View   change.View
	Filter string // "" = all
	Token  string // to resume with, "" = begin with a snapshot
}

// Service is what the Watch calls share.
type Service struct {
	opt  Options
	hub  *hub.Hub
	enc  encoding
	text *Service // the same watchers, for those who want text; nil in that one

	streams  *admission.Quota // of watchers
	catchUps chan struct{}    // one slot for each watcher that reads old history

	cuts     map[string]prometheus.Counter // by reason; read-only
	failures throttle.Throttle
}

// Reasons in carbond_watch_cut_total.
const (
	cutSlow     = "slow"     // the ring passed a watcher
	cutBlocked  = "blocked"  // a message could not be sent for WatchSendTimeout
	cutLimit    = "limit"    // more than MaxWatchers, or MaxCatchUps
	cutHistory  = "history"  // retention passed the token, or it is of another history
	cutShutdown = "shutdown" // the daemon stops
	cutSource   = "source"   // the changelog could not be read
)

// New makes the service. It starts nothing; the first watcher does.
func New(opt Options) *Service {
	w := &Service{
		opt:      opt,
		streams:  admission.NewQuota(opt.MaxWatchers, opt.PeerShare),
		catchUps: make(chan struct{}, opt.MaxCatchUps),
		cuts:     map[string]prometheus.Counter{},
	}
	w.useHub(encoding{appendDelta, func(v change.View, h *head, deltas []byte) any { return h.message(v, deltas) }}, false)
	// A watcher is one of all, however it wants its messages.
	w.text = &Service{opt: opt, streams: w.streams, catchUps: w.catchUps, cuts: w.cuts}
	w.text.useHub(encoding{appendTextDelta, func(_ change.View, h *head, deltas []byte) any { return h.event(deltas) }}, true)
	return w
}

// encoding is how watchers get their messages.
type encoding struct {
	delta   func([]byte, *change.Delta) []byte
	message func(v change.View, h *head, deltas []byte) any
}

// Text returns the service whose messages are []byte, each an event of text/event-stream
// and, but for parts of a large one, of one transaction.
func (w *Service) Text() *Service { return w.text }

// useHub makes the hub that encodes for all watchers. split makes a message of each
// transaction.
func (w *Service) useHub(enc encoding, split bool) {
	opt := w.opt
	w.enc = enc
	w.hub = hub.New(hub.Options{
		Follow: func(ctx context.Context) (change.Follower, error) {
			snap := opt.Snapshot()
			if snap == nil {
				return nil, rpcerr.NotLoaded()
			}
			return opt.History.Follow(ctx, snap.Offset())
		},
		Encode: enc.delta,
		Wrap: func(k hub.Key, h hub.Head, deltas []byte) any {
			head := head{kind: pb.WatchKind_WATCH_KIND_CHANGES, head: h}
			if h.Last {
				head.token = w.token(k, h)
			}
			return enc.message(k.View, &head, deltas)
		},
		Split: split,
		Bytes: opt.RingBytes, Wakeups: opt.Wakeups,
		Panicked: func(p any) error { return opt.Panicked("watch hub", p) },
	})
}

// Register publishes the metrics.
func (w *Service) Register(reg prometheus.Registerer) error {
	cut := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "carbond_watch_cut_total", Help: "Watch streams ended by the daemon, by reason.",
	}, []string{"reason"})
	for _, r := range []string{cutSlow, cutBlocked, cutLimit, cutHistory, cutShutdown, cutSource} {
		w.cuts[r] = cut.WithLabelValues(r)
	}
	gauge := func(name, help string, f func(hub.Stats) float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return f(w.stats()) })
	}
	counter := func(name, help string, f func(hub.Stats) float64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, func() float64 { return f(w.stats()) })
	}
	var errs []error
	for _, c := range []prometheus.Collector{
		cut,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "carbond_watch_streams", Help: "Open Watch streams."},
			func() float64 { return float64(w.streams.Count()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "carbond_watch_catching_up", Help: "Watch streams that read history behind the shared ring."},
			func() float64 { return float64(len(w.catchUps)) }),
		counter("carbond_watch_events_total", "Deltas encoded for watchers; each counts once, however many watch.", func(s hub.Stats) float64 { return float64(s.Deltas) }),
		counter("carbond_watch_transactions_total", "Transactions read for watchers.", func(s hub.Stats) float64 { return float64(s.Transactions) }),
		gauge("carbond_watch_ring_bytes", "Bytes of the ring that watchers read from.", func(s hub.Stats) float64 { return float64(s.Bytes) }),
		gauge("carbond_watch_ring_batches", "Batches in the ring that watchers read from.", func(s hub.Stats) float64 { return float64(s.Batches) }),
	} {
		errs = append(errs, reg.Register(c))
	}
	return errors.Join(errs...)
}

// stats are those of all watchers.
func (w *Service) stats() hub.Stats {
	a, b := w.hub.Stats(), w.text.hub.Stats()
	return hub.Stats{
		Watchers: a.Watchers + b.Watchers, Batches: a.Batches + b.Batches, Bytes: a.Bytes + b.Bytes,
		Transactions: a.Transactions + b.Transactions, Deltas: a.Deltas + b.Deltas,
	}
}

// Close waits for everything that the Watch calls started. No call runs then.
func (w *Service) Close() {
	w.hub.Close()
	w.text.hub.Close()
}

// endKey is under what the context of a Watch call has the function that ends it.
type endKey struct{}

// Tap is the grpc.InTapHandle of a server with Watch calls. A message for a client that
// does not read blocks for as long as the client likes, and gRPC ends such a send with
// the call's context alone: so that it can be ended here, before the call begins.
func Tap(ctx context.Context, info *tap.Info) (context.Context, error) {
	if !strings.HasPrefix(info.FullMethodName, "/carbon.CarbonService/Watch") {
		return ctx, nil
	}
	ctx, end := context.WithCancel(ctx)
	return context.WithValue(ctx, endKey{}, end), nil
}

// Serve runs one Watch call. A call that did not come through Tap is not cut while
// it sends: that is its own affair.
func (w *Service) Serve(ss grpc.ServerStream, q Query) error {
	if w.opt.History == nil {
		return rpcerr.New(codes.Unimplemented, "this server keeps no history to watch", rpcerr.Info(rpcerr.ReasonAsOf))
	}
	if err := rpcerr.CheckText(q.View.Def().Filter, q.Filter); err != nil {
		return err
	}
	s := &stream{Service: w, ss: ss, key: hub.Key{View: q.View, Filter: q.Filter}}
	if q.Token != "" {
		p, err := decodePlace(s.key, q.Token)
		if err != nil {
			return rpcerr.BadField("resume_token", err.Error())
		}
		s.from = &p
	}
	release, refusal := w.streams.Take(ss.Context())
	if refusal != nil {
		return w.cut(cutLimit, codes.ResourceExhausted, "too many watchers: "+refusal.Error(), rpcerr.ReasonTooManyWatchers, 5*time.Second)
	}
	defer release()
	var blocked atomic.Bool
	s.timeout = time.AfterFunc(w.opt.SendTimeout, func() {
		if end, ok := ss.Context().Value(endKey{}).(context.CancelFunc); ok {
			blocked.Store(true)
			end()
		}
	})
	s.timeout.Stop()
	defer s.timeout.Stop()
	err := s.run(ss.Context())
	if blocked.Load() {
		return w.cut(cutBlocked, codes.ResourceExhausted, "no message was taken for "+w.opt.SendTimeout.String()+
			"; read faster, and resume with the last token", rpcerr.ReasonSlowWatcher, time.Second)
	}
	return err
}

// cut counts a stream that the daemon ends and returns its status.
func (w *Service) cut(why string, code codes.Code, msg, reason string, retry time.Duration, kv ...string) error {
	w.cuts[why].Inc()
	if retry > 0 {
		return rpcerr.New(code, msg, rpcerr.Info(reason, kv...), rpcerr.RetryAfter(retry))
	}
	return rpcerr.New(code, msg, rpcerr.Info(reason, kv...))
}

// snapshotRows yields the rows of a view as deltas.
func snapshotRows(snap change.ViewSnapshot, k hub.Key, yield func(*change.Delta) bool) {
	d := change.Delta{Diff: 1}
	if k.View.Def().Limit > 0 {
		d.Window = k.Filter
	}
	for row := range change.Rows(snap, k.View, k.Filter, "") {
		if d.SetRow(row); !yield(&d) {
			return
		}
	}
}
