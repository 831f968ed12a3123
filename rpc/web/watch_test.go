package web_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"carbond/store/change"
)

// event is one event of a stream.
type event struct {
	name, id, data string
}

// watcher reads a stream of events like a browser.
type watcher struct {
	resp *http.Response
	in   *bufio.Scanner
	stop context.CancelFunc
}

func (w *world) watch(t *testing.T, path, last string) *watcher {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, w.http.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if last != "" {
		r.Header.Set("Last-Event-ID", last)
	}
	resp, err := w.http.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%s: %d %s", path, resp.StatusCode, resp.Header.Get("Content-Type"))
	}
	in := bufio.NewScanner(resp.Body)
	in.Buffer(nil, 4<<20)
	return &watcher{resp, in, stop}
}

func (w *watcher) close() {
	w.stop()
	w.resp.Body.Close()
}

// next returns the next event, false at the end.
func (w *watcher) next() (e event, ok bool) {
	for w.in.Scan() {
		name, value, _ := strings.Cut(w.in.Text(), ": ")
		switch name {
		case "event":
			e.name = value
		case "id":
			e.id = value
		case "data":
			e.data = value
		case "":
			if e.name != "" {
				return e, true
			}
		}
	}
	return e, false
}

// copyOf is what a reader of events has: rows by id, as JSON.
type copyOf struct {
	rows   map[string]string
	last   string // id
	offset uint64
	events int
}

func (c *copyOf) apply(t *testing.T, e event) {
	t.Helper()
	var d struct {
		Offset uint64
		Deltas []struct {
			Diff int
			Item json.RawMessage
		}
	}
	if err := json.Unmarshal([]byte(e.data), &d); err != nil {
		t.Fatalf("%s: %v", e.data, err)
	}
	if e.name == "snapshot" && c.last != "" || c.rows == nil {
		c.rows, c.last = map[string]string{}, "" // a new one begins
	}
	for _, x := range d.Deltas {
		var k struct{ ProjectID string }
		if err := json.Unmarshal(x.Item, &k); err != nil {
			t.Fatal(err)
		}
		old, had := c.rows[k.ProjectID]
		switch {
		case x.Diff > 0 && had, x.Diff < 0 && old != string(x.Item):
			t.Fatalf("%+d %s on top of %q", x.Diff, x.Item, old)
		case x.Diff > 0:
			c.rows[k.ProjectID] = string(x.Item)
		default:
			delete(c.rows, k.ProjectID)
		}
	}
	if e.id != "" {
		c.last, c.offset = e.id, d.Offset
	}
	c.events++
}

// TestWatch: whoever applies the events has what the list says, through lost connections
// and restarts; nothing comes twice, and each transaction is an event.
func TestWatch(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	w := newWorld(t, setup{})
	write := func() {
		var rows [][]change.Value
		for _, i := range rng.Perm(20)[:1+rng.IntN(3)] {
			rows = append(rows, row(fmt.Sprint("P", i), []string{"Peru", "Chad", "NULL"}[rng.IntN(3)], []string{"1", "2.5", "NULL"}[rng.IntN(3)]))
		}
		w.put(t, change.Verra, "project_id country supply", rows...)
	}
	for range 10 {
		write()
	}
	for _, query := range []string{"", "?country=Peru"} {
		var c copyOf
		s := w.watch(t, "/v1/projects/watch"+query, "")
		for round := range 12 {
			for range rng.IntN(6) {
				write()
			}
			if round == 5 || round == 9 {
				s.close()
				w.stop()
				w.start(t, setup{})
				s = w.watch(t, "/v1/projects/watch"+query, c.last)
			} else if round > 0 && rng.IntN(3) == 0 {
				s.close()
				s = w.watch(t, "/v1/projects/watch"+query, c.last)
			}
			// The list says which offset the copy has to reach.
			want := w.Snapshot().Version(change.ViewProjects, strings.TrimPrefix(query, "?country="))
			for c.rows == nil || uint64(want) > c.offset {
				e, ok := s.next()
				if !ok {
					t.Fatalf("round %d: the stream ended at %d, before %d", round, c.offset, want)
				}
				c.apply(t, e)
			}
			list := w.get(t, "/v1/projects"+query+map[bool]string{true: "?", false: "&"}[query == ""]+"format=ndjson").body
			n := 0
			for line := range strings.Lines(list) {
				line = strings.TrimSpace(line)
				var k struct{ ProjectID string }
				if err := json.Unmarshal([]byte(line), &k); err != nil {
					t.Fatal(err)
				}
				if n++; c.rows[k.ProjectID] != line {
					t.Fatalf("round %d: the copy has %q, the list %q", round, c.rows[k.ProjectID], line)
				}
			}
			if n != len(c.rows) {
				t.Fatalf("round %d: the copy has %d rows, the list %d", round, len(c.rows), n)
			}
		}
		s.close()
	}
}

// TestWatchOneEventPerTransaction: also those that were written before anybody read.
func TestWatchOneEventPerTransaction(t *testing.T) {
	w := newWorld(t, setup{})
	w.put(t, change.Verra, "project_id", row("P0"))
	first := w.watch(t, "/v1/projects/watch", "")
	e, _ := first.next()
	first.close()
	for i := range 50 {
		w.put(t, change.Verra, "project_id supply", row("P0", fmt.Sprint(i)))
	}
	s := w.watch(t, "/v1/projects/watch", e.id)
	defer s.close()
	for i := range 50 {
		e, ok := s.next()
		if !ok || e.id == "" || !strings.Contains(e.data, fmt.Sprintf(`"supply":%d,`, i)) || !strings.HasSuffix(strings.TrimSpace(e.data), `}}],"end":true}`) {
			t.Fatalf("event %d is %+v", i, e)
		}
	}
}

// TestWatchReset: a place that is gone is no error to a browser.
func TestWatchReset(t *testing.T) {
	w, other := newWorld(t, setup{}), newWorld(t, setup{})
	for _, x := range []*world{w, other} {
		x.put(t, change.Verra, "project_id", row("P0"))
	}
	s := other.watch(t, "/v1/projects/watch", "")
	e, _ := s.next()
	s.close()
	for name, id := range map[string]string{"of another history": e.id, "made up": "nonsense"} {
		s := w.watch(t, "/v1/projects/watch", id)
		first, _ := s.next()
		second, ok := s.next()
		if !ok || first.name != "reset" || first.id != "" || second.name != "snapshot" || second.id == "" || !strings.Contains(first.data, `"requestId":"`+s.resp.Header.Get("X-Request-Id")) {
			t.Errorf("%s: %+v, then %+v", name, first, second)
		}
		s.close()
	}
}
