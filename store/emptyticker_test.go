package store_test

import (
	"slices"
	"testing"

	"carbond/store"
	"carbond/store/change"
)

// A page that ends with the empty ticker is followed by "after \x00". The list
// once began again there, without end.
func TestQuotesAfterEmptyTicker(t *testing.T) {
	s := open(t, t.TempDir(), store.Options{NoSync: true})
	defer s.Close()
	rel := change.Standard(change.Finance)
	txn := change.Txn{XID: 1, CommitLSN: 10, EndLSN: 20, First: true, Final: true}
	for _, key := range [][2]string{{"", "-5"}, {"", "7"}, {"\x01", "1"}, {"A", "1"}, {"A\x01", "1"}, {"B", "9223372036854775807"}} {
		txn.Changes = append(txn.Changes, change.Change{Op: change.Create, Relation: rel, After: change.NewRow(
			change.T(key[0]), change.T("1"), change.Value{}, change.Value{}, change.Value{}, change.T(key[1]), change.T("USD"),
		)})
	}
	mustApply(t, s, txn)
	for after, want := range map[string][]string{
		"": {"", "\x01", "A", "A\x01", "B"}, "\x00": {"\x01", "A", "A\x01", "B"}, "\x01": {"A", "A\x01", "B"},
		"A": {"A\x01", "B"}, "A\x01": {"B"}, "AA": {"B"}, "B": nil,
	} {
		var got []string
		for q := range s.Snapshot().Quotes("", after) {
			got = append(got, q.Ticker)
		}
		if !slices.Equal(got, want) {
			t.Errorf("after %q: got %q, want %q", after, got, want)
		}
	}
}
