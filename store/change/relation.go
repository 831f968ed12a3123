package change

// Column is one column of a Relation.
type Column struct {
	Name string
	Type uint32 // Postgres type OID, 0 when unknown
	Key  bool   // part of the replica identity
	// Number is the column's number in its table, 0 when unknown. New names do
	// not change it, and no other column ever gets it.
	Number uint16
	// Missing is what rows have in this column that are older than the column:
	// ALTER TABLE ADD COLUMN with a DEFAULT writes none of them.
	Missing Value
}

// Relation is one version of a table's shape. Relations are immutable and
// shared by pointer: a changed table is a new Relation.
type Relation struct {
	Schema  string
	Name    string
	Columns []Column
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

// Equal reports whether both describe the same shape.
func (r *Relation) Equal(o *Relation) bool {
	if r == o {
		return true
	}
	if r == nil || o == nil || r.Schema != o.Schema || r.Name != o.Name || len(r.Columns) != len(o.Columns) {
		return false
	}
	for i := range r.Columns {
		if r.Columns[i] != o.Columns[i] {
			return false
		}
	}
	return true
}

// Names of the four source tables, in the schema "public".
const (
	Verra      = "verra"
	Carbonmark = "carbonmark"
	Finance    = "finance"
	News       = "news"
)

// Tables lists the source tables in the order in which they are created,
// copied and listed.
func Tables() []string { return []string{Verra, Carbonmark, Finance, News} }

// Topic returns the changelog topic of a table: "carbon.public.<table>".
func Topic(table string) string { return "carbon.public." + table }

// KeyColumns returns the primary-key columns that section 3.4 of the contract
// gives a table, or nil for a table that carbond does not keep.
func KeyColumns(table string) []string {
	switch table {
	case Verra:
		return []string{"project_id"}
	case Carbonmark:
		return []string{"id"}
	case Finance:
		return []string{"ticker", "timestamp"}
	case News:
		return []string{"guid"}
	}
	return nil
}

// Type OIDs of the built-in types that the tables use, and of those in other
// people's tables that SQL prints otherwise than it casts them (pg_type.dat).
const (
	OIDInt8        = 20
	OIDInt4        = 23
	OIDText        = 25
	OIDFloat4      = 700
	OIDFloat8      = 701
	OIDBPChar      = 1042
	OIDNumeric     = 1700
	OIDTimestamptz = 1184
)

// Standard returns the Relation of a table as carbond's own migrations create
// it, for writers without a Postgres (embedded mode). It is nil for a table
// that carbond does not keep.
func Standard(table string) *Relation {
	col := func(name string, oid uint32) Column { return Column{Name: name, Type: oid} }
	key := func(name string, oid uint32) Column { return Column{Name: name, Type: oid, Key: true} }
	switch table {
	case Verra:
		return &Relation{Schema: "public", Name: Verra, Columns: []Column{
			col("id", OIDInt8), key("project_id", OIDText), col("project_name", OIDText),
			col("project_link", OIDText), col("project_summary", OIDText),
			col("registry_status", OIDText), col("country", OIDText), col("vintage", OIDInt4),
			col("supply", OIDFloat8), col("updated_at", OIDTimestamptz),
		}}
	case Carbonmark:
		return &Relation{Schema: "public", Name: Carbonmark, Columns: []Column{
			key("id", OIDText), col("project_id", OIDText), col("project_name", OIDText),
			col("vintage", OIDInt4), col("amount", OIDFloat8), col("updated_at", OIDTimestamptz),
		}}
	case Finance:
		return &Relation{Schema: "public", Name: Finance, Columns: []Column{
			key("ticker", OIDText), col("price", OIDFloat8), col("volume", OIDInt8),
			col("market_cap", OIDFloat8), col("change_percent", OIDFloat8), key("timestamp", OIDInt8),
		}}
	case News:
		return &Relation{Schema: "public", Name: News, Columns: []Column{
			key("guid", OIDText), col("title", OIDText), col("link", OIDText),
			col("published", OIDText), col("published_at", OIDTimestamptz),
			col("source", OIDText), col("summary", OIDText),
		}}
	}
	return nil
}
