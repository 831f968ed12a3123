package poll

import (
	"cmp"
	"maps"
	"slices"
)

// Presence counts which rows of its own a source no longer finds upstream. Rows
// of other writers are unknown here and stay.
type Presence[K cmp.Ordered] struct {
	Known  map[K]bool
	Missed map[K]int // complete readings without the row
}

// NewPresence takes over what was saved.
func NewPresence[K cmp.Ordered](known []K, missed map[K]int) Presence[K] {
	p := Presence[K]{Known: Set(known), Missed: missed}
	if p.Missed == nil {
		p.Missed = map[K]int{}
	}
	return p
}

// List returns the known rows in order, for the state file.
func (p *Presence[K]) List() []K { return slices.Sorted(maps.Keys(p.Known)) }

// Gone returns the known rows that a complete reading lacks for the last time,
// and the counts of those that it lacks. Call Forget once they are deleted.
func (p *Presence[K]) Gone(found func(K) bool) (gone []K, missed map[K]int) {
	missed = map[K]int{}
	for k := range p.Known {
		if found(k) {
			continue
		}
		if missed[k] = p.Missed[k] + 1; missed[k] >= GoneAfter {
			gone = append(gone, k)
		}
	}
	slices.Sort(gone)
	return gone, missed
}

// Forget takes over the counts of Gone without the rows that are deleted.
func (p *Presence[K]) Forget(gone []K, missed map[K]int) {
	for _, k := range gone {
		delete(p.Known, k)
		delete(missed, k)
	}
	p.Missed = missed
}
