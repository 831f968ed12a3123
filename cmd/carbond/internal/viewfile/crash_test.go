package viewfile_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"carbond/cmd/carbond/internal/viewfile"
	"carbond/store"
	"carbond/store/change"
	"carbond/store/storetest"
)

const crashEnv = "CARBOND_VIEWFILE_CRASH"

var crashStore = store.Options{SegmentBytes: 64 << 10}

// crashOptions make every kind of write frequent.
func crashOptions() viewfile.Options {
	return viewfile.Options{RotateBytes: 2 << 10, Keep: 100_000, Sync: 2 * time.Millisecond, Retry: time.Millisecond}
}

// crashChild applies n transactions beside a writer, which dies at its nth point.
func crashChild(spec string) {
	var sd uint64
	var n, at int
	var dir string
	if _, err := fmt.Sscanf(spec, "%d %d %d %s", &sd, &n, &at, &dir); err != nil {
		fmt.Println(err)
		os.Exit(3)
	}
	s, err := store.Open(filepath.Join(dir, "data"), crashStore)
	if err != nil {
		fmt.Println(err)
		os.Exit(3)
	}
	opt := crashOptions()
	opt.Crash = func(point string) {
		if at--; at == 0 {
			fmt.Println("died at", point)
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	go func() { _ = viewfile.New(filepath.Join(dir, "views"), s, opt).Run(context.Background()) }()
	src := storetest.NewSource(sd)
	rng := rand.New(rand.NewPCG(sd, uint64(n)))
	for i := range n {
		var txns []change.Txn
		for range 1 + rng.IntN(3) {
			txns = append(txns, src.Next())
		}
		if err := s.Apply(context.Background(), txns); err != nil {
			fmt.Println(err)
			os.Exit(3)
		}
		if i%5 == 0 {
			t := time.NewTimer(time.Millisecond)
			<-t.C
		}
	}
	fmt.Println("finished")
	os.Exit(0) // as sudden as a kill, for a writer
}

// TestKill kills the writer again and again at points around its writes: the
// lines in the files are always a beginning of what a writer writes that never
// died, and in the end they are all of it.
func TestKill(t *testing.T) {
	if spec := os.Getenv(crashEnv); spec != "" {
		crashChild(spec)
	}
	sd := seed(t)
	rng := rand.New(rand.NewPCG(sd, 1))
	dir := t.TempDir()
	data, views := filepath.Join(dir, "data"), filepath.Join(dir, "views")
	first := openStore(t, data, crashStore)
	stop := run(t, viewfile.New(views, first, crashOptions()))
	until(t, "fill", func() bool { return written(views, 0) })
	stop()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	runs, kills, points := 40, 0, map[string]int{}
	if testing.Short() {
		runs = 10
	}
	for i := range runs {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKill$")
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %d %d %s", crashEnv, sd, 20+10*i, 1+rng.IntN(60), dir))
		out, err := cmd.Output()
		switch {
		case err == nil && strings.Contains(string(out), "finished"):
		case err != nil && strings.Contains(err.Error(), "killed"):
			kills++
			points[strings.TrimSpace(string(out))]++
		default:
			t.Fatalf("run %d: child: %v\n%s", i, err, out)
		}
		s := openStore(t, data, crashStore)
		want := expected(t, s)
		for _, v := range change.Views() {
			if got := content(t, views, v); !bytes.HasPrefix(want[v], got) {
				t.Fatalf("run %d: %s: %d bytes are no beginning of %d, equal up to %d", i, v, len(got), len(want[v]), common(got, want[v]))
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if kills < runs/4 {
		t.Errorf("only %d of %d children were killed", kills, runs)
	}
	s := openStore(t, data, crashStore)
	defer s.Close()
	stop = run(t, viewfile.New(views, s, crashOptions()))
	until(t, "the end", func() bool { return written(views, s.Position().Offset) })
	stop()
	same(t, views, expected(t, s))
	t.Logf("%d kills in %d runs, %d offsets: %v", kills, runs, s.Position().Offset, points)
}
