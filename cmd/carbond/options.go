package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

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

func storeOptions(cfg *config.Config) store.Options {
	return store.Options{
		SegmentBytes:       cfg.Store.SegmentBytes,
		Compress:           cfg.Store.Compress,
		CheckpointInterval: cfg.Checkpoint.Interval,
		Retention:          retention(cfg),
	}
}

func retention(cfg *config.Config) store.Retention {
	r := cfg.Retention
	return store.Retention{Age: r.Age, Bytes: r.Bytes, Hold: r.HoldGroups, HoldBytes: r.HoldBytes}
}

// sourcePath is where replication keeps what it has to remember.
func sourcePath(cfg *config.Config) string { return filepath.Join(cfg.DataDir, "source.json") }

func replicateOptions(cfg *config.Config) replicate.Options {
	return replicate.Options{
		URL:         dsn(cfg.Postgres),
		Fresh:       func() string { return freshDSN(cfg.Postgres) },
		Slot:        cfg.Postgres.Slot,
		Publication: cfg.Postgres.Publication,
		Migrate:     cfg.Postgres.Migrate == "auto",
		OnGap:       replicate.GapAction(cfg.Postgres.OnGap),
		TakeOver:    cfg.Postgres.SlotTakeover,
		Adopt:       cfg.Postgres.Adopt,
		Failover:    cfg.Postgres.Failover,
	}
}

// openPool makes the connections for queries and feed writes, without connecting.
// It fails for a URL with a parameter that carbond cannot honour.
func openPool(ctx context.Context, cfg *config.Config) (*pgconf.Pool, error) {
	if wrong := checkURLs(cfg); wrong != nil {
		return nil, wrong
	}
	source, pooler := querySource(cfg.Postgres)
	pool, err := pgconf.NewPool(ctx, source, cfg.Postgres.MaxConns, pooler)
	if err != nil {
		return nil, fmt.Errorf("make the connection pool: %w", err)
	}
	return pool, nil
}

// checkURLs finds parameters in the URLs that carbond cannot honour.
func checkURLs(cfg *config.Config) config.Problems {
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

func feedOptions(cfg *config.Config, statePath string) feeds.Options {
	f := cfg.Feeds
	off := func(name string) bool { return !slices.Contains(f.Enabled, name) }
	o := feeds.Options{
		Version:    version,
		Contact:    f.UserAgentContact,
		Interval:   f.Interval,
		Timeout:    f.Timeout,
		StatePath:  statePath,
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
