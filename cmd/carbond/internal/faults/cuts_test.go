//go:build linux

package faults_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"carbond/cmd/carbond/internal/faults/faultfs"
	"carbond/store/storetest"
)

// recording is what children have done to a file system.
type recording struct {
	plan
	h   *history
	ops []faultfs.Op
}

// record lets a few children work, all but the last of which are killed.
func record(tb testing.TB, p plan, rng *rand.Rand) recording {
	tb.Helper()
	f := faultfs.Mount(tb, tb.TempDir())
	p.Dir = f.Dir
	for lives := rng.IntN(3); ; lives-- {
		c := start(tb, p)
		if lives <= 0 {
			if err := c.finish(); err != nil {
				tb.Fatalf("the child (plan %+v) ended with %v: %s", p, err, c.out.String())
			}
			return recording{p, p.history(), f.Ops()}
		}
		c.wait(time.Duration(30+rng.IntN(300)) * time.Millisecond)
		p.Life++
	}
}

// cutsPerRecording is how many power cuts one recording serves.
const cutsPerRecording = 40

// cuts draws, in order, the places of n power cuts: after so many operations.
// Half of them are spread over what was going on, however short it was.
func (r recording) cuts(rng *rand.Rand, n int) []int {
	places := map[string][]int{}
	for i := range len(r.ops) + 1 {
		places[r.place(i)] = append(places[r.place(i)], i)
	}
	names := slices.Sorted(maps.Keys(places))
	var out []int
	for len(out) < n {
		at := rng.IntN(len(r.ops) + 1)
		if rng.IntN(2) == 0 {
			list := places[names[rng.IntN(len(names))]]
			at = list[rng.IntN(len(list))]
		}
		out = append(out, at)
	}
	slices.Sort(out)
	return out
}

// place names what was going on at an operation.
func (r recording) place(at int) string {
	for at = min(at, len(r.ops)) - 1; at >= 0 && r.ops[at].Kind == faultfs.Mark; at-- {
	}
	if at < 0 {
		return "the beginning"
	}
	op := r.ops[at]
	top, rest, _ := strings.Cut(op.Path, "/")
	switch base := filepath.Base(op.Path); {
	case strings.HasPrefix(top, "backup"):
		return "a backup"
	case strings.HasPrefix(top, "restored"):
		return "a restore"
	case top == "views":
		return "view files"
	case strings.HasPrefix(rest, "log"):
		switch {
		case op.Kind == faultfs.Unlink:
			return "retention"
		case strings.HasSuffix(base, ".seg"):
			return "a segment"
		}
		return "rotation or compression"
	case strings.HasPrefix(base, "checkpoint"):
		return "a checkpoint"
	case strings.HasPrefix(base, "groups"):
		return "groups"
	}
	return "the directory"
}

// cut makes the power cuts of one recording and hands each to judge.
func (r recording) cut(tb testing.TB, at []int, choose func(i int) *rand.Rand, judge func(i int, what string, err error) (more bool)) {
	tb.Helper()
	scratch := scratchDir(tb)
	disk, done := faultfs.NewDisk(r.ops), 0
	for i, n := range at {
		for ; done < n; done++ {
			disk.Do(r.ops[done])
		}
		rng := choose(i)
		p := r.plan
		p.Dir = filepath.Join(scratch, fmt.Sprint(i))
		how, err := disk.Cut(rng, p.Dir)
		if err != nil {
			tb.Fatal(err)
		}
		err = p.inspect(tb.Context(), r.h, tell(r.ops[:n]), rng)
		if err != nil {
			err = fmt.Errorf("power cut after operation %d of %d (%v; %s; plan %+v): %w", n, len(r.ops), r.ops[max(0, n-1)], how, r.plan, err)
		}
		more := judge(i, "power cut in "+r.place(n), err)
		if err := os.RemoveAll(p.Dir); err != nil {
			tb.Fatal(err)
		}
		if !more {
			return
		}
	}
}

// scratchDir is in memory where there is a place for that.
func scratchDir(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "carbond-cuts-")
	if err != nil {
		return tb.TempDir()
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// TestPowerCuts cuts the power at random moments of recorded runs.
func TestPowerCuts(t *testing.T) {
	runs := storetest.NewRuns(t, "cuts", 160)
	for n, ok := runs.Next(); ok; {
		var numbers []int
		group := n / cutsPerRecording
		for ; ok && n/cutsPerRecording == group; n, ok = runs.Next() {
			numbers = append(numbers, n)
		}
		t.Run(fmt.Sprint(group), func(t *testing.T) {
			rng := runs.Rand(1<<40 + group)
			r := record(t, newPlan(rng, ""), rng)
			all := r.cuts(rng, cutsPerRecording)
			var at []int
			for _, n := range numbers {
				at = append(at, all[n%cutsPerRecording])
			}
			r.cut(t, at, func(i int) *rand.Rand { return runs.Rand(numbers[i]) }, func(i int, what string, err error) bool {
				if err != nil {
					runs.Fatalf(t, numbers[i], "%v", err)
				}
				runs.Done(numbers[i], what)
				return true
			})
		})
		if t.Failed() {
			return
		}
	}
}

// TestPowerCutsBite takes syncs out of a record, as if the store had forgotten
// them: power cuts must find each kind.
func TestPowerCutsBite(t *testing.T) {
	for name, forgotten := range map[string]func(faultfs.Op) bool{
		"syncs of segments":            func(op faultfs.Op) bool { return op.Kind == faultfs.Sync && strings.Contains(op.Path, ".seg") },
		"syncs of the log's directory": func(op faultfs.Op) bool { return op.Kind == faultfs.SyncDir && filepath.Base(op.Path) == "log" },
		"syncs of the data directory":  func(op faultfs.Op) bool { return op.Kind == faultfs.SyncDir && op.Path == "data" },
		"syncs of the root":            func(op faultfs.Op) bool { return op.Kind == faultfs.SyncDir && op.Path == "" },
		"syncs of groups":              func(op faultfs.Op) bool { return op.Kind == faultfs.Sync && op.Path == "data/groups.db" },
		"syncs of the checkpoint":      func(op faultfs.Op) bool { return op.Kind == faultfs.Sync && op.Path == "data/checkpoint.db" },
		"syncs of view files":          func(op faultfs.Op) bool { return op.Kind == faultfs.Sync && strings.HasPrefix(op.Path, "views/") },
	} {
		t.Run(name, func(t *testing.T) {
			rng := storetest.NewRuns(t, "bite", 0).Rand(0)
			r := record(t, plan{Seed: rng.Uint64(), Txns: 100, Views: true}, rng)
			n := len(r.ops)
			r.ops = slices.DeleteFunc(r.ops, forgotten)
			if len(r.ops) == n {
				t.Fatal("there are none")
			}
			found := 0
			at := r.cuts(rng, 300)
			r.cut(t, at, func(int) *rand.Rand { return rng }, func(i int, _ string, err error) bool {
				if err != nil {
					t.Logf("found by power cut %d: %v", i, err)
					found++
				}
				return found == 0
			})
			if found == 0 {
				t.Errorf("%d power cuts find nothing wrong", len(at))
			}
		})
	}
}

// TestNamesOfAnEarlierStart: a start that made the files but could not make
// their names durable leaves that to the next one.
func TestNamesOfAnEarlierStart(t *testing.T) {
	f := faultfs.Mount(t, t.TempDir())
	p := plan{Dir: f.Dir, Seed: 1, Txns: 10}
	starts, err := 0, errHangs
	for ; err != nil && starts < 10; starts++ {
		// Each time a later one of the syncs fails.
		f.Inject(faultfs.Fault{Ops: []faultfs.Kind{faultfs.SyncDir}, After: starts, For: -1, Err: syscall.EIO})
		err = start(t, p).finish()
		f.Heal()
	}
	if err != nil || starts < 3 {
		t.Fatalf("start %d ends with %v", starts, err)
	}
	r := recording{p, p.history(), f.Ops()}
	at := slices.Repeat([]int{len(r.ops)}, 16)
	r.cut(t, at, func(i int) *rand.Rand { return rand.New(rand.NewPCG(uint64(i), 0)) }, func(_ int, _ string, err error) bool {
		if err != nil {
			t.Fatal(err)
		}
		return true
	})
}
