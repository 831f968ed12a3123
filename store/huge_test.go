package store_test

import (
	"slices"
	"strings"
	"testing"

	"carbond/store"
	"carbond/store/change"
	"carbond/store/storetest"
)

// Two rows of one UPDATE that are together more than a block can have are the end
// of the one and the beginning of the other. The state is what it would be.
func TestHugeUpdate(t *testing.T) {
	dir, opt := t.TempDir(), store.Options{NoSync: true}
	s := open(t, dir, opt)
	rel := change.Standard(change.News)
	row := func(letter string, n int) change.Row {
		return storetest.Encode(rel, map[string]change.Value{"guid": change.T("g"), "title": change.T(letter), "summary": change.T(strings.Repeat(letter, n))})
	}
	txn := func(n int, changes ...change.Change) change.Txn {
		for i := range changes {
			changes[i].Relation = rel
		}
		return change.Txn{First: true, Final: true, XID: uint32(n), CommitLSN: change.LSN(n), EndLSN: change.LSN(n + 1), Changes: changes}
	}
	const size = 70 << 20
	mustApply(t, s, txn(10, change.Change{Op: change.Create, After: row("a", size)}))
	mustApply(t, s, txn(20, change.Change{Op: change.Update, After: row("b", size)}, change.Change{Op: change.Update, After: row("c", 10)}))
	const wantOps = "cdcu" // the first UPDATE is d and c
	check := func() {
		t.Helper()
		var ops strings.Builder
		r := s.NewReader(1)
		for {
			recs, err := r.Read(1)
			if err != nil {
				t.Fatal(err)
			}
			if len(recs) == 0 {
				break
			}
			for _, rec := range recs {
				ops.WriteString(string(rec.Op))
			}
		}
		if got := ops.String(); got != wantOps {
			t.Errorf("records %s, want %s", got, wantOps)
		}
		news := slices.Collect(s.Snapshot().News(""))
		if len(news) != 1 || news[0].Title != "c" {
			t.Errorf("news %+v", news)
		}
	}
	check()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, opt)
	defer s.Close()
	check()
}
