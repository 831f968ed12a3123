// Package webhook tells other programs of changes of the views: it posts them as JSON,
// signed as Standard Webhooks (https://www.standardwebhooks.com) has it.
//
// Invariants
//
//  1. The place of a hook is that of the consumer group webhook:NAME. It is moved, durably,
//     only after the receiver has answered 2xx: at least once, in commit order.
//  2. A delivery that fails is tried again for a day, with growing pauses, and nothing
//     behind it goes out before. After that, or after 410, the hook is stopped until
//     carbond starts again: nothing is passed over.
//  3. What retention has taken is told as a delivery of its own, never left out silently.
package webhook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"carbond/rpc"
	"carbond/rpc/internal/form"
	"carbond/store/change"
)

// Hook is one receiver and what it wants to hear of.
type Hook struct {
	Name   string
	URL    string
	View   change.View
	Filter string // by the filter of the view, "" = all
	Rule   Rule
}

// Options configure a Sender.
type Options struct {
	Log        *slog.Logger
	Registerer prometheus.Registerer
	Hooks      []Hook
	Key        []byte            // that deliveries are signed with
	Transport  http.RoundTripper // which addresses may be reached is its business
	Version    string
	// FirstPause is the pause before a delivery is tried again, which doubles each time;
	// GiveUp how long it is tried. Default 5 s and 24 h.
	FirstPause, GiveUp time.Duration
}

// Sender delivers to the hooks. Run runs it.
type Sender struct {
	log  rpc.Changelog
	past rpc.History
	opt  Options

	deliveries *prometheus.CounterVec
	stopped    *prometheus.GaugeVec
}

// New makes a sender.
func New(log rpc.Changelog, past rpc.History, opt Options) (*Sender, error) {
	if opt.FirstPause <= 0 {
		opt.FirstPause = 5 * time.Second
	}
	if opt.GiveUp <= 0 {
		opt.GiveUp = 24 * time.Hour
	}
	s := &Sender{
		log: log, past: past, opt: opt,
		deliveries: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "carbond_webhook_deliveries_total", Help: "Deliveries by hook and result: ok or failed."}, []string{"hook", "result"}),
		stopped:    prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "carbond_webhook_stopped", Help: "1 where a hook has stopped, after a day of failures or 410, until carbond starts again."}, []string{"hook"}),
	}
	for _, h := range opt.Hooks {
		s.stopped.WithLabelValues(h.Name)
		for _, r := range []string{"ok", "failed"} {
			s.deliveries.WithLabelValues(h.Name, r)
		}
	}
	for _, c := range []prometheus.Collector{s.deliveries, s.stopped} {
		if err := opt.Registerer.Register(c); err != nil {
			return nil, fmt.Errorf("register webhook metrics: %w", err)
		}
	}
	return s, nil
}

// Group is the consumer group of a hook.
func Group(name string) string { return "webhook:" + name }

// Run delivers until ctx ends.
func (s *Sender) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, h := range s.opt.Hooks {
		wg.Go(func() { s.keep(ctx, h) })
	}
	wg.Wait()
	return nil
}

// keep runs a hook, again and again, until it is stopped or ctx ends.
func (s *Sender) keep(ctx context.Context, h Hook) {
	for ctx.Err() == nil {
		err := s.follow(ctx, h)
		switch {
		case ctx.Err() != nil, errors.Is(err, change.ErrClosed):
			return
		case errors.Is(err, errGaveUp):
			s.stopped.WithLabelValues(h.Name).Set(1)
			s.opt.Log.Error("webhook is stopped: mend the receiver and restart carbond, which goes on where it was", "hook", h.Name, "error", err)
			return
		}
		s.opt.Log.Warn("webhook is interrupted", "hook", h.Name, "error", err)
		pause(ctx, s.opt.FirstPause)
	}
}

// follow delivers what comes behind the place of a hook.
func (s *Sender) follow(ctx context.Context, h Hook) error {
	m, err := s.log.Join(Group(h.Name), "carbond")
	if err != nil {
		return err
	}
	defer m.Leave()
	topic := change.TopicName(h.View.Def().Tables[0])
	commit := func(at change.Offset) error {
		return s.log.CommitOffset(ctx, change.GroupCommit{Group: Group(h.Name), Generation: m.Generation, Member: "carbond", Topic: topic, Offset: at})
	}
	at := s.log.Committed(Group(h.Name), topic)
	if at == 0 { // a new hook hears of what comes
		at = s.log.Position().Offset
		if err := commit(at); err != nil && at > 0 {
			return err
		}
	}
	src, err := s.past.Follow(ctx, at)
	var gone *change.CompactedError
	var other *change.HistoryError
	if errors.As(err, &gone) || errors.As(err, &other) {
		next := s.log.Position().Offset
		if err := s.deliver(ctx, h, "carbond.gap", at, next, time.Now(), fmt.Appendf(nil, `"lostAfter":%d,"goesOnAfter":%d`, at, next)); err != nil {
			return err
		}
		if err := commit(next); err != nil {
			return err
		}
		src, err = s.past.Follow(ctx, next)
	}
	for err == nil {
		var txns []change.ViewTxn
		if txns, err = src.Next(ctx); err != nil {
			break
		}
		for i := range txns {
			if err = s.transaction(ctx, h, &txns[i]); err != nil {
				return err
			}
		}
		err = commit(src.Offset())
	}
	return err
}

// maxBody is where the changes of a transaction are cut into several deliveries.
const maxBody = 256 << 10

// transaction delivers what a hook wants of a transaction, if anything.
func (s *Sender) transaction(ctx context.Context, h Hook, t *change.ViewTxn) error {
	b := batch{view: h.View.Def()}
	part := 0
	send := func(last bool) error {
		body := append(append([]byte(`"changes":[`), b.body...), `],"end":`...)
		body = strconv.AppendBool(body, last)
		b.body = b.body[:0]
		part++
		return s.deliver(ctx, h, "carbond.changes", t.Offset, change.Offset(part), t.CommitTime, body)
	}
	var before any
	flush := func(after any) {
		if (before != nil || after != nil) && h.Rule.Matches(b.view, before, after) {
			b.add(before, after)
		}
		before = nil
	}
	// News leave a window because others come: only what comes is news.
	left := map[string]any{}
	if b.view.Limit > 0 {
		t.All(func(d change.Delta) bool {
			if view, row := d.Row(); d.Diff < 0 && view.Name == h.View && wants(h, &d, row) {
				left[view.Text(row, view.Key)] = view.Clone(row)
			}
			return true
		})
	}
	var err error
	t.All(func(d change.Delta) bool {
		view, row := d.Row()
		if view.Name != h.View || !wants(h, &d, row) || view.Limit > 0 && d.Diff < 0 {
			return true
		}
		if view.Limit > 0 {
			before = left[view.Text(row, view.Key)]
		}
		same := before != nil && view.Text(before, view.Key) == view.Text(row, view.Key)
		switch {
		case d.Diff > 0 && same:
			flush(row)
		case d.Diff > 0:
			flush(nil)
			flush(row)
		default:
			flush(nil)
			before = view.Clone(row)
		}
		if len(b.body) > maxBody {
			err = send(false)
		}
		return err == nil
	})
	if err != nil {
		return err
	}
	if flush(nil); len(b.body) == 0 && part == 0 {
		return nil
	}
	return send(true)
}

// wants reports whether a delta is of the hook's filter.
func wants(h Hook, d *change.Delta, row any) bool {
	def := h.View.Def()
	if def.Limit > 0 {
		return d.Window == h.Filter
	}
	return h.Filter == "" || def.Text(row, def.Filter) == h.Filter
}

// batch is the changes of one delivery.
type batch struct {
	view *change.ViewDef
	body []byte
}

func (b *batch) add(before, after any) {
	if len(b.body) > 0 {
		b.body = append(b.body, ',')
	}
	image := func(row any) {
		if row == nil {
			b.body = append(b.body, "null"...)
			return
		}
		b.body = form.AppendObject(b.body, b.view, row)
	}
	b.body = append(b.body, `{"before":`...)
	image(before)
	b.body = append(b.body, `,"after":`...)
	image(after)
	b.body = append(b.body, '}')
}

// CheckURL says what is wrong with the address of a hook.
func CheckURL(raw string) error {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return errors.New("is not an http or https URL")
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
