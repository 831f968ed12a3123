package console

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	g "maragu.dev/gomponents"
)

// What a live page is told, and how often. With what is around the parts a message
// stays below 2 kB.
const (
	liveEvery   = time.Second
	liveBytes   = 1900             // of parts in one message; what does not fit comes with the next
	liveQuiet   = 5 * time.Second  // a message comes at least so often
	liveTimeout = 10 * time.Second // for a client to take one
)

// update is what one message tells a page.
type update struct {
	Parts map[string]string `json:"parts,omitempty"` // HTML by the id of its element
	Lists []string          `json:"lists,omitempty"` // tables whose rows came or went
}

// progress is what a page has been told.
type progress struct {
	told map[string]string
	next int // part to begin with, so that a busy one at the top does not starve the rest
}

// changes returns what is new of a page, at most liveBytes of it unless one part is
// larger. What is told counts as told.
func (p *progress) changes(s *sheet) (u update, any bool) {
	size, n := 0, len(s.parts)
	for i := range n {
		part := s.parts[(p.next+i)%n]
		if p.told[part.id] == part.inner {
			continue
		}
		if old, ok := p.told[part.id]; !ok || part.list && old != part.inner {
			// A row that the page lacks comes with its table.
			p.told[part.id] = part.inner
			if part.list {
				u.Lists, any = append(u.Lists, part.id), true
			}
			continue
		}
		cost := len(part.inner) + len(part.id) + len(`"":"",`)
		if size > 0 && size+cost > liveBytes {
			p.next = (p.next + i) % n
			return u, true
		}
		size += cost
		if u.Parts == nil {
			u.Parts = map[string]string{}
		}
		u.Parts[part.id], p.told[part.id], any = part.inner, part.inner, true
	}
	p.next = 0
	return u, any
}

// recent is what was told to the readers of the pages last served, by the name that
// a page gives its stream: what changed between the two is then not missed.
type recent struct {
	mu    sync.Mutex // guards what follows
	order []string
	told  map[string]map[string]string
}

const maxRecent = 64

// add notes a page that is served now.
func (r *recent) add(name string, s *sheet) {
	told := make(map[string]string, len(s.parts))
	for _, p := range s.parts {
		told[p.id] = p.inner
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.told == nil {
		r.told = map[string]map[string]string{}
	}
	if r.order = append(r.order, name); len(r.order) > maxRecent {
		delete(r.told, r.order[0])
		r.order = r.order[1:]
	}
	r.told[name] = told
}

// take returns what the page of a name has, once.
func (r *recent) take(name string) (map[string]string, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	told, ok := r.told[name]
	delete(r.told, name)
	return told, ok
}

// hello is the first message of a stream.
type hello struct {
	Build string `json:"build"`
	Known bool   `json:"known"` // what is on the page; else it has to be fetched again
}

// stream sends what changes of a page, as Server-Sent Events: first "hello", then
// "update". It makes the page again and compares: what a page shows is never made in
// two ways.
func (c *Console) stream(w http.ResponseWriter, r *http.Request, p place) {
	select {
	case c.streams <- struct{}{}:
		defer func() { <-c.streams }()
	default:
		http.Error(w, "too many live pages; this one stands as it is", http.StatusServiceUnavailable)
		return
	}
	if _, code, err := c.render(r, p); err != nil || code == http.StatusUnauthorized || code == http.StatusForbidden {
		http.Error(w, "not for this caller", max(code, http.StatusForbidden))
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no")
	out := http.NewResponseController(w)
	var one sync.Mutex // message at a time
	send := func(event string, v any) error {
		one.Lock()
		defer one.Unlock()
		var b bytes.Buffer // Encode ends it with a line feed
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false) // it is no HTML yet, and shorter so
		if err := e.Encode(v); err != nil {
			return err
		}
		// The limits of the listener are those of short answers.
		if err := out.SetWriteDeadline(time.Now().Add(liveTimeout)); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "event: %s\ndata: %s\n", event, &b); err != nil {
			return err
		}
		return out.Flush()
	}
	_ = out.SetReadDeadline(time.Time{})
	told, known := c.recent.take(r.URL.Query().Get("live"))
	if !known {
		told = map[string]string{}
	}
	if err := send("hello", hello{build(c.opt.Status()), known}); err != nil {
		return
	}
	if r.URL.Query().Has("next") {
		var end func()
		p, end = c.follow(r, p, send)
		defer end()
	}
	seen, sent := progress{told: told}, time.Now()
	t := time.NewTicker(liveEvery)
	defer t.Stop()
	for first := !known; ; first = false {
		s, _, err := c.render(r, p)
		if err != nil {
			return
		}
		u, any := seen.changes(s)
		if !first && any || time.Since(sent) >= liveQuiet {
			if err := send("update", u); err != nil {
				return
			}
			sent = time.Now()
		}
		select {
		case <-r.Context().Done():
			return
		case <-c.closed:
			return
		case <-t.C:
		}
	}
}

// follow sends new records of the changelog beside what else changes of its page, until
// end is called. The page that it returns is the rest of it.
func (c *Console) follow(r *http.Request, p place, send func(string, any) error) (rest place, end func()) {
	rest = p
	rest.body = func(*Console, *request) (g.Node, error) { return nil, nil }
	in, err := c.opt.Door.Caller(r)
	if err != nil {
		return rest, func() {}
	}
	ctx, cancel := context.WithCancel(in)
	var wg sync.WaitGroup
	wg.Go(func() {
		// An end of the stream shows when the browser comes again.
		_ = c.tail(&request{ctx: ctx, query: r.URL.Query()}, func(t tailed) error { return send("record", t) })
	})
	return rest, func() { cancel(); wg.Wait() }
}
