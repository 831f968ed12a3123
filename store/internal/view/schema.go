package view

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"

	"carbond/store/change"
)

// Table numbers the source tables.
type Table int

// The tables.
const (
	Verra Table = iota
	Carbonmark
	Finance
	News
	Vintages
	TableCount

	// Plain is no table of a view: the state has nothing of it.
	Plain Table = -1
)

// TableOf returns the number of a source table.
func TableOf(name string) (Table, bool) {
	for i, t := range change.Tables() {
		if t == name {
			return Table(i), true
		}
	}
	return 0, false
}

// readColumns are the columns of each table that the rows of the views or their
// rules read. The place of a column in them is its field. When a project was
// updated decides nothing: its id is its key.
var readColumns = func() (out [TableCount][]change.TableColumn) {
	for t, name := range change.Tables() {
		for _, c := range change.TableOf(name).Columns {
			if !c.Unread && (t != int(Verra) || c.Name != "updated_at") {
				out[t] = append(out[t], c)
			}
		}
		if len(out[t]) > maxFields {
			panic(fmt.Sprintf("view: %d columns of %s are read: raise maxFields", len(out[t]), name))
		}
	}
	return out
}()

// fieldOf returns the field of a column that the views read.
func fieldOf(t Table, column string) int {
	i := slices.IndexFunc(readColumns[t], func(c change.TableColumn) bool { return c.Name == column })
	if i < 0 {
		panic(fmt.Sprintf("view: column %s of %s is not read", column, change.Tables()[t]))
	}
	return i
}

// The fields that the rules of the views name: keys, joins, filters and order.
var (
	vProjectID = fieldOf(Verra, "project_id")
	vCountry   = fieldOf(Verra, "country")

	cID        = fieldOf(Carbonmark, "id")
	cProjectID = fieldOf(Carbonmark, "project_id")
	cUpdated   = fieldOf(Carbonmark, "updated_at")

	fTicker    = fieldOf(Finance, "ticker")
	fTimestamp = fieldOf(Finance, "timestamp")

	nGUID        = fieldOf(News, "guid")
	nSource      = fieldOf(News, "source")
	nPublishedAt = fieldOf(News, "published_at")

	sProjectID = fieldOf(Vintages, "project_id")
	sVintage   = fieldOf(Vintages, "vintage")

	keyFields    = [TableCount]int{Verra: vProjectID, Carbonmark: cID, Finance: fTicker, News: nGUID, Vintages: sProjectID}
	numberFields = [TableCount]int{Verra: -1, Carbonmark: -1, Finance: fTimestamp, News: -1, Vintages: sVintage} // behind the text of a key
	filterFields = [TableCount]int{Verra: vCountry, Carbonmark: -1, Finance: fTicker, News: nSource, Vintages: -1}
)

// maxFields is the largest number of columns that the views read of one table.
const maxFields = 18

// fields are the values that the views read of one row. A column that the
// relation lacks is NULL.
type fields [maxFields]change.Value

// Schema is a relation with the places of the fields in it. Rows point to their
// Schema, so a table may hold rows of several versions.
type Schema struct {
	Relation *change.Relation
	Number   uint32 // in the changelog's dictionary
	Table    Table
	Topic    string // of the table
	key      int    // column that is the key, or begins it
	filter   int    // column by which a query may select rows of the table, -1 for none
	field    []int8 // column -> field, -1 for columns that the views do not read
	cast     []cast // column -> what SQL makes of its values, nil when nothing is cast
	strict   bool   // a cast may fail in SQL
}

// NewSchema prepares a relation. It fails for a table that carbond does not keep
// and for one without its key columns.
func NewSchema(r *change.Relation, number uint32) (*Schema, error) {
	if r.Plain {
		return &Schema{Relation: r, Number: number, Table: Plain, Topic: r.Topic()}, nil
	}
	t, ok := TableOf(r.Name)
	if !ok {
		return nil, fmt.Errorf("table %s.%s is not one of carbond's", r.Schema, r.Name)
	}
	s := &Schema{Relation: r, Number: number, Table: t, Topic: r.Topic(), filter: -1, field: make([]int8, len(r.Columns))}
	for i := range s.field {
		s.field[i] = -1
	}
	for f, column := range readColumns[t] {
		i := r.Index(column.Name)
		if i < 0 {
			continue
		}
		s.field[i] = int8(f)
		if f == keyFields[t] {
			s.key = i
		}
		if f == filterFields[t] {
			s.filter = i
		}
		c := castOf(r.Columns[i].Type, column.Type)
		if c == asIs {
			continue
		}
		if f == numberFields[t] {
			c = exact
		}
		if s.cast == nil {
			s.cast = make([]cast, len(r.Columns))
		}
		s.cast[i] = c
		s.strict = s.strict || c.strict()
	}
	for _, k := range change.KeyColumns(r.Name) {
		if r.Index(k) < 0 {
			return nil, &change.UnfitError{
				Message: fmt.Sprintf("table %s.%s has no column %q, which is its key", r.Schema, r.Name, k),
				Remedy:  "restore the column, or run `carbond migrate`",
			}
		}
	}
	return s, nil
}

func (s *Schema) read(r change.Row) (f fields) {
	for i, v := range r.All() {
		if i >= len(s.field) {
			break
		}
		if n := s.field[i]; n >= 0 {
			if s.cast != nil && s.cast[i] != asIs {
				v, _ = s.cast[i].apply(v)
			}
			f[n] = v
		}
	}
	return f
}

// value returns what the views read of a column.
func (s *Schema) value(r change.Row, column int) change.Value {
	v := r.Value(column)
	if s.cast != nil && s.cast[column] != asIs {
		v, _ = s.cast[column].apply(v)
	}
	return v
}

// Matters reports whether an answer for a selection may differ by a row of the table.
func (s *Schema) Matters(r change.Row, of change.Selection) bool {
	switch {
	case s.Table == Plain:
		return false
	case of.View == "": // all views
		return true
	case viewOf[s.Table] == noView || of.View != views[viewOf[s.Table]]:
		return false
	case of.Filter == "" || filterFields[s.Table] < 0:
		return true
	}
	return s.filter >= 0 && r != "" && s.value(r, s.filter).Text == of.Filter
}

// unfit returns the first column of a row whose value SQL cannot cast, or -1.
func (s *Schema) unfit(r change.Row) int {
	if !s.strict {
		return -1
	}
	for i, v := range r.All() {
		if i < len(s.cast) && s.cast[i] != asIs {
			if _, ok := s.cast[i].apply(v); !ok {
				return i
			}
		}
	}
	return -1
}

// Key returns the primary key of a row in the form that sorts as the table's
// order: the text itself, or the text, NUL and the big-endian number with its sign
// flipped. The text shares memory with the row.
func (s *Schema) Key(r change.Row) (string, error) {
	v := s.value(r, s.key)
	if v.Kind != change.Text {
		return "", s.unkeyed(readColumns[s.Table][keyFields[s.Table]].Name, "NULL")
	}
	number := numberFields[s.Table]
	if number < 0 {
		return v.Text, nil
	}
	f, column := s.read(r), readColumns[s.Table][number].Name
	if f[number].Kind != change.Text {
		return "", s.unkeyed(column, "NULL")
	}
	n, err := strconv.ParseInt(f[number].Text, 10, 64)
	if err != nil {
		return "", s.unkeyed(column, fmt.Sprintf("%.40q, which is no whole number of a bigint,", f[number].Text))
	}
	return numberedKey(v.Text, n), nil
}

// unkeyed says that a row cannot be told from others.
func (s *Schema) unkeyed(column, value string) error {
	r := s.Relation
	remedy := fmt.Sprintf("delete or correct the row and keep such rows away: ALTER TABLE %s.%s ALTER COLUMN %s SET NOT NULL", r.Schema, r.Name, column)
	if value != "NULL" {
		remedy = fmt.Sprintf("delete or correct the row and keep such rows away: ALTER TABLE %s.%s ALTER COLUMN %s TYPE bigint", r.Schema, r.Name, column)
	}
	return &change.UnfitError{Message: fmt.Sprintf("a row of %s.%s has %s in key column %q", r.Schema, r.Name, value, column), Remedy: remedy}
}

// KeyText returns a key of the table for people.
func (s *Schema) KeyText(key string) string {
	if n := len(key) - 9; numberFields[s.Table] >= 0 && n >= 0 {
		return fmt.Sprintf("%.100q, %d", key[:n], int64(binary.BigEndian.Uint64([]byte(key[n+1:]))^1<<63))
	}
	return fmt.Sprintf("%.100q", key)
}

func numberedKey(text string, n int64) string {
	k := make([]byte, 0, len(text)+9)
	k = append(append(k, text...), 0)
	return string(binary.BigEndian.AppendUint64(k, uint64(n)^1<<63))
}

// textOf cuts the NUL and the eight bytes of the number off such a key.
func textOf(key string) string { return key[:max(0, len(key)-9)] }
