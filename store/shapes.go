package store

import (
	"fmt"
	"slices"

	"carbond/store/change"
	"carbond/store/internal/record"
	"carbond/store/internal/view"
)

// shapes is the dictionary of relations: a number for each shape that a row in
// the log or in the state has.
type shapes struct {
	byNumber map[uint32]*view.Shape
	current  map[view.Table]*view.Shape       // the newest of each table
	byPtr    map[*change.Relation]*view.Shape // relations that a current shape stands for
	fresh    map[uint32][]byte                // not yet in the log's dictionary
	words    map[uint32][]byte                // encoded, for the checkpoint
	next     uint32
}

func newShapes() shapes {
	return shapes{
		byNumber: map[uint32]*view.Shape{}, current: map[view.Table]*view.Shape{}, byPtr: map[*change.Relation]*view.Shape{},
		fresh: map[uint32][]byte{}, words: map[uint32][]byte{}, next: 1,
	}
}

// load adds a dictionary entry from disk.
func (d *shapes) load(number uint32, word []byte) error {
	if _, ok := d.byNumber[number]; ok {
		return nil
	}
	rel, err := record.DecodeRelation(word)
	if err != nil {
		return fmt.Errorf("relation %d: %w", number, err)
	}
	sh, err := view.NewShape(rel, number)
	if err != nil {
		return fmt.Errorf("relation %d: %w", number, err)
	}
	d.byNumber[number], d.words[number] = sh, word
	if c := d.current[sh.Table]; c == nil || c.Number < number {
		d.current[sh.Table] = sh
	}
	d.next = max(d.next, number+1)
	return nil
}

// of returns the shape of a relation, numbering it if it is not its table's
// current one. A shape that comes back after another gets a new number: only so
// do the numbers tell whether a column was there all the time.
func (d *shapes) of(rel *change.Relation) (*view.Shape, error) {
	if sh, ok := d.byPtr[rel]; ok && d.current[sh.Table] == sh {
		return sh, nil
	}
	t, ok := view.TableOf(rel.Name)
	if cur := d.current[t]; ok && cur != nil && cur.Relation.Equal(rel) {
		if len(d.byPtr) > 64 { // equal relations of many connections
			clear(d.byPtr)
		}
		d.byPtr[rel] = cur
		return cur, nil
	}
	sh, err := view.NewShape(rel, d.next)
	if err != nil {
		return nil, err
	}
	word := record.EncodeRelation(rel)
	d.next++
	d.byNumber[sh.Number], d.current[sh.Table] = sh, sh
	d.fresh[sh.Number], d.words[sh.Number] = word, word
	clear(d.byPtr) // of earlier connections, or of shapes that are history now
	d.byPtr[rel] = sh
	return sh, nil
}

// forget drops the relations above a number, 0 for all: they came with changes
// that were given up, and would come again with them. A row must not be taken
// through a shape that its table has not had. Numbers are not given out twice.
func (d *shapes) forget(above uint32) {
	clear(d.fresh)
	clear(d.byPtr)
	clear(d.current)
	for number, sh := range d.byNumber {
		if number > above {
			delete(d.byNumber, number)
			delete(d.words, number)
		} else if c := d.current[sh.Table]; c == nil || c.Number < number {
			d.current[sh.Table] = sh
		}
	}
}

// reshape returns the row of e in the columns of a later shape of its table. A
// column keeps its values through new names. A column that was missing in any
// shape between the two is another column, and has here what it gave to rows
// that are older than itself.
func (d *shapes) reshape(e view.Entry, to *view.Shape) change.Row {
	if e.Shape == to {
		return e.Row
	}
	var b change.RowBuilder
	b.Reset(len(to.Relation.Columns))
	for i := range to.Relation.Columns {
		at, missing := d.trace(e.Shape, to, i)
		if at >= 0 {
			b.Value(e.Row.Value(at))
		} else {
			b.Value(missing)
		}
	}
	return b.Row()
}

// trace follows a column of a shape back to an earlier shape of the table, from
// shape to shape, and returns its index there; or -1 and the value of rows that
// are older than the column.
func (d *shapes) trace(from, to *view.Shape, i int) (int, change.Value) {
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

// earlier returns where column i of a relation was in the shape before, or -1.
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
