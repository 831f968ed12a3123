package daemon

import (
	"context"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"carbond/cmd/carbond/internal/certs"
	"carbond/cmd/carbond/internal/config"
	"carbond/feeds"
	"carbond/feeds/carbonmark"
	"carbond/feeds/finance"
	"carbond/feeds/news"
	"carbond/feeds/verra"
	"carbond/replicate"
	"carbond/replicate/pgconf"
	"carbond/store"
)

// This file turns the configuration into the Options of each stage: the one
// place where a key meets what it does.

// StoreOptions are the options of the store.
func StoreOptions(cfg *config.Config) store.Options {
	return store.Options{
		SegmentBytes:       cfg.Store.SegmentBytes,
		Compress:           cfg.Store.Compress,
		CheckpointInterval: cfg.Checkpoint.Interval,
		Retention:          retention(cfg),
	}
}

func retention(cfg *config.Config) store.Retention {
	r := cfg.Retention
	return store.Retention{Age: r.Age, Bytes: r.Bytes, TablesBytes: r.TablesBytes, Hold: r.HoldGroups, HoldBytes: r.HoldBytes}
}

// ReplicateOptions are the options of the side towards Postgres.
func ReplicateOptions(cfg *config.Config) replicate.Options {
	masks := map[string]string{}
	for _, p := range cfg.Postgres.Masks {
		masks[p.Name] = p.Value
	}
	return replicate.Options{
		URL:         dsn(cfg.Postgres),
		Fresh:       func() string { return freshDSN(cfg.Postgres) },
		Slot:        cfg.Postgres.Slot,
		Publication: cfg.Postgres.Publication,
		Tables:      cfg.Postgres.Tables,
		Masks:       masks,
		MaskSecret:  cfg.Postgres.MaskSecret.Reveal(),
		Migrate:     cfg.Postgres.Migrate == "auto",
		SourcePath:  filepath.Join(cfg.DataDir, "source.json"),
		OnGap:       replicate.GapAction(cfg.Postgres.OnGap),
		MaxRetained: cfg.Postgres.MaxRetained,
		KeepBytes:   cfg.Retention.Bytes,
		KeepTables:  cfg.Retention.TablesBytes,
		GiveUpSlot:  cfg.Postgres.OnMaxRetained == "drop",
		TakeOver:    cfg.Postgres.SlotTakeover,
		Adopt:       cfg.Postgres.Adopt,
		Failover:    cfg.Postgres.Failover,
	}
}

// OpenPool makes the connections for queries and feed writes, without connecting.
// It fails for a URL with a parameter that carbond cannot honour.
func OpenPool(ctx context.Context, cfg *config.Config) (*pgconf.Pool, error) {
	if wrong := CheckURLs(cfg); wrong != nil {
		return nil, wrong
	}
	source, pooler := querySource(cfg.Postgres)
	pool, err := pgconf.NewPool(ctx, source, cfg.Postgres.MaxConns, pooler)
	if err != nil {
		return nil, fmt.Errorf("make the connection pool: %w", err)
	}
	return pool, nil
}

// CheckURLs finds parameters in the URLs that carbond cannot honour.
func CheckURLs(cfg *config.Config) config.Problems {
	var wrong config.Problems
	check := func(key string, s pgconf.Source) {
		if err := s.Validate(); err != nil {
			wrong = append(wrong, config.Problem{Where: cfg.Origin(key), Text: key + ": " + err.Error()})
		}
	}
	check("postgres.url", pgconf.Source{URL: dsn(cfg.Postgres)})
	if s, other := querySource(cfg.Postgres); other {
		check("postgres.query_url", s)
	}
	return wrong
}

// Embedded history is bounded even when nobody said so: it lives in memory.
const (
	embeddedFinanceHistory = 7 * 24 * time.Hour
	// By the date of a story, which can be years before it is read. At fifty
	// stories a day ten years are 180,000 rows of half a kilobyte.
	embeddedNewsHistory = 3650 * 24 * time.Hour
)

func verraOptions(f config.Feeds, off bool) verra.Options {
	o := verra.Options{
		Disabled: off, URL: f.VerraURL, Base: f.VerraSearchURL, Standard: verra.Standard{ID: f.VerraStandard},
		LinkPrefix: f.VerraLinkPrefix, SweepEvery: f.VerraSweep,
	}
	for _, p := range f.VerraHeaders {
		if o.Headers == nil {
			o.Headers = map[string]string{}
		}
		o.Headers[p.Name] = p.Value
	}
	for _, p := range f.VerraStatuses {
		o.Status.Own = append(o.Status.Own, verra.StatusRule{Pattern: strings.ToUpper(p.Name), Status: p.Value})
	}
	return o
}

// checkFeeds says what is wrong with the options of the feeds, as a problem of the
// configuration.
func checkFeeds(cfg *config.Config, opt feeds.Options) error {
	if len(cfg.Feeds.Enabled) == 0 {
		return nil
	}
	if err := feeds.Check(opt); err != nil {
		return config.Problems{{Where: cfg.Origin("feeds.enabled"), Text: err.Error()}}
	}
	return nil
}

// FeedOptions are the options of the feeds for a carbond of that version.
func FeedOptions(cfg *config.Config, version string) feeds.Options {
	f := cfg.Feeds
	off := func(name string) bool { return !slices.Contains(f.Enabled, name) }
	o := feeds.Options{
		Version:    version,
		Contact:    f.UserAgentContact,
		Interval:   f.Interval,
		Timeout:    f.Timeout,
		StatePath:  filepath.Join(cfg.DataDir, "feeds.json"),
		StaleAfter: f.StaleAfter,
		Verra:      verraOptions(f, off("verra")),
		Carbonmark: carbonmark.Options{
			Disabled: off("carbonmark"), URL: f.CarbonmarkURL, APIKey: f.CarbonmarkKey.Reveal(),
			GraphKey: f.GraphKey.Reveal(), GraphURL: f.GraphURL,
		},
		Finance: finance.Options{
			Disabled: off("finance"), URL: f.FinanceURL, Failover: f.FinanceFailover, Cookie: f.FinanceCookie, Tickers: f.FinanceTickers,
			ChartsEvery: f.FinanceCharts, Keep: f.FinanceHistory,
		},
		News: news.Options{
			Disabled: off("news"), GoogleNews: f.GoogleNews, Robots: f.Robots, Keep: f.NewsHistory, Intervals: map[string]time.Duration{},
			Whole: slices.Concat([]string{}, f.NewsWhole), Words: f.NewsWords, Exclude: f.NewsExclude,
		},
	}
	if f.FinanceCharts == 0 {
		o.Finance.ChartsEvery = -1
	}
	for _, p := range f.NewsIntervals {
		o.News.Intervals[p.Name] = p.Duration()
	}
	for _, n := range f.NewsURLs {
		o.News.Feeds = append(o.News.Feeds, news.Source{Name: n.Name, URL: n.URL})
	}
	if len(f.NewsExtra) > 0 && len(o.News.Feeds) == 0 {
		o.News.Feeds = news.DefaultSources()
	}
	for _, n := range f.NewsExtra {
		o.News.Feeds = append(o.News.Feeds, news.Source{Name: n.Name, URL: n.URL})
	}
	if cfg.Embedded() && o.Finance.Keep == 0 {
		o.Finance.Keep = embeddedFinanceHistory
	}
	if cfg.Embedded() && o.News.Keep == 0 {
		o.News.Keep = embeddedNewsHistory
	}
	return o
}

// dsn joins postgres.url with postgres.password, which wins over a password
// inside the URL.
func dsn(p config.Postgres) string { return withPassword(p.URL.Reveal(), p.Password.Reveal()) }

// freshDSN is dsn with what the files of the two hold now.
func freshDSN(p config.Postgres) string { return withPassword(p.URL.Fresh(), p.Password.Fresh()) }

// querySource is where queries and feed writes go, and whether a pooler may be
// in between. postgres.query_url may have a password of its own.
func querySource(p config.Postgres) (s pgconf.Source, pooler bool) {
	s = pgconf.Source{URL: dsn(p), Fresh: func() string { return freshDSN(p) }, Timeout: queryConnect}
	if p.QueryURL.Empty() {
		return s, false
	}
	own := func(url, password string) string {
		if cfg, err := pgconn.ParseConfig(url); err == nil && cfg.Password != "" {
			return url // its own, or that of a password file
		}
		return withPassword(url, password)
	}
	s.URL = own(p.QueryURL.Reveal(), p.Password.Reveal())
	s.Fresh = func() string { return own(p.QueryURL.Fresh(), p.Password.Fresh()) }
	return s, true
}

// queryConnect is the time to make a connection for a query.
const queryConnect = 10 * time.Second

// withPassword gives a URL of either form of libpq a password, unless that is "".
func withPassword(raw, password string) string {
	if password == "" {
		return raw
	}
	if strings.HasPrefix(raw, "postgres://") || strings.HasPrefix(raw, "postgresql://") {
		u, err := url.Parse(raw)
		if err != nil {
			return raw // refused at load; nothing to add a password to
		}
		// The password goes into the query: there it needs no user before it,
		// and several hosts in the URL do not disturb. The rest of the query is
		// left as it is: libpq does not read "+" as a space, package url does.
		parts := slices.DeleteFunc(strings.Split(u.RawQuery, "&"), func(s string) bool {
			return s == "" || strings.HasPrefix(s, "password=")
		})
		parts = append(parts, "password="+strings.ReplaceAll(url.QueryEscape(password), "+", "%20"))
		u.RawQuery = strings.Join(parts, "&")
		if u.User != nil {
			u.User = url.User(u.User.Username())
		}
		return u.String()
	}
	return raw + " password='" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(password) + "'"
}

// Check says what serve would refuse in a configuration, as a config.Problems.
func Check(cfg *config.Config) error {
	if err := checkFiles(cfg); err != nil {
		return err
	}
	if !cfg.Embedded() {
		opt := ReplicateOptions(cfg)
		if err := opt.CheckMasks(); err != nil {
			return config.Problems{{Where: cfg.Origin("postgres.masks"), Text: "postgres.masks: " + err.Error()}}
		}
		if err := opt.Validate(); err != nil {
			return config.Problems{{Where: cfg.Origin("postgres.url"), Text: "postgres: " + err.Error()}}
		}
	}
	if _, err := hooksOf(cfg); err != nil {
		return err
	}
	return checkFeeds(cfg, FeedOptions(cfg, ""))
}

// checkFiles reads the files that the configuration names, so that a wrong path
// is found by check-config and not by the first connection.
func checkFiles(cfg *config.Config) error {
	var problems config.Problems
	add := func(key string, err error) {
		problems = append(problems, config.Problem{Where: cfg.Origin(key), Text: key + ": " + err.Error()})
	}
	if t := cfg.HTTP.TLS; t.Enabled() {
		if _, err := certs.Load(tlsFiles(t)); err != nil {
			add("http.tls_cert", err)
		}
	}
	if !cfg.Embedded() {
		problems = append(problems, CheckURLs(cfg)...)
	}
	tlsOK := true
	if t := cfg.GRPC.TLS; t.Enabled() {
		if _, err := certs.Load(tlsFiles(t)); err != nil {
			add("grpc.tls_cert", err)
			tlsOK = false
		}
	}
	if cfg.GRPC.TokensFile != "" && tlsOK {
		if err := checkAPI(cfg); err != nil {
			add("grpc.tokens_file", err)
		}
	}
	if len(problems) > 0 {
		return problems
	}
	return nil
}

func tlsFiles(t config.TLS) certs.Files {
	return certs.Files{Cert: t.Cert, Key: t.Key, ClientCA: t.ClientCA}
}
