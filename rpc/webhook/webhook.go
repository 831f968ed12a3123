// Package webhook tells other programs of changes of the views, or of the records of a
// topic: it posts them as JSON, signed as Standard Webhooks (https://www.standardwebhooks.com) has it.
//
// Invariants
//
//  1. The place of a hook is that of the consumer group webhook:NAME. It is moved, durably,
//     only after the receiver has answered 2xx: at least once, in commit order.
//  2. A delivery that fails is tried again for a day, with growing pauses, and nothing
//     behind it goes out before. After that, or after 410, the hook is stopped until
//     somebody replays it or carbond starts again: nothing is passed over.
//  3. What retention has taken is told as a delivery of its own, never left out silently.
package webhook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"carbond/rpc"
	"carbond/rpc/internal/debezium"
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
	Topic  string // in place of the three above
}

// About is what the hook hears of: its topic, or else its view.
func (h *Hook) About() string {
	if h.Topic != "" {
		return h.Topic
	}
	return string(h.View)
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

	hooks      []*running
	deliveries *prometheus.CounterVec
	stopped    *prometheus.GaugeVec
}

// running is a hook and how it does.
type running struct {
	Hook
	pauses chan pauseRequest

	// Of the goroutine that delivers.
	first       *change.Offset // behind which a hook without a place begins; nil before it was looked for
	interrupted string         // what was told of last, "" while the hook runs

	mu    sync.Mutex // guards state
	state State
}

// State is how a hook does.
type State struct {
	Hook
	Failing time.Time // since when nothing was delivered, zero while all is well
	Error   string    // of the last attempt, while failing
	Stopped bool      // it is not tried any more
}

// pauseRequest is what is done while a hook has left its group.
type pauseRequest struct {
	do   func() error
	done chan error
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
		stopped:    prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "carbond_webhook_stopped", Help: "1 where a hook has stopped, after a day of failures or 410, until it is replayed or carbond starts again."}, []string{"hook"}),
	}
	for _, h := range opt.Hooks {
		s.hooks = append(s.hooks, &running{Hook: h, pauses: make(chan pauseRequest), state: State{Hook: h}})
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
	for _, h := range s.hooks {
		wg.Go(func() { s.keep(ctx, h) })
	}
	wg.Wait()
	return nil
}

// keep runs a hook, again and again, until ctx ends.
func (s *Sender) keep(ctx context.Context, h *running) {
	for ctx.Err() == nil {
		attempt, cancel := context.WithCancel(ctx)
		ended := make(chan error, 1)
		go func() { ended <- s.follow(attempt, h) }()
		select {
		case r := <-h.pauses:
			cancel()
			<-ended
			r.done <- r.do()
			continue
		case err := <-ended:
			cancel()
			if ctx.Err() != nil || errors.Is(err, change.ErrClosed) {
				return
			}
			s.rest(ctx, h, err)
		}
	}
}

// rest waits before a hook that has ended goes on: a moment, or for somebody who
// replays it where it is stopped.
func (s *Sender) rest(ctx context.Context, h *running, err error) {
	var again <-chan time.Time
	if stopped := errors.Is(err, errGaveUp); stopped {
		h.set(func(st *State) { st.Stopped = true })
		s.stopped.WithLabelValues(h.Name).Set(1)
		s.opt.Log.Error("webhook is stopped: mend the receiver, then run carbond webhooks replay, or restart carbond, which goes on where it was", "hook", h.Name, "error", err)
	} else {
		if h.interrupted != err.Error() {
			h.interrupted = err.Error()
			s.opt.Log.Warn("webhook is interrupted, and tried again", "hook", h.Name, "error", err)
		}
		h.set(func(st *State) {
			st.Error = err.Error()
			if st.Failing.IsZero() {
				st.Failing = time.Now()
			}
		})
		t := time.NewTimer(s.opt.FirstPause)
		defer t.Stop()
		again = t.C
	}
	select {
	case r := <-h.pauses:
		r.done <- r.do()
		h.set(func(st *State) { *st = State{Hook: h.Hook} })
		s.stopped.WithLabelValues(h.Name).Set(0)
	case <-again:
	case <-ctx.Done():
	}
}

// goesOn notes that a hook has its place and can read what is behind it.
func (s *Sender) goesOn(h *running) {
	if h.interrupted == "" {
		return
	}
	h.interrupted = ""
	h.set(func(st *State) { *st = State{Hook: h.Hook} })
	s.opt.Log.Info("webhook goes on", "hook", h.Name)
}

func (h *running) set(f func(*State)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f(&h.state)
}

// States returns how the hooks do, in the order of the options.
func (s *Sender) States() []State {
	var out []State
	for _, h := range s.hooks {
		h.set(func(st *State) { out = append(out, *st) })
	}
	return out
}

// ErrUnknown is wrapped where there is no hook of a name.
var ErrUnknown = errors.New("there is no webhook of that name (webhooks.urls)")

func (s *Sender) hook(name string) (*running, error) {
	for _, h := range s.hooks {
		if h.Name == name {
			return h, nil
		}
	}
	return nil, fmt.Errorf("webhook %q: %w", name, ErrUnknown)
}

// Paused runs do while a hook has no member in its group, so that its place can be
// moved. The hook goes on then, also one that was stopped.
func (s *Sender) Paused(ctx context.Context, name string, do func() error) error {
	h, err := s.hook(name)
	if err != nil {
		return err
	}
	r := pauseRequest{do: do, done: make(chan error, 1)}
	select {
	case h.pauses <- r:
		return <-r.done
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Test posts a delivery of type carbond.test once and returns how the receiver refused it.
func (s *Sender) Test(ctx context.Context, name string) error {
	h, err := s.hook(name)
	if err != nil {
		return err
	}
	at := time.Now()
	_, err = s.attempt(ctx, h.Hook, fmt.Sprintf("%s-test-%d", h.Name, at.UnixNano()), s.body(h.Hook, "carbond.test", s.log.Position().Offset, at, []byte(`"changes":[]`)))
	return err
}

// follow delivers what comes behind the place of a hook.
func (s *Sender) follow(ctx context.Context, h *running) error {
	m, err := s.log.Join(Group(h.Name), "carbond")
	if err != nil {
		return err
	}
	defer m.Leave()
	topic, run := h.Topic, s.records
	if topic == "" {
		topic, run = change.TopicName(h.View.Def().Tables[0]), s.views
	}
	commit := func(at change.Offset) error {
		return s.log.CommitOffset(ctx, change.GroupCommit{Group: Group(h.Name), Generation: m.Generation, Member: "carbond", Topic: topic, Offset: at})
	}
	at := s.log.Committed(Group(h.Name), topic)
	if at == 0 { // a new hook hears of what comes, also while its topic is waited for
		if h.first == nil {
			h.first = new(s.log.Position().Offset)
		}
		at = *h.first
		switch err := commit(at); {
		case errors.Is(err, change.ErrTopicUnknown):
			return fmt.Errorf("%w: carbond topics lists those that there are, postgres.tables adds others", err)
		case err != nil && at > 0:
			return err
		case at > 0:
			h.first = nil
		}
	}
	for {
		err := run(ctx, h, at, commit)
		var gone *change.CompactedError
		var other *change.HistoryError
		if !errors.As(err, &gone) && !errors.As(err, &other) {
			return err
		}
		at = max(at, s.log.Committed(Group(h.Name), topic))
		next := s.log.Position().Offset
		if err := s.deliver(ctx, h, "carbond.gap", at, next, time.Now(), fmt.Appendf(nil, `"lostAfter":%d,"goesOnAfter":%d`, at, next)); err != nil {
			return err
		}
		if err := commit(next); err != nil {
			return err
		}
		at = next
	}
}

// views delivers the changes of a view behind an offset.
func (s *Sender) views(ctx context.Context, h *running, at change.Offset, commit func(change.Offset) error) error {
	src, err := s.past.Follow(ctx, at)
	if err == nil {
		s.goesOn(h)
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

// records delivers the records of a topic behind an offset, a transaction at a time.
func (s *Sender) records(ctx context.Context, h *running, at change.Offset, commit func(change.Offset) error) error {
	reader := s.log.NewReader(at + 1)
	plain := !slices.ContainsFunc(change.Tables(), func(t string) bool { return change.TopicName(t) == h.Topic })
	var body []byte
	part := change.Offset(0)
	for {
		more, open := s.log.Changed()
		recs, err := reader.Read(maxBody)
		if err != nil {
			return err
		}
		s.goesOn(h)
		if len(recs) == 0 {
			if !open {
				return change.ErrClosed
			}
			select {
			case <-more:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		whole := change.Offset(0)
		for i := range recs {
			r := &recs[i]
			if r.Op == change.Removed && plain {
				return &change.CompactedError{Wanted: r.Offset, Oldest: s.log.Floor()}
			}
			if r.Relation.Topic() == h.Topic && r.Op != change.Retract { // consumers see the TRUNCATE alone
				body = appendRecord(body, r)
			}
			if len(body) > maxBody || r.Last && len(body)+int(part) > 0 {
				part++
				data := strconv.AppendBool(append(append([]byte(`"changes":[`), body...), `],"end":`...), r.Last)
				if err := s.deliver(ctx, h, "carbond.changes", r.Offset, part, r.CommitTime, data); err != nil {
					return err
				}
				body = body[:0]
			}
			if r.Last {
				part, whole = 0, r.Offset
			}
		}
		if whole > 0 {
			if err := commit(whole); err != nil {
				return err
			}
		}
	}
}

// appendRecord appends a record to the changes of a delivery.
func appendRecord(b []byte, r *change.Record) []byte {
	if len(b) > 0 {
		b = append(b, ',')
	}
	image := func(name string, row change.Row) {
		b = append(b, name...)
		if row == "" {
			b = append(b, "null"...)
			return
		}
		b = debezium.AppendRow(b, r.Relation, row)
	}
	b = fmt.Appendf(b, `{"op":%q,"offset":%d`, r.Op.String(), r.Offset)
	image(`,"before":`, r.Before)
	image(`,"after":`, r.After)
	return append(b, '}')
}

// maxBody is where the changes of a transaction are cut into several deliveries.
const maxBody = 256 << 10

// transaction delivers what a hook wants of a transaction, if anything.
func (s *Sender) transaction(ctx context.Context, h *running, t *change.ViewTxn) error {
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
func wants(h *running, d *change.Delta, row any) bool {
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

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
