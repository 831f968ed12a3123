package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"strings"
	"unsafe"

	"carbond/store/change"
)

// ErrBlock is wrapped by every error about a malformed block.
var ErrBlock = errors.New("malformed block")

// Item is a change, or the end of a transaction.
type Item struct {
	Offset change.Offset // of the change; at an end, of the change before
	Txn    *Txn          // that it belongs to; valid until the next item
	Order  uint64        // of the change in its transaction, from 1
	Entry  Entry         // the change; its rows are copies
	Ends   bool          // no change, but the end of the transaction
	End    change.LSN    // where that is
	Plain  bool          // at an end: no table of a view changed in the transaction
}

// All yields the items of a block in order; first is the offset of its first
// change. Everything is checked, the rows included. On foreign or damaged bytes
// the last thing that it yields is an error that wraps ErrBlock, with the offset
// of the change that should have come. An item is valid until the next one.
func All(block []byte, first change.Offset) iter.Seq2[*Item, error] {
	return all(decoder{rest: block, size: len(block)}, first)
}

// Borrow is All with rows that share memory with the block, for those who keep few
// of them: one keeps all of the block. Nobody changes the block.
func Borrow(block []byte, first change.Offset) iter.Seq2[*Item, error] {
	return all(decoder{rest: block, size: len(block), borrow: true}, first)
}

func all(d decoder, first change.Offset) iter.Seq2[*Item, error] {
	return func(yield func(*Item, error) bool) {
		d := d
		it := &Item{Offset: first - 1, Txn: &d.txn}
		err := d.head()
		for err == nil && d.more() {
			var complete bool
			if complete, err = d.item(it); complete && !yield(it, nil) {
				return
			}
		}
		if err != nil {
			it.Offset++
			yield(it, err)
		}
	}
}

type decoder struct {
	rest   []byte
	size   int
	borrow bool
	run    uint64 // changes that are still to be told removed
	txn    Txn    // the last that began
	inside bool   // it has not ended
	order  uint64
}

// at is how many bytes were read.
func (d *decoder) at() int { return d.size - len(d.rest) }

// more reports whether there is another item.
func (d *decoder) more() bool { return d.run > 0 || len(d.rest) > 0 }

// item reads on. It reports false for the beginning of a transaction.
func (d *decoder) item(it *Item) (complete bool, err error) {
	if d.run > 0 {
		d.run--
		d.next(it, Entry{Op: change.Removed, LSN: d.txn.CommitLSN})
		return true, nil
	}
	kind := d.rest[0]
	d.rest = d.rest[1:]
	switch kind {
	case entryBegin:
		if d.inside {
			return false, d.bad("a transaction begins inside another")
		}
		d.inside, d.order = true, 0
		d.txn, err = d.begin()
		return false, err
	case entryEnd, entryEndPlain:
		end, err := d.uvarint()
		if err != nil {
			return false, err
		}
		if !d.inside {
			return false, d.bad("end without a transaction")
		}
		d.inside = false
		it.Entry, it.Ends, it.End, it.Plain = Entry{}, true, change.LSN(end), kind == entryEndPlain
		return true, nil
	}
	if !d.inside {
		return false, d.bad("change outside a transaction")
	}
	if kind == entryRemoved {
		if d.run, err = d.uvarint(); err == nil && (d.run == 0 || d.run > maxRun) {
			err = d.bad("number of removed changes out of range")
		}
		return false, err
	}
	e, err := d.entry(change.Op(kind), &d.txn)
	if err != nil {
		return false, err
	}
	d.next(it, e)
	return true, nil
}

// next makes an item the next change.
func (d *decoder) next(it *Item, e Entry) {
	d.order++
	it.Offset++
	it.Order, it.Entry, it.Ends, it.End, it.Plain = d.order, e, false, 0, false
}

func (d *decoder) bad(what string) error {
	return fmt.Errorf("%w: %s at byte %d", ErrBlock, what, d.at())
}

// head reads whether the block begins inside a transaction, and inside which.
func (d *decoder) head() (err error) {
	if len(d.rest) == 0 {
		return d.bad("empty")
	}
	flags := d.rest[0]
	d.rest = d.rest[1:]
	if flags&^headInside != 0 {
		return d.bad("unknown head flags")
	}
	if d.inside = flags&headInside != 0; !d.inside {
		return nil
	}
	if d.txn, err = d.begin(); err != nil {
		return err
	}
	d.order, err = d.uvarint()
	return err
}

func (d *decoder) uvarint() (uint64, error) {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 {
		return 0, d.bad("number cut short")
	}
	d.rest = d.rest[n:]
	return v, nil
}

func (d *decoder) varint() (int64, error) {
	v, n := binary.Varint(d.rest)
	if n <= 0 {
		return 0, d.bad("number cut short")
	}
	d.rest = d.rest[n:]
	return v, nil
}

func (d *decoder) begin() (Txn, error) {
	xid, err := d.uvarint()
	if err != nil {
		return Txn{}, err
	}
	lsn, err := d.uvarint()
	if err != nil {
		return Txn{}, err
	}
	us, err := d.varint()
	if err != nil {
		return Txn{}, err
	}
	if len(d.rest) == 0 {
		return Txn{}, d.bad("transaction flags missing")
	}
	flags := d.rest[0]
	d.rest = d.rest[1:]
	if xid > 1<<32-1 || flags&^(txnSnapshot|txnPrevious) != 0 {
		return Txn{}, d.bad("transaction head out of range")
	}
	t := Txn{XID: uint32(xid), CommitLSN: change.LSN(lsn), CommitTime: fromMicros(us), Snapshot: flags&txnSnapshot != 0}
	if flags&txnPrevious != 0 {
		delta, err := d.varint()
		if err != nil {
			return Txn{}, err
		}
		t.Previous = t.CommitLSN - change.LSN(delta)
	}
	return t, nil
}

func (d *decoder) entry(op change.Op, t *Txn) (e Entry, err error) {
	e.Op = op
	if op != change.Truncate && !hasBefore(op) && !hasAfter(op) {
		return e, d.bad(fmt.Sprintf("unknown operation %#x", byte(op)))
	}
	rel, err := d.uvarint()
	if err != nil {
		return e, err
	}
	if rel > 1<<32-1 {
		return e, d.bad("relation number out of range")
	}
	e.Relation = uint32(rel)
	delta, err := d.varint()
	if err != nil {
		return e, err
	}
	e.LSN = t.CommitLSN - change.LSN(delta)
	if hasBefore(op) {
		if e.Before, err = d.row(op == change.Update); err != nil {
			return e, err
		}
	}
	if hasAfter(op) {
		if e.After, err = d.row(false); err != nil {
			return e, err
		}
	}
	return e, nil
}

// row reads a row. There may be none before an update of a table that no view
// reads: the source sends none where the key stayed.
func (d *decoder) row(none bool) (change.Row, error) {
	n, err := d.uvarint()
	if err != nil {
		return "", err
	}
	if n == 0 && none {
		return "", nil
	}
	if n == 0 || n > uint64(len(d.rest)) {
		return "", d.bad("row length")
	}
	r := change.Row(unsafe.String(&d.rest[0], n))
	if !d.borrow {
		r = change.Row(strings.Clone(string(r)))
	}
	if err := r.Check(); err != nil {
		return "", fmt.Errorf("%w: %w", ErrBlock, err)
	}
	d.rest = d.rest[n:]
	return r, nil
}
