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
	std := change.Standard(change.Carbonmark).Columns
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
				if err := s.Apply(t.Context(), []change.Txn{txn}); !errors.Is(err, store.ErrDiverged) {
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
