package payload

import "time"

// Tally counts what a parser saw and what it left out, for the metrics and for
// the one log line of a poll. The zero Tally is ready to use.
type Tally struct {
	Elements   int            `json:"elements"`             // elements in the list, nulls included
	Nulls      int            `json:"nulls,omitempty"`      // null elements, skipped
	Malformed  int            `json:"malformed,omitempty"`  // elements that are no objects, skipped
	NoKey      int            `json:"no_key,omitempty"`     // elements without a usable id, skipped
	Duplicates int            `json:"duplicates,omitempty"` // older copies of a row that is kept once
	Refused    map[string]int `json:"refused,omitempty"`    // field -> values left unset: wrong type or out of range
}

// Refuse counts one value of a field that was there but could not be used.
func (t *Tally) Refuse(field string) {
	if t.Refused == nil {
		t.Refused = make(map[string]int)
	}
	t.Refused[field]++
}

// Time reads a time, zero when absent, and counts one that is unusable.
func (t *Tally) Time(x Text, field string) time.Time {
	if x.String() == "" && !x.Bad() {
		return time.Time{}
	}
	at, ok := Time(x.String())
	if !ok {
		t.Refuse(field)
	}
	return at
}

// Between reads a number within bounds, nil when absent, and counts one that is
// unusable.
func (t *Tally) Between(n Number, low, high float64, field string) *float64 {
	v, refused := n.Between(low, high)
	if refused {
		t.Refuse(field)
	}
	return v
}

// Skipped is the number of elements that gave no row because they were unusable
// (duplicates are not: their row is kept).
func (t *Tally) Skipped() int { return t.Nulls + t.Malformed + t.NoKey }
