package payload

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
