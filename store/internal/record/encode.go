package record

import (
	"encoding/binary"
	"slices"
	"time"

	"carbond/store/change"
)

// Entry kinds that are not operations.
const (
	entryBegin    byte = 0x01
	entryEnd      byte = 0x02
	entryEndPlain byte = 0x03 // the same of a transaction in which no table of a view changed
	entryRemoved  byte = 0x04 // a run of changes that were taken out
)

// Head flags.
const headInside byte = 1 // the block begins inside a transaction

// Transaction flags.
const (
	txnSnapshot byte = 1
	txnPrevious byte = 2 // the end of the transaction before follows
)

// Txn is what a block says of a transaction.
type Txn struct {
	XID        uint32
	CommitLSN  change.LSN
	CommitTime time.Time
	Snapshot   bool
	Previous   change.LSN // commit end of the transaction before, 0 when not known
}

// Entry is one change as it is stored: complete, with its relation's number.
type Entry struct {
	Op       change.Op
	Relation uint32
	LSN      change.LSN
	Before   change.Row // for Update, Delete and Retract
	After    change.Row // for Create, Update and Read
}

// Builder collects entries into blocks. The zero Builder is ready.
type Builder struct {
	buf   []byte
	count int

	open   bool // inside a transaction
	txn    Txn
	order  uint64 // ordinal of the last entry in the transaction
	headed bool
}

// Count returns the number of changes in the unfinished block.
func (b *Builder) Count() int { return b.count }

// Size returns the bytes of the unfinished block.
func (b *Builder) Size() int { return len(b.buf) }

// Empty reports whether there is nothing to Take.
func (b *Builder) Empty() bool { return !b.headed }

func (b *Builder) head() {
	if b.headed {
		return
	}
	b.headed = true
	b.buf = b.buf[:0]
	if !b.open {
		b.buf = append(b.buf, 0)
		return
	}
	b.buf = append(b.buf, headInside)
	b.appendTxn(b.txn)
	b.buf = binary.AppendUvarint(b.buf, b.order)
}

func (b *Builder) appendTxn(t Txn) {
	b.buf = binary.AppendUvarint(b.buf, uint64(t.XID))
	b.buf = binary.AppendUvarint(b.buf, uint64(t.CommitLSN))
	b.buf = binary.AppendVarint(b.buf, micros(t.CommitTime))
	var flags byte
	if t.Snapshot {
		flags |= txnSnapshot
	}
	if t.Previous != 0 {
		flags |= txnPrevious
	}
	b.buf = append(b.buf, flags)
	if t.Previous != 0 {
		b.buf = binary.AppendVarint(b.buf, int64(t.CommitLSN-t.Previous))
	}
}

// Begin opens a transaction.
func (b *Builder) Begin(t Txn) {
	b.head()
	b.buf = append(b.buf, entryBegin)
	b.appendTxn(t)
	b.open, b.txn, b.order = true, t, 0
}

// Add appends a change of the open transaction.
func (b *Builder) Add(e Entry) {
	b.head()
	b.buf = append(b.buf, byte(e.Op))
	b.buf = binary.AppendUvarint(b.buf, uint64(e.Relation))
	b.buf = binary.AppendVarint(b.buf, int64(b.txn.CommitLSN-e.LSN))
	b.buf = slices.Grow(b.buf, len(e.Before)+len(e.After)+2*binary.MaxVarintLen64)
	if hasBefore(e.Op) {
		b.appendRow(e.Before)
	}
	if hasAfter(e.Op) {
		b.appendRow(e.After)
	}
	b.count++
	b.order++
}

// End closes the transaction at its commit-end LSN. plain says that it changed no
// table of a view.
func (b *Builder) End(end change.LSN, plain bool) {
	b.head()
	kind := entryEnd
	if plain {
		kind = entryEndPlain
	}
	b.buf = append(b.buf, kind)
	b.buf = binary.AppendUvarint(b.buf, uint64(end))
	b.open = false
}

// keepBytes bounds the buffer that is kept after a huge row.
const keepBytes = 1 << 20

// Take returns the finished block and its number of changes, and starts the
// next one. The block is valid until something is added to that.
func (b *Builder) Take() ([]byte, int) {
	block, n := b.buf, b.count
	if cap(b.buf) > keepBytes {
		b.buf = nil
	}
	b.buf, b.count, b.headed = b.buf[:0], 0, false
	return block, n
}

// Reset forgets everything, an open transaction included.
func (b *Builder) Reset() { *b = Builder{buf: b.buf[:0]} }

// maxRun bounds the changes that one entry says are removed: a block has fewer.
const maxRun = 1 << 16

// Strip returns the block without the changes of the relations that gone names:
// their offsets and their transactions stay. It returns nil when there is none.
func Strip(block []byte, gone func(relation uint32) bool) ([]byte, error) {
	d := decoder{rest: block, size: len(block), borrow: true}
	if err := d.head(); err != nil {
		return nil, err
	}
	out := slices.Clone(block[:d.at()])
	run, some := uint64(0), false
	end := func() {
		if run > 0 {
			out = binary.AppendUvarint(append(out, entryRemoved), run)
		}
		run = 0
	}
	it := &Item{Txn: &d.txn}
	for d.more() {
		from := d.at()
		complete, err := d.item(it)
		if err != nil {
			return nil, err
		}
		switch e := &it.Entry; {
		case !complete && d.run > 0: // a run of before: its changes come one by one
		case complete && !it.Ends && (e.Op == change.Removed || gone(e.Relation)):
			some = some || e.Op != change.Removed
			if run++; run == maxRun {
				end()
			}
		default:
			end()
			out = append(out, block[from:d.at()]...)
		}
	}
	end()
	if !some {
		return nil, nil
	}
	return out, nil
}

func (b *Builder) appendRow(r change.Row) {
	b.buf = binary.AppendUvarint(b.buf, uint64(len(r)))
	b.buf = append(b.buf, r...)
}

func hasBefore(op change.Op) bool {
	return op == change.Update || op == change.Delete || op == change.Retract
}

func hasAfter(op change.Op) bool {
	return op == change.Create || op == change.Update || op == change.Read
}

// micros maps a time to microseconds since 1970; the zero time is 0.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func fromMicros(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}
