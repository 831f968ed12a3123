package webhook_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"carbond/rpc/webhook"
	"carbond/store"
	"carbond/store/change"
	"carbond/store/storetest"
)

// TestTopic: every record of a topic, in order, through a receiver that fails and senders
// that are stopped anywhere: what came under new ids is what the changelog has, and an id
// always has the same changes.
func TestTopic(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	w := open(t, filepath.Join(t.TempDir(), "data"))
	w.supply(t, "P", 1)
	r := newReceiver(t, func(n int, rw http.ResponseWriter) {
		if n%3 == 1 {
			rw.WriteHeader(503)
		}
	})
	hook := webhook.Hook{Name: "desk", URL: r.URL, Topic: change.TopicName(change.Verra)}
	stop := w.sendTo(t, hook)
	w.placed(t)
	write := func(edits ...change.Edit) {
		t.Helper()
		if _, err := w.Write(t.Context(), edits); err != nil {
			t.Fatal(err)
		}
	}
	for range 30 {
		id := change.T(fmt.Sprint("P", rng.IntN(5)))
		verra := change.Edit{Table: change.Verra, Columns: []string{"project_id", "supply"}, Rows: []change.Row{change.NewRow(id, change.T(strconv.Itoa(rng.IntN(1000))))}}
		switch rng.IntN(4) {
		case 0: // of another topic alone
			write(change.Edit{Table: change.Carbonmark, Columns: []string{"id", "project_id"}, Rows: []change.Row{change.NewRow(id, change.T("P"))}})
		case 1: // a transaction that takes several deliveries
			for i := range 5 {
				verra.Rows = append(verra.Rows, change.NewRow(change.T(fmt.Sprint("L", i)), change.T(strconv.Itoa(rng.IntN(1000)))))
			}
			name := change.T(strings.Repeat("x", 100<<10))
			verra.Columns = append(verra.Columns, "project_name")
			for i, row := range verra.Rows {
				verra.Rows[i] = change.NewRow(row.Value(0), row.Value(1), name)
			}
			write(verra)
		case 2:
			verra.Rows = nil
			verra.Columns, verra.Delete = []string{"project_id"}, []change.Row{change.NewRow(id)}
			write(verra)
		default:
			write(verra)
		}
		if rng.IntN(4) == 0 {
			stop()
			stop = w.sendTo(t, hook)
		}
	}
	w.supply(t, "the end", 1)
	var want []string
	recs, err := storetest.ReadAll(w.NewReader(w.Oldest()))
	if err != nil {
		t.Fatal(err)
	}
	for _, rec := range recs {
		if rec.Relation.Name == change.Verra {
			want = append(want, fmt.Sprint(rec.Offset, " ", rec.Op))
		}
	}
	want = want[1:] // the first was there before the hook
	seen := map[string]string{}
	var got []string
	for n := 1; len(got) == 0 || got[len(got)-1] != want[len(want)-1]; n++ {
		d := r.wait(t, n)[n-1]
		var changes []string
		for _, c := range d.body.Data.Changes {
			changes = append(changes, fmt.Sprint(c.Offset, " ", c.Op))
		}
		if was, again := seen[d.id]; again {
			if was != fmt.Sprint(changes) {
				t.Fatalf("%s had %s, now %v", d.id, was, changes)
			}
			continue
		}
		if d.body.Data.Topic != hook.Topic || d.body.Data.Offset < d.body.Data.Changes[max(0, len(changes)-1)].Offset {
			t.Errorf("%s: %+v", d.id, d.body.Data)
		}
		seen[d.id] = fmt.Sprint(changes)
		got = append(got, changes...)
	}
	stop()
	if !slices.Equal(got, want) {
		t.Errorf("\n got %v\nwant %v", got, want)
	}
}

// pretend is a transport without a network: with the clock of synctest, hours take no time.
type pretend func(r *http.Request) (*http.Response, error)

func (p pretend) RoundTrip(r *http.Request) (*http.Response, error) { return p(r) }

// TestHours: a receiver that is down for an hour, one that wants to be left alone, and one
// that never comes back, by the clock of the test.
func TestHours(t *testing.T) {
	refused := errors.New("connection refused")
	answer := func(code int, header ...string) *http.Response {
		resp := &http.Response{StatusCode: code, Status: strconv.Itoa(code), Header: http.Header{}, Body: io.NopCloser(strings.NewReader(""))}
		for i := 0; i < len(header); i += 2 {
			resp.Header.Set(header[i], header[i+1])
		}
		return resp
	}
	tests := map[string]struct {
		answer   func(since time.Duration, n int) (*http.Response, error)
		within   [2]time.Duration // when the first change is taken, or given up
		tries    [2]int           // until then
		stopped  bool
		between1 time.Duration // the least between the first two tries
	}{
		"down for an hour": {
			answer: func(since time.Duration, _ int) (*http.Response, error) {
				if since < time.Hour {
					return nil, refused
				}
				return answer(204), nil
			},
			within: [2]time.Duration{time.Hour, 2 * time.Hour}, tries: [2]int{8, 16},
		},
		"stalls": { // its answer is not waited for
			answer: func(_ time.Duration, n int) (*http.Response, error) {
				if n == 0 {
					return nil, nil
				}
				return answer(200), nil
			},
			within: [2]time.Duration{20 * time.Second, 30 * time.Second}, tries: [2]int{2, 2}, between1: 20 * time.Second,
		},
		"429, later": {
			answer: func(_ time.Duration, n int) (*http.Response, error) {
				if n == 0 {
					return answer(429, "Retry-After", "1800"), nil
				}
				return answer(200), nil
			},
			within: [2]time.Duration{30 * time.Minute, 31 * time.Minute}, tries: [2]int{2, 2}, between1: 30 * time.Minute,
		},
		"429, next year": { // nobody stops a hook for so long
			answer: func(_ time.Duration, n int) (*http.Response, error) {
				if n == 0 {
					return answer(429, "Retry-After", "31536000"), nil
				}
				return answer(200), nil
			},
			within: [2]time.Duration{time.Hour, time.Hour + time.Minute}, tries: [2]int{2, 2}, between1: time.Hour,
		},
		"redirects": { // to the private network, say: they are never followed
			answer: func(time.Duration, int) (*http.Response, error) {
				return answer(307, "Location", "http://169.254.169.254/latest/"), nil
			},
			within: [2]time.Duration{24 * time.Hour, 26 * time.Hour}, tries: [2]int{25, 50}, stopped: true,
		},
		"down for good": {
			answer: func(time.Duration, int) (*http.Response, error) { return nil, refused },
			within: [2]time.Duration{24 * time.Hour, 26 * time.Hour}, tries: [2]int{25, 50}, stopped: true,
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := open(t, filepath.Join(t.TempDir(), "data"))
				w.supply(t, "P", 1)
				began := time.Now()
				var tries []time.Duration
				taken := time.Duration(0)
				s, err := webhook.New(w.Store, w.Past(), webhook.Options{
					Log: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(), Key: key,
					Hooks: []webhook.Hook{{Name: "desk", URL: "http://receiver.example/", Topic: change.TopicName(change.Verra)}},
					Transport: pretend(func(r *http.Request) (*http.Response, error) {
						if r.URL.Host != "receiver.example" {
							t.Errorf("asked %s", r.URL)
						}
						tries = append(tries, time.Since(began))
						resp, err := tc.answer(time.Since(began), len(tries)-1)
						if resp == nil && err == nil {
							<-r.Context().Done()
							return nil, r.Context().Err()
						}
						if err == nil && resp.StatusCode < 300 {
							taken = time.Since(began)
						}
						return resp, err
					}),
				})
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error, 1)
				go func() { done <- s.Run(ctx) }()
				synctest.Wait() // it has a place
				w.supply(t, "Q", 1)
				time.Sleep(48 * time.Hour)
				synctest.Wait()
				state := s.States()[0]
				cancel()
				if err := <-done; err != nil {
					t.Error(err)
				}
				end := taken
				if tc.stopped {
					end = tries[len(tries)-1]
				}
				if state.Stopped != tc.stopped || (taken > 0) == tc.stopped || end < tc.within[0] || end > tc.within[1] || len(tries) < tc.tries[0] || len(tries) > tc.tries[1] {
					t.Errorf("stopped %v, taken after %v, tries at %v", state.Stopped, taken, tries)
				}
				if len(tries) > 1 && tries[1]-tries[0] < tc.between1 {
					t.Errorf("tries at %v", tries[:2])
				}
			})
		})
	}
}

// TestTopicToCome: a hook whose topic does not exist says so once, shows it, and hears of
// the topic from its first record when it comes.
func TestTopicToCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t, filepath.Join(t.TempDir(), "data"))
		lsn := change.LSN(0)
		order := func(id string) {
			t.Helper()
			rel := &change.Relation{Schema: "shop", Name: "orders", Plain: true, Columns: []change.Column{{Name: "id", Type: change.OIDInt4, Key: true}}}
			lsn += 100
			txn := change.Txn{XID: uint32(lsn), CommitLSN: lsn, EndLSN: lsn + 1, CommitTime: time.Now(), First: true, Final: true}
			if id != "" {
				txn.Changes = []change.Change{{Op: change.Create, Relation: rel, LSN: lsn, After: change.NewRow(change.T(id))}}
			} else {
				txn.Changes = []change.Change{{Op: change.Create, Relation: &change.Relation{Schema: "shop", Name: "other", Plain: true, Columns: rel.Columns}, LSN: lsn, After: change.NewRow(change.T("0"))}}
			}
			if err := w.Apply(t.Context(), []change.Txn{txn}); err != nil {
				t.Fatal(err)
			}
		}
		order("") // the log is not empty
		var said bytes.Buffer
		var posted []string
		s, err := webhook.New(w.Store, w.Past(), webhook.Options{
			Log: slog.New(slog.NewTextHandler(&said, nil)), Registerer: prometheus.NewRegistry(), Key: key,
			Hooks: []webhook.Hook{{Name: "desk", URL: "http://receiver.example/", Topic: "carbon.shop.orders"}},
			Transport: pretend(func(r *http.Request) (*http.Response, error) {
				b, err := io.ReadAll(r.Body)
				for _, m := range regexp.MustCompile(`"after":\{"id":(\d+)\}`).FindAllStringSubmatch(string(b), -1) {
					posted = append(posted, m[1])
				}
				return &http.Response{StatusCode: 204, Header: http.Header{}, Body: http.NoBody}, err
			}),
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		time.Sleep(time.Hour)
		synctest.Wait()
		if st := s.States()[0]; st.Stopped || time.Since(st.Failing) != time.Hour || !strings.Contains(st.Error, "carbon.shop.orders") || !strings.Contains(st.Error, "postgres.tables") {
			t.Errorf("while there is no topic: %+v", st)
		}
		for _, id := range []string{"", "1", "2", "", "3"} {
			order(id)
		}
		time.Sleep(time.Minute)
		order("4")
		synctest.Wait()
		if st := s.States()[0]; !st.Failing.IsZero() || st.Error != "" {
			t.Errorf("with the topic: %+v", st)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if got := strings.Join(posted, " "); got != "1 2 3 4" {
			t.Errorf("got %s", got)
		}
		if n, m := strings.Count(said.String(), "interrupted"), strings.Count(said.String(), "goes on"); n != 1 || m != 1 {
			t.Errorf("%d and %d lines of the log:\n%s", n, m, said.String())
		}
	})
}

// TestTopicGap: what retention has taken of a table without a view is a gap, though the
// changelog goes on before it.
func TestTopicGap(t *testing.T) {
	w := open(t, filepath.Join(t.TempDir(), "data"))
	rel := &change.Relation{Schema: "shop", Name: "orders", Plain: true, Columns: []change.Column{{Name: "id", Type: change.OIDInt4, Key: true}, {Name: "note", Type: change.OIDText}}}
	n := 0
	order := func() {
		t.Helper()
		n++
		row := change.NewRow(change.T(strconv.Itoa(n)), change.T(strings.Repeat("x", 8<<10)))
		txn := change.Txn{CommitLSN: change.LSN(10 * n), EndLSN: change.LSN(10*n + 5), First: true, Final: true, Changes: []change.Change{{Op: change.Create, Relation: rel, After: row}}}
		if err := w.Apply(t.Context(), []change.Txn{txn}); err != nil {
			t.Fatal(err)
		}
	}
	order()
	r := newReceiver(t, nil)
	hook := webhook.Hook{Name: "desk", URL: r.URL, Topic: rel.Topic()}
	stop := w.sendTo(t, hook)
	for tick := time.Tick(time.Millisecond); w.Committed("webhook:desk", hook.Topic) == 0; {
		<-tick
	}
	stop()
	for range 40 {
		order()
	}
	w.SetRetention(store.Retention{TablesBytes: 100 << 10})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	for tick := time.Tick(time.Millisecond); w.Floor() == w.Oldest(); {
		<-tick
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	stop = w.sendTo(t, hook)
	r.wait(t, 1)
	order()
	got := r.wait(t, 2)
	stop()
	if got[0].body.Type != "carbond.gap" || got[1].body.Type != "carbond.changes" || len(got[1].body.Data.Changes) != 1 {
		t.Errorf("got %+v", got)
	}
}
