package replicate

// White box: drives the receiver alone against a scripted server, with a real
// store behind it whose process is killed.

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"carbond/replicate/internal/server"
	"carbond/replicate/pgerr"
	"carbond/replicate/walsender"
	"carbond/store/change"
	"carbond/store/crashtest"
	"carbond/store/storetest"
)

const (
	streamEnv  = "CARBOND_STREAM_CRASH"
	streamTxns = 120
)

// TestStreamCrash feeds a store in a child process through the receiver from a
// scripted server. The server sends again what was not confirmed, cuts the
// connection at any byte, and the child dies at named points of the store until it
// gets through. What was confirmed must be there, and each change once.
func TestStreamCrash(t *testing.T) {
	if spec := os.Getenv(streamEnv); spec != "" {
		streamChild(t, spec)
		return
	}
	runs := storetest.NewRuns(t, "stream", 8)
	for n, ok := runs.Next(); ok; n, ok = runs.Next() {
		seed, rng, dir, killed := runs.Seed+uint64(n), runs.Rand(n), t.TempDir(), 0
		for life := 0; ; life++ {
			cmd := exec.Command(os.Args[0], "-test.run=^TestStreamCrash$")
			cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %d %d %s", streamEnv, seed, life, 1+rng.IntN(100*(1+life*life)), dir))
			out, err := cmd.CombinedOutput()
			ended := strings.Contains(string(out), "finished")
			if err != nil && !strings.Contains(err.Error(), "killed") || err == nil && !ended {
				runs.Fatalf(t, n, "child: %v\n%s", err, out)
			}
			src := storetest.NewSource(seed)
			src.Steady = true
			if err := crashtest.Inspect(dir, src, streamTxns, lastConfirmed(string(out))); err != nil {
				runs.Fatalf(t, n, "life %d: %v", life, err)
			}
			if ended {
				break
			}
			killed++
		}
		runs.Done(n, fmt.Sprintf("%d kills among cuts of the connection", min(killed, 5)))
	}
}

func lastConfirmed(out string) (lsn change.LSN) {
	for l := range strings.SplitSeq(out, "\n") {
		if text, ok := strings.CutPrefix(l, "confirmed "); ok {
			if v, err := strconv.ParseUint(text, 10, 64); err == nil { // the kill may cut the line
				lsn = change.LSN(v)
			}
		}
	}
	return lsn
}

func streamChild(t *testing.T, spec string) {
	var seed, run, nth uint64
	var dir string
	if _, err := fmt.Sscanf(spec, "%d %d %d %s", &seed, &run, &nth, &dir); err != nil {
		t.Fatal(err)
	}
	s, stop, err := crashtest.Child(dir, nth)
	if err != nil {
		t.Fatal(err)
	}
	src := storetest.NewSource(seed)
	src.Steady = true
	var txns []change.Txn
	for range streamTxns {
		txns = append(txns, src.Next())
	}
	rng := rand.New(rand.NewPCG(seed, run))
	end := txns[len(txns)-1].EndLSN
	confirmed := s.Position().LSN // by what the server knows: at most this
	if i := rng.IntN(4); confirmed > 0 && i > 0 {
		for _, txn := range txns { // an older answer than the last one got through
			if txn.EndLSN <= confirmed && rng.IntN(8) == 0 {
				confirmed = txn.EndLSN
				break
			}
		}
	}
	for s.Position().LSN < end {
		confirmed = max(confirmed, streamOnce(t, s, txns, confirmed, rng))
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	fmt.Println("finished")
}

// streamOnce is one connection: it sends what comes behind the confirmed position
// and returns what was confirmed at its end.
func streamOnce(t *testing.T, sink Sink, txns []change.Txn, confirmed change.LSN, rng *rand.Rand) change.LSN {
	s := script(t, sink, server.Options{AdvanceInterval: time.Millisecond, StatusInterval: time.Millisecond, PartChanges: 1 + rng.IntN(4)})
	if rng.IntN(3) > 0 {
		s.CutAfter(rng.IntN(60_000))
	}
	for _, table := range change.Tables() {
		s.Relation(walsender.TableID(table), change.Standard(table))
	}
	for _, txn := range txns {
		if txn.EndLSN > confirmed {
			s.Txn(txn)
		}
	}
	end := txns[len(txns)-1].EndLSN
	s.Keepalive(end, true)
	for {
		select {
		case st := <-s.Status:
			if st.Flush > 0 {
				confirmed = max(confirmed, st.Flush)
				fmt.Println("confirmed", uint64(st.Flush))
			}
			if st.Flush < end {
				continue
			}
			s.stop()
			if err := <-s.end; !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			return confirmed
		case err := <-s.end:
			if k := pgerr.KindOf(err); k != pgerr.KindConnect {
				t.Fatalf("%s: %v", k, err)
			}
			return confirmed
		}
	}
}
