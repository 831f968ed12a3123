package store_test

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"carbond/store"
	"carbond/store/change"
)

// TestLargeTransactionMemory: a transaction needs the rows before it, which
// readers still see, and the rows that it leaves. What it needs beyond them does
// not grow with it: remembering its changes would cost several times the bound.
func TestLargeTransactionMemory(t *testing.T) {
	const rows, part, bound = 60_000, 2_000, 6 << 20
	rel := change.Standard(change.Verra)
	var b change.RowBuilder
	update := func(i int) change.Change {
		return change.Change{Op: change.Update, Relation: rel, After: projectRow(&b, i*7919%rows, i)}
	}
	remove := func(i int) change.Change {
		b.Reset(10)
		b.Null()
		b.Text("VCS-" + strings.Repeat("0", 7-len(strconv.Itoa(i))) + strconv.Itoa(i))
		for range 8 {
			b.Null()
		}
		return change.Change{Op: change.Delete, Relation: rel, Before: b.Row()}
	}
	s, err := store.Open(t.TempDir(), store.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	lsn, before := change.LSN(1000), heap()
	for _, step := range []struct {
		name string
		n    int
		of   func(int) change.Change
	}{
		{"insert", rows, func(i int) change.Change {
			return change.Change{Op: change.Create, Relation: rel, After: projectRow(&b, i, 0)}
		}},
		{"update in no order", rows, update},
		{"delete", rows / 2, remove},
		{"truncate", 1, func(int) change.Change { return change.Change{Op: change.Truncate, Relation: rel} }},
	} {
		base, peak := heap(), 0
		txn := change.Txn{XID: 1, First: true, CommitLSN: lsn}
		for i := 0; i < step.n; {
			txn.Changes = nil
			for ; i < step.n && len(txn.Changes) < part; i++ {
				txn.Changes = append(txn.Changes, step.of(i))
			}
			if txn.Final = i == step.n; txn.Final {
				peak = heap() // all but the last part is staged
				txn.EndLSN = lsn + 5
			}
			if err := s.Apply(context.Background(), []change.Txn{txn}); err != nil {
				t.Fatal(err)
			}
			txn.First = false
		}
		lsn += 10
		after := heap()
		beyond := peak - (base + after - before)
		t.Logf("%s: %d kB in the middle, %d before and %d after: %d beyond both", step.name, (peak-before)>>10, (base-before)>>10, (after-before)>>10, beyond>>10)
		if beyond > bound {
			t.Errorf("%s needs more than %d kB beyond the rows before and after it", step.name, bound>>10)
		}
	}
}

// TestTruncateSize: the log holds the rows of a truncated table a second time, so
// that it can be read backwards, but compressed.
func TestTruncateSize(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, store.Options{NoSync: true, SegmentBytes: 1 << 20})
	defer s.Close()
	size := func() (n int64) {
		segments, err := filepath.Glob(filepath.Join(dir, "log", "*.seg"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range segments {
			fi, err := os.Stat(name)
			if err != nil {
				t.Fatal(err)
			}
			n += fi.Size()
		}
		return n
	}
	fill(t, s, 20_000)
	rows := size()
	mustApply(t, s, change.Txn{First: true, Final: true, CommitLSN: 1 << 30, EndLSN: 1<<30 + 1, Changes: []change.Change{{Op: change.Truncate, Relation: change.Standard(change.Verra)}}})
	again := size() - rows
	t.Logf("%d kB of rows, %d kB for their end", rows>>10, again>>10)
	if again > rows/3 {
		t.Errorf("the end of %d kB of rows takes %d kB", rows>>10, again>>10)
	}
}

// heap returns the bytes that are reachable.
func heap() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}
