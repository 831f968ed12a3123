package sample

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"carbond/feeds/news"
)

// URLs is how feeds are configured to read the world through a server at base
// ("http://127.0.0.1:8080").
type URLs struct {
	Verra      string // site with the configuration document
	Carbonmark string
	Finance    string
	Cookie     string // where the quote cookie comes from
	News       []news.Source
}

// Paths of the upstreams below the base, also what Misbehave takes.
const (
	VerraPath      = "/verra"
	CarbonmarkPath = "/carbonmark"
	FinancePath    = "/yahoo"
	NewsPath       = "/news"  // + "/" + feed name
	GDELTPath      = "/gdelt" // outlets without a feed of their own
)

// URLs returns the addresses of all upstreams below base.
func (w *World) URLs(base string) URLs {
	base = strings.TrimRight(base, "/")
	u := URLs{
		Verra: base + VerraPath, Carbonmark: base + CarbonmarkPath,
		Finance: base + FinancePath, Cookie: base + FinancePath + "/cookie",
	}
	for _, o := range newOutlets() {
		s := news.Source{Feed: o.slug, Name: o.name, URL: base + NewsPath + "/" + o.slug}
		if o.form == formGDELT {
			s.URL = news.GDELTURL(base+GDELTPath, `("carbon credits" OR "carbon market") domainis:`+o.domain)
		}
		u.News = append(u.News, s)
	}
	return u
}

// Handler serves all upstreams of the world.
func (w *World) Handler() http.Handler {
	mux := http.NewServeMux()
	w.verraRoutes(mux)
	w.carbonmarkRoutes(mux)
	w.yahooRoutes(mux)
	mux.HandleFunc("GET "+NewsPath+"/{feed}", w.feed)
	mux.HandleFunc("GET "+GDELTPath+news.GDELTPath, w.gdelt)
	return w.faulty(mux)
}

// Run serves the world on all listeners until ctx ends, then closes them and
// returns nil. Feeds that should not disturb each other get a listener each.
func (w *World) Run(ctx context.Context, listeners ...net.Listener) error {
	if len(listeners) == 0 {
		return errors.New("run sample upstreams: no listener")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	srv := &http.Server{
		Handler: w.Handler(), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	done := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() { done <- srv.Serve(l) }()
	}
	var first error
	left := len(listeners)
	select {
	case <-ctx.Done():
	case first = <-done:
		left--
	}
	cancel() // stalled answers end with their request's context
	stop, release := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer release()
	if err := srv.Shutdown(stop); err != nil {
		_ = srv.Close()
	}
	for ; left > 0; left-- {
		if err := <-done; first == nil {
			first = err
		}
	}
	if errors.Is(first, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("run sample upstreams: %w", first)
}

// Requests returns how often each path was asked for since New.
func (w *World) Requests() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := make(map[string]int, len(w.requests))
	for p, n := range w.requests {
		out[p] = n
	}
	return out
}

// look runs fn on the world as it is now.
func (w *World) look(fn func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.advance()
	fn()
}

// reply writes v as JSON.
func reply(rw http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		http.Error(rw, err.Error(), http.StatusInternalServerError)
		return
	}
	rw.Header().Set("Content-Type", "application/json")
	rw.WriteHeader(status)
	_, _ = rw.Write(b) // the client went away
}

// object is a JSON object without a type of its own.
type object = map[string]any
