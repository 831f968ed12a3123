package change

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"unsafe"
)

// Kind says what a Value is.
type Kind uint8

// The kinds of a Value.
const (
	Null      Kind = iota
	Unchanged      // a TOASTed value that the source did not send; never stored
	Text
)

// Value is one column value in Postgres text form.
type Value struct {
	Kind Kind
	Text string // set for Text only
}

// String returns the text, or "" for NULL and unchanged values.
func (v Value) String() string { return v.Text }

// Row is an encoded, immutable sequence of Values. The empty Row means "no row".
//
// Encoding: a uvarint column count, then for each column a uvarint header and
// its bytes: header 0 is NULL, 1 is unchanged, n >= 2 is a text of n-2 bytes.
type Row string

// MaxColumns bounds the column count of a Row; Postgres allows 1,600.
const MaxColumns = 1664

// ErrRow is wrapped by every error about a malformed Row.
var ErrRow = errors.New("malformed row")

// RowBuilder appends values to a Row without intermediate allocations. The
// zero RowBuilder is ready; Reset starts the next Row in the same buffer. That of
// a huge row is given up.
type RowBuilder struct {
	buf  []byte
	want int
}

// Reset starts a Row of n columns.
func (b *RowBuilder) Reset(n int) {
	b.buf = binary.AppendUvarint(b.buf[:0], uint64(n))
	b.want = n
}

// Grow makes room for a Row of about n bytes, so that a huge one is not copied
// from buffer to buffer as it grows.
func (b *RowBuilder) Grow(n int) {
	if n > keepRow && n > cap(b.buf) {
		b.buf = append(make([]byte, 0, n+n/64), b.buf...)
	}
}

// keepRow is the size of the buffer that is kept for the next Row.
const keepRow = 64 << 10

// Null appends a NULL.
func (b *RowBuilder) Null() { b.buf = append(b.buf, 0); b.want-- }

// Unchanged appends an unchanged TOAST mark.
func (b *RowBuilder) Unchanged() { b.buf = append(b.buf, 1); b.want-- }

// Text appends a text value.
func (b *RowBuilder) Text(s string) {
	b.buf = binary.AppendUvarint(b.buf, uint64(len(s))+2)
	b.buf = append(b.buf, s...)
	b.want--
}

// Bytes appends a text value given as bytes; it copies them.
func (b *RowBuilder) Bytes(s []byte) {
	b.buf = binary.AppendUvarint(b.buf, uint64(len(s))+2)
	b.buf = append(b.buf, s...)
	b.want--
}

// Value appends v.
func (b *RowBuilder) Value(v Value) {
	switch v.Kind {
	case Null:
		b.Null()
	case Unchanged:
		b.Unchanged()
	default:
		b.Text(v.Text)
	}
}

// Row returns the finished row. It panics when the number of appended values
// is not the number given to Reset, which is a bug of the caller.
func (b *RowBuilder) Row() Row {
	if b.want != 0 {
		panic(fmt.Sprintf("change: row is short of %d values", b.want))
	}
	buf := b.buf
	if cap(buf) <= keepRow {
		return Row(buf)
	}
	b.buf = nil
	if len(buf) < cap(buf)-cap(buf)/8 {
		return Row(buf)
	}
	return Row(unsafe.String(unsafe.SliceData(buf), len(buf))) // nobody else has it any more
}

// NewRow encodes values.
func NewRow(values ...Value) Row {
	var b RowBuilder
	b.Reset(len(values))
	for _, v := range values {
		b.Value(v)
	}
	return b.Row()
}

// T returns a text Value.
func T(s string) Value { return Value{Kind: Text, Text: s} }

// uvarint reads a uvarint from s, with n <= 0 on malformed input as
// binary.Uvarint has it.
func uvarint(s string) (v uint64, n int) {
	var shift uint
	for i := 0; i < len(s) && i < binary.MaxVarintLen64; i++ {
		c := s[i]
		if c < 0x80 {
			if i == binary.MaxVarintLen64-1 && c > 1 {
				return 0, -1
			}
			return v | uint64(c)<<shift, i + 1
		}
		v |= uint64(c&0x7f) << shift
		shift += 7
	}
	return 0, 0
}

// Len returns the number of columns, 0 for the empty Row.
func (r Row) Len() int {
	n, _ := uvarint(string(r))
	return int(n)
}

// Check reports whether r is well formed. Every Row that comes from disk or
// from the network is checked once, before anything else touches it.
func (r Row) Check() error {
	n, k := uvarint(string(r))
	if k <= 0 || n > MaxColumns {
		return fmt.Errorf("%w: column count", ErrRow)
	}
	rest := string(r[k:])
	for i := range n {
		h, k := uvarint(rest)
		if k <= 0 {
			return fmt.Errorf("%w: header of column %d", ErrRow, i)
		}
		rest = rest[k:]
		if h < 2 {
			continue
		}
		if h-2 > uint64(len(rest)) {
			return fmt.Errorf("%w: column %d wants %d bytes, %d left", ErrRow, i, h-2, len(rest))
		}
		rest = rest[h-2:]
	}
	if rest != "" {
		return fmt.Errorf("%w: %d bytes after the last column", ErrRow, len(rest))
	}
	return nil
}

// All yields the values in column order. Texts share memory with r. It stops
// early on a malformed Row; use Check first on foreign bytes.
func (r Row) All() iter.Seq2[int, Value] {
	return func(yield func(int, Value) bool) {
		n, k := uvarint(string(r))
		if k <= 0 {
			return
		}
		rest := string(r[k:])
		for i := range int(n) {
			v, used := next(rest)
			if used <= 0 || !yield(i, v) {
				return
			}
			rest = rest[used:]
		}
	}
}

// Value returns column i, or NULL when the row has no such column. The text
// shares memory with r.
func (r Row) Value(i int) Value {
	n, k := uvarint(string(r))
	if k <= 0 || i < 0 || i >= int(n) {
		return Value{}
	}
	rest := string(r[k:])
	for ; ; i-- {
		v, used := next(rest)
		if used <= 0 {
			return Value{}
		}
		if i == 0 {
			return v
		}
		rest = rest[used:]
	}
}

// next decodes the value at the head of s and returns its encoded length.
func next(s string) (Value, int) {
	h, k := uvarint(s)
	switch {
	case k <= 0:
		return Value{}, 0
	case h == 0:
		return Value{}, k
	case h == 1:
		return Value{Kind: Unchanged}, k
	case h-2 > uint64(len(s)-k):
		return Value{}, 0
	}
	end := k + int(h-2)
	return Value{Kind: Text, Text: s[k:end]}, end
}

// Complete returns r with every unchanged value, and every column that r's
// relation lacks, taken from old by column name. It returns r itself when
// nothing is unchanged. A value that old cannot supply is an error.
func (r Row) Complete(rel *Relation, old Row, oldRel *Relation) (Row, error) {
	missing := false
	for _, v := range r.All() {
		if v.Kind == Unchanged {
			missing = true
			break
		}
	}
	if !missing {
		return r, nil
	}
	var b RowBuilder
	b.Reset(r.Len())
	for i, v := range r.All() {
		if v.Kind == Unchanged {
			if old == "" {
				return "", fmt.Errorf("%s.%s: column %q was sent as unchanged, but no earlier row is known", rel.Schema, rel.Name, rel.Columns[i].Name)
			}
			// A value that is left out is long, so it cannot have been NULL.
			if v = old.Value(oldRel.Index(rel.Columns[i].Name)); v.Kind != Text {
				return "", fmt.Errorf("%s.%s: column %q was sent as unchanged, but its value is not known", rel.Schema, rel.Name, rel.Columns[i].Name)
			}
		}
		b.Value(v)
	}
	return b.Row(), nil
}
