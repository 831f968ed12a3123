package change

import (
	"errors"
	"time"
)

// ErrDiverged is wrapped by a sink's error when a change does not fit the rows
// that the changelog leads to, such as an unchanged value of a row that is not
// there. Sending it again does not help: the tables must be copied again.
var ErrDiverged = errors.New("change does not fit the stored rows")

// UnfitError says that a row, or a table as it is now, cannot be kept whatever
// is done here: something has to change in the source. It is ErrDiverged.
type UnfitError struct {
	Message string // what is wrong, naming table, column and row
	Remedy  string // what to do in the source
}

// Error implements error.
func (e *UnfitError) Error() string { return e.Message }

// Unwrap returns ErrDiverged.
func (e *UnfitError) Unwrap() error { return ErrDiverged }

// Op is what happened to a row, with Debezium's letters.
type Op byte

// The operations.
const (
	Create   Op = 'c'
	Update   Op = 'u'
	Delete   Op = 'd'
	Read     Op = 'r' // a row of the initial copy
	Truncate Op = 't'
	// Retract is the end of one row through a TRUNCATE. The changelog holds one
	// for each row behind the Truncate, so that the log can be read backwards;
	// consumers see the Truncate alone.
	Retract Op = 'x'
	// Removed stands in the place of a change of a table without a view that
	// retention has taken: nothing but its offset and its transaction is left.
	Removed Op = '-'
)

// String returns the letter.
func (o Op) String() string { return string(rune(o)) }

// Change is one change of one row, or a TRUNCATE of one table.
//
// As it comes from the source, Before holds what the source sent: nothing, the
// key only (other columns NULL), or the whole old row; After may hold unchanged
// values. As it stands in the changelog, Before is the whole old row for Update
// Delete and Retract, After the whole new row for Create, Update and Read, and a change
// of the key is a Delete followed by a Create.
type Change struct {
	Op       Op
	Relation *Relation
	Before   Row
	After    Row
	LSN      LSN // position of this row's WAL record, for display only: many rows share one
}

// Txn is one source transaction, or one bounded part of a large one. The parts
// of a transaction arrive in order and are never mixed with another's.
type Txn struct {
	XID        uint32
	CommitLSN  LSN       // LSN of the commit record, known from the first part on
	EndLSN     LSN       // end of the commit record; set on the final part
	CommitTime time.Time // clock of the source, not monotone
	First      bool      // this part begins the transaction
	Final      bool      // this part ends it; until then nothing of it is visible
	Snapshot   *Snapshot // set on every part of an initial copy
	Copy       *Copy     // set on every part of a copy of one table beside the stream
	Changes    []Change
}

// Snapshot marks a Txn as an initial copy of all tables: when its final part is
// applied, rows that the copy did not contain are gone, and the changelog
// belongs to Source from then on.
type Snapshot struct {
	Source Source
	Marks  map[string]string // by topic, as Copy.Mark, of all tables that were copied
}

// Copy marks a Txn as a copy of rows of one table, beside the stream. It has no
// LSN of its own: it is never dropped as known, and moves no position.
type Copy struct {
	// Whole is the table of a view that the Txn brings all rows of, "" for none:
	// what it does not bring is gone at its end, and what is as it was leaves no
	// record.
	Whole string
	// Topic and Mark say how far the copy is: the store keeps Mark beside the
	// topic, in the commit of the final part. What it says is up to the source.
	Topic, Mark string
}

// Record is a change as it stands in the changelog.
type Record struct {
	Change
	Offset     Offset
	XID        uint32
	CommitLSN  LSN
	EndLSN     LSN // 0 when the reader has not seen the end of a large transaction yet
	Previous   LSN // commit end of the transaction before, 0 when not known
	CommitTime time.Time
	Snapshot   bool
	Order      uint64 // ordinal inside its transaction, from 1
	Last       bool   // the last record of its transaction
}
