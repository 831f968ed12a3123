package admin

import (
	"strings"
	"time"
)

// Readiness is what /readyz answers. Ready alone decides; it is what the health
// service of gRPC and the metrics say as well. The rest is shown beside it.
type Readiness struct {
	Ready  bool    `json:"ready"`
	Reason string  `json:"reason,omitempty"` // why not, or a remark when ready
	Fresh  Fresh   `json:"fresh"`
	Checks []Check `json:"checks"`
}

// Fresh is the age of the data: how long ago the views were level with their
// source.
type Fresh struct {
	AgeSec float64 `json:"age_seconds"`
}

// Check is what one part of the daemon has to say.
type Check struct {
	Name    string `json:"name"`
	OK      bool   `json:"ok"`                // it works; whether the daemon is ready is not decided here
	Warning bool   `json:"warning,omitempty"` // ok, but Reason wants somebody's attention
	Reason  string `json:"reason,omitempty"`  // why not, or a remark when ok
	Remedy  string `json:"remedy,omitempty"`  // what to do, unless Reason says it
}

// Status is what /status.json and the console page show.
type Status struct {
	Version   Version   `json:"version"`
	Mode      string    `json:"mode"` // "postgres", "embedded" or "demo"
	Sample    bool      `json:"sample_data"`
	Started   time.Time `json:"started"`
	UptimeSec float64   `json:"uptime_seconds"`
	Readiness
	Data        Data         `json:"data"`
	Position    Position     `json:"position"`
	Replication *Replication `json:"replication,omitempty"` // nil without Postgres
	Views       []View       `json:"views"`
	Topics      []Topic      `json:"topics"`
	Groups      []Group      `json:"groups,omitempty"`
	GroupsLeft  int          `json:"groups_left_out,omitempty"` // beyond those in Groups
	Feeds       []Feed       `json:"feeds,omitempty"`
	Listen      Listen       `json:"listen"`
	Config      Config       `json:"config"`
}

// Version is the build.
type Version struct {
	Version  string `json:"version"`
	Revision string `json:"revision"`
	Date     string `json:"date"`
	Go       string `json:"go"`
}

// Data is the data directory.
type Data struct {
	Dir   string `json:"dir"`
	Bytes int64  `json:"bytes"`
	Free  uint64 `json:"free_bytes,omitempty"` // of the file system, 0 where it is not known
}

// Position is how far the changelog has come.
type Position struct {
	Offset     uint64     `json:"offset"`
	History    string     `json:"history"` // id
	LSN        string     `json:"lsn,omitempty"`
	CommitTime *time.Time `json:"commit_time,omitempty"`
	AgeSec     *float64   `json:"age_seconds,omitempty"`
	SystemID   string     `json:"system_id,omitempty"`
	Database   string     `json:"database,omitempty"`
	Slot       string     `json:"slot,omitempty"`
}

// Replication is the link to Postgres.
type Replication struct {
	State      string  `json:"state"`
	Reason     string  `json:"reason,omitempty"`
	Connected  bool    `json:"connected"`
	LagBytes   uint64  `json:"lag_bytes"`
	LagSeconds float64 `json:"lag_seconds"`

	SlotRetained int64  `json:"slot_retained_bytes"`  // of WAL that the slot keeps, -1 unknown
	SlotSafe     int64  `json:"slot_safe_bytes"`      // until the slot is lost, -1 unlimited or unknown
	WALStatus    string `json:"wal_status,omitempty"` // as pg_replication_slots has it
}

// View is one view.
type View struct {
	Name      string     `json:"name"`
	Rows      int        `json:"rows"`
	Offset    uint64     `json:"offset"` // of its last change
	ChangedAt *time.Time `json:"changed_at,omitempty"`
}

// Topic is one topic of the changelog.
type Topic struct {
	Name      string     `json:"name"`
	First     uint64     `json:"first"`
	Next      uint64     `json:"next"`
	Records   uint64     `json:"records"`
	Bytes     uint64     `json:"bytes"`
	ChangedAt *time.Time `json:"changed_at,omitempty"`
}

// Group is one consumer group.
type Group struct {
	Name   string       `json:"name"`
	Active string       `json:"active,omitempty"` // member that consumes now
	Topics []GroupTopic `json:"topics"`
}

// GroupTopic is a group's place in one topic.
type GroupTopic struct {
	Topic      string  `json:"topic"`
	Committed  uint64  `json:"committed"`
	Lag        uint64  `json:"lag"`
	LagSeconds float64 `json:"lag_seconds"`
}

// Feed is one poller.
type Feed struct {
	Name        string     `json:"name"`
	Table       string     `json:"table"`
	State       string     `json:"state"`
	Stale       bool       `json:"stale"`
	Failures    int        `json:"failures"`
	LastSuccess *time.Time `json:"last_success,omitempty"`
	NextDue     *time.Time `json:"next_due,omitempty"`
	Items       int        `json:"items"`
	LastError   string     `json:"last_error,omitempty"`
	Advice      string     `json:"advice,omitempty"` // what to do about LastError
	Notes       []string   `json:"notes,omitempty"`  // such as a feed that moved
}

// Failing reports whether somebody should look at the feed.
func (f Feed) Failing() bool {
	return f.Stale || strings.HasPrefix(f.State, "failing") || strings.HasPrefix(f.State, "disabled")
}

// Starved reports whether most of the sources that are polled have failed ever
// since they were configured: what is served is right, but there is little of it.
func (s *Status) Starved() bool {
	worked := map[string]bool{} // by table, which is that of one source
	failing := map[string]bool{}
	for _, f := range s.Feeds {
		worked[f.Table] = worked[f.Table] || f.LastSuccess != nil
		failing[f.Table] = failing[f.Table] || f.Failing() || f.LastError != ""
	}
	never := 0
	for table, ok := range worked {
		if !ok && failing[table] {
			never++
		}
	}
	return 2*never > len(worked)
}

// Listen is the bound addresses, and what the gRPC listener asks of callers.
type Listen struct {
	GRPC       string `json:"grpc"`
	HTTP       string `json:"http"`
	TLS        bool   `json:"grpc_tls"`
	ClientCert bool   `json:"grpc_client_cert"`
	Token      bool   `json:"grpc_token"`
}

// Config is the configuration file's state.
type Config struct {
	File       string    `json:"file,omitempty"`
	ReloadedAt time.Time `json:"reloaded_at"`
	ReloadOK   bool      `json:"reload_ok"`
}
