package catalog

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"carbond/store/change"
)

// ErrAmbiguous says that nobody can tell any more which column is which.
var ErrAmbiguous = errors.New("columns were dropped and added at the same time")

// Known is what is known of the columns of a table at one place in the stream.
type Known struct {
	columns []Column // that rows have there, in order
	highest uint16   // no column of a higher number existed there, as far as is known
}

// KnownFrom returns what a look says.
func KnownFrom(all []Column) Known {
	return Known{columns: Visible(all), highest: uint16(len(all))}
}

// maxDoubt bounds the columns of which is not known whether they were there.
const maxDoubt = 12

// Resolve says which columns a description in the stream has. It tells names and
// types only, in the order of the columns' numbers. k is an earlier place in the
// stream, now a later look at the catalog, xid the transaction in which the
// description stands. Columns that are there both times were there in between;
// one that was dropped or added between may have been. Where the number of columns
// leaves that open, names, types and the transaction that dropped a column decide,
// or nothing does.
//
// A column that is called the same before and after bears that name, whatever it
// was called for a moment.
func (k Known) Resolve(sent []change.Column, now []Column, xid uint32) ([]change.Column, Known, error) {
	var best []Column
	least, tied := 0, false
	for _, chosen := range k.candidates(len(sent), now) {
		doubt := k.doubt(sent, now, chosen, xid)
		if best == nil || doubt < least {
			best, least, tied = chosen, doubt, false
		} else if doubt == least && !slices.EqualFunc(best, chosen, sameNumber) {
			tied = true
		}
	}
	if best == nil || tied {
		return nil, k, ErrAmbiguous
	}
	out := slices.Clone(sent)
	next := Known{columns: slices.Clone(best), highest: k.highest}
	for i, c := range best {
		out[i].Number = c.Number
		if c.Missing != nil {
			out[i].Missing = change.T(*c.Missing)
		}
		if before := find(k.columns, c.Number); before != nil && !c.Dropped && before.Name == c.Name {
			out[i].Name = c.Name
		}
		next.columns[i].Name, next.columns[i].Type = out[i].Name, sent[i].Type
		next.highest = max(next.highest, c.Number)
	}
	for i := range out { // a passing name may be that of another column
		if slices.ContainsFunc(out[:i], func(c change.Column) bool { return c.Name == out[i].Name }) {
			clash := i
			if out[i].Name != sent[i].Name {
				clash = slices.IndexFunc(out, func(c change.Column) bool { return c.Name == out[i].Name })
			}
			out[clash].Name += "_" + strconv.Itoa(int(out[clash].Number))
		}
	}
	return out, next, nil
}

func sameNumber(a, b Column) bool { return a.Number == b.Number }

func find(cols []Column, number uint16) *Column {
	if i := slices.IndexFunc(cols, func(c Column) bool { return c.Number == number }); i >= 0 {
		return &cols[i]
	}
	return nil
}

// candidates returns every set of n columns that may have been there.
func (k Known) candidates(n int, now []Column) (out [][]Column) {
	for highest := int(k.highest); highest <= max(int(k.highest), len(now)); highest++ {
		var sure, open []Column
		for _, c := range now {
			was, is := find(k.columns, c.Number) != nil, !c.Dropped && c.Published
			added := c.Number > k.highest
			switch {
			case int(c.Number) > highest:
			case is && (was || added):
				sure = append(sure, c)
			case is || was || added && c.Dropped:
				open = append(open, c)
			}
		}
		if len(open) > maxDoubt {
			return nil
		}
		for bits := range 1 << len(open) {
			chosen := slices.Clone(sure)
			for i, c := range open {
				if bits>>i&1 == 1 {
					chosen = append(chosen, c)
				}
			}
			if len(chosen) == n {
				slices.SortFunc(chosen, func(a, b Column) int { return int(a.Number) - int(b.Number) })
				out = append(out, chosen)
			}
		}
	}
	return out
}

// doubt counts what speaks against a set of columns.
func (k Known) doubt(sent []change.Column, now, chosen []Column, xid uint32) (n int) {
	for i, c := range chosen {
		before, name, kind := find(k.columns, c.Number), false, false
		if before != nil {
			name, kind = before.Name == sent[i].Name, before.Type == sent[i].Type
		}
		if !c.Dropped {
			name, kind = name || c.Name == sent[i].Name, kind || c.Type == sent[i].Type
		}
		if known := before != nil || !c.Dropped; known && !name {
			n++
		} else if known && !kind {
			n += 2
		}
	}
	for _, c := range now {
		if !c.Dropped || c.Number > k.highest && find(chosen, c.Number) == nil || c.Number <= k.highest && find(k.columns, c.Number) == nil {
			continue
		}
		by, err := strconv.ParseUint(c.XMin, 10, 32)
		if err != nil {
			continue
		}
		// Transactions are numbered in the order of their beginning, nearly that
		// of their end.
		switch order, there := int32(uint32(by)-xid), find(chosen, c.Number) != nil; {
		case order < 0 && there, order > 0 && !there:
			n++
		}
	}
	return n
}

// Describe gives the columns of a relation their numbers and what older rows have
// in them, as one look says.
func Describe(rel *change.Relation, all []Column) error {
	for i := range rel.Columns {
		j := slices.IndexFunc(all, func(c Column) bool { return !c.Dropped && c.Name == rel.Columns[i].Name })
		if j < 0 {
			return fmt.Errorf("column %q of %s.%s is not in the catalog", rel.Columns[i].Name, rel.Schema, rel.Name)
		}
		rel.Columns[i].Number = all[j].Number
		if all[j].Missing != nil {
			rel.Columns[i].Missing = change.T(*all[j].Missing)
		}
	}
	return nil
}
