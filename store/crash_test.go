package store_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"carbond/store"
	"carbond/store/change"
	"carbond/store/storetest"
)

// The child of TestKill: it feeds the seeded source into the store from where
// the store stands, and kills itself at the n-th crash point that it passes.
func crashChild(spec string) {
	var sd, run, left uint64
	var dir string
	if _, err := fmt.Sscanf(spec, "%d %d %d %s", &sd, &run, &left, &dir); err != nil {
		panic(err)
	}
	var passed atomic.Uint64 // the writer and the checkpointer pass points
	crash := func(string) {
		if passed.Add(1) == left {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // the signal is on its way
		}
	}
	s, err := store.Open(dir, store.Options{First: 1, SegmentBytes: 6 << 10, CheckpointInterval: time.Millisecond, Crash: crash, Compress: true, Retention: store.Retention{TablesBytes: 6 << 10}})
	if err != nil {
		fmt.Println("open:", err)
		os.Exit(3)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	rng := rand.New(rand.NewPCG(sd, run))
	src := storetest.NewSource(sd)
	src.Plain = true
	for range 300 {
		txn := src.Next()
		for _, part := range storetest.Split(txn, 1+rng.IntN(3)) {
			if err := s.Apply(ctx, []change.Txn{part}); err != nil {
				fmt.Println("apply:", err)
				os.Exit(3)
			}
		}
		// What was durable when Apply returned must be there afterwards.
		fmt.Printf("durable %d\n", txn.EndLSN)
	}
	stop()
	<-done
	if err := s.Close(); err != nil {
		fmt.Println("close:", err)
		os.Exit(3)
	}
	fmt.Println("finished")
}

// TestKill kills a child with SIGKILL at random named points around commits,
// rotations and checkpoints, again and again over one directory. After each
// kill the directory must be whole, must hold everything that was reported as
// durable, and its views and log must equal the model at the position it says.
func TestKill(t *testing.T) {
	if spec := os.Getenv("CARBOND_STORE_CRASH"); spec != "" {
		crashChild(spec)
		os.Exit(0)
	}
	sd := seed(t)
	rng := rand.New(rand.NewPCG(sd, 2))
	dir := t.TempDir()
	runs := 25
	if testing.Short() {
		runs = 8
	}
	kills, stripped := 0, 0
	for run := range runs {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKill$")
		cmd.Env = append(os.Environ(), fmt.Sprintf("CARBOND_STORE_CRASH=%d %d %d %s", sd, run, 1+rng.IntN(900), dir))
		out, err := cmd.Output()
		ended := strings.Contains(string(out), "finished")
		switch {
		case err == nil && ended:
		case err != nil && strings.Contains(err.Error(), "killed"):
			kills++
		default:
			var exit *exec.ExitError
			if errors.As(err, &exit) {
				out = append(out, exit.Stderr...)
			}
			t.Fatalf("run %d: child: %v\n%s", run, err, out)
		}
		if verify(t, dir, sd, lastDurable(t, string(out))) {
			stripped++
		}
		if ended {
			dir = t.TempDir()
		}
	}
	if kills == 0 || stripped == 0 {
		t.Fatalf("%d children were killed, %d left a stripped log: the test proves nothing", kills, stripped)
	}
	t.Logf("%d of %d children killed, %d left a stripped log", kills, runs, stripped)
}

func lastDurable(t *testing.T, out string) (lsn change.LSN) {
	for l := range strings.SplitSeq(out, "\n") {
		if n, ok := strings.CutPrefix(l, "durable "); ok {
			v, err := strconv.ParseUint(n, 10, 64)
			if err != nil {
				return lsn // the line was cut by the kill
			}
			lsn = change.LSN(v)
		}
	}
	return lsn
}

// verify reports whether a part of the log has lost its tables without a view.
func verify(t *testing.T, dir string, sd uint64, durable change.LSN) bool {
	t.Helper()
	s := open(t, dir, store.Options{SegmentBytes: 6 << 10})
	pos := s.Position()
	if pos.LSN < durable {
		t.Fatalf("position %s is behind %s, which was reported durable", pos.LSN, durable)
	}
	src := storetest.NewSource(sd)
	src.Plain = true
	for n := 0; n < 300; n++ {
		before := src.Model.Clone()
		if txn := src.Next(); txn.EndLSN > pos.LSN {
			src.Model = before
			break
		}
	}
	if d := src.Model.Diff(s.Snapshot()); d != "" {
		t.Fatalf("at %s: %s", pos.LSN, d)
	}
	if d := storetest.DiffLog(logLines(t, s), src.Model.Log); d != "" {
		t.Fatalf("at %s: %s", pos.LSN, d)
	}
	stripped := s.Floor() > s.Oldest()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := store.Check(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range r.Problems {
		t.Error(p)
	}
	if !r.Rebuilt {
		t.Error("the log should reach back to its beginning")
	}
	return stripped
}
