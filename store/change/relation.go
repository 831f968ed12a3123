package change

// Column is one column of a Relation.
type Column struct {
	Name string
	Type uint32 // Postgres type OID, 0 when unknown
	Key  bool   // part of the replica identity; of a Plain relation, of the key of its topic
	// Number is the column's number in its table, 0 when unknown. New names do
	// not change it, and no other column ever gets it.
	Number uint16
	// Missing is what rows have in this column that are older than the column:
	// ALTER TABLE ADD COLUMN with a DEFAULT writes none of them.
	Missing Value
}

// Relation is one version of a table's schema. Relations are immutable and
// shared by pointer: a changed table is a new Relation.
type Relation struct {
	Schema  string
	Name    string
	Columns []Column
	// Plain is set for a table that no view reads: the changelog keeps its changes
	// as they come from the source, and no state.
	Plain bool
}

// Topic returns the name of the table's topic.
func (r *Relation) Topic() string {
	if r.Plain {
		return PlainTopic(r.Schema, r.Name)
	}
	return TopicName(r.Name)
}

// Index returns the position of the named column, or -1.
func (r *Relation) Index(name string) int {
	for i := range r.Columns {
		if r.Columns[i].Name == name {
			return i
		}
	}
	return -1
}

// Equal reports whether both describe the same columns.
func (r *Relation) Equal(o *Relation) bool {
	if r == o {
		return true
	}
	if r == nil || o == nil || r.Schema != o.Schema || r.Name != o.Name || r.Plain != o.Plain || len(r.Columns) != len(o.Columns) {
		return false
	}
	for i := range r.Columns {
		if r.Columns[i] != o.Columns[i] {
			return false
		}
	}
	return true
}

// Type OIDs of the built-in types that the tables use, and of those in other
// people's tables that SQL prints otherwise than it casts them (pg_type.dat).
const (
	OIDBool        = 16
	OIDInt8        = 20
	OIDInt4        = 23
	OIDText        = 25
	OIDFloat4      = 700
	OIDFloat8      = 701
	OIDBPChar      = 1042
	OIDDate        = 1082
	OIDNumeric     = 1700
	OIDTimestamptz = 1184
)
