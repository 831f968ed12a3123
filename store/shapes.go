package store

import (
	"fmt"

	"carbond/store/change"
	"carbond/store/internal/record"
	"carbond/store/internal/view"
)

// shapes is the dictionary of relations: a number for each shape that a row in
// the log or in the state has.
type shapes struct {
	byNumber map[uint32]*view.Shape
	byPtr    map[*change.Relation]*view.Shape // relations seen since the start
	fresh    map[uint32][]byte                // not yet in the log's dictionary
	words    map[uint32][]byte                // encoded, for the checkpoint
	next     uint32
}

func newShapes() shapes {
	return shapes{
		byNumber: map[uint32]*view.Shape{}, byPtr: map[*change.Relation]*view.Shape{},
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
	d.next = max(d.next, number+1)
	return nil
}

// of returns the shape of a relation, numbering it if it is new.
func (d *shapes) of(rel *change.Relation) (*view.Shape, error) {
	if sh, ok := d.byPtr[rel]; ok {
		return sh, nil
	}
	for _, sh := range d.byNumber {
		if sh.Relation.Equal(rel) {
			d.byPtr[rel] = sh
			return sh, nil
		}
	}
	sh, err := view.NewShape(rel, d.next)
	if err != nil {
		return nil, err
	}
	word := record.EncodeRelation(rel)
	d.next++
	d.byNumber[sh.Number], d.byPtr[rel] = sh, sh
	d.fresh[sh.Number], d.words[sh.Number] = word, word
	return sh, nil
}
