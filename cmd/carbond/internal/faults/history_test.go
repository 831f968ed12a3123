//go:build linux

package faults_test

import (
	"math/rand/v2"

	"carbond/store/change"
	"carbond/store/storetest"
)

// history is what one child applies, and the model after each transaction.
type history struct {
	txns   []change.Txn
	models []*storetest.Model // models[i] is before txns[i]
}

// newHistory makes n transactions. With copied the first of them is an initial
// copy of many rows.
func newHistory(seed uint64, n int, copied bool) *history {
	h := &history{}
	src := storetest.NewSource(seed)
	src.Plain = true
	model := storetest.NewModel()
	add := func(t change.Txn) {
		h.models = append(h.models, model)
		h.txns = append(h.txns, t)
	}
	if copied {
		var last change.Txn
		for range 60 {
			last = src.Next()
		}
		first := change.Txn{EndLSN: last.EndLSN, CommitLSN: last.EndLSN, CommitTime: last.CommitTime, First: true, Final: true, Snapshot: &change.Snapshot{Source: change.Source{SystemID: "1", Database: "d", Slot: "s"}}}
		for _, table := range change.Tables() {
			for row := range src.Model.Sorted(table) {
				rel := src.Relation(table)
				first.Changes = append(first.Changes, change.Change{Op: change.Read, Relation: rel, After: storetest.Encode(rel, row), LSN: last.EndLSN})
			}
		}
		add(first)
		model = src.Model.Clone()
		model.Log = nil
		model.Apply(change.Txn{Changes: first.Changes})
		src.Model.Log = model.Log
	}
	for len(h.txns) < n {
		add(src.Next())
		model = src.Model.Clone()
	}
	h.models = append(h.models, model)
	return h
}

// at returns how many transactions a position holds.
func (h *history) at(lsn change.LSN) int {
	n := 0
	for n < len(h.txns) && h.txns[n].EndLSN <= lsn {
		n++
	}
	return n
}

// parts cuts a transaction as a source does that sends large ones piecemeal.
func parts(rng *rand.Rand, t change.Txn) []change.Txn {
	size := 1 + rng.IntN(3)
	if t.Snapshot != nil {
		size = 1 + rng.IntN(40)
	}
	return storetest.Split(t, size)
}
