package admin

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Options says what the listener shows.
type Options struct {
	Logger   *slog.Logger           // nil discards
	Gatherer prometheus.Gatherer    // what /metrics shows
	Ready    func() Readiness       // what /readyz answers; must not block
	Status   func() Status          // what /status.json shows; must not block
	Routes   []func(*http.ServeMux) // what else is served
	API      http.Handler           // what answers under /v1/; nil for nothing
	Closing  func()                 // ends long answers of Routes when the listener stops; nil = nothing
	Hosts    func() []string        // names beside those of this machine under which the pages and /status.json answer; nil means any
	Pprof    func() bool            // whether /debug/pprof/ answers, asked at each request; nil means no
}

// Server is the admin HTTP server.
type Server struct {
	http *http.Server
	log  *slog.Logger
}

// Limits of one request. Profiles take up to a minute, everything else
// milliseconds, so the write timeout is that of profiles.
const (
	readTimeout  = 10 * time.Second
	writeTimeout = 90 * time.Second
	idleTimeout  = 2 * time.Minute
	maxHeader    = 16 << 10
	maxScrapes   = 4
	scrapeLimit  = 20 * time.Second
	drainTime    = 400 * time.Millisecond // probes and scrapes take milliseconds
)

// New returns a server that has no listener yet.
func New(opt Options) *Server {
	log := opt.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		log: log,
		http: &http.Server{
			Handler:           Handler(opt),
			ReadHeaderTimeout: readTimeout,
			ReadTimeout:       readTimeout,
			WriteTimeout:      writeTimeout,
			IdleTimeout:       idleTimeout,
			MaxHeaderBytes:    maxHeader,
			ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		},
	}
	if opt.Closing != nil {
		s.http.RegisterOnShutdown(opt.Closing)
	}
	return s
}

// Run serves on l until ctx ends, then finishes the requests at hand. A non-nil
// conf turns TLS on. It closes l.
func (s *Server) Run(ctx context.Context, l net.Listener, conf *tls.Config) error {
	if conf != nil {
		l = tls.NewListener(l, conf)
	}
	served := make(chan error, 1)
	go func() { served <- s.http.Serve(l) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	if s.http.Shutdown(drain) != nil {
		_ = s.http.Close() // a profile in progress is not waited for
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Handler returns the routes.
func Handler(opt Options) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics(opt))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte("ok\n"))
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) { ready(w, r, opt.Ready()) })
	mux.HandleFunc("GET /status.json", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, opt.Status())
	})
	if opt.API != nil {
		mux.Handle("/v1/", opt.API)
	}
	for _, add := range opt.Routes {
		add(mux)
	}
	profiles(mux, opt.Pprof)
	return headers(knownHosts(mux, opt))
}

func metrics(opt Options) http.Handler {
	if opt.Gatherer == nil {
		return http.NotFoundHandler()
	}
	h := promhttp.HandlerOpts{
		EnableOpenMetrics:   true,
		MaxRequestsInFlight: maxScrapes,
		Timeout:             scrapeLimit,
		CoalesceGather:      true,
		ErrorHandling:       promhttp.ContinueOnError, // one bad collector must not blind the rest
	}
	if opt.Logger != nil {
		h.ErrorLog = slog.NewLogLogger(opt.Logger.Handler(), slog.LevelError)
	}
	return promhttp.HandlerFor(opt.Gatherer, h)
}

// ready answers 200 or 503. With ?verbose the body is JSON with every check,
// otherwise one word.
func ready(w http.ResponseWriter, r *http.Request, v Readiness) {
	code, word := http.StatusOK, "ready"
	if !v.Ready {
		code, word = http.StatusServiceUnavailable, "not ready"
	}
	if !r.URL.Query().Has("verbose") {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(code)
		_, _ = w.Write([]byte(word + "\n"))
		return
	}
	writeJSON(w, code, v)
}

func writeJSON(w http.ResponseWriter, code int, v any) {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		http.Error(w, "encode the answer: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(append(b, '\n'))
}

// profiles mounts pprof behind a switch that a reload may turn.
func profiles(mux *http.ServeMux, on func() bool) {
	if on == nil {
		return
	}
	guard := func(h http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if !on() {
				http.Error(w, "profiles are off: set http.pprof", http.StatusNotFound)
				return
			}
			h(w, r)
		}
	}
	mux.HandleFunc("GET /debug/pprof/", guard(pprof.Index))
	mux.HandleFunc("GET /debug/pprof/cmdline", guard(pprof.Cmdline))
	mux.HandleFunc("GET /debug/pprof/profile", guard(pprof.Profile))
	mux.HandleFunc("GET /debug/pprof/symbol", guard(pprof.Symbol))
	mux.HandleFunc("GET /debug/pprof/trace", guard(pprof.Trace))
}

// headers sets what every answer carries.
func headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}
