package store

import (
	"fmt"
	"slices"

	"carbond/store/change"
	"carbond/store/internal/record"
	"carbond/store/internal/view"
)

// dictionary numbers the relations: one number for each schema version that a row in
// the log or in the state has.
type dictionary struct {
	byNumber map[uint32]*view.Schema
	current  map[string]*view.Schema           // the newest of each table, by topic
	byPtr    map[*change.Relation]*view.Schema // relations that a current schema version stands for
	fresh    map[uint32][]byte                 // not yet in the log's dictionary
	encoded  map[uint32][]byte                 // encoded, for the checkpoint
	next     uint32
}

func newDictionary() dictionary {
	return dictionary{
		byNumber: map[uint32]*view.Schema{0: removed}, current: map[string]*view.Schema{}, byPtr: map[*change.Relation]*view.Schema{},
		fresh: map[uint32][]byte{}, encoded: map[uint32][]byte{}, next: 1,
	}
}

// removed is the schema of the changes that retention has taken: of no table.
var removed = &view.Schema{Relation: &change.Relation{Plain: true}, Table: view.Plain}

// load adds a dictionary entry from disk.
func (d *dictionary) load(number uint32, encoded []byte) error {
	if _, ok := d.byNumber[number]; ok {
		return nil
	}
	rel, err := record.DecodeRelation(encoded)
	if err != nil {
		return fmt.Errorf("relation %d: %w", number, err)
	}
	sh, err := view.NewSchema(rel, number)
	if err != nil {
		return fmt.Errorf("relation %d: %w", number, err)
	}
	d.byNumber[number], d.encoded[number] = sh, encoded
	if c := d.current[sh.Topic]; c == nil || c.Number < number {
		d.current[sh.Topic] = sh
	}
	d.next = max(d.next, number+1)
	return nil
}

// of returns the schema version of a relation, numbering it if it is not its table's
// current one. A schema version that comes back after another gets a new number: only so
// do the numbers tell whether a column was there all the time.
func (d *dictionary) of(rel *change.Relation) (*view.Schema, error) {
	if sh, ok := d.byPtr[rel]; ok && d.current[sh.Topic] == sh {
		return sh, nil
	}
	if cur := d.current[rel.Topic()]; cur != nil && cur.Relation.Equal(rel) {
		if len(d.byPtr) > 4096 { // equal relations of many connections
			clear(d.byPtr)
		}
		d.byPtr[rel] = cur
		return cur, nil
	}
	sh, err := view.NewSchema(rel, d.next)
	if err != nil {
		return nil, err
	}
	encoded := record.EncodeRelation(rel)
	d.next++
	d.byNumber[sh.Number], d.current[sh.Topic] = sh, sh
	d.fresh[sh.Number], d.encoded[sh.Number] = encoded, encoded
	clear(d.byPtr) // of earlier connections, or of schema versions that are history now
	d.byPtr[rel] = sh
	return sh, nil
}

// apply gives a state the effect of a record.
func (d *dictionary) apply(to *view.State, it *record.Item) error {
	sh, ok := d.byNumber[it.Entry.Relation]
	if !ok {
		return fmt.Errorf("relation %d is not in the dictionary", it.Entry.Relation)
	}
	return apply(to, sh, it.Entry, it.Offset)
}

// forget drops the relations above a number, 0 for all: they came with changes
// that were given up, and would come again with them. A row must not be taken
// through a schema version that its table has not had. Numbers are not given out twice.
func (d *dictionary) forget(above uint32) {
	clear(d.fresh)
	clear(d.byPtr)
	clear(d.current)
	for number, sh := range d.byNumber {
		if number > above {
			delete(d.byNumber, number)
			delete(d.encoded, number)
		} else if c := d.current[sh.Topic]; c == nil || c.Number < number {
			d.current[sh.Topic] = sh
		}
	}
}

// convert returns the row of e in the columns of a later schema version of its table. A
// column keeps its values through new names. A column that was missing in any
// schema version between the two is another column, and has here what it gave to rows
// that are older than itself.
func (d *dictionary) convert(e view.Entry, to *view.Schema) change.Row {
	if e.Schema == to {
		return e.Row
	}
	var b change.RowBuilder
	b.Reset(len(to.Relation.Columns))
	for i := range to.Relation.Columns {
		at, missing := d.origin(e.Schema, to, i)
		if at >= 0 {
			b.Value(e.Row.Value(at))
		} else {
			b.Value(missing)
		}
	}
	return b.Row()
}

// origin follows a column of a schema version back to an earlier schema version of the table, from
// schema version to schema version, and returns its index there; or -1 and the value of rows that
// are older than the column.
func (d *dictionary) origin(from, to *view.Schema, i int) (int, change.Value) {
	cur := to.Relation
	for n := to.Number; n > from.Number; {
		n--
		if sh := d.byNumber[n]; sh != nil && sh.Table == to.Table {
			j := earlier(sh.Relation, cur, i)
			if j < 0 {
				return -1, cur.Columns[i].Missing
			}
			i, cur = j, sh.Relation
		}
	}
	return i, change.Value{}
}

// earlier returns where column i of a relation was in the schema version before, or -1.
// Numbers tell. Logs of earlier versions lack them: Postgres never moves columns
// and adds them at the end, so columns of equal types that came in the place of
// just as many that went were renamed.
func earlier(old, cur *change.Relation, i int) int {
	if n := cur.Columns[i].Number; n != 0 && old.Columns[0].Number != 0 {
		return slices.IndexFunc(old.Columns, func(c change.Column) bool { return c.Number == n })
	}
	if j := old.Index(cur.Columns[i].Name); j >= 0 {
		return j
	}
	// The columns that are new between two that stayed, and those that went.
	first, last := i, i+1
	for first > 0 && old.Index(cur.Columns[first-1].Name) < 0 {
		first--
	}
	for last < len(cur.Columns) && old.Index(cur.Columns[last].Name) < 0 {
		last++
	}
	from, to := 0, len(old.Columns)
	if first > 0 {
		from = old.Index(cur.Columns[first-1].Name) + 1
	}
	if last < len(cur.Columns) {
		to = old.Index(cur.Columns[last].Name)
	}
	if to-from != last-first {
		return -1
	}
	for k := range to - from {
		if c := old.Columns[from+k]; cur.Index(c.Name) >= 0 || c.Type != cur.Columns[first+k].Type {
			return -1
		}
	}
	return from + i - first
}
