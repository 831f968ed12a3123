package store_test

import (
	"slices"
	"testing"

	"carbond/store"
	"carbond/store/change"
)

// Postgres takes the empty text as a primary key; bbolt takes no empty key. The
// checkpoint once failed for as long as such a row was there.
func TestEmptyKey(t *testing.T) {
	dir := t.TempDir()
	verra, news := change.Standard(change.Verra), change.Standard(change.News)
	project := change.NewRow(change.T("1"), change.T(""), change.T("nameless"), change.Value{}, change.Value{}, change.Value{},
		change.T("Peru"), change.Value{}, change.Value{}, change.Value{})
	item := change.NewRow(change.T(""), change.T("t"), change.Value{}, change.Value{}, change.Value{}, change.Value{}, change.Value{}, change.Value{})
	txn := func(lsn change.LSN, changes ...change.Change) change.Txn {
		return change.Txn{XID: uint32(lsn), CommitLSN: lsn, EndLSN: lsn + 5, First: true, Final: true, Changes: changes}
	}
	reopen := func(s *store.Store) *store.Store {
		t.Helper()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if r, err := store.Check(dir); err != nil || len(r.Problems) > 0 || r.Checkpoint != r.Position.Offset {
			t.Fatalf("check: %v %+v", err, r)
		}
		return open(t, dir, store.Options{NoSync: true})
	}
	s := open(t, dir, store.Options{NoSync: true})
	mustApply(t, s, txn(10, change.Change{Op: change.Create, Relation: verra, After: project}, change.Change{Op: change.Create, Relation: news, After: item}))
	s = reopen(s)
	if got := slices.Collect(s.Snapshot().Projects("", "")); len(got) != 1 || got[0].ProjectName != "nameless" {
		t.Fatalf("got %+v", got)
	}
	if got := slices.Collect(s.Snapshot().News("")); len(got) != 1 {
		t.Fatalf("got %+v", got)
	}
	mustApply(t, s, txn(20, change.Change{Op: change.Delete, Relation: verra, Before: project}))
	s = reopen(s)
	defer s.Close()
	if n := s.Snapshot().Rows(change.Verra); n != 0 {
		t.Fatalf("%d rows are left", n)
	}
}
