package store_test

import (
	"errors"
	"slices"
	"testing"

	"carbond/store"
	"carbond/store/change"
)

// A long value that the source does not send again is the one that its column
// had under an earlier name, but not the one of a column that was dropped.
func TestUnchangedValueOfRenamedColumn(t *testing.T) {
	std := change.Standard(change.Carbonmark).Columns[:6]
	rel := func(names ...string) *change.Relation {
		r := &change.Relation{Schema: "public", Name: change.Carbonmark, Columns: slices.Clone(std)}
		for _, n := range names {
			r.Columns = append(r.Columns, change.Column{Name: n, Type: change.OIDText})
		}
		return r
	}
	base := []change.Value{change.T("1"), {}, {}, {}, {}, {}}
	row := func(extra ...change.Value) change.Row { return change.NewRow(append(slices.Clone(base), extra...)...) }
	unchanged := change.Value{Kind: change.Unchanged}
	middle := rel("a", "b")
	middle.Columns[2].Name = "name_of_project"
	for name, tt := range map[string]struct {
		shapes []*change.Relation // after the first, which has a and b
		sent   change.Row
		want   []change.Value // nil: nobody can know, and NULL would be wrong
	}{
		"last":             {[]*change.Relation{rel("a", "c")}, row(unchanged, unchanged), []change.Value{change.T("A"), change.T("B")}},
		"both":             {[]*change.Relation{rel("x", "y")}, row(unchanged, unchanged), []change.Value{change.T("A"), change.T("B")}},
		"twice":            {[]*change.Relation{rel("a", "c"), rel("a", "d")}, row(unchanged, unchanged), []change.Value{change.T("A"), change.T("B")}},
		"away and back":    {[]*change.Relation{rel("a", "c"), rel("a", "b")}, row(unchanged, unchanged), []change.Value{change.T("A"), change.T("B")}},
		"one of the view":  {[]*change.Relation{middle}, row(unchanged, unchanged), []change.Value{change.T("A"), change.T("B")}},
		"and one dropped":  {[]*change.Relation{rel("b"), rel("c")}, row(unchanged), []change.Value{change.T("B")}},
		"dropped":          {[]*change.Relation{rel("a"), rel("a", "c")}, row(unchanged, unchanged), nil},
		"too much at once": {[]*change.Relation{rel("c")}, row(unchanged), nil},
		"added":            {[]*change.Relation{rel("a", "b", "c")}, row(unchanged, unchanged, change.T("C")), []change.Value{change.T("A"), change.T("B"), change.T("C")}},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, t.TempDir(), store.Options{NoSync: true})
			defer s.Close()
			lsn := change.LSN(10)
			apply := func(c change.Change) {
				lsn += 10
				mustApply(t, s, change.Txn{XID: uint32(lsn), CommitLSN: lsn, EndLSN: lsn + 5, First: true, Final: true, Changes: []change.Change{c}})
			}
			first := rel("a", "b")
			apply(change.Change{Op: change.Create, Relation: first, After: row(change.T("A"), change.T("B"))})
			for i, r := range tt.shapes {
				if i < len(tt.shapes)-1 { // the shape is seen with another row
					other := make([]change.Value, len(r.Columns))
					other[0] = change.T("other")
					apply(change.Change{Op: change.Create, Relation: r, After: change.NewRow(other...)})
					apply(change.Change{Op: change.Delete, Relation: r, Before: change.NewRow(other...)})
				}
			}
			update := change.Change{Op: change.Update, Relation: tt.shapes[len(tt.shapes)-1], After: tt.sent}
			if tt.want == nil {
				txn := change.Txn{CommitLSN: lsn + 10, EndLSN: lsn + 15, First: true, Final: true, Changes: []change.Change{update}}
				if err := s.Apply(t.Context(), []change.Txn{txn}); !errors.Is(err, change.ErrDiverged) {
					t.Fatalf("got %v", err)
				}
				return
			}
			apply(update)
			recs, err := s.NewReader(1).Read(1 << 20)
			if err != nil {
				t.Fatal(err)
			}
			after := recs[len(recs)-1].After
			for i, want := range tt.want {
				if got := after.Value(len(std) + i); got != want {
					t.Errorf("column %d is %+v, want %+v", i, got, want)
				}
			}
		})
	}
}

// Column numbers say which column is which, whatever the names do: the row before
// a change never shows another column's value.
func TestNumberedColumns(t *testing.T) {
	rel := func(extra ...change.Column) *change.Relation {
		r := &change.Relation{Schema: "public", Name: change.Carbonmark, Columns: slices.Clone(change.Standard(change.Carbonmark).Columns[:6])}
		for i := range r.Columns {
			r.Columns[i].Number = uint16(i + 1)
		}
		r.Columns = append(r.Columns, extra...)
		return r
	}
	col := func(name string, number uint16) change.Column {
		return change.Column{Name: name, Type: change.OIDText, Number: number}
	}
	with := func(c change.Column, missing string) change.Column {
		c.Missing = change.T(missing)
		return c
	}
	row := func(extra ...change.Value) change.Row {
		return change.NewRow(append([]change.Value{change.T("1"), {}, {}, {}, {}, {}}, extra...)...)
	}
	unchanged := change.Value{Kind: change.Unchanged}
	first := rel(col("a", 7), col("b", 8))
	for name, tt := range map[string]struct {
		then   *change.Relation
		sent   change.Row
		before change.Row
		after  change.Row
	}{
		"names swapped":            {rel(col("b", 7), col("a", 8)), row(unchanged, unchanged), row(change.T("A"), change.T("B")), row(change.T("A"), change.T("B"))},
		"dropped and added":        {rel(col("a", 7), col("b", 9)), row(change.T("A"), change.T("new")), row(change.T("A"), change.Value{}), row(change.T("A"), change.T("new"))},
		"dropped and renamed":      {rel(col("c", 8)), row(unchanged), row(change.T("B")), row(change.T("B"))},
		"added with a default":     {rel(col("a", 7), col("b", 8), with(col("c", 9), "C")), row(unchanged, unchanged, unchanged), row(change.T("A"), change.T("B"), change.T("C")), row(change.T("A"), change.T("B"), change.T("C"))},
		"another type":             {rel(col("a", 7), change.Column{Name: "b", Type: change.OIDBPChar, Number: 8}), row(unchanged, change.T("B2")), row(change.T("A"), change.T("B")), row(change.T("A"), change.T("B2"))},
		"dropped, default instead": {rel(col("a", 7), with(col("b", 9), "D")), row(unchanged, change.T("new")), row(change.T("A"), change.T("D")), row(change.T("A"), change.T("new"))},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir, store.Options{NoSync: true})
			defer func() { s.Close() }()
			apply := func(lsn change.LSN, c change.Change) {
				mustApply(t, s, change.Txn{XID: uint32(lsn), CommitLSN: lsn, EndLSN: lsn + 5, First: true, Final: true, Changes: []change.Change{c}})
			}
			apply(10, change.Change{Op: change.Create, Relation: first, After: row(change.T("A"), change.T("B"))})
			if err := s.Close(); err != nil { // the dictionary keeps the numbers
				t.Fatal(err)
			}
			s = open(t, dir, store.Options{NoSync: true})
			apply(20, change.Change{Op: change.Update, Relation: tt.then, After: tt.sent})
			recs, err := s.NewReader(1).Read(1 << 20)
			if err != nil {
				t.Fatal(err)
			}
			got := recs[len(recs)-1]
			if got.Before != tt.before || got.After != tt.after {
				t.Errorf("%q -> %q, want %q -> %q", got.Before, got.After, tt.before, tt.after)
			}
			if !got.Relation.Equal(tt.then) {
				t.Errorf("the relation is %+v", got.Relation)
			}
		})
	}
}
