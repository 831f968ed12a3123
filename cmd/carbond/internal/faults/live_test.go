//go:build linux

package faults_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"carbond/cmd/carbond/internal/faults/faultfs"
	"carbond/store/storetest"
)

// disease is a way in which a disk fails.
type disease struct {
	name string
	draw func(rng *rand.Rand) faultfs.Fault
}

// changing are the operations that a full or broken disk refuses.
var changing = []faultfs.Kind{faultfs.Create, faultfs.Mkdir, faultfs.Unlink, faultfs.Rename, faultfs.Write, faultfs.Truncate, faultfs.Grow, faultfs.Sync, faultfs.SyncDir}

// diseases returns what can befall a disk. What a lie costs only a power cut shows:
// who is killed finds again what the kernel has.
func diseases() []disease {
	one := func(rng *rand.Rand, kinds []faultfs.Kind) []faultfs.Kind {
		return []faultfs.Kind{kinds[rng.IntN(len(kinds))]}
	}
	growing := []faultfs.Kind{faultfs.Create, faultfs.Mkdir, faultfs.Write, faultfs.Truncate, faultfs.Grow}
	return []disease{
		{"EIO on one kind of operation", func(rng *rand.Rand) faultfs.Fault { return faultfs.Fault{Ops: one(rng, changing), Err: syscall.EIO} }},
		{"EIO on all changes", func(*rand.Rand) faultfs.Fault { return faultfs.Fault{Ops: changing, Err: syscall.EIO} }},
		{"EIO on everything", func(*rand.Rand) faultfs.Fault { return faultfs.Fault{Err: syscall.EIO} }},
		{"EIO on reads", func(rng *rand.Rand) faultfs.Fault {
			return faultfs.Fault{Ops: one(rng, []faultfs.Kind{faultfs.Read, faultfs.Open}), Err: syscall.EIO}
		}},
		{"EIO on syncs", func(rng *rand.Rand) faultfs.Fault {
			return faultfs.Fault{Ops: one(rng, []faultfs.Kind{faultfs.Sync, faultfs.SyncDir}), Err: syscall.EIO}
		}},
		{"ENOSPC", func(rng *rand.Rand) faultfs.Fault {
			return faultfs.Fault{Ops: one(rng, growing), Err: syscall.ENOSPC}
		}},
		{"ENOSPC on all that grows", func(*rand.Rand) faultfs.Fault { return faultfs.Fault{Ops: growing, Err: syscall.ENOSPC} }},
		{"short writes", func(*rand.Rand) faultfs.Fault { return faultfs.Fault{Ops: []faultfs.Kind{faultfs.Write}, Short: true} }},
		{"slow syncs", func(rng *rand.Rand) faultfs.Fault {
			return faultfs.Fault{Ops: []faultfs.Kind{faultfs.Sync, faultfs.SyncDir}, Slow: time.Duration(1+rng.IntN(30)) * time.Millisecond}
		}},
		{"lying syncs", func(rng *rand.Rand) faultfs.Fault {
			return faultfs.Fault{Ops: one(rng, []faultfs.Kind{faultfs.Sync, faultfs.SyncDir}), Lie: true}
		}},
		{"no fault but the kill", func(*rand.Rand) faultfs.Fault { return faultfs.Fault{} }},
	}
}

// files are patterns of the files that may fail alone.
var files = []string{"", "", "", "*.seg*", "checkpoint.db*", "groups.db*", "*.json*", "backup-*"}

// TestLiveFaults lets the disk fail while a child works on it, for a while or
// for good, and kills some children. Afterwards the disk is well again and
// everything that the child was told must be there.
func TestLiveFaults(t *testing.T) {
	runs := storetest.NewRuns(t, "live", 20)
	for n, ok := runs.Next(); ok; n, ok = runs.Next() {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			runs.Done(n, live(t, runs, n))
		})
		if t.Failed() {
			return
		}
	}
}

func live(t *testing.T, runs *storetest.Runs, n int) (what string) {
	rng := runs.Rand(n)
	back := t.TempDir()
	f := faultfs.Mount(t, back)
	p := newPlan(rng, f.Dir)
	p.Patience = 60
	d := diseases()[rng.IntN(len(diseases()))]
	for ; p.Life < 3; p.Life++ {
		for range 1 + rng.IntN(2) {
			x := d.draw(rng)
			x.Path, x.After, x.For = files[rng.IntN(len(files))], rng.IntN(800), 1+rng.IntN(20)
			if rng.IntN(4) == 0 {
				x.For = -1
			}
			f.Inject(x)
		}
		c := start(t, p)
		if rng.IntN(2) == 0 {
			c.wait(time.Duration(50+rng.IntN(800)) * time.Millisecond)
		} else if err := c.finish(); c.trouble(err) {
			runs.Fatalf(t, n, "%s (plan %+v): %v:\n%.30000s", d.name, p, err, c.out.String())
		}
		f.Heal()
	}
	// A healthy disk: it must come to its end now.
	p.Patience = 0
	c := start(t, p)
	if err := c.finish(); err != nil {
		runs.Fatalf(t, n, "%s (plan %+v): the child does not work on the healthy disk: %v:\n%s", d.name, p, err, c.out.String())
	}
	ops := f.Ops()
	p.Dir = filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(p.Dir, os.DirFS(back)); err != nil {
		t.Fatal(err)
	}
	if err := p.inspect(t.Context(), p.history(), tell(ops), rng); err != nil {
		runs.Fatalf(t, n, "%s (plan %+v): %v", d.name, p, err)
	}
	return d.name
}
