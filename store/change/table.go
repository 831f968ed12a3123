package change

import "strings"

// Names of the source tables, in the schema "public".
const (
	Verra      = "verra"
	Carbonmark = "carbonmark"
	Finance    = "finance"
	News       = "news"
	Vintages   = "vintages"
)

// Table describes a source table as carbond's own migrations make it.
type Table struct {
	Name    string
	Columns []TableColumn
	// Added is set for a table that came later than carbond. A database or a data
	// directory of before lacks it, and it is copied beside the stream.
	Added bool
}

// TableColumn describes one column of a Table.
type TableColumn struct {
	Name   string
	Type   uint32 // OID of the Postgres type
	Key    bool   // part of the primary key
	Serial bool   // numbered by Postgres, for people
	Unread bool   // no view reads it: it is for consumers of the changelog
	// Added is set for a column that came later than its table. A database or a
	// data directory of before lacks it, and reads as NULL there.
	Added bool
}

// SQLType returns the type as CREATE TABLE names it.
func (c *TableColumn) SQLType() string {
	if c.Serial {
		return "bigserial"
	}
	return typeNames[c.Type]
}

// typeNames are the SQL names of the types that the tables use.
var typeNames = map[uint32]string{
	OIDBool: "boolean", OIDInt8: "bigint", OIDInt4: "int", OIDText: "text",
	OIDFloat8: "double precision", OIDTimestamptz: "timestamptz", OIDDate: "date",
}

// tables are the source tables in the order in which they are created, copied
// and listed. The columns are in the order of CREATE TABLE.
var tables = []Table{
	{Name: Verra, Columns: []TableColumn{
		{Name: "id", Type: OIDInt8, Serial: true, Unread: true},
		{Name: "project_id", Type: OIDText, Key: true},
		{Name: "project_name", Type: OIDText},
		{Name: "project_link", Type: OIDText},
		{Name: "project_summary", Type: OIDText},
		{Name: "registry_status", Type: OIDText},
		{Name: "country", Type: OIDText},
		{Name: "vintage", Type: OIDInt4},
		{Name: "supply", Type: OIDFloat8},
		{Name: "updated_at", Type: OIDTimestamptz},
		{Name: "registry", Type: OIDText, Added: true},
		{Name: "methodology", Type: OIDText, Added: true},
		{Name: "project_type", Type: OIDText, Added: true},
		{Name: "region", Type: OIDText, Added: true},
		{Name: "proponent", Type: OIDText, Added: true},
		{Name: "crediting_start", Type: OIDDate, Added: true},
		{Name: "crediting_end", Type: OIDDate, Added: true},
		{Name: "annual_estimate", Type: OIDFloat8, Added: true},
		{Name: "latitude", Type: OIDFloat8, Added: true},
		{Name: "longitude", Type: OIDFloat8, Added: true},
		{Name: "first_issued", Type: OIDDate, Unread: true, Added: true},
	}},
	{Name: Carbonmark, Columns: []TableColumn{
		{Name: "id", Type: OIDText, Key: true},
		{Name: "project_id", Type: OIDText},
		{Name: "project_name", Type: OIDText},
		{Name: "vintage", Type: OIDInt4, Unread: true},
		{Name: "amount", Type: OIDFloat8, Unread: true},
		{Name: "updated_at", Type: OIDTimestamptz},
		{Name: "price_usd", Type: OIDFloat8, Added: true},
		{Name: "listed", Type: OIDFloat8, Unread: true, Added: true},
	}},
	{Name: Finance, Columns: []TableColumn{
		{Name: "ticker", Type: OIDText, Key: true},
		{Name: "price", Type: OIDFloat8},
		{Name: "volume", Type: OIDInt8},
		{Name: "market_cap", Type: OIDFloat8},
		{Name: "change_percent", Type: OIDFloat8},
		{Name: "timestamp", Type: OIDInt8, Key: true},
		{Name: "currency", Type: OIDText, Added: true},
	}},
	{Name: News, Columns: []TableColumn{
		{Name: "guid", Type: OIDText, Key: true},
		{Name: "title", Type: OIDText},
		{Name: "link", Type: OIDText},
		{Name: "published", Type: OIDText},
		{Name: "published_at", Type: OIDTimestamptz},
		{Name: "source", Type: OIDText},
		{Name: "summary", Type: OIDText},
		{Name: "published_estimated", Type: OIDBool, Added: true},
	}},
	{Name: Vintages, Added: true, Columns: []TableColumn{
		{Name: "project_id", Type: OIDText, Key: true},
		{Name: "vintage", Type: OIDInt4, Key: true},
		{Name: "issued", Type: OIDFloat8},
		{Name: "retired", Type: OIDFloat8},
		{Name: "cancelled", Type: OIDFloat8},
		{Name: "available", Type: OIDFloat8},
		{Name: "updated_at", Type: OIDTimestamptz, Unread: true},
	}},
}

// TableOf returns the description of a source table, nil for a table that
// carbond does not keep. Callers do not change it.
func TableOf(name string) *Table {
	for i := range tables {
		if tables[i].Name == name {
			return &tables[i]
		}
	}
	return nil
}

// Column returns the description of the named column, nil for none of ours.
func (t *Table) Column(name string) *TableColumn {
	if t == nil {
		return nil
	}
	for i := range t.Columns {
		if t.Columns[i].Name == name {
			return &t.Columns[i]
		}
	}
	return nil
}

// Tables lists the source tables in the order in which they are created,
// copied and listed.
func Tables() []string {
	names := make([]string, len(tables))
	for i := range tables {
		names[i] = tables[i].Name
	}
	return names
}

// TopicName returns the changelog topic of a table: "carbon.public.<table>".
func TopicName(table string) string { return "carbon.public." + table }

// PlainTopic returns the topic of a table that no view reads:
// "carbon.<schema>.<table>", with _ in the place of what a name of a topic cannot
// have.
func PlainTopic(schema, table string) string {
	return "carbon." + strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_', c == '-':
			return c
		}
		return '_'
	}, schema+"."+table)
}

// KeyColumns returns the primary-key columns of a table in order, or nil for a
// table that carbond does not keep.
func KeyColumns(table string) (names []string) {
	if t := TableOf(table); t != nil {
		for i := range t.Columns {
			if t.Columns[i].Key {
				names = append(names, t.Columns[i].Name)
			}
		}
	}
	return names
}

// Standard returns the Relation of a table as carbond's own migrations create
// it, for writers without a Postgres (embedded mode). It is nil for a table
// that carbond does not keep.
func Standard(table string) *Relation {
	t := TableOf(table)
	if t == nil {
		return nil
	}
	r := &Relation{Schema: "public", Name: t.Name, Columns: make([]Column, len(t.Columns))}
	for i, c := range t.Columns {
		r.Columns[i] = Column{Name: c.Name, Type: c.Type, Key: c.Key}
	}
	return r
}
