package change

import (
	"context"
	"time"
)

// SharedGroups keeps the consumer groups of several nodes, each as a text under its name. Its
// methods may be called from any goroutine, and end in some seconds.
type SharedGroups interface {
	// Get returns what is kept of a group, "" for nothing.
	Get(name string) (string, error)
	// Swap durably puts a text in the place of another, "" for nothing, and reports false
	// when the group has another one by now.
	Swap(name, old, text string) (bool, error)
	// All returns all groups.
	All(ctx context.Context) (map[string]string, error)
}

// Topic describes one topic of the changelog.
type Topic struct {
	Name  string // "carbon.<schema>.<table>"
	Table string // with its schema where no view reads it
	First Offset // oldest offset from which on the log keeps it; Next when it keeps none
	Next  Offset // one past the topic's last change
	// Messages is the number of the next message to come, see Store.Messages.
	Messages uint64
	Records  uint64    // changes ever written, as far as this log goes back
	Bytes    uint64    // bytes of their rows
	Last     time.Time // commit time of the last change, zero when none
	Since    time.Time // commit time of the oldest record that the log keeps there, of any topic; zero when it keeps none of this one
	Plain    bool      // no view reads its table: retention has a bound of its own for it
}

// RecordReader reads the records of a changelog in order. It belongs to one
// goroutine and holds no file open between calls.
type RecordReader interface {
	// Next returns the offset at which the reader stands.
	Next() Offset
	// Read returns the next visible records, about maxBytes of them, or none when
	// the reader has caught up. It returns *CompactedError when retention has
	// passed the reader. EndLSN and Last of a record are set when its transaction
	// ends in what was read, which is always so for the last record of a
	// transaction. The rows behind a TRUNCATE come as Retract records, and what
	// retention has taken of tables without a view as Removed ones, of no topic.
	Read(maxBytes int) ([]Record, error)
}

// ProjectReader reads the changes of one project, passing over what has none of it.
// Read returns those among the next maxBytes or so, which may be none; the end is where
// Next has passed what was visible when the reader was made. A Retract says that a
// TRUNCATE ended the row.
type ProjectReader interface {
	RecordReader
	// Spent returns how many bytes of the changelog were read so far, before
	// compression, and of the filters beside it.
	Spent() int
}

// Member is a consumer's hold on its group.
type Member struct {
	ID         string
	Generation uint64          // given out once: it tells the member from those before and after
	Fenced     <-chan struct{} // closed when another member has taken over
	Leave      func()          // ends the hold; safe to call again
}

// Group describes a consumer group.
type Group struct {
	Name       string
	Generation uint64
	Active     string // member that consumes now, "" when none does
	Topics     []GroupTopic
}

// GroupTopic is a group's place in one topic.
type GroupTopic struct {
	Topic     string
	Committed Offset        // last offset that was dealt with
	Lag       uint64        // records of the topic behind it
	LagTime   time.Duration // age of the oldest of them
	At        time.Time     // when it was committed
	// Place is set when the commit named a message.
	Place *MessagePlace
}

// MessagePlace is where a reader of a topic's messages goes on, in its own words.
type MessagePlace struct {
	Next     uint64 `json:"next"`  // number of the next message that it wants
	Epoch    int32  `json:"epoch"` // leader epoch that it has seen, -1 for none
	Metadata string `json:"metadata,omitempty"`
}

// GroupCommit says that a group has dealt with a topic up to an offset.
type GroupCommit struct {
	Group      string
	Generation uint64 // that the member got
	Member     string // who joined; "" is not checked
	Topic      string
	Offset     Offset
}
