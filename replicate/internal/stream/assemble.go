package stream

import (
	"carbond/replicate/internal/pgoutput"
	"carbond/replicate/pgerr"
	"carbond/store/change"
)

// slabSize is the number of changes allocated at once; transactions share a
// slab, so a small one costs no allocation of its own.
const slabSize = 512

// slabKeeps is the size of a part whose slab is not shared with later ones.
const slabKeeps = 1 << 20

// ChangeCost is what a change costs in memory beside its rows.
const ChangeCost = 64

// Assembler turns decoded events into transactions, or bounded parts of large
// ones. It is pure.
type Assembler struct {
	MaxBytes   int
	MaxChanges int

	slab []change.Change
	cur  change.Txn
	open bool
	from int // the present part is slab[from:]
	size int // its cost

	ready      []change.Txn
	ReadyBytes int
}

// Begin starts a transaction.
func (a *Assembler) Begin(ev *pgoutput.Event) error {
	if a.open {
		return pgerr.New(pgerr.KindProtocol, "", nil, "the server sent BEGIN of transaction %d inside transaction %d", ev.XID, a.cur.XID)
	}
	a.open = true
	a.from, a.size = len(a.slab), 0
	a.cur = change.Txn{XID: ev.XID, CommitLSN: ev.CommitLSN, CommitTime: ev.Time, First: true}
	return nil
}

// Add appends one change to the open transaction.
func (a *Assembler) Add(c change.Change) error {
	if !a.open {
		return pgerr.New(pgerr.KindProtocol, "", nil, "the server sent a change of %s outside a transaction", c.Relation.Name)
	}
	if len(a.slab) == cap(a.slab) {
		// Earlier parts keep the old slab; only the present one moves.
		grown := make([]change.Change, 0, max(slabSize, 2*(len(a.slab)-a.from)))
		a.slab = append(grown, a.slab[a.from:]...)
		a.from = 0
	}
	a.slab = append(a.slab, c)
	a.size += ChangeCost + len(c.Before) + len(c.After)
	if a.size >= a.MaxBytes || len(a.slab)-a.from >= a.MaxChanges {
		a.emit()
		a.cur.First = false
	}
	return nil
}

// Commit ends the open transaction and reports whether anything of it is
// handed over; one without any kept change is not.
func (a *Assembler) Commit(end change.LSN) (bool, error) {
	if !a.open {
		return false, pgerr.New(pgerr.KindProtocol, "", nil, "the server sent COMMIT outside a transaction")
	}
	a.open = false
	if a.cur.First && len(a.slab) == a.from {
		return false, nil
	}
	a.cur.EndLSN, a.cur.Final = end, true
	a.emit()
	return true, nil
}

func (a *Assembler) emit() {
	t := a.cur
	t.Changes = a.slab[a.from:len(a.slab):len(a.slab)]
	a.ready = append(a.ready, t)
	a.ReadyBytes += a.size + ChangeCost
	if a.size >= slabKeeps {
		a.slab = nil // or a later, small change would keep these rows
	}
	a.from, a.size = len(a.slab), 0
}

// Take returns the finished parts and their cost, and forgets them.
func (a *Assembler) Take() ([]change.Txn, int) {
	t, n := a.ready, a.ReadyBytes
	a.ready, a.ReadyBytes = nil, 0
	return t, n
}
