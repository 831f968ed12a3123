package record

import (
	"encoding/binary"
	"errors"
	"fmt"

	"carbond/store/change"
)

// ErrBlock is wrapped by every error about a malformed block.
var ErrBlock = errors.New("malformed block")

// Visitor receives a block's entries in order.
type Visitor interface {
	// Change is called for each change. Its rows are copies.
	Change(t Txn, order uint64, e Entry) error
	// End is called at the end of a transaction.
	End(t Txn, end change.LSN) error
}

// Decode walks a block. It checks everything it reads, the rows included, and
// returns an error that wraps ErrBlock on foreign or damaged bytes; an error of
// the visitor ends the walk and is returned as it is.
func Decode(block []byte, v Visitor) error {
	d := decoder{rest: block, size: len(block)}
	t, order, inside, err := d.head()
	if err != nil {
		return err
	}
	for len(d.rest) > 0 {
		kind := d.rest[0]
		d.rest = d.rest[1:]
		switch kind {
		case entryBegin:
			if inside {
				return d.bad("a transaction begins inside another")
			}
			if t, err = d.txn(); err != nil {
				return err
			}
			inside, order = true, 0
		case entryEnd:
			end, err := d.uvarint()
			if err != nil {
				return err
			}
			if !inside {
				return d.bad("end without a transaction")
			}
			inside = false
			if err := v.End(t, change.LSN(end)); err != nil {
				return err
			}
		default:
			if !inside {
				return d.bad("change outside a transaction")
			}
			e, err := d.entry(change.Op(kind), t)
			if err != nil {
				return err
			}
			order++
			if err := v.Change(t, order, e); err != nil {
				return err
			}
		}
	}
	return nil
}

type decoder struct {
	rest []byte
	size int
}

func (d *decoder) bad(what string) error {
	return fmt.Errorf("%w: %s at byte %d", ErrBlock, what, d.size-len(d.rest))
}

func (d *decoder) head() (t Txn, order uint64, inside bool, err error) {
	if len(d.rest) == 0 {
		return t, 0, false, d.bad("empty")
	}
	flags := d.rest[0]
	d.rest = d.rest[1:]
	if flags&^headInside != 0 {
		return t, 0, false, d.bad("unknown head flags")
	}
	if flags&headInside == 0 {
		return t, 0, false, nil
	}
	if t, err = d.txn(); err != nil {
		return t, 0, false, err
	}
	order, err = d.uvarint()
	return t, order, true, err
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

func (d *decoder) txn() (Txn, error) {
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

func (d *decoder) entry(op change.Op, t Txn) (e Entry, err error) {
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
		if e.Before, err = d.row(); err != nil {
			return e, err
		}
	}
	if hasAfter(op) {
		if e.After, err = d.row(); err != nil {
			return e, err
		}
	}
	return e, nil
}

func (d *decoder) row() (change.Row, error) {
	n, err := d.uvarint()
	if err != nil {
		return "", err
	}
	if n == 0 || n > uint64(len(d.rest)) {
		return "", d.bad("row length")
	}
	r := change.Row(d.rest[:n])
	if err := r.Check(); err != nil {
		return "", fmt.Errorf("%w: %w", ErrBlock, err)
	}
	d.rest = d.rest[n:]
	return r, nil
}
