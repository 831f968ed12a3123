package rpc

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	pb "carbond/proto/carbon"
	"carbond/rpc/internal/search"
	"carbond/rpc/rpcerr"
	"carbond/store/change"
)

// selection is which rows of a view a query asks for, and in which order.
type selection struct {
	filter string // by the field that the view has an index for, "" for all
	// rest is all else that was asked, as keys of the cache and page tokens have it.
	rest  string
	match func(row any) bool // nil for all
	order *order             // nil for that of the view
	// archive is set for all news, in place of the newest.
	archive *archive
}

// archive bounds news in time; zero times are no bound.
type archive struct{ since, until time.Time }

// key tells the selection from every other of the view. No text has a NUL.
func (s *selection) key() string {
	if s.rest == "" {
		return s.filter
	}
	return s.filter + "\x00" + s.rest
}

// selector makes a selection of the conditions of a query.
type selector struct {
	view *change.ViewDef
	selection
	tests []func(row any) bool
	err   error
}

func (s *selector) note(name, value string) {
	s.rest += name + "=" + strconv.Quote(value) + ";"
}

// field returns the place of a field of the view. A condition on one that the view
// does not have yet is an error of its name.
func (s *selector) field(condition, name string) int {
	i := slices.IndexFunc(s.view.Fields, func(f change.ViewField) bool { return f.Name == name })
	if i < 0 && s.err == nil {
		s.err = rpcerr.BadField(condition, "needs the column "+name+", which this version of carbond does not have")
	}
	return i
}

// text wants a field to be a text.
func (s *selector) text(condition, name, want string) {
	if want == "" {
		return
	}
	if err := rpcerr.CheckText(condition, want); err != nil && s.err == nil {
		s.err = err
	}
	s.note(condition, want)
	if i := s.field(condition, name); i >= 0 {
		s.tests = append(s.tests, func(row any) bool { return *s.view.Value(row, i).(*string) == want })
	}
}

// between wants a field to be a number in a range. A field that is NULL is in none.
func (s *selector) between(condition, name string, low, high float64) {
	if math.IsInf(low, -1) && math.IsInf(high, 1) {
		return
	}
	if (math.IsNaN(low) || math.IsNaN(high)) && s.err == nil {
		s.err = rpcerr.BadField(condition, "is not a number")
	}
	s.note(condition, fmt.Sprint(low, high))
	if i := s.field(condition, name); i >= 0 {
		s.tests = append(s.tests, func(row any) bool {
			n := s.number(row, i)
			return n >= low && n <= high
		})
	}
}

// number returns a numeric field, NaN for NULL.
func (s *selector) number(row any, i int) float64 {
	if s.view.Null(row).Has(i) {
		return math.NaN()
	}
	switch x := s.view.Value(row, i).(type) {
	case *float64:
		return *x
	case *int32:
		return float64(*x)
	case *int64:
		return float64(*x)
	}
	return math.NaN()
}

// words wants each word of a query in one of the fields that the view has.
func (s *selector) words(q string, names ...string) {
	if q == "" {
		return
	}
	if err := rpcerr.CheckText("q", q); err != nil && s.err == nil {
		s.err = err
	}
	s.note("q", q)
	words := search.Parse(q)
	var in []int
	for i := range s.view.Fields {
		if slices.Contains(names, s.view.Fields[i].Name) {
			in = append(in, i)
		}
	}
	s.tests = append(s.tests, func(row any) bool {
		texts := make([]string, 0, 8)
		for _, i := range in {
			texts = append(texts, *s.view.Value(row, i).(*string))
		}
		return words.In(texts...)
	})
}

// done returns the selection.
func (s *selector) done() (selection, error) {
	if len(s.tests) > 0 {
		tests := s.tests
		s.match = func(row any) bool {
			for _, t := range tests {
				if !t(row) {
					return false
				}
			}
			return true
		}
	}
	return s.selection, s.err
}

// selectionOf reads the conditions of a query of a list call.
func selectionOf(l list, q proto.Message) (selection, error) {
	s := &selector{view: l.view.Def()}
	switch q := q.(type) {
	case *pb.ProjectQuery:
		s.filter = q.Country
		s.project(q)
	case *pb.NewsQuery:
		s.filter = q.Source
		s.news(q)
	case *pb.FinanceQuery:
		s.filter = q.Ticker
	}
	if err := rpcerr.CheckText(s.view.Filter, s.filter); err != nil {
		return selection{}, err
	}
	if l.sql && s.rest != "" {
		return selection{}, rpcerr.BadField("the filter", "is not for NonStreaming calls, which have country, source and ticker alone")
	}
	return s.done()
}

func (s *selector) project(q *pb.ProjectQuery) {
	s.text("status", "registry_status", q.Status)
	s.text("methodology", "methodology", q.Methodology)
	s.text("type", "project_type", q.Type)
	s.text("registry", "registry", q.Registry)
	low, high := math.Inf(-1), math.Inf(1)
	if q.VintageMin != nil {
		low = float64(*q.VintageMin)
	}
	if q.VintageMax != nil {
		high = float64(*q.VintageMax)
	}
	s.between("vintage_min", "vintage", low, high)
	if q.Vintage != nil {
		s.between("vintage", "vintage", float64(*q.Vintage), float64(*q.Vintage))
	}
	if q.MinSupply != nil {
		s.between("min_supply", "supply", *q.MinSupply, math.Inf(1))
	}
	s.words(q.Q, "project_id", "project_name", "country", "methodology")
	if q.Order != "" {
		s.note("order", q.Order)
		s.sort(q.Order)
	}
}

func (s *selector) news(q *pb.NewsQuery) {
	s.words(q.Q, "title", "summary", "source")
	if !q.Archive {
		if q.Since != "" || q.Until != "" {
			s.err = rpcerr.BadField("since", "and until need archive")
		}
		return
	}
	s.note("archive", q.Since+" "+q.Until)
	s.archive = &archive{}
	for _, bound := range []struct {
		field, text string
		to          *time.Time
	}{{"since", q.Since, &s.archive.since}, {"until", q.Until, &s.archive.until}} {
		if bound.text == "" {
			continue
		}
		t, err := time.Parse(time.RFC3339Nano, bound.text)
		if err != nil && s.err == nil {
			s.err = rpcerr.BadField(bound.field, "is not a time like 2024-01-31T12:00:00Z")
		}
		*bound.to = t
	}
}

// order sorts rows by one field, and those that are equal by the key of the view.
type order struct {
	view  *change.ViewDef
	field int
	down  bool
}

// sort reads an order: the name of a field, with - in front for the largest first.
func (s *selector) sort(text string) {
	name, down := strings.CutPrefix(text, "-")
	i := slices.IndexFunc(s.view.Fields, func(f change.ViewField) bool { return f.Name == name })
	if i < 0 {
		if s.err == nil {
			s.err = rpcerr.BadField("order", "is not one of "+strings.Join(s.view.Names(), ", ")+", with - in front for the largest first")
		}
		return
	}
	s.order = &order{s.view, i, down}
}

// key returns where a row stands, as a text that sorts like the rows: NULL last, NaN
// above all numbers.
func (o *order) key(row any) string {
	id := o.view.Text(row, o.view.Key)
	if o.view.Null(row).Has(o.field) {
		return "\x01" + id
	}
	b := append(make([]byte, 0, 16+len(id)), 0)
	switch x := o.view.Value(row, o.field).(type) {
	case *string:
		b = append(append(b, *x...), 0)
	case *bool:
		if *x {
			b = append(b, 1)
		} else {
			b = append(b, 0)
		}
	case *int32:
		b = appendOrdered(b, float64(*x))
	case *int64:
		b = binary.BigEndian.AppendUint64(b, uint64(*x)^1<<63)
	case *float64:
		b = appendOrdered(b, *x)
	}
	if o.down {
		for i := 1; i < len(b); i++ {
			b[i] = ^b[i]
		}
	}
	return string(append(b, id...))
}

func appendOrdered(b []byte, f float64) []byte {
	if f != f {
		f = math.NaN() // one of all
	}
	u := math.Float64bits(f + 0) // -0 is 0
	if u>>63 != 0 {
		u = ^u
	} else {
		u |= 1 << 63
	}
	return binary.BigEndian.AppendUint64(b, u)
}
