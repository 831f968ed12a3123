package record

import (
	"encoding/binary"
	"fmt"

	"carbond/store/change"
)

// EncodeRelation returns the dictionary form of a relation.
func EncodeRelation(r *change.Relation) []byte {
	b := appendString(nil, r.Schema)
	b = appendString(b, r.Name)
	b = binary.AppendUvarint(b, uint64(len(r.Columns)))
	for _, c := range r.Columns {
		b = appendString(b, c.Name)
		b = binary.AppendUvarint(b, uint64(c.Type))
		if c.Key {
			b = append(b, 1)
		} else {
			b = append(b, 0)
		}
	}
	return b
}

// DecodeRelation reads the dictionary form of a relation.
func DecodeRelation(b []byte) (*change.Relation, error) {
	d := decoder{rest: b, size: len(b)}
	var r change.Relation
	var err error
	if r.Schema, err = d.str(); err != nil {
		return nil, err
	}
	if r.Name, err = d.str(); err != nil {
		return nil, err
	}
	n, err := d.uvarint()
	if err != nil {
		return nil, err
	}
	if n > change.MaxColumns {
		return nil, d.bad("column count")
	}
	r.Columns = make([]change.Column, n)
	for i := range r.Columns {
		c := &r.Columns[i]
		if c.Name, err = d.str(); err != nil {
			return nil, err
		}
		oid, err := d.uvarint()
		if err != nil {
			return nil, err
		}
		if oid > 1<<32-1 || len(d.rest) == 0 || d.rest[0] > 1 {
			return nil, d.bad("column")
		}
		c.Type, c.Key = uint32(oid), d.rest[0] == 1
		d.rest = d.rest[1:]
	}
	if len(d.rest) > 0 {
		return nil, fmt.Errorf("%w: %d bytes after the relation", ErrBlock, len(d.rest))
	}
	return &r, nil
}

func appendString(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func (d *decoder) str() (string, error) {
	n, err := d.uvarint()
	if err != nil {
		return "", err
	}
	if n > uint64(len(d.rest)) {
		return "", d.bad("text length")
	}
	s := string(d.rest[:n])
	d.rest = d.rest[n:]
	return s, nil
}
