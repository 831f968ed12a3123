package view

import (
	"slices"
	"strings"

	"carbond/store/change"
)

// rowReader makes rows of a view from the fields of table rows.
type rowReader[R any] struct {
	view *change.ViewOf[R]
	from [][]source // for each value
}

// source is a field of one of the rows that are joined.
type source struct{ row, field int }

func readerOf[R any](v *change.ViewOf[R]) rowReader[R] {
	r := rowReader[R]{v, make([][]source, len(v.Values))}
	for i, f := range v.Fields {
		for _, from := range f.From {
			name, column, _ := strings.Cut(from, ".")
			t, _ := TableOf(name)
			r.from[i] = append(r.from[i], source{slices.Index(v.Tables, name), fieldOf(t, column)})
		}
	}
	return r
}

var (
	projectRows = readerOf(&change.Projects)
	detailRows  = readerOf(&change.ProjectDetails)
	vintageRows = readerOf(&change.VintageSupplies)
	newsRows    = readerOf(&change.NewsItems)
	quoteRows   = readerOf(&change.Quotes)
)

// of reads the view row that a row of the view's only table is.
func (r *rowReader[R]) of(out *R, e Entry) {
	f := e.Schema.read(e.Row)
	r.read(out, &f)
}

// read sets what the fields say. joined are the fields of the rows of the view's
// tables, in their order; a row that is not there may be left out at the end.
func (r *rowReader[R]) read(out *R, joined ...*fields) {
	nulls := r.view.Nulls(out)
	*nulls = 0
	for i, from := range r.from {
		if r.view.Fields[i].Known {
			has := joined[from[1].row][from[1].field].Kind == change.Text
			if !has {
				nulls.Set(i)
			}
			*r.view.Values[i](out).(*bool) = has && joined[from[0].row][from[0].field].Kind == change.Text
			continue
		}
		v := &null
		for _, s := range from {
			if s.row < len(joined) {
				if v = &joined[s.row][s.field]; v.Kind == change.Text {
					break
				}
			}
		}
		if v.Kind != change.Text && len(from) > 0 {
			nulls.Set(i)
		}
		switch p := r.view.Values[i](out).(type) {
		case *string:
			*p = v.Text
		case *float64:
			*p = number(*v)
		case *int32:
			*p = integer4(*v)
		case *int64:
			*p = integer(*v)
		case *bool:
			*p = truth(*v)
		}
	}
}

// null is what a field without a source has. Nobody changes it.
var null change.Value
