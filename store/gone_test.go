package store_test

import (
	"context"
	"slices"
	"strconv"
	"testing"

	"carbond/store"
	"carbond/store/change"
	"carbond/store/storetest"
)

// TestGone: what retention has taken of each table is told exactly, and never as
// less than it was when the log begins inside a transaction.
func TestGone(t *testing.T) {
	ctx := context.Background()
	src := newsAndPrices{}
	s := open(t, t.TempDir(), store.Options{NoSync: true, SegmentBytes: 8 << 10})
	defer s.Close()
	exact, inside := 0, 0
	for round := range 40 {
		for i := range 60 {
			mustApply(t, s, src.next(1+i%3))
		}
		if round%10 == 9 { // over several segments
			whole := src.next(3000)
			for from := 0; from < len(whole.Changes); from += 300 {
				part := whole
				part.Changes, part.First, part.Final = whole.Changes[from:from+300], from == 0, from+300 == len(whole.Changes)
				mustApply(t, s, part)
			}
		}
		taken := map[string]change.Offset{}
		records := readAll(t, s, s.Oldest())
		s.SetRetention(store.Retention{Bytes: int64(64+round%3*96) << 10})
		if err := s.Maintain(ctx); err != nil {
			t.Fatal(err)
		}
		oldest := s.Oldest()
		for _, r := range records {
			if r.Offset < oldest && r.Op != change.Retract {
				taken[r.Relation.Topic()] = r.Offset
			}
		}
		begins := slices.ContainsFunc(records, func(r change.Record) bool { return r.Offset == oldest && r.Order > 1 })
		for topic, at := range taken {
			begin, last, err := s.Gone(topic)
			switch {
			case err != nil || begin != oldest:
				t.Fatalf("%s begins at %d, not %d: %v", topic, begin, oldest, err)
			case last < at:
				t.Fatalf("round %d: the last change of %s that is gone is %d, not %d", round, topic, at, last)
			case begins:
				inside++
			case last != at:
				t.Fatalf("round %d: nothing of %s behind %d is gone, but %d is told", round, topic, at, last)
			default:
				exact++
			}
		}
	}
	if exact == 0 || inside == 0 {
		t.Fatalf("%d exact, %d inside a transaction: want both", exact, inside)
	}
}

// newsAndPrices writes transactions of one table each, now one, now the other.
type newsAndPrices struct{ lsn, rows int }

func (w *newsAndPrices) next(n int) change.Txn {
	w.lsn += 10
	t := change.Txn{XID: uint32(w.lsn), CommitLSN: change.LSN(w.lsn), EndLSN: change.LSN(w.lsn + 5), First: true, Final: true}
	for range n {
		w.rows++
		id := change.T(strconv.Itoa(w.rows))
		c := change.Change{Op: change.Create, Relation: change.Standard(change.Finance), After: change.NewRow(change.T("T"), id, id, id, id, id)}
		if w.lsn%200 < 100 {
			c.Relation, c.After = change.Standard(change.News), change.NewRow(id, id, id, id, change.Value{}, id, id)
		}
		t.Changes = append(t.Changes, c)
	}
	return t
}

func readAll(t *testing.T, s *store.Store, from change.Offset) (out []change.Record) {
	t.Helper()
	out, err := storetest.ReadAll(s.NewReader(from))
	if err != nil {
		t.Fatal(err)
	}
	return out
}
