package record

import (
	"encoding/binary"
	"fmt"

	"carbond/store/change"
)

// Flags of a column.
const (
	flagKey     = 1 << iota // part of the replica identity
	flagNumber              // its number follows
	flagMissing             // the value of rows that are older than the column follows
)

// EncodeRelation returns the dictionary form of a relation.
func EncodeRelation(r *change.Relation) []byte {
	b := appendString(nil, r.Schema)
	b = appendString(b, r.Name)
	b = binary.AppendUvarint(b, uint64(len(r.Columns)))
	for _, c := range r.Columns {
		b = appendString(b, c.Name)
		b = binary.AppendUvarint(b, uint64(c.Type))
		var flags byte
		if c.Key {
			flags |= flagKey
		}
		if c.Number != 0 {
			flags |= flagNumber
		}
		if c.Missing.Kind == change.Text {
			flags |= flagMissing
		}
		b = append(b, flags)
		if flags&flagNumber != 0 {
			b = binary.AppendUvarint(b, uint64(c.Number))
		}
		if flags&flagMissing != 0 {
			b = appendString(b, c.Missing.Text)
		}
	}
	if r.Plain {
		b = append(b, relationPlain)
	}
	return b
}

// relationPlain stands behind the columns of a table that no view reads.
const relationPlain = 1

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
		if err := d.column(c); err != nil {
			return nil, err
		}
	}
	if len(d.rest) == 1 && d.rest[0] == relationPlain {
		r.Plain, d.rest = true, nil
	}
	if len(d.rest) > 0 {
		return nil, fmt.Errorf("%w: %d bytes after the relation", ErrBlock, len(d.rest))
	}
	return &r, nil
}

// column reads what stands behind a column's name.
func (d *decoder) column(c *change.Column) error {
	oid, err := d.uvarint()
	if err != nil {
		return err
	}
	if oid > 1<<32-1 || len(d.rest) == 0 || d.rest[0] >= flagMissing<<1 {
		return d.bad("column")
	}
	flags := d.rest[0]
	d.rest = d.rest[1:]
	c.Type, c.Key = uint32(oid), flags&flagKey != 0
	if flags&flagNumber != 0 {
		n, err := d.uvarint()
		if err != nil || n == 0 || n > 1<<16-1 {
			return d.bad("column number")
		}
		c.Number = uint16(n)
	}
	if flags&flagMissing != 0 {
		text, err := d.str()
		if err != nil {
			return err
		}
		c.Missing = change.T(text)
	}
	return nil
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
