package webhook_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"carbond/rpc/webhook"
	"carbond/store"
	"carbond/store/change"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// receiver is what a hook posts to.
type receiver struct {
	*httptest.Server
	answer func(n int, w http.ResponseWriter) // the n-th request from 0; nil = 204

	mu  sync.Mutex // guards what follows
	got []delivery
	all int
	new chan struct{}
}

type delivery struct {
	id   string
	body struct {
		Type string
		Data struct {
			Topic   string
			Offset  uint64
			Changes []struct {
				Op            string
				Offset        uint64
				Before, After map[string]any
			}
		}
	}
}

var key = []byte("the key of the test")

func newReceiver(t *testing.T, answer func(int, http.ResponseWriter)) *receiver {
	r := &receiver{answer: answer, new: make(chan struct{}, 1000)}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		if err != nil {
			return // the sender was stopped meanwhile
		}
		at, _ := strconv.ParseInt(q.Header.Get("webhook-timestamp"), 10, 64)
		if want := webhook.Sign(key, q.Header.Get("webhook-id"), time.Unix(at, 0), body); q.Header.Get("webhook-signature") != want {
			t.Errorf("signature %s, want %s", q.Header.Get("webhook-signature"), want)
		}
		d := delivery{id: q.Header.Get("webhook-id")}
		if err := json.Unmarshal(body, &d.body); err != nil {
			t.Errorf("%s: %v", body, err)
		}
		r.mu.Lock()
		n := r.all
		r.all++
		r.got = append(r.got, d)
		r.mu.Unlock()
		r.new <- struct{}{}
		if r.answer != nil {
			r.answer(n, w)
		} else {
			w.WriteHeader(http.StatusNoContent)
		}
	}))
	t.Cleanup(r.Close)
	return r
}

// wait waits for so many requests in all.
func (r *receiver) wait(t *testing.T, n int) []delivery {
	t.Helper()
	for {
		r.mu.Lock()
		got := slices.Clone(r.got)
		r.mu.Unlock()
		if len(got) >= n {
			return got
		}
		select {
		case <-r.new:
		case <-time.After(time.Minute):
			t.Fatalf("%d requests, want %d", len(got), n)
		}
	}
}

type world struct {
	*store.Store
	dir string
}

func open(t *testing.T, dir string) *world {
	t.Helper()
	s, err := store.Open(dir, store.Options{NoSync: true, SegmentBytes: 64 << 10, CheckpointInterval: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return &world{s, dir}
}

func (w *world) supply(t *testing.T, id string, supply int) {
	t.Helper()
	e := change.Edit{Table: change.Verra, Columns: []string{"project_id", "country", "supply"}, Rows: []change.Row{change.NewRow(change.T(id), change.T("Peru"), change.T(strconv.Itoa(supply)))}}
	if _, err := w.Write(t.Context(), []change.Edit{e}); err != nil {
		t.Fatal(err)
	}
}

// send runs a sender until stop is called.
func (w *world) send(t *testing.T, r *receiver, rule string) (stop func()) {
	t.Helper()
	parsed, err := webhook.ParseRule(&change.Projects.ViewDef, rule)
	if err != nil {
		t.Fatal(err)
	}
	return w.sendTo(t, webhook.Hook{Name: "desk", URL: r.URL, View: change.ViewProjects, Rule: parsed})
}

func (w *world) sendTo(t *testing.T, h webhook.Hook) (stop func()) {
	t.Helper()
	tr := http.DefaultTransport.(*http.Transport).Clone()
	s, err := webhook.New(w.Store, w.Past(), webhook.Options{
		Log: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(), Key: key, Transport: tr, FirstPause: time.Millisecond,
		Hooks: []webhook.Hook{h},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		tr.CloseIdleConnections()
	}
}

// placed waits until the hook has a place, so that what is written then is behind it.
func (w *world) placed(t *testing.T) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for w.Committed("webhook:desk", change.TopicName(change.Verra)) == 0 {
		<-tick.C
	}
}

func supplies(ds []delivery) (out []string) {
	for _, d := range ds {
		for _, c := range d.body.Data.Changes {
			out = append(out, fmt.Sprint(c.After["supply"]))
		}
	}
	return out
}

// TestOrder: a receiver that fails in every way gets each change at least once, and in
// order: nothing goes out before what failed.
func TestOrder(t *testing.T) {
	w := open(t, filepath.Join(t.TempDir(), "data"))
	w.supply(t, "P", 1)
	elsewhere := newReceiver(t, nil)
	r := newReceiver(t, func(n int, rw http.ResponseWriter) {
		switch n % 5 {
		case 0:
			rw.WriteHeader(500)
		case 1:
			rw.Header().Set("Location", elsewhere.URL)
			rw.WriteHeader(302)
		case 2:
			rw.Header().Set("Retry-After", "0")
			rw.WriteHeader(429)
		case 3:
			panic(http.ErrAbortHandler)
		default:
			rw.WriteHeader(200)
		}
	})
	stop := w.send(t, r, "")
	w.placed(t)
	for i := range 4 {
		w.supply(t, "P", 10+i)
	}
	got := r.wait(t, 20)
	stop()
	if s := strings.Join(slices.Compact(supplies(got[:20])), " "); s != "10 11 12 13" {
		t.Errorf("got %s", s)
	}
	for i := range 20 {
		if got[i].id != got[i/5*5].id {
			t.Errorf("request %d has the id %s, the first of it %s", i, got[i].id, got[i/5*5].id)
		}
	}
	if elsewhere.all != 0 {
		t.Error("a redirect was followed")
	}
}

// TestDurable: a sender that ends between the answer of the receiver and its own note
// delivers again, with the same id; one that ends later does not.
func TestDurable(t *testing.T) {
	w := open(t, filepath.Join(t.TempDir(), "data"))
	w.supply(t, "P", 1)
	hold := make(chan struct{})
	r := newReceiver(t, func(n int, rw http.ResponseWriter) {
		if n == 1 {
			<-hold // the sender is gone before it hears
		}
	})
	stop := w.send(t, r, "")
	w.placed(t)
	w.supply(t, "P", 2)
	r.wait(t, 1)
	w.supply(t, "P", 3)
	r.wait(t, 2)
	stop()
	close(hold)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	w = open(t, w.dir)
	stop = w.send(t, r, "")
	w.supply(t, "P", 4)
	got := r.wait(t, 4)
	stop()
	if s := strings.Join(supplies(got), " "); s != "2 3 3 4" && s != "2 3 2 3" || got[1].id != got[2].id && got[1].id != got[3].id {
		t.Errorf("got %s", s)
	}
}

// TestGone: after 410 nothing more is sent, and nothing is passed over.
func TestGone(t *testing.T) {
	w := open(t, filepath.Join(t.TempDir(), "data"))
	w.supply(t, "P", 1)
	r := newReceiver(t, func(n int, rw http.ResponseWriter) {
		if n == 0 {
			rw.WriteHeader(http.StatusGone)
		}
	})
	stop := w.send(t, r, "")
	w.placed(t)
	w.supply(t, "P", 2)
	r.wait(t, 1)
	w.supply(t, "P", 3)
	stop()
	if n := len(r.wait(t, 1)); n != 1 {
		t.Errorf("%d requests after 410", n)
	}
	stop = w.send(t, r, "")
	got := r.wait(t, 3)
	stop()
	if s := strings.Join(supplies(got), " "); s != "2 2 3" {
		t.Errorf("got %s", s)
	}
}

// TestRules: what a rule wants, and what is no rule.
func TestRules(t *testing.T) {
	p := func(supply float64, status, name string) any {
		return &change.Project{ProjectID: "P", Supply: supply, RegistryStatus: status, ProjectName: name}
	}
	var none any
	for _, tc := range []struct {
		rule          string
		before, after any
		want          bool
	}{
		{"", none, p(1, "", ""), true},
		{"any", p(1, "", ""), none, true},
		{"changes registry_status", p(1, "ACTIVE", ""), p(1, "RETIRED", ""), true},
		{"changes registry_status", p(1, "ACTIVE", ""), p(2, "ACTIVE", ""), false},
		{"changes registry_status", none, p(2, "ACTIVE", ""), false},
		{"supply<1000", p(1500, "", ""), p(999, "", ""), true},
		{"supply<1000", p(900, "", ""), p(800, "", ""), false},
		{"supply > 1000", p(900, "", ""), p(1001, "", ""), true},
		{"supply>1000", none, p(1001, "", ""), true},
		{"words SAO mangrove", p(1, "", "x"), p(1, "", "Mangroves of São Tomé"), true},
		{"words sao", p(1, "", "São"), p(2, "", "São"), false},
	} {
		r, err := webhook.ParseRule(&change.Projects.ViewDef, tc.rule)
		if err != nil || r.Matches(&change.Projects.ViewDef, tc.before, tc.after) != tc.want {
			t.Errorf("%s, %+v to %+v: not %v, %v", tc.rule, tc.before, tc.after, tc.want, err)
		}
	}
	for _, rule := range []string{"words", "changes colour", "country<5", "supply<many", "supply", "supply<NaN"} {
		if _, err := webhook.ParseRule(&change.Projects.ViewDef, rule); err == nil {
			t.Errorf("%q is a rule", rule)
		}
	}
}

// TestSign has the example of the Standard Webhooks specification.
func TestSign(t *testing.T) {
	k, err := webhook.Key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	got := webhook.Sign(k, "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	if got != "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=" {
		t.Error(got)
	}
	if _, err := webhook.Key("whsec_?"); err == nil {
		t.Error("no base64 is a key")
	}
}

// TestGap: what retention has taken is told, and what comes then is delivered.
func TestGap(t *testing.T) {
	w := open(t, filepath.Join(t.TempDir(), "data"))
	w.supply(t, "P", 1)
	r := newReceiver(t, nil)
	stop := w.send(t, r, "")
	w.placed(t)
	stop()
	for i := range 40 {
		e := change.Edit{Table: change.Verra, Columns: []string{"project_id", "project_name"}, Rows: []change.Row{change.NewRow(change.T("P"), change.T(strings.Repeat(strconv.Itoa(i), 8<<10)))}}
		if _, err := w.Write(t.Context(), []change.Edit{e}); err != nil {
			t.Fatal(err)
		}
	}
	w.SetRetention(store.Retention{Bytes: 100 << 10})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for oldest := w.Oldest(); w.Oldest() == oldest; {
		<-tick.C
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	stop = w.send(t, r, "")
	r.wait(t, 1)
	w.supply(t, "P", 5)
	got := r.wait(t, 2)
	stop()
	if got[0].body.Type != "carbond.gap" || got[1].body.Type != "carbond.changes" || supplies(got[1:])[0] != "5" {
		t.Errorf("got %+v", got)
	}
}
