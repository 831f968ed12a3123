package hub_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"carbond/rpc/internal/hub"
	"carbond/store/change"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// source is a follower that gets its transactions from a test.
type source struct {
	at     change.Offset
	ch     chan []change.ViewTxn
	err    error
	panics bool
}

func newSource(at change.Offset) *source {
	return &source{at: at, ch: make(chan []change.ViewTxn, 10_000)}
}

func (s *source) Offset() change.Offset { return s.at }
func (s *source) Ready() bool           { return len(s.ch) > 0 }

func (s *source) Next(ctx context.Context) ([]change.ViewTxn, error) {
	select {
	case txns, ok := <-s.ch:
		if !ok && s.panics {
			panic("broken")
		}
		if !ok {
			return nil, s.err
		}
		s.at = txns[len(txns)-1].Offset
		return txns, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// message is what the test's Wrap makes.
type message struct {
	key  hub.Key
	head hub.Head
	text string
}

// world counts what is encoded.
type world struct {
	hub     *hub.Hub
	src     *source // the next to be followed
	mu      sync.Mutex
	encoded int
	follows int
}

func newWorld(opt hub.Options) *world {
	w := &world{src: newSource(10)}
	opt.Follow = func(context.Context) (change.Follower, error) {
		w.follows++
		return w.src, nil
	}
	opt.Encode = func(b []byte, d *change.Delta) []byte {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.encoded++
		name := ""
		switch {
		case d.Project != nil:
			name = d.Project.ProjectID
		case d.News != nil:
			name = d.News.GUID
		case d.Quote != nil:
			name = d.Quote.Ticker
		}
		return fmt.Appendf(b, "%+d%s ", d.Diff, name)
	}
	opt.Wrap = func(k hub.Key, h hub.Head, b []byte) any { return &message{k, h, string(b)} }
	w.hub = hub.New(opt)
	return w
}

func (w *world) join(t *testing.T) *hub.Feed {
	t.Helper()
	f, err := w.hub.Join(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func project(diff int8, id, country string) change.Delta {
	return change.Delta{Diff: diff, Project: &change.Project{ProjectID: id, Country: country}}
}

func quote(diff int8, ticker string) change.Delta {
	return change.Delta{Diff: diff, Quote: &change.Quote{Ticker: ticker}}
}

func item(diff int8, guid, window string) change.Delta {
	return change.Delta{Diff: diff, News: &change.NewsItem{GUID: guid}, Window: window}
}

func txn(at change.Offset, deltas ...change.Delta) change.ViewTxn {
	return change.ViewTxn{Offset: at, LSN: change.LSN(at) * 10, Deltas: deltas}
}

// take reads a feed up to an offset, waiting for it.
func take(t *testing.T, f *hub.Feed, k hub.Key, at, until change.Offset) (out []*message) {
	t.Helper()
	for at < until {
		b, woken, err := f.After(at)
		if err != nil {
			t.Fatal(err)
		}
		if b == nil {
			<-woken
			continue
		}
		if err := b.Each(k, at, func(m any) error { out = append(out, m.(*message)); return nil }); err != nil {
			t.Fatal(err)
		}
		at = b.End()
	}
	return out
}

func texts(ms []*message) string {
	var s []string
	for _, m := range ms {
		s = append(s, fmt.Sprintf("%d:%s", m.head.Offset, strings.TrimSpace(m.text)))
	}
	return strings.Join(s, "|")
}

// TestEncodedOnce: any number of watchers of a filter get one message.
func TestEncodedOnce(t *testing.T) {
	w := newWorld(hub.Options{})
	defer w.hub.Close()
	f := w.join(t)
	defer f.Leave()
	w.src.ch <- []change.ViewTxn{txn(12, project(-1, "a", "Brazil"), project(1, "a", "Peru")), txn(15, quote(1, "KRBN"))}
	k := hub.Key{View: change.ViewProjects}
	first := take(t, f, k, 10, 15)
	for range 50 {
		if again := take(t, f, k, 10, 15); !slices.Equal(again, first) {
			t.Fatalf("another message: %v, first %v", again, first)
		}
	}
	if w.encoded != 3 {
		t.Errorf("encoded %d times, want 3", w.encoded)
	}
	if s := w.hub.Stats(); s.Deltas != 3 || s.Transactions != 2 || s.Batches != 1 || s.Watchers != 1 {
		t.Errorf("stats %+v", s)
	}
}

// TestFilters: each watcher gets the deltas of its filter, of its place on.
func TestFilters(t *testing.T) {
	w := newWorld(hub.Options{})
	defer w.hub.Close()
	f := w.join(t)
	defer f.Leave()
	w.src.ch <- []change.ViewTxn{
		txn(12, project(-1, "a", "Brazil"), project(1, "a", "Peru"), item(1, "g", ""), item(1, "g", "BBC")),
		txn(13),
		txn(15, project(1, "b", "Brazil"), item(-1, "g", "BBC"), quote(1, "K"), quote(1, "L")),
	}
	for name, tc := range map[string]struct {
		view   change.View
		filter string
		at     change.Offset
		want   string
	}{
		"all":                {change.ViewProjects, "", 10, "15:-1a +1a +1b"},
		"leaves the country": {change.ViewProjects, "Brazil", 10, "15:-1a +1b"},
		"comes to it":        {change.ViewProjects, "Peru", 10, "15:+1a"},
		"nothing":            {change.ViewProjects, "Kenya", 10, ""},
		"all news":           {change.ViewNews, "", 10, "15:+1g"},
		"news of a source":   {change.ViewNews, "BBC", 10, "15:+1g -1g"},
		"quotes":             {change.ViewFinance, "", 10, "15:+1K +1L"},
		"a ticker":           {change.ViewFinance, "L", 10, "15:+1L"},
		"between":            {change.ViewProjects, "", 12, "15:+1b"},
		"behind an empty":    {change.ViewProjects, "Brazil", 13, "15:+1b"},
		"inside nothing":     {change.ViewNews, "", 12, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := texts(take(t, f, hub.Key{View: tc.view, Filter: tc.filter}, tc.at, 15)); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

// TestLarge cuts transactions into messages, of which the last alone is a place
// to go on from, and keeps small neighbours apart from them.
func TestLarge(t *testing.T) {
	w := newWorld(hub.Options{Bytes: 1 << 30})
	defer w.hub.Close()
	f := w.join(t)
	defer f.Leave()
	name := strings.Repeat("x", 1000)
	big := txn(20)
	for range 2000 {
		big.Deltas = append(big.Deltas, project(1, name, "Peru"))
	}
	bulk := txn(30)
	bulk.Bulk = func(yield func(change.Delta) bool) {
		for range 1000 {
			if !yield(project(1, name, "Peru")) || !yield(quote(1, "K")) {
				return
			}
		}
	}
	w.src.ch <- []change.ViewTxn{txn(12, project(1, "a", "")), big, txn(21, project(1, "b", "")), bulk, txn(31, project(1, "c", ""))}
	got := take(t, f, hub.Key{View: change.ViewProjects}, 10, 31)
	count, lasts := 0, []change.Offset{}
	for _, m := range got {
		count += strings.Count(m.text, "+1")
		if len(m.text) > 600<<10 {
			t.Errorf("a message of %d bytes", len(m.text))
		}
		if m.head.Last {
			lasts = append(lasts, m.head.Offset)
		}
	}
	if want := []change.Offset{12, 20, 21, 30, 31}; count != 3003 || !slices.Equal(lasts, want) || len(got) < 10 {
		t.Errorf("%d deltas in %d messages, ends %v, want 3003 and ends %v", count, len(got), lasts, want)
	}
	if got := take(t, f, hub.Key{View: change.ViewFinance, Filter: "K"}, 21, 31); len(got) != 1 || !got[0].head.Last {
		t.Errorf("%d messages of the ticker", len(got))
	}
	stop := errors.New("enough")
	b, _, err := f.After(21)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Each(hub.Key{View: change.ViewProjects}, 21, func(any) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("a refused message: %v", err)
	}
}

// TestRing: the ring keeps to its bounds, and who is too far behind is told.
func TestRing(t *testing.T) {
	for name, opt := range map[string]hub.Options{"count": {Batches: 4}, "bytes": {Bytes: 3000}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(opt)
				defer w.hub.Close()
				f := w.join(t)
				defer f.Leave()
				for at := change.Offset(11); at <= 60; at++ {
					w.src.ch <- []change.ViewTxn{txn(at, quote(1, "K"))}
					time.Sleep(time.Second)
				}
				s := w.hub.Stats()
				if s.Batches == 0 || opt.Batches > 0 && s.Batches > 4 || opt.Bytes > 0 && s.Bytes > 3000 {
					t.Fatalf("stats %+v", s)
				}
				base := f.Base()
				if want := change.Offset(60 - s.Batches); base != want {
					t.Errorf("base %d, want %d", base, want)
				}
				if got := take(t, f, hub.Key{View: change.ViewFinance}, base, 60); len(got) != s.Batches {
					t.Errorf("%d messages of %d batches", len(got), s.Batches)
				}
				if _, _, err := f.After(base - 1); !errors.Is(err, hub.ErrGone) {
					t.Errorf("behind the base: %v", err)
				}
				if b, woken, err := f.After(70); b != nil || woken == nil || err != nil {
					t.Errorf("ahead of the ring: %v %v", b, err)
				}
			})
		})
	}
}

// TestPace: the more watchers, the larger the steps; one is told at once.
func TestPace(t *testing.T) {
	for users, step := range map[int]time.Duration{1: time.Millisecond, 1000: 100 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(hub.Options{Wakeups: 10_000})
			defer w.hub.Close()
			for range users {
				defer w.join(t).Leave()
			}
			f := w.join(t)
			defer f.Leave()
			began := time.Now()
			w.src.ch <- []change.ViewTxn{txn(11, quote(1, "K"))}
			take(t, f, hub.Key{View: change.ViewFinance}, 10, 11)
			if d := time.Since(began); d != 0 {
				t.Errorf("the first after a pause took %v", d)
			}
			for at := change.Offset(12); at < 30; at++ {
				w.src.ch <- []change.ViewTxn{txn(at, quote(1, "K"))}
			}
			if got := take(t, f, hub.Key{View: change.ViewFinance}, 11, 29); len(got) != 1 {
				t.Errorf("%d messages, want one of all that came meanwhile", len(got))
			}
			if d := time.Since(began); d < step || d > step+time.Millisecond {
				t.Errorf("the next step of %d watchers took %v, want %v", users, d, step)
			}
		})
	}
}

// failed waits for the end of a feed.
func failed(t *testing.T, f *hub.Feed, at change.Offset) error {
	t.Helper()
	for {
		b, woken, err := f.After(at)
		if err != nil {
			return err
		}
		if b != nil {
			t.Fatalf("a batch up to %d behind the end", b.End())
		}
		<-woken
	}
}

// TestLife: the reading goroutine lives while somebody has joined.
func TestLife(t *testing.T) {
	w := newWorld(hub.Options{})
	first := w.src
	a, b := w.join(t), w.join(t)
	if a != b || w.follows != 1 {
		t.Fatal("two feeds at a time")
	}
	a.Leave()
	first.ch <- []change.ViewTxn{txn(11, quote(1, "K"))}
	take(t, b, hub.Key{View: change.ViewFinance}, 10, 11)
	b.Leave()
	failed(t, b, 11)

	w.src = newSource(50)
	c := w.join(t)
	if c.Base() != 50 {
		t.Errorf("base of the second feed is %d", c.Base())
	}
	w.hub.Close()
	failed(t, c, 50)
	c.Leave()
	if _, err := w.hub.Join(t.Context()); !errors.Is(err, hub.ErrClosed) {
		t.Errorf("join after the end: %v", err)
	}
}

// TestFailure: what was read before an error is handed out first; the next
// watcher starts again. A panic is an error like others.
func TestFailure(t *testing.T) {
	broken := errors.New("the disk is on fire")
	for name, panics := range map[string]bool{"error": false, "panic": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(hub.Options{Panicked: func(any) error { return broken }})
			defer w.hub.Close()
			w.src.err, w.src.panics = broken, panics
			f := w.join(t)
			w.src.ch <- []change.ViewTxn{txn(11, quote(1, "K"))}
			take(t, f, hub.Key{View: change.ViewFinance}, 10, 11)
			close(w.src.ch)
			if err := failed(t, f, 11); !errors.Is(err, broken) {
				t.Errorf("the feed ended with %v", err)
			}
			if got := take(t, f, hub.Key{View: change.ViewFinance}, 10, 11); len(got) != 1 {
				t.Error("what came before the error is lost")
			}
			w.src = newSource(11)
			g := w.join(t)
			if g == f {
				t.Error("joined a feed that has failed")
			}
			f.Leave()
			w.src.ch <- []change.ViewTxn{txn(12, quote(1, "K"))}
			take(t, g, hub.Key{View: change.ViewFinance}, 11, 12)
			g.Leave()
		})
	}
}

// TestConcurrent runs many watchers beside a fast source: everyone sees every
// transaction in order.
func TestConcurrent(t *testing.T) {
	w := newWorld(hub.Options{})
	defer w.hub.Close()
	var wg sync.WaitGroup
	for i := range 40 {
		f := w.join(t)
		wg.Go(func() {
			defer f.Leave()
			k := hub.Key{View: change.ViewFinance, Filter: []string{"", "K3", "K5"}[i%3]}
			got := texts(take(t, f, k, 10, 2010))
			want := 2000
			if k.Filter != "" {
				want = 200
			}
			if n := strings.Count(got, "+1"); n != want {
				t.Errorf("%q: %d deltas, want %d", k.Filter, n, want)
			}
		})
	}
	for at := change.Offset(11); at <= 2010; at++ {
		w.src.ch <- []change.ViewTxn{txn(at, quote(1, fmt.Sprintf("K%d", at%10)))}
	}
	wg.Wait()
}
