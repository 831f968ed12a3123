// Package pgerr names what can be wrong between carbond and its Postgres. An error
// has a kind, which is stable and a metric label, and the remedy where one is known.
package pgerr

import (
	"errors"
	"fmt"
)

// Kind is the short, stable name of a class of trouble. It is the value of the
// metric label kind and the Name of the Finding that would report it.
type Kind string

// The kinds.
const (
	KindOptions           Kind = "options"             // a setting is unusable, such as the slot's name or the URL
	KindConnect           Kind = "connect"             // no connection, or it broke
	KindAuth              Kind = "auth"                // wrong user or password, or pg_hba.conf refuses
	KindDatabase          Kind = "database"            // the database does not exist
	KindPooler            Kind = "pooler"              // something in between cannot carry replication
	KindVersion           Kind = "version"             // Postgres is too old
	KindStandby           Kind = "standby"             // the server is in recovery
	KindWALLevel          Kind = "wal_level"           // wal_level is not logical
	KindReplicationRight  Kind = "replication_right"   // the role lacks REPLICATION
	KindTables            Kind = "tables"              // a table is missing or of the wrong sort
	KindColumns           Kind = "columns"             // a column of the views is missing
	KindColumnTypes       Kind = "column_types"        // a column has a type that the queries of the views cannot cast
	KindReplicaIdentity   Kind = "replica_identity"    // UPDATE and DELETE would not carry the key
	KindSelectRight       Kind = "select_right"        // the first copy may not read a table
	KindRowSecurity       Kind = "row_security"        // the first copy would silently miss rows
	KindPublication       Kind = "publication"         // the publication is missing
	KindPublicationTables Kind = "publication_tables"  // a table is not in it, or filtered
	KindPublicationOps    Kind = "publication_ops"     // it leaves out an operation
	KindSynchronous       Kind = "synchronous_standby" // synchronous_standby_names makes commits wait for carbond
	KindCapacity          Kind = "capacity"            // no slot, walsender or connection is free
	KindMigrate           Kind = "migrate"             // tables or publication could not be created
	KindSlotInUse         Kind = "slot_in_use"         // another process holds the slot
	KindSlotForeign       Kind = "slot_foreign"        // the slot is not a pgoutput slot of this database, or another data directory needs it
	KindSlotMissing       Kind = "slot_missing"        // a position is held, but the slot is gone
	KindSlotLost          Kind = "slot_lost"           // Postgres has removed WAL that the slot needs
	KindSlotGivenUp       Kind = "slot_given_up"       // it kept more WAL than it may, and was dropped for that
	KindSlotAhead         Kind = "slot_ahead"          // the slot was confirmed beyond what is durable here
	KindServerBehind      Kind = "server_behind"       // the server's WAL ends before what is durable here
	KindPublicationChange Kind = "publication_change"  // changes since the position are not, or not fully, published
	KindTableChange       Kind = "table_change"        // ALTER TABLE changed rows, of which the stream does not tell
	KindDiverged          Kind = "diverged"            // a change does not fit the rows that are held
	KindUndecodable       Kind = "undecodable"         // the server cannot send a change, however often it tries
	KindEncoding          Kind = "encoding"            // the database's texts are not those of UTF-8
	KindOtherCluster      Kind = "other_cluster"       // the changelog belongs to another cluster or database
	KindProtocol          Kind = "protocol"            // the server sent something that cannot be
	KindNote              Kind = "note"                // what is remembered beside the changelog cannot be read
	KindSilent            Kind = "silent"              // the server stopped answering
	KindSink              Kind = "sink"                // the changelog could not take a transaction
	KindServer            Kind = "server"              // any other error of the server
)

// ErrGap is wrapped by errors that say that changes between the durable
// position and the stream may be missing. Only a new snapshot heals it, unless
// the operator brings the slot back.
var ErrGap = errors.New("changes are missing between the changelog and the stream")

// ErrOtherCluster is wrapped when the changelog belongs to another cluster or
// database than the one connected to.
var ErrOtherCluster = errors.New("the changelog belongs to another database")

// Error is an error that an operator can act upon.
type Error struct {
	Kind    Kind
	Message string // what is wrong, naming the thing
	Repair  string // SQL or advice that repairs it, "" when unknown
	Err     error  // cause, may be nil

	Final bool // of a verdict, see note.Verdict
}

// Error returns message, cause and remedy in one line.
func (e *Error) Error() string {
	s := e.Message
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	if e.Repair != "" {
		s += "; remedy: " + e.Repair
	}
	return s
}

// Unwrap returns the cause, with ErrGap or ErrOtherCluster beside it for the
// kinds that mean it.
func (e *Error) Unwrap() []error {
	var out []error
	if e.Err != nil {
		out = append(out, e.Err)
	}
	switch {
	case e.Kind == KindOtherCluster:
		out = append(out, ErrOtherCluster)
	case e.Kind.Gap():
		out = append(out, ErrGap)
	}
	return out
}

// Gap reports whether the kind means that the stream cannot bring the views level
// with Postgres again: changes are missing, rows changed without one, or it is
// another database. Only a new copy, or an operator, mends that.
func (k Kind) Gap() bool {
	switch k {
	case KindSlotMissing, KindSlotLost, KindSlotGivenUp, KindSlotAhead, KindServerBehind, KindPublicationChange, KindTableChange, KindDiverged, KindUndecodable, KindNote, KindOtherCluster:
		return true
	}
	return false
}

// Resnapshot is the remedy for every gap.
const Resnapshot = "set postgres.on_gap to resnapshot, so that the slot is created and the tables are copied again"

// New makes an error with its remedy, "" when unknown, and its cause, which may be
// nil.
func New(kind Kind, repair string, err error, format string, args ...any) *Error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...), Repair: repair, Err: err}
}

// KindOf returns the kind of err, KindServer when it has none.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return KindServer
}
