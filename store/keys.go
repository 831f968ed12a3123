package store

import (
	"fmt"
	"slices"
	"strings"

	"carbond/store/change"
	"carbond/store/internal/record"
	"carbond/store/internal/view"
)

// The state and the consumers of the changelog know a row by its key. In the
// source two rows may have one key for a moment: a deferrable primary key is
// looked at when the statement or the transaction ends, so that one UPDATE can
// swap the keys of two rows, and what comes first then lands on the key of a row
// that has not left it yet. That one is kept aside until it leaves, hidden behind
// the newer row: a swap is recorded as the end of one key, the other key's new
// row, and the beginning of the first. Who rebuilds a table by key has it right
// too, and each record holds the row before it. Rows that still share a key when
// the transaction ends are two to SQL and cannot be two here: that is refused.

// found is the row that a change speaks of.
type found struct {
	view.Entry
	hidden bool
	at     int // among the hidden rows of its key
}

// find returns the row with a key. Among several it is the one that fits best
// what the source says of the row before the change.
func (g *staging) find(sh *view.Shape, key string, was change.Row) (found, bool) {
	e, ok := g.s.work.Get(sh.Table, key)
	out := found{Entry: e}
	rest := g.s.open.hidden[sh.Table][key]
	if len(rest) == 0 {
		return out, ok
	}
	least := g.unlike(e, sh, was)
	for i, h := range rest {
		if n := g.unlike(h, sh, was); n < least {
			least, out = n, found{Entry: h, hidden: true, at: i}
		}
	}
	return out, true
}

// unlike counts the columns of the replica identity in which a row is not as the
// source says.
func (g *staging) unlike(e view.Entry, sh *view.Shape, was change.Row) (n int) {
	row := g.s.shapes.reshape(e, sh)
	for i, v := range was.All() {
		if sh.Relation.Columns[i].Key && v.Kind != change.Unchanged && v != row.Value(i) {
			n++
		}
	}
	return n
}

// leave takes a row away from its key. One that was hidden behind it appears.
func (g *staging) leave(old found, sh *view.Shape, lsn change.LSN) error {
	hidden := g.s.open.hidden[sh.Table]
	rest := hidden[old.Key]
	at := old.at
	if !old.hidden {
		if len(rest) == 0 {
			return g.remove(old.Entry, sh, lsn)
		}
		at = len(rest) - 1
		next := view.Entry{Key: old.Key, Row: g.s.shapes.reshape(rest[at], sh), Shape: sh}
		if err := g.put(next, record.Entry{Op: change.Update, Before: g.s.shapes.reshape(old.Entry, sh), LSN: lsn}); err != nil {
			return err
		}
	}
	if rest = append(rest[:at], rest[at+1:]...); len(rest) > 0 {
		hidden[old.Key] = rest
	} else {
		delete(hidden, old.Key)
	}
	return nil
}

// arrive puts a row under its key, in front of one that is there.
func (g *staging) arrive(e view.Entry, op change.Op, lsn change.LSN) error {
	sh := e.Shape
	old, taken := g.s.work.Get(sh.Table, e.Key)
	if !taken {
		return g.put(e, record.Entry{Op: op, LSN: lsn})
	}
	if exclusive(sh.Relation) {
		g.s.met.anomaly("create_existing")
	} else {
		hidden := &g.s.open.hidden[sh.Table]
		if *hidden == nil {
			*hidden = map[string][]view.Entry{}
		}
		(*hidden)[old.Key] = append((*hidden)[old.Key], old)
	}
	return g.put(e, record.Entry{Op: change.Update, Before: g.s.shapes.reshape(old, sh), LSN: lsn})
}

// settled reports rows that share a key at the end of the transaction.
func (o *openTxn) settled() error {
	for _, hidden := range o.hidden {
		for key, rows := range hidden {
			return shared(rows[0].Shape, key)
		}
	}
	return nil
}

// shared says that two rows have one key.
func shared(sh *view.Shape, key string) error {
	r := sh.Relation
	columns := strings.Join(change.KeyColumns(r.Name), ", ")
	return &change.UnfitError{
		Message: fmt.Sprintf("two rows of %s.%s have the same key (%s): %s", r.Schema, r.Name, columns, sh.KeyText(key)),
		Remedy:  fmt.Sprintf("delete one of them and keep it from coming again: ALTER TABLE %s.%s ADD PRIMARY KEY (%s)", r.Schema, r.Name, columns),
	}
}

// exclusive reports whether two rows of the source cannot have one key, not even
// for a moment: an index that identifies rows is never deferrable.
func exclusive(rel *change.Relation) bool {
	keys, some := change.KeyColumns(rel.Name), false
	for _, c := range rel.Columns {
		if c.Key && !slices.Contains(keys, c.Name) {
			return false
		}
		some = some || c.Key
	}
	return some
}
