package server

import (
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/prometheus/client_golang/prometheus"

	"carbond/replicate/internal/mask"
	"carbond/replicate/pgerr"
	"carbond/store/change"
)

// GapAction says what to do when changes are missing between the durable
// position and the stream (ErrGap).
type GapAction string

// The gap actions.
const (
	// GapStop reports the gap, keeps serving what is there and tries again with
	// backoff, so that it heals when the operator brings the slot back.
	GapStop GapAction = "stop"
	// GapResnapshot drops and creates the slot and copies the tables again; the
	// sink finds the differences.
	GapResnapshot GapAction = "resnapshot"
)

// Options configure a Replicator and the commands beside it. Zero values mean
// the defaults in brackets.
type Options struct {
	URL         string            // any libpq URL or DSN; PG* variables and the password file fill gaps
	Slot        string            // replication slot ["carbond"]
	Publication string            // publication ["carbond"]
	Schema      string            // schema of the tables ["public"]
	Tables      []string          // further tables to keep without a view: schema.table or schema.*
	Masks       map[string]string // schema.table.column of those: hash, null, last4 or exclude
	MaskSecret  string            // key of the hashes
	KeepBytes   int64             // size of the changelog beyond which its oldest records are dropped, for the preflight alone [no bound]
	KeepTables  int64             // the same of tables without a view [they count for KeepBytes]
	Migrate     bool              // create or upgrade tables and publication before starting
	Unfed       []string          // tables that carbond's feeds do not fill: they get no columns that came later for those
	OnGap       GapAction         // [GapStop]
	MaxRetained int64             // bytes of WAL that the slot may keep on the server before Status warns [no limit]
	GiveUpSlot  bool              // beyond MaxRetained the slot is dropped, which is a gap
	TakeOver    bool              // a data directory without a copy replaces an idle slot of this name
	Adopt       string            // system identifier of a cluster that is taken for the copy's, once
	Failover    bool              // create the slot as a failover slot (Postgres 17 and later)

	// Without are the tables of the views that this database goes without, and Held those that
	// came later and whose rows the sink holds: schema.Recognise and its caller set them.
	Without []string
	Held    map[string]bool

	// Fresh returns URL with the user and the password of now, for each new
	// connection. nil: URL says it all, together with the password file of libpq.
	Fresh func() string

	// SourcePath is a file beside the changelog with what replication has to
	// remember across restarts. With "" only the running Replicator knows.
	SourcePath string

	Logger     *slog.Logger          // [discard]
	Registerer prometheus.Registerer // nil: metrics are counted, but not exposed

	PartBytes       int           // size at which a large transaction is cut into parts [4 MiB]
	PartChanges     int           // number of changes at which it is cut [20000]
	QueueBytes      int           // decoded data waiting for the sink or inside it [8 MiB]
	StatusInterval  time.Duration // time between status messages, at most a quarter of wal_sender_timeout [1s]
	AdvanceInterval time.Duration // least time between two idle positions made durable [1s]
	ProbeInterval   time.Duration // time between looks at the server's WAL end and the slot [1s]
	SilenceTimeout  time.Duration // a connection that says nothing for so long is given up [30s]
	ConnectTimeout  time.Duration // for one attempt, unless the URL says otherwise [10s]
	MaxBackoff      time.Duration // longest pause between attempts [15s]
	StopTimeout     time.Duration // how long Run waits for the sink when its context ends [5s]
}

// slotName is what Postgres accepts as the name of a slot.
var slotName = regexp.MustCompile(`^[a-z0-9_]{1,63}$`)

// Validate reports the first unusable setting, without connecting.
func (o Options) Validate() error {
	o = o.WithDefaults()
	switch {
	case !slotName.MatchString(o.Slot):
		return pgerr.New(pgerr.KindOptions, "choose a name of lower-case letters, digits and underscores, at most 63", nil, "%q is no name for a replication slot", o.Slot)
	case len(o.Publication) > 63:
		return pgerr.New(pgerr.KindOptions, "choose a name of at most 63 bytes", nil, "publication name %q is too long", o.Publication)
	case len(o.Schema) > 63:
		return pgerr.New(pgerr.KindOptions, "choose a name of at most 63 bytes", nil, "schema name %q is too long", o.Schema)
	case o.OnGap != GapStop && o.OnGap != GapResnapshot:
		return pgerr.New(pgerr.KindOptions, "use stop or resnapshot", nil, "unknown gap action %q", o.OnGap)
	}
	for _, t := range o.Tables {
		if _, err := ParsePattern(t); err != nil {
			return pgerr.New(pgerr.KindOptions, "", err, "a table of postgres.tables cannot be read")
		}
	}
	if err := o.CheckMasks(); err != nil {
		return pgerr.New(pgerr.KindOptions, "", err, "a mask of postgres.masks cannot be used")
	}
	if _, err := pgconn.ParseConfig(o.URL); err != nil {
		// pgconn redacts the password.
		return pgerr.New(pgerr.KindOptions, "give a URL such as postgres://user@host:5432/database", err, "the Postgres URL is unusable")
	}
	return nil
}

// WithDefaults returns a copy with every default filled in.
func (o Options) WithDefaults() Options {
	def(&o.Slot, "carbond")
	def(&o.Publication, "carbond")
	def(&o.Schema, "public")
	def(&o.OnGap, GapStop)
	def(&o.PartBytes, 4<<20)
	def(&o.PartChanges, 20_000)
	def(&o.QueueBytes, 8<<20)
	def(&o.StatusInterval, time.Second)
	def(&o.AdvanceInterval, time.Second)
	def(&o.ProbeInterval, time.Second)
	def(&o.SilenceTimeout, 30*time.Second)
	def(&o.ConnectTimeout, 10*time.Second)
	def(&o.MaxBackoff, 15*time.Second)
	def(&o.StopTimeout, 5*time.Second)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

func def[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Viewed lists the tables of the views that this database is to have.
func (o *Options) Viewed() []string {
	return slices.DeleteFunc(change.Tables(), func(t string) bool { return slices.Contains(o.Without, t) })
}

// Keeps reports whether changes of a table are handed to the sink, for a view.
func (o *Options) Keeps(schema, name string) bool {
	return schema == o.Schema && slices.Contains(o.Viewed(), name)
}

// CheckMasks reports the first mask that cannot be used.
func (o Options) CheckMasks() error {
	o = o.WithDefaults()
	rules, err := mask.Parse(o.Masks, o.MaskSecret)
	if err != nil {
		return err
	}
	for _, t := range rules.Tables() {
		schema, name, _ := strings.Cut(t, ".")
		switch {
		case o.Keeps(schema, name):
			return fmt.Errorf("%s is a table of a view, which would show what the source does not hold: only tables of postgres.tables can be masked", t)
		case !o.KeepsPlain(schema, name):
			return fmt.Errorf("postgres.tables does not name %s: add it there, or take its mask away", t)
		}
	}
	return nil
}

// MaskRules are the rules of Masks, which Validate has read.
func (o *Options) MaskRules() *mask.Rules {
	rules, err := mask.Parse(o.Masks, o.MaskSecret)
	if err != nil {
		panic("replicate: options were not validated: " + err.Error())
	}
	return rules
}
