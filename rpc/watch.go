package rpc

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	pb "carbond/proto/carbon"
	"carbond/rpc/internal/hub"
	"carbond/store/change"
)

// watches is what the Watch calls share.
type watches struct {
	core     *core
	hub      *hub.Hub
	draining <-chan struct{}

	streams  *quota         // of watchers
	catchUps chan struct{}  // one slot for each watcher that reads old history
	senders  sync.WaitGroup // goroutines that may outlive their call for a moment

	cuts map[string]prometheus.Counter // by reason; read-only
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

func newWatches(c *core, draining <-chan struct{}) *watches {
	w := &watches{
		core: c, draining: draining,
		streams:  newQuota(c.opt.MaxWatchers, c.opt.PeerShare),
		catchUps: make(chan struct{}, c.opt.MaxCatchUps),
		cuts:     map[string]prometheus.Counter{},
	}
	w.hub = hub.New(hub.Options{
		Follow: func(ctx context.Context) (hub.Follower, error) {
			snap := c.reader.Snapshot()
			if snap == nil {
				return nil, errNotLoaded()
			}
			return c.opt.History.Follow(ctx, snap.Offset())
		},
		Encode: appendDelta,
		Wrap: func(k hub.Key, h hub.Head, deltas []byte) any {
			head := watchHead{kind: pb.WatchKind_WATCH_KIND_CHANGES, head: h}
			if h.Last {
				head.token = w.token(k, h)
			}
			return head.message(k.View, deltas)
		},
		Bytes: c.opt.WatchRingBytes, Wakeups: c.opt.WatchWakeups,
		Panicked: func(p any) error { return c.panicked("watch hub", p) },
	})
	return w
}

// register publishes the metrics.
func (w *watches) register(reg prometheus.Registerer) error {
	cut := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "carbond_watch_cut_total", Help: "Watch streams ended by the daemon, by reason.",
	}, []string{"reason"})
	for _, r := range []string{cutSlow, cutBlocked, cutLimit, cutHistory, cutShutdown, cutSource} {
		w.cuts[r] = cut.WithLabelValues(r)
	}
	gauge := func(name, help string, f func(hub.Stats) float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return f(w.hub.Stats()) })
	}
	counter := func(name, help string, f func(hub.Stats) float64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, func() float64 { return f(w.hub.Stats()) })
	}
	var errs []error
	for _, c := range []prometheus.Collector{
		cut,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "carbond_watch_streams", Help: "Open Watch streams."},
			func() float64 { return float64(w.streams.count()) }),
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

// close waits for everything that the Watch calls started. No call runs then.
func (w *watches) close() {
	w.hub.Close()
	w.senders.Wait()
}

// WatchProjects implements carbon.CarbonService.
func (s service) WatchProjects(q *pb.WatchProjectsRequest, ss grpc.ServerStreamingServer[pb.WatchProjectsResponse]) error {
	return s.watches.serve(ss, projects, q.Country, q.ResumeToken)
}

// WatchNews implements carbon.CarbonService.
func (s service) WatchNews(q *pb.WatchNewsRequest, ss grpc.ServerStreamingServer[pb.WatchNewsResponse]) error {
	return s.watches.serve(ss, news, q.Source, q.ResumeToken)
}

// WatchFinanceData implements carbon.CarbonService.
func (s service) WatchFinanceData(q *pb.WatchFinanceDataRequest, ss grpc.ServerStreamingServer[pb.WatchFinanceDataResponse]) error {
	return s.watches.serve(ss, finance, q.Ticker, q.ResumeToken)
}

// serve runs one Watch call. Its work is done by another goroutine, because a
// message for a client that does not read blocks for as long as the client
// likes: only the end of the handler ends such a send.
func (w *watches) serve(ss grpc.ServerStream, l list, filter, token string) error {
	if w.core.opt.History == nil {
		return statusError(codes.Unimplemented, "this server keeps no history to watch", info(ReasonAsOf))
	}
	if err := checkText(l.field, filter, maxFilter); err != nil {
		return err
	}
	s := &stream{watches: w, ss: ss, key: hub.Key{View: l.view, Filter: filter}}
	if token != "" {
		p, err := decodePlace(s.key, token)
		if err != nil {
			return badField("resume_token", err.Error())
		}
		s.from = &p
	}
	release, refusal := w.streams.take(ss.Context())
	if refusal != nil {
		return w.cut(cutLimit, codes.ResourceExhausted, "too many watchers: "+refusal.Error(), ReasonTooManyWatchers, 5*time.Second)
	}
	defer release()
	done, blocked := make(chan error, 1), make(chan struct{}, 1)
	s.timeout = time.AfterFunc(w.core.opt.WatchSendTimeout, func() {
		select {
		case blocked <- struct{}{}:
		default:
		}
	})
	s.timeout.Stop()
	defer s.timeout.Stop()
	w.senders.Go(func() {
		defer func() {
			if p := recover(); p != nil {
				done <- w.core.panicked("watch", p)
			}
		}()
		done <- s.run(ss.Context())
	})
	select {
	case err := <-done:
		return err
	case <-blocked:
		return w.cut(cutBlocked, codes.ResourceExhausted, "no message was taken for "+w.core.opt.WatchSendTimeout.String()+
			"; read faster, and resume with the last token", ReasonSlowWatcher, time.Second)
	}
}

// cut counts a stream that the daemon ends and returns its status.
func (w *watches) cut(why string, code codes.Code, msg, reason string, retry time.Duration, kv ...string) error {
	w.cuts[why].Inc()
	if retry > 0 {
		return statusError(code, msg, info(reason, kv...), retryAfter(retry))
	}
	return statusError(code, msg, info(reason, kv...))
}

// snapshotRows yields the rows of a view as deltas.
func snapshotRows(snap Snapshot, k hub.Key, yield func(*change.Delta) bool) {
	d := change.Delta{Diff: 1}
	switch k.View {
	case change.ViewProjects:
		feed(snap.Projects(k.Filter, ""), func(p *change.Project) bool { d.Project = p; return yield(&d) })
	case change.ViewFinance:
		feed(snap.Quotes(k.Filter, ""), func(q *change.Quote) bool { d.Quote = q; return yield(&d) })
	default:
		d.Window = k.Filter
		feed(snap.News(k.Filter), func(n *change.NewsItem) bool { d.News = n; return yield(&d) })
	}
}
