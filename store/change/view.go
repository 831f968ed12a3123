package change

import (
	"fmt"
	"iter"
)

// View names one of the three materialised views.
type View string

// The views.
const (
	ViewProjects View = "projects"
	ViewNews     View = "news"
	ViewFinance  View = "finance"
)

// defs are the views in display order.
var defs = [...]*ViewDef{&Projects.ViewDef, &NewsItems.ViewDef, &Quotes.ViewDef}

// ViewCount is the number of views.
const ViewCount = len(defs)

// Views lists the views in display order.
func Views() []View {
	names := make([]View, 0, ViewCount)
	for _, d := range defs {
		names = append(names, d.Name)
	}
	return names
}

// Selection is the rows of a view that a filter selects, "" for all; the zero
// Selection is all views.
type Selection struct {
	View   View
	Filter string
}

// Def returns the definition of a view, nil for an unknown name.
func (v View) Def() *ViewDef {
	for _, d := range defs {
		if d.Name == v {
			return d
		}
	}
	return nil
}

// ViewDef says what a view is, whatever the Go type of its rows: everything that
// stores, encodes, queries or prints rows follows from it and from nothing else.
// Nobody changes a definition.
type ViewDef struct {
	Name   View
	Fields []ViewField
	Tables []string // that it reads; the rows of the first are its rows, or those of which it picks
	From   string   // FROM of its SQL, in which each table goes by its own name
	Key    string   // name of the field that no two rows have in common
	Filter string   // name of the field by which a query may select rows
	Latest bool     // of the rows of one key, it has the first by Order alone
	Order  string   // ORDER BY of its SQL
	Limit  int      // rows that it has for each filter, 0 for all
	Many   []Many   // what a row has any number of

	value func(row any, field int) any
	nulls func(row any) *Nulls
	fresh func() any
	clone func(row any) any
}

// Many is a field of a row that is any number of rows of another definition.
type Many struct {
	Name   string // in JSON
	Number int32  // of the repeated field in the protobuf message of a row
	View   *ViewDef
	Rows   func(row any) iter.Seq[any] // pointers, which hold until the next row
}

// Nulls says which fields of a row are NULL in the source, by their place in the
// definition of the view. Their values are "", 0 or false.
type Nulls uint64

// Has reports whether a field is NULL.
func (n Nulls) Has(field int) bool { return n>>field&1 != 0 }

// Set makes a field NULL.
func (n *Nulls) Set(field int) { *n |= 1 << field }

// Value returns a pointer to the value of a field in a row of the view, which is
// given as a pointer: *string, *int32, *int64, *float64 or *bool.
func (d *ViewDef) Value(row any, field int) any { return d.value(row, field) }

// Null returns which fields of a row of the view, a pointer, are NULL.
func (d *ViewDef) Null(row any) Nulls { return *d.nulls(row) }

// SetNull says which fields of a row of the view, a pointer, are NULL.
func (d *ViewDef) SetNull(row any, nulls Nulls) { *d.nulls(row) = nulls }

// Text returns the value of the named field of a row, which is a text.
func (d *ViewDef) Text(row any, name string) string {
	for i := range d.Fields {
		if d.Fields[i].Name == name {
			return *d.value(row, i).(*string)
		}
	}
	return ""
}

// Clone returns a pointer to a copy of a row of the view, which is given as one.
func (d *ViewDef) Clone(row any) any { return d.clone(row) }

// NewRow returns a pointer to an empty row of the view.
func (d *ViewDef) NewRow() any { return d.fresh() }

// ViewField is one column of a view.
type ViewField struct {
	Name   string // in SQL, JSON, CSV and on the terminal
	Number int32  // of the field in the protobuf message of a row
	Type   uint32 // OID of the type that the SQL gives, which is that of the table column
	// From are the columns that it is read from, as "table.column": the first
	// that is not NULL. It is empty for what no single column says.
	From []string
	// Known is set for a truth value that says whether the first column of From is not
	// NULL. It is NULL itself where the second one is.
	Known bool
	// Null is set for a number that the API tells apart from NULL.
	Null bool
}

// ViewOf is the definition of a view whose rows are Rs.
type ViewOf[R any] struct {
	ViewDef
	// Values yield, in the order of Fields, a pointer to the value in a row:
	// *string, *int32, *int64, *float64 or *bool.
	Values []func(*R) any
	// Nulls yields where a row says which of its fields are NULL.
	Nulls func(*R) *Nulls
}

// Field returns the named field, nil for none.
func (d *ViewDef) Field(name string) *ViewField {
	for i := range d.Fields {
		if d.Fields[i].Name == name {
			return &d.Fields[i]
		}
	}
	return nil
}

// Names lists the fields.
func (d *ViewDef) Names() []string {
	names := make([]string, len(d.Fields))
	for i := range d.Fields {
		names[i] = d.Fields[i].Name
	}
	return names
}

// Same reports whether two rows are equal; NaN is equal to itself.
func (v *ViewOf[R]) Same(a, b *R) bool {
	if *v.Nulls(a) != *v.Nulls(b) {
		return false
	}
	for _, value := range v.Values {
		switch x := value(a).(type) {
		case *string:
			if *x != *value(b).(*string) {
				return false
			}
		case *int32:
			if *x != *value(b).(*int32) {
				return false
			}
		case *int64:
			if *x != *value(b).(*int64) {
				return false
			}
		case *float64:
			if y := *value(b).(*float64); *x != y && (*x == *x || y == y) {
				return false
			}
		case *bool:
			if *x != *value(b).(*bool) {
				return false
			}
		}
	}
	return true
}

// viewField is a ViewField with the place of its value in a row.
type viewField[R any] struct {
	ViewField
	value func(*R) any
}

func field[R any](name string, number int32, value func(*R) any, from ...string) viewField[R] {
	f := viewField[R]{ViewField{Name: name, Number: number, From: from}, value}
	switch p := value(new(R)).(type) {
	case *string:
		f.Type = OIDText
	case *int32:
		f.Type = OIDInt4
	case *int64:
		f.Type = OIDInt8
	case *float64:
		f.Type = OIDFloat8
	case *bool:
		f.Type = OIDBool
	default:
		panic(fmt.Sprintf("change: field %s is a %T", name, p))
	}
	return f
}

// known is a field that says whether a column is not NULL, of rows that have another.
func known[R any](name string, number int32, value func(*R) any, column, has string) viewField[R] {
	f := field(name, number, value, column, has)
	f.Known, f.Null = true, true
	return f
}

// nullable is a number that the API tells apart from NULL.
func nullable[R any](name string, number int32, value func(*R) any, column string) viewField[R] {
	f := field(name, number, value, column)
	f.Null = true
	return f
}

func viewOf[R any](d ViewDef, nulls func(*R) *Nulls, fields ...viewField[R]) ViewOf[R] {
	v := ViewOf[R]{ViewDef: d, Nulls: nulls}
	for _, f := range fields {
		v.Fields, v.Values = append(v.Fields, f.ViewField), append(v.Values, f.value)
	}
	values := v.Values
	v.value = func(row any, field int) any { return values[field](row.(*R)) }
	v.nulls = func(row any) *Nulls { return nulls(row.(*R)) }
	v.fresh = func() any { return new(R) }
	v.clone = func(row any) any {
		c := *row.(*R)
		return &c
	}
	return v
}
