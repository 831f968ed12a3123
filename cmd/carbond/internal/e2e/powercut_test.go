//go:build linux

package e2e_test

import (
	"path/filepath"
	"testing"
	"time"

	"carbond/cmd/carbond/internal/faults/faultfs"
	"carbond/cmd/carbond/internal/programtest"
	"carbond/store/storetest"
)

// TestDaemonPowerCuts cuts the power of the daemon's machine while it makes the
// first copy or streams. Postgres, on another one, goes on from where it is by
// then. What the disk has left, source.json among it, must start, get level by
// itself and be what SQL says.
func TestDaemonPowerCuts(t *testing.T) {
	runs := storetest.NewRuns(t, "daemon", 4)
	w := newWorld(t, runs.Seed, "")
	w.write(2, 10*time.Millisecond)
	w.wait(1000)
	for n, ok := runs.Next(); ok; n, ok = runs.Next() {
		rng := runs.Rand(n)
		w.random = random{rng}
		disk := faultfs.Mount(t, t.TempDir())
		w.use(filepath.Join(disk.Dir, "data"))
		d := launch(t, w.env)
		limit := 1 + rng.IntN(400)
		programtest.Until(t, 2*time.Minute, "number of operations", func() bool { return len(disk.Ops()) >= limit || d.Ended() })
		d.Kill()
		ops := disk.Ops()
		left := faultfs.NewDisk(ops)
		for _, op := range ops {
			left.Do(op)
		}
		dir := filepath.Join(t.TempDir(), "left")
		how, err := left.Cut(rng, dir)
		if err != nil {
			t.Fatal(err)
		}
		w.comfort = how
		t.Logf("run %d: power cut after %d operations, the last is %v of %s (%s)", n, len(ops), ops[len(ops)-1].Kind, ops[len(ops)-1].Path, how)
		w.use(filepath.Join(dir, "data"))
		w.start()
		w.compare(false)
		w.stop()
		program.Must(t, w.env, "fsck")
		runs.Done(n, "power cut of the daemon")
		if t.Failed() {
			return
		}
	}
}
