package store_test

import (
	"fmt"
	"strings"
	"testing"

	"carbond/store"
	"carbond/store/change"
)

// The last change of a transaction may fill its block. The end belongs into the
// same block all the same: behind it, it once waited in memory for the next
// transaction, and a restart lost it.
func TestEndSharesBlockWithLastChange(t *testing.T) {
	rel := change.Standard(change.Carbonmark)
	for _, size := range []int{10, 1 << 12, 1 << 15, 1 << 17, 1 << 20} {
		for _, rows := range []int{1, 2, 9} {
			t.Run(fmt.Sprintf("%d rows of %d bytes", rows, size), func(t *testing.T) {
				s := open(t, t.TempDir(), store.Options{NoSync: true})
				defer s.Close()
				txn := change.Txn{XID: 7, CommitLSN: 100, EndLSN: 110, First: true, Final: true}
				for i := range rows {
					txn.Changes = append(txn.Changes, change.Change{Op: change.Create, Relation: rel, After: change.NewRow(
						change.T(fmt.Sprint(i)), change.Value{}, change.T(strings.Repeat("x", size)), change.Value{}, change.Value{}, change.Value{},
					)})
				}
				mustApply(t, s, txn)
				r := s.NewReader(1)
				var last change.Record
				for {
					recs, err := r.Read(1)
					if err != nil {
						t.Fatal(err)
					}
					if len(recs) == 0 {
						break
					}
					last = recs[len(recs)-1]
				}
				if !last.Last || last.EndLSN != 110 || last.Order != uint64(rows) {
					t.Fatalf("the last record is number %d, ends at %s, marked %t", last.Order, last.EndLSN, last.Last)
				}
			})
		}
	}
}
