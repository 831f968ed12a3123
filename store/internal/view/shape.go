package view

import (
	"encoding/binary"
	"fmt"
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
	tableCount
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

// Fields of each table that the views read, in the order of a fields array.
var fieldNames = [tableCount][]string{
	Verra:      {"project_id", "project_name", "registry_status", "country", "vintage", "supply", "project_link", "project_summary"},
	Carbonmark: {"id", "project_id", "project_name", "updated_at"},
	Finance:    {"ticker", "timestamp", "price", "volume", "market_cap", "change_percent"},
	News:       {"guid", "title", "link", "published", "source", "summary", "published_at"},
}

// Indexes into a fields array.
const (
	vProjectID = iota
	vName
	vStatus
	vCountry
	vVintage
	vSupply
	vLink
	vSummary
)

const (
	cID = iota
	cProjectID
	cName
	cUpdated
)

const (
	fTicker = iota
	fTimestamp
	fPrice
	fVolume
	fMarketCap
	fChange
)

const (
	nGUID = iota
	nTitle
	nLink
	nPublished
	nSource
	nSummary
	nPublishedAt
)

const maxFields = 8

// fields are the values that the views read of one row. A column that the
// relation lacks is NULL.
type fields [maxFields]change.Value

// Shape is a relation with the places of the fields in it. Rows point to their
// Shape, so a table may hold rows of several shapes.
type Shape struct {
	Relation *change.Relation
	Number   uint32 // in the changelog's dictionary
	Table    Table
	field    []int8 // column -> field, -1 for columns that the views do not read
	cast     bool   // some column has another text once SQL has cast it
	missing  []string
}

// NewShape prepares a relation. It fails for a table that carbond does not keep
// and for one without its key columns.
func NewShape(r *change.Relation, number uint32) (*Shape, error) {
	t, ok := TableOf(r.Name)
	if !ok {
		return nil, fmt.Errorf("table %s.%s is not one of carbond's", r.Schema, r.Name)
	}
	s := &Shape{Relation: r, Number: number, Table: t, field: make([]int8, len(r.Columns))}
	for i := range s.field {
		s.field[i] = -1
	}
	for f, name := range fieldNames[t] {
		i := r.Index(name)
		if i < 0 {
			s.missing = append(s.missing, name)
			continue
		}
		s.field[i] = int8(f)
		s.cast = s.cast || casts(r.Columns[i].Type)
	}
	for _, k := range change.KeyColumns(r.Name) {
		if r.Index(k) < 0 {
			return nil, fmt.Errorf("table %s.%s has no column %q, which is its key; restore the column, or run `carbond migrate`", r.Schema, r.Name, k)
		}
	}
	return s, nil
}

// Missing lists the columns that the views read and the relation lacks.
func (s *Shape) Missing() []string { return s.missing }

func (s *Shape) read(r change.Row) (f fields) {
	for i, v := range r.All() {
		if i >= len(s.field) {
			break
		}
		if n := s.field[i]; n >= 0 {
			if s.cast {
				v = cast(v, s.Relation.Columns[i].Type)
			}
			f[n] = v
		}
	}
	return f
}

// Key returns the primary key of a row in the form that sorts as the table's
// order: the text itself, or ticker, NUL and the big-endian timestamp with its
// sign flipped. The text shares memory with the row.
func (s *Shape) Key(r change.Row) (string, error) {
	f := s.read(r)
	if f[0].Kind != change.Text {
		return "", fmt.Errorf("row of %s.%s has no value in key column %q", s.Relation.Schema, s.Relation.Name, fieldNames[s.Table][0])
	}
	if s.Table != Finance {
		return f[0].Text, nil
	}
	ts, err := strconv.ParseInt(f[fTimestamp].Text, 10, 64)
	if err != nil {
		return "", fmt.Errorf("row of %s.%s has %q in key column \"timestamp\", want a whole number", s.Relation.Schema, s.Relation.Name, f[fTimestamp].Text)
	}
	return financeKey(f[fTicker].Text, ts), nil
}

func financeKey(ticker string, ts int64) string {
	k := make([]byte, 0, len(ticker)+9)
	k = append(append(k, ticker...), 0)
	return string(binary.BigEndian.AppendUint64(k, uint64(ts)^1<<63))
}
