package changelog

import (
	"carbond/rpc/internal/debezium"
	"carbond/store/change"
)

// Cursor reads the wanted records of a log in pieces and finds the last one of
// each transaction. It holds one record back until it knows, which may take as
// long as the rest of a large transaction, but never more memory than a piece.
type Cursor struct {
	reader change.RecordReader
	span   span
	held   *Placed
	orders map[string]uint64           // changes of each topic in the transaction at hand
	topics map[*change.Relation]string // of the relations that were met
	log    Log
	begun  bool
}

// maxRelations bounds the relations that a cursor remembers.
const maxRelations = 4096

// Placed is a record that a consumer sees.
type Placed struct {
	change.Record
	At debezium.Place
}

// NewCursor returns a cursor of one topic that begins at an offset.
func NewCursor(log Log, topic string, from change.Offset) *Cursor {
	for _, t := range log.Topics() {
		if t.Name == topic {
			sp := span{from: map[string]change.Offset{}}
			sp.add(t, from)
			return newCursor(log, sp)
		}
	}
	return newCursor(log, span{head: from}) // of none
}

func newCursor(log Log, sp span) *Cursor {
	return &Cursor{reader: log.NewReader(sp.head), span: sp, orders: map[string]uint64{}, topics: map[*change.Relation]string{}, log: log}
}

// Next is the offset before which everything wanted was returned.
func (c *Cursor) Next() change.Offset {
	if c.held != nil {
		return c.held.Offset
	}
	return c.reader.Next()
}

// Read returns the wanted records of the next piece; ok is false when there is
// nothing to read. A piece may hold none that is wanted.
func (c *Cursor) Read(maxBytes int) (out []Placed, ok bool, err error) {
	recs, err := c.reader.Read(maxBytes)
	if err == nil && len(recs) > 0 && !c.begun {
		recs, err = c.rewind(recs, maxBytes)
	}
	if err != nil || len(recs) == 0 {
		return nil, false, err
	}
	for i := range recs {
		if r := &recs[i]; r.Op == change.Removed && c.span.plain > 0 && r.Offset >= c.span.plain {
			return nil, false, &change.CompactedError{Wanted: r.Offset, Oldest: c.log.Floor()}
		}
		out = c.take(out, &recs[i])
	}
	return out, true, nil
}

// rewind goes back to the beginning of the transaction that a stream begins
// inside, so that its records get the same places as at any other reading. If
// retention has taken the beginning, places count from what is left.
func (c *Cursor) rewind(recs []change.Record, maxBytes int) ([]change.Record, error) {
	c.begun = true
	r := &recs[0]
	if r.Order <= 1 {
		return recs, nil
	}
	first := r.Offset - change.Offset(r.Order) + 1
	if oldest := c.log.Oldest(); first < oldest {
		if first = oldest; first >= r.Offset {
			return recs, nil
		}
	}
	c.reader = c.log.NewReader(first)
	return c.reader.Read(maxBytes)
}

// take looks at one record of the log and appends those that are settled.
func (c *Cursor) take(out []Placed, r *change.Record) []Placed {
	if r.Order == 1 {
		clear(c.orders)
	}
	// The rows behind a TRUNCATE are for reading backwards only.
	if r.Op != change.Retract {
		name, known := c.topics[r.Relation]
		if !known {
			if len(c.topics) > maxRelations {
				clear(c.topics)
			}
			name = r.Relation.Topic()
			c.topics[r.Relation] = name
		}
		c.orders[name]++
		if from, wanted := c.span.from[name]; wanted && r.Offset >= from {
			if c.held != nil {
				out = append(out, *c.held)
			}
			c.held = &Placed{Record: *r, At: debezium.Place{TableOrder: c.orders[name]}}
		}
	}
	if r.Last && c.held != nil {
		c.held.At.Last = true
		out = append(out, *c.held)
		c.held = nil
	}
	return out
}
