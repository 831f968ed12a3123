package payload

import "maps"

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

// Skipped is the number of elements that gave no row because they were unusable
// (duplicates are not: their row is kept).
func (t *Tally) Skipped() int { return t.Nulls + t.Malformed + t.NoKey }

// Clean reports whether nothing was skipped or refused.
func (t *Tally) Clean() bool { return t.Skipped() == 0 && len(t.Refused) == 0 }

// Add sums another Tally into t, for feeds of several pages.
func (t *Tally) Add(o Tally) {
	t.Elements += o.Elements
	t.Nulls += o.Nulls
	t.Malformed += o.Malformed
	t.NoKey += o.NoKey
	t.Duplicates += o.Duplicates
	if t.Refused == nil {
		t.Refused = maps.Clone(o.Refused)
		return
	}
	for field, n := range o.Refused {
		t.Refused[field] += n
	}
}
