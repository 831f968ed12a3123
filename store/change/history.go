package change

import (
	"fmt"
	"math"
)

// History says which offsets a changelog has given out, and under which
// identity. An offset number is never used for two changes, in whatever
// directory: a new log and every restored one go on from a number above all that
// could have been before. So an offset of another history lies before the first
// one here, or in a hole, and is told from those that mean something here.
type History struct {
	ID      string     `json:"id"`                // a UUID, "" in a log that has none yet
	First   Offset     `json:"first"`             // of the changes of its own
	Parents []Ancestor `json:"parents,omitempty"` // oldest first
}

// Ancestor is a history that a log shares up to the point at which it was
// restored from a backup.
type Ancestor struct {
	ID    string `json:"id"` // "" when the backup had none
	First Offset `json:"first"`
	Last  Offset `json:"last"` // the last shared offset
}

// Epochs returns a number for each history of the log, its parents' first: 0, and
// for each restore a greater one. Two restores of the same backup have different
// numbers unless they are made within a second: each begins at an offset that tells
// its time.
func (h History) Epochs() []int32 {
	out := make([]int32, 1, 1+len(h.Parents))
	for i := range h.Parents {
		first := h.First
		if i+1 < len(h.Parents) {
			first = h.Parents[i+1].First
		}
		out = append(out, max(out[i]+1, first.seconds()))
	}
	return out
}

// offsetEpoch is the time, in seconds, from which the numbers of restores count.
const offsetEpoch = 1767225600 // 2026-01-01

// seconds is the time at which a history that begins at an offset was made, 0 for
// one that does not say it.
func (o Offset) seconds() int32 {
	return int32(min(max(int64(o>>20), offsetEpoch)-offsetEpoch, math.MaxInt32>>1))
}

// spans yields the offsets that were given out, history after history. One that
// never got a change of its own is left out.
func (h History) spans(yield func(Ancestor) bool) {
	for _, p := range h.Parents {
		if p.First <= p.Last && !yield(p) {
			return
		}
	}
	yield(Ancestor{ID: h.ID, First: h.First, Last: math.MaxUint64})
}

// From returns where a reader goes on that has dealt with everything before
// offset next: there, or behind the hole that begins there. It returns a
// *HistoryError when next was never given out.
func (h History) From(next Offset) (Offset, error) {
	at, other := h.from(next)
	if other != nil {
		return at, other
	}
	return at, nil
}

func (h History) from(next Offset) (Offset, *HistoryError) {
	end := Offset(0) // of what comes before the span
	for s := range h.spans {
		switch {
		case next > s.Last:
			end = s.Last
			continue
		case next >= s.First:
			return next, nil
		case next <= end+1:
			return s.First, nil
		}
		return s.First, &HistoryError{Offset: next, Last: end, First: s.First, Here: h.ID}
	}
	return next, nil
}

// After returns the offset of the change behind the one at an offset, which may
// not be there yet. 0 stands before the first.
func (h History) After(at Offset) Offset {
	next, _ := h.from(max(at, at+1))
	return next
}

// Before returns the offset of the change before the one at an offset, 0 for
// none.
func (h History) Before(at Offset) Offset { return h.UpTo(max(at, 1) - 1) }

// UpTo returns the newest offset up to a number that was given out, or may be,
// 0 for none.
func (h History) UpTo(n Offset) (last Offset) {
	for s := range h.spans {
		if s.First <= n {
			last = min(s.Last, n)
		}
	}
	return last
}

// Check makes sure that offset at means the same here as in the history that a
// reader names, which has dealt with everything up to it. Without a name the
// offset alone says whether it can be.
func (h History) Check(id string, at Offset) error {
	_, other := h.from(max(at, at+1))
	var err error
	if other != nil {
		other.Offset, err = at, other
	}
	if id == "" || id == h.ID {
		return err
	}
	for _, p := range h.Parents {
		if p.ID == id && at > p.Last {
			return &HistoryError{Offset: at, Last: p.Last, First: h.After(p.Last), Named: id, Here: h.ID}
		}
		if p.ID == id {
			return err
		}
	}
	return &HistoryError{Offset: at, Named: id, Here: h.ID}
}

// HistoryError says that an offset belongs to another history of the data.
type HistoryError struct {
	Offset Offset
	Last   Offset // the last shared offset before it, 0 for none
	First  Offset // where this log goes on behind Last; 0 when the named history is not one of its own
	Named  string // the history that was named, "" for none
	Here   string // of this log
}

// Error implements error.
func (e *HistoryError) Error() string {
	what := fmt.Sprintf("offset %d", e.Offset)
	if e.Named != "" {
		what += " of history " + e.Named
	}
	switch {
	case e.First == 0:
		return fmt.Sprintf("%s: this changelog has another history, %s: its data directory was made again, or restored from a backup of another one", what, e.Here)
	case e.Last == 0:
		return fmt.Sprintf("%s is of another history: this changelog, history %s, begins at offset %d, so its data directory was made again", what, e.Here, e.First)
	}
	return fmt.Sprintf("%s is of another history: this changelog, history %s, was restored from a backup that ends at offset %d, and goes on at %d; offset %d is where what follows the backup begins",
		what, e.Here, e.Last, e.First, e.Last+1)
}
