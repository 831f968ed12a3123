package config

import (
	"log/slog"
	"time"
)

// Config is a complete, valid configuration.
type Config struct {
	DataDir    string
	Postgres   Postgres
	Store      Store
	Retention  Retention
	Checkpoint Checkpoint
	GRPC       GRPC
	HTTP       HTTP
	Kafka      Kafka
	Webhooks   Webhooks
	Fleet      Fleet
	Feeds      Feeds
	Cache      Cache
	Log        Log
	Limits     Limits
	Views      Views

	file string            // the file that was read, "" when none
	from map[string]string // key name -> where its value came from
}

// Postgres says which server to tail; an empty URL means embedded mode.
type Postgres struct {
	URL           Secret
	Password      Secret // wins over a password inside URL
	QueryURL      Secret // for queries and feed writes, "" for URL
	Slot          string
	Publication   string
	Tables        []string // further tables, schema.table or schema.*
	Masks         []Pair   // schema.table.column=how
	MaskSecret    Secret   // of the hashes
	Migrate       string   // "auto" or "off"
	OnGap         string   // "stop" or "resnapshot"
	MaxRetained   int64    // bytes of WAL kept by the slot from which on it warns, 0 = none
	OnMaxRetained string   // "warn" or "drop"
	SlotTakeover  bool
	Adopt         string // system identifier, "" for none
	Failover      bool
	QueryTimeout  time.Duration
	MaxConns      int
}

// Store sizes the changelog.
type Store struct {
	SegmentBytes int64
	Compress     bool
}

// Retention bounds the changelog; zero means no bound.
type Retention struct {
	Age         time.Duration
	Bytes       int64
	TablesBytes int64    // of the tables without a view, beside Bytes
	HoldGroups  []string // consumer groups whose unread records are kept beyond all of them
	HoldBytes   int64    // but never beyond this
}

// Views says where the views are written as files.
type Views struct {
	JSONLDir    string // "" = nowhere
	RotateBytes int64
	Keep        int
	Sync        time.Duration
}

// Checkpoint says how often state is saved.
type Checkpoint struct {
	Interval time.Duration
}

// GRPC is the API listener.
type GRPC struct {
	Listen     string
	TLS        TLS
	TokensFile string
	RateLimit  float64 // requests per second and peer, 0 = none
	Reflection bool
}

// Kafka is the listener for Kafka's clients.
type Kafka struct {
	Listen    string // "" = none
	Advertise string // HOST:PORT for clients, "" for the one that they connected to
	Format    string // of keys and values
	Compress  bool   // with zstd
	TLS       TLS
}

// Webhooks says who is told of changes of the views and topics, by name.
type Webhooks struct {
	URLs   []NamedURL
	Views  []Pair // view, or view:filter
	Rules  []Pair
	Topics []Pair
	Secret Secret
}

// Fleet says with which other nodes this one serves; no Name means none.
type Fleet struct {
	Name      string
	Join      []string // HOST:PORT of gRPC listeners
	TokenFile string   // "" = none is sent
	TLS       bool
	CA        string // PEM files, as the next two; each implies TLS
	Cert, Key string
}

// TLS names PEM files; all empty means plain text.
type TLS struct {
	Cert, Key, ClientCA string
}

// Enabled reports whether the listener speaks TLS.
func (t TLS) Enabled() bool { return t.Cert != "" }

// HTTP is the admin listener.
type HTTP struct {
	Listen string
	TLS    TLS
	Hosts  []string // names under which browsers may read, beside those of this machine
	Open   string   // "true": whoever reaches the listener may read; "no-tokens": if there are no tokens
	CORS   []string // origins whose pages may read
	Pprof  bool
}

// Feeds configures the pollers.
type Feeds struct {
	Enabled          []string
	Interval         time.Duration
	Timeout          time.Duration
	VerraURL         string
	VerraSearchURL   string
	VerraHeaders     []Pair
	VerraStandard    string
	VerraStatuses    []Pair
	VerraLinkPrefix  string
	VerraSweep       time.Duration
	CarbonmarkURL    string
	GraphURL         string
	FinanceURL       string
	FinanceFailover  string
	FinanceCookie    string
	FinanceTickers   []string
	NewsURLs         []NamedURL
	NewsWhole        []string
	NewsWords        []string
	NewsExclude      []string
	NewsExtra        []NamedURL // beside NewsURLs, or beside the built-in list
	NewsIntervals    []Pair
	FinanceCharts    time.Duration
	Robots           bool
	GoogleNews       bool
	CarbonmarkKey    Secret
	GraphKey         Secret
	UserAgentContact string
	FinanceHistory   time.Duration
	NewsHistory      time.Duration
	StaleAfter       time.Duration
}

// Pair is one name with its value.
type Pair struct {
	Name, Value string
}

// NamedURL is one news feed.
type NamedURL struct {
	Name, URL string
}

// Cache bounds the cache of encoded replies.
type Cache struct {
	TTL      time.Duration
	MaxBytes int64
}

// Log configures standard error.
type Log struct {
	Format string // "text" or "json"
	Level  string // "debug", "info", "warn" or "error"
}

// Slog returns the level in the terms of log/slog.
func (l Log) Slog() slog.Level {
	switch l.Level {
	case "debug":
		return slog.LevelDebug
	case "warn":
		return slog.LevelWarn
	case "error":
		return slog.LevelError
	}
	return slog.LevelInfo
}

// Limits says when the daemon calls itself not ready, and what one client may take.
type Limits struct {
	LagSeconds float64
	PeerShare  float64 // above 0, at most 1
}

// Embedded reports whether no Postgres is configured.
func (c *Config) Embedded() bool { return c.Postgres.URL.Empty() }

// File returns the path of the file that was read, or "" when there was none.
func (c *Config) File() string { return c.file }

// Origin says where the value of a key came from: "default", "/path:LINE",
// "environment CARBOND_X", "credential NAME" or "flag --x".
func (c *Config) Origin(key string) string {
	if from, ok := c.from[key]; ok {
		return from
	}
	return "default"
}
