package change

// Edit is what a writer wants one table to hold: rows to be there and rows to
// be gone. Writers without a Postgres hand Edits to the store; writers with one
// turn them into SQL. A row that is already as wanted is not touched.
type Edit struct {
	Table   string
	Columns []string // columns that Rows give; they include the key columns
	Rows    []Row    // wanted values, in the order of Columns
	Stamp   string   // column to set to the time of writing when a row is new or really changes; "" for none
	Delete  []Row    // keys, in the order of KeyColumns(Table), to be gone
	Merge   Merge    // which value a row gets that is there already
}

// Merge says which of two values holds, the given one or the one that is stored.
type Merge uint8

// The ways to merge.
const (
	Replace Merge = iota // the given one
	Known                // the given one, unless it is NULL
	Missing              // the stored one, unless it is NULL
)

// Of returns the value that holds.
func (m Merge) Of(stored, given Value) Value {
	if m == Known && given.Kind == Null || m == Missing && stored.Kind != Null {
		return stored
	}
	return given
}

// Written counts what a set of Edits did.
type Written struct {
	Inserted, Updated, Deleted, Unchanged int
}

// Add sums two counts.
func (w Written) Add(o Written) Written {
	return Written{w.Inserted + o.Inserted, w.Updated + o.Updated, w.Deleted + o.Deleted, w.Unchanged + o.Unchanged}
}

// Changed reports whether anything was written.
func (w Written) Changed() bool { return w.Inserted+w.Updated+w.Deleted > 0 }
