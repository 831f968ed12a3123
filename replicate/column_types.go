package replicate

import (
	"fmt"
	"slices"

	"carbond/store/change"
)

// columnType is what the catalog says of the type of one column.
type columnType struct {
	name     string // as format_type prints it
	category string // pg_type.typcategory; a domain has that of its base type
}

// category returns the class of types, in the letters of pg_type.typcategory,
// from which the queries of the views can cast to a standard type.
func category(oid uint32) (letter, words string) {
	switch oid {
	case change.OIDInt4, change.OIDInt8, change.OIDFloat8:
		return "N", "a number"
	case change.OIDTimestamptz:
		return "D", "a date or a time"
	}
	return "S", "text"
}

// checkTypes warns of columns whose type the queries of the views cannot cast.
// The stream brings every type as text, so that only calls that run SQL fail,
// with one exception: rows of finance are ordered by a number.
func (t *tableInfo) checkTypes(opt *Options) []Finding {
	var out []Finding
	for _, want := range change.Standard(t.name).Columns {
		i := slices.Index(t.columns, want.Name)
		letter, words := category(want.Type)
		if i < 0 || unread(t.name, want.Name) || t.types[i].category == letter {
			continue
		}
		column, sqlType := ident(want.Name), standardType(t.name, want.Name)
		f := repairable(KindColumnTypes, false,
			fmt.Sprintf("column %s of %s.%s is %s, not %s: the NonStreaming calls and verify fail", want.Name, opt.Schema, t.name, t.types[i].name, words),
			"it rewrites the rows: do it before the first copy, or with postgres.on_gap: resnapshot",
			fmt.Sprintf("ALTER TABLE %s ALTER COLUMN %s TYPE %s USING %s::%s", ident(opt.Schema, t.name), column, sqlType, seconds(column, t.types[i].category, letter), sqlType))
		// Digits in a text order rows as well as a number does.
		f.Warning = letter == "S" || t.types[i].category == "S" || !slices.Contains(change.KeyColumns(t.name), want.Name)
		out = append(out, f)
	}
	return out
}

// seconds turns times into numbers and back, between which there is no cast. The
// unit is that of finance.timestamp, seconds since 1970.
func seconds(column, from, to string) string {
	switch from + to {
	case "DN":
		return "extract(epoch FROM " + column + ")"
	case "ND":
		return "to_timestamp(" + column + ")"
	}
	return column
}

// unread reports whether no view reads a standard column: verra.id is a number
// for humans, and an offer's vintage and amount are for consumers of the
// changelog.
func unread(table, column string) bool {
	switch table {
	case change.Verra:
		return column == "id"
	case change.Carbonmark:
		return column == "vintage" || column == "amount"
	}
	return false
}
