package store_test

import (
	"slices"
	"testing"

	"carbond/store"
	"carbond/store/change"
)

// A column that goes and comes again in a transaction whose first delivery was
// given up: when it is delivered again, the rows from before it still have what
// they had, in this process and in the next.
func TestAlterGivenUp(t *testing.T) {
	for name, restart := range map[string]bool{"running": false, "restarted": true} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir, store.Options{NoSync: true})
			defer func() { s.Close() }()
			rel := change.Standard(change.Verra)
			again := &change.Relation{Schema: rel.Schema, Name: rel.Name, Columns: slices.Clone(rel.Columns)}
			narrow := &change.Relation{Schema: rel.Schema, Name: rel.Name, Columns: slices.Clone(rel.Columns)}
			narrow.Columns = slices.Delete(narrow.Columns, rel.Index("country"), rel.Index("country")+1)
			create := func(r *change.Relation, id string) change.Change {
				return change.Change{Op: change.Create, Relation: r, After: verraRow(r, id, "")}
			}
			a := make([]change.Value, len(rel.Columns))
			a[rel.Index("project_id")], a[rel.Index("country")] = change.T("a"), change.T("Peru")
			mustApply(t, s, change.Txn{
				XID: 1, CommitLSN: 10, EndLSN: 11, First: true, Final: true,
				Changes: []change.Change{{Op: change.Create, Relation: rel, After: change.NewRow(a...)}},
			})
			part := func(first, final bool, cs ...change.Change) change.Txn {
				p := change.Txn{XID: 2, CommitLSN: 20, First: first, Final: final, Changes: cs}
				if final {
					p.EndLSN = 21
				}
				return p
			}
			mustApply(t, s, part(true, false, create(rel, "b"), create(narrow, "c"), create(narrow, "d")))
			if restart {
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s = open(t, dir, store.Options{NoSync: true})
			}
			// Before the column goes, the transaction touches the row with a value
			// that is as it was.
			a[rel.Index("country")] = change.Value{Kind: change.Unchanged}
			mustApply(t, s, part(true, true, change.Change{Op: change.Update, Relation: again, After: change.NewRow(a...)}))
			if got := slices.Collect(s.Snapshot().Projects("", "")); len(got) != 1 || got[0].Country != "Peru" {
				t.Fatalf("got %+v", got)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			checkWhole(t, dir)
		})
	}
}
