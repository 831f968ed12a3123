package replicate

import (
	"carbond/replicate/internal/pgoutput"
	"carbond/store/change"
)

// slabSize is the number of changes allocated at once; transactions share a
// slab, so a small one costs no allocation of its own.
const slabSize = 512

// slabKeeps is the size of a part whose slab is not shared with later ones.
const slabKeeps = 1 << 20

// changeCost is what a change costs in memory beside its rows.
const changeCost = 64

// assembler turns decoded events into transactions, or bounded parts of large
// ones. It is pure.
type assembler struct {
	maxBytes   int
	maxChanges int

	slab []change.Change
	cur  change.Txn
	open bool
	from int // the present part is slab[from:]
	size int // its cost

	ready      []change.Txn
	readyBytes int
}

// begin starts a transaction.
func (a *assembler) begin(ev *pgoutput.Event) error {
	if a.open {
		return fault(KindProtocol, "", nil, "the server sent BEGIN of transaction %d inside transaction %d", ev.XID, a.cur.XID)
	}
	a.open = true
	a.from, a.size = len(a.slab), 0
	a.cur = change.Txn{XID: ev.XID, CommitLSN: ev.CommitLSN, CommitTime: ev.Time, First: true}
	return nil
}

// add appends one change to the open transaction.
func (a *assembler) add(c change.Change) error {
	if !a.open {
		return fault(KindProtocol, "", nil, "the server sent a change of %s outside a transaction", c.Relation.Name)
	}
	if len(a.slab) == cap(a.slab) {
		// Earlier parts keep the old slab; only the present one moves.
		grown := make([]change.Change, 0, max(slabSize, 2*(len(a.slab)-a.from)))
		a.slab = append(grown, a.slab[a.from:]...)
		a.from = 0
	}
	a.slab = append(a.slab, c)
	a.size += changeCost + len(c.Before) + len(c.After)
	if a.size >= a.maxBytes || len(a.slab)-a.from >= a.maxChanges {
		a.emit()
		a.cur.First = false
	}
	return nil
}

// commit ends the open transaction and reports whether anything of it is
// handed over; one without any kept change is not.
func (a *assembler) commit(end change.LSN) (bool, error) {
	if !a.open {
		return false, fault(KindProtocol, "", nil, "the server sent COMMIT outside a transaction")
	}
	a.open = false
	if a.cur.First && len(a.slab) == a.from {
		return false, nil
	}
	a.cur.EndLSN, a.cur.Final = end, true
	a.emit()
	return true, nil
}

func (a *assembler) emit() {
	t := a.cur
	t.Changes = a.slab[a.from:len(a.slab):len(a.slab)]
	a.ready = append(a.ready, t)
	a.readyBytes += a.size + changeCost
	if a.size >= slabKeeps {
		a.slab = nil // or a later, small change would keep these rows
	}
	a.from, a.size = len(a.slab), 0
}

// take returns the finished parts and their cost, and forgets them.
func (a *assembler) take() ([]change.Txn, int) {
	t, n := a.ready, a.readyBytes
	a.ready, a.readyBytes = nil, 0
	return t, n
}
