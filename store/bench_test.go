package store_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"carbond/store"
	"carbond/store/change"
)

// projectRow is a Verra row of about 200 bytes.
func projectRow(b *change.RowBuilder, i, version int) change.Row {
	b.Reset(10)
	b.Text(strconv.Itoa(i))
	b.Text(fmt.Sprintf("VCS-%07d", i))
	b.Text("Rimba Lestari Forest Conservation No. " + strconv.Itoa(version))
	b.Text("https://registry.example.org/app/projectDetail/VCS/" + strconv.Itoa(i))
	b.Text(strings.Repeat("s", 40))
	b.Text("ACTIVE")
	b.Text("Country " + strconv.Itoa(i%80))
	b.Text("2021")
	b.Text("12345.5")
	b.Text("2026-11-23 12:00:00.123456+00")
	return b.Row()
}

func fill(tb testing.TB, s *store.Store, n int) {
	rel := change.Standard(change.Verra)
	var b change.RowBuilder
	for i := 0; i < n; {
		t := change.Txn{First: true, Final: true, CommitLSN: change.LSN(1000 + i), EndLSN: change.LSN(1001 + i)}
		for j := 0; j < 5000 && i < n; j++ {
			t.Changes = append(t.Changes, change.Change{Op: change.Create, Relation: rel, After: projectRow(&b, i, 0)})
			i++
		}
		if err := s.Apply(context.Background(), []change.Txn{t}); err != nil {
			tb.Fatal(err)
		}
	}
}

// BenchmarkCatchUp is WAL catch-up from the decoder's output on: stage, fsync,
// publish, in groups of 4,000 single-row transactions.
func BenchmarkCatchUp(b *testing.B) {
	s, err := store.Open(b.TempDir(), store.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	rel := change.Standard(change.Verra)
	var rb change.RowBuilder
	n := 0
	group := make([]change.Txn, 0, 4000)
	for b.Loop() {
		n++
		group = append(group, change.Txn{
			First: true, Final: true, CommitLSN: change.LSN(n * 10), EndLSN: change.LSN(n*10 + 5), XID: uint32(n),
			Changes: []change.Change{{Op: change.Create, Relation: rel, After: projectRow(&rb, n, 0)}},
		})
		if len(group) == cap(group) {
			if err := s.Apply(context.Background(), group); err != nil {
				b.Fatal(err)
			}
			group = group[:0]
		}
	}
}

// BenchmarkState is what a table costs that is in memory, at different sizes: the
// bytes and objects of a row, a run of the collector, and the processor time, the
// collector's share included, of a committed update and of a lookup. The collector
// runs as often as beside a large state in the daemon: the figures should be flat.
func BenchmarkState(b *testing.B) {
	for _, size := range []int{5_000, 100_000, 1_000_000} {
		s, before := openFilled(b, size), runtime.MemStats{}
		b.Run(fmt.Sprintf("rows=%d/collection", size), func(b *testing.B) {
			report := processorTime(b)
			for b.Loop() {
				runtime.GC()
			}
			report()
			runtime.ReadMemStats(&before)
			b.ReportMetric(float64(before.HeapAlloc)/float64(size), "B/row")
			b.ReportMetric(float64(before.HeapObjects)/float64(size), "objects/row")
		})
		garbage := 28 << 20 // see cmd/carbond/memory.go
		percent := 100
		if live := int(before.HeapAlloc); live > garbage {
			percent = garbage * 100 / live
		}
		was := debug.SetGCPercent(percent)
		var rb change.RowBuilder
		lsn, n := s.Position().LSN+1000, 0
		b.Run(fmt.Sprintf("rows=%d/update", size), func(b *testing.B) {
			rel := change.Standard(change.Verra)
			report := processorTime(b)
			for b.Loop() {
				n++
				lsn += 10
				err := s.Apply(context.Background(), []change.Txn{{
					First: true, Final: true, CommitLSN: lsn, EndLSN: lsn + 5,
					Changes: []change.Change{{Op: change.Update, Relation: rel, After: projectRow(&rb, n*7919%size, n)}},
				}})
				if err != nil {
					b.Fatal(err)
				}
			}
			report()
		})
		b.Run(fmt.Sprintf("rows=%d/get", size), func(b *testing.B) {
			snap, report := s.Snapshot(), processorTime(b)
			for b.Loop() {
				n++
				if _, ok := snap.Project(fmt.Sprintf("VCS-%07d", n*7919%size)); !ok {
					b.Fatal("no such row")
				}
			}
			report()
		})
		debug.SetGCPercent(was)
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func openFilled(b *testing.B, size int) *store.Store {
	s, err := store.Open(b.TempDir(), store.Options{NoSync: true})
	if err != nil {
		b.Fatal(err)
	}
	fill(b, s, size)
	return s
}

// processorTime returns a function that reports what the process has used since,
// the kernel's part included: others on the machine do not show in it.
func processorTime(b *testing.B) (report func()) {
	used := func() int64 {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return u.Utime.Nano() + u.Stime.Nano()
	}
	before := used()
	return func() { b.ReportMetric(float64(used()-before)/float64(b.N), "cpu-ns/op") }
}

// BenchmarkAsOf goes 130,000 updates back beside 100,000 rows, and steps through
// them.
func BenchmarkAsOf(b *testing.B) {
	s := openFilled(b, 100_000)
	defer s.Close()
	at, rel := s.Position(), change.Standard(change.Verra)
	var rb change.RowBuilder
	for i := 0; i < 130_000; {
		lsn := at.LSN + change.LSN(10*(i+1))
		t := change.Txn{First: true, Final: true, CommitLSN: lsn, EndLSN: lsn + 5}
		for range 100 {
			t.Changes = append(t.Changes, change.Change{Op: change.Update, Relation: rel, After: projectRow(&rb, i*7919%100_000, i)})
			i++
		}
		if err := s.Apply(context.Background(), []change.Txn{t}); err != nil {
			b.Fatal(err)
		}
	}
	for name, of := range map[string]change.Selection{"all": {View: change.ViewProjects}, "country": {View: change.ViewProjects, Filter: "Country 1"}} {
		b.Run(name, func(b *testing.B) {
			report := processorTime(b)
			for b.Loop() {
				if _, err := s.Past().AsOf(context.Background(), at.Offset, of, nil); err != nil {
					b.Fatal(err)
				}
			}
			report()
		})
	}
	b.Run("step", func(b *testing.B) { // 1,000 updates further each time
		near, err := s.Past().AsOf(context.Background(), at.Offset, change.Selection{}, nil)
		if err != nil {
			b.Fatal(err)
		}
		report, n := processorTime(b), change.Offset(0)
		for b.Loop() {
			n = (n + 1_000) % 100_000
			if near, err = s.Past().AsOf(context.Background(), at.Offset+n, change.Selection{}, near); err != nil {
				b.Fatal(err)
			}
		}
		report()
	})
}

// BenchmarkOpen is a start from the checkpoint alone.
func BenchmarkOpen(b *testing.B) {
	for _, size := range []int{100_000, 1_000_000} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			dir := b.TempDir()
			s, err := store.Open(dir, store.Options{NoSync: true})
			if err != nil {
				b.Fatal(err)
			}
			fill(b, s, size)
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
			file, err := os.Stat(filepath.Join(dir, "checkpoint.db"))
			if err != nil {
				b.Fatal(err)
			}
			report := processorTime(b)
			for b.Loop() {
				s, err := store.Open(dir, store.Options{})
				if err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				var m runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&m)
				b.ReportMetric(float64(m.HeapAlloc)/float64(size), "heap-B/row")
				s.Close()
				b.StartTimer()
			}
			report()
			b.ReportMetric(float64(file.Size())/float64(size), "file-B/row")
		})
	}
}
