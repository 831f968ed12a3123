package storetest

import (
	"bufio"
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// The environment of a long series of runs, as `make faults` sets it.
const (
	runsEnv    = "CARBOND_FAULT_RUNS"    // how many of each kind: "cuts=8000 live=700"
	seedEnv    = "CARBOND_FAULT_SEED"    // of the whole series
	onlyEnv    = "CARBOND_FAULT_ONLY"    // the number of the one run to repeat
	journalEnv = "CARBOND_FAULT_JOURNAL" // file that notes what has been done
)

// Runs numbers the runs of a randomised test, so that a series of thousands can
// be stopped, resumed and repeated: run n of a seed makes the same choices each
// time, and the journal says which are done.
type Runs struct {
	Seed uint64

	tb    testing.TB
	kind  string
	total int
	only  int // -1: all

	mu    sync.Mutex // guards what follows
	next  int
	done  map[int]bool
	count map[string]int // by what befell the run
	book  *os.File
}

// NewRuns returns a series of the given length, a quarter of it in the short form,
// unless the environment says something else. It tells what was done when the test
// ends.
func NewRuns(tb testing.TB, kind string, total int) *Runs {
	tb.Helper()
	if testing.Short() {
		total = (total + 3) / 4
	}
	r := &Runs{Seed: rand.Uint64N(1 << 32), tb: tb, kind: kind, total: total, only: -1, done: map[int]bool{}, count: map[string]int{}}
	number := func(env, text string) uint64 {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			tb.Fatalf("%s: %v", env, err)
		}
		return n
	}
	if v := os.Getenv(seedEnv); v != "" {
		r.Seed = number(seedEnv, v)
	}
	if v := os.Getenv(onlyEnv); v != "" {
		r.only = int(number(onlyEnv, v))
		r.total = r.only + 1
	} else if v := os.Getenv(runsEnv); v != "" {
		r.total = 0
		for part := range strings.FieldsSeq(v) {
			if n, ok := strings.CutPrefix(part, kind+"="); ok {
				r.total = int(number(runsEnv, n))
			}
		}
	}
	if v := os.Getenv(journalEnv); v != "" {
		r.open(v)
	}
	tb.Logf("%s: seed %d, runs 0 to %d (%d done before); repeat one with %s=%d %s=N", kind, r.Seed, r.total-1, len(r.done), seedEnv, r.Seed, onlyEnv)
	tb.Cleanup(r.end)
	return r
}

// open reads the journal and goes on writing it.
func (r *Runs) open(path string) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		r.tb.Fatalf("%s: %v", journalEnv, err)
	}
	r.book = f
	for in := bufio.NewScanner(f); in.Scan(); {
		var seed uint64
		var kind, what string
		var n int
		if _, err := fmt.Sscanf(in.Text(), "%d %s %d %q", &seed, &kind, &n, &what); err == nil && seed == r.Seed && kind == r.kind {
			r.done[n] = true
			r.count[what]++
		}
	}
}

// Next returns the number of the next run that is to be done.
func (r *Runs) Next() (n int, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for ; r.next < r.total; r.next++ {
		if !r.done[r.next] && (r.only < 0 || r.only == r.next) {
			r.next++
			return r.next - 1, true
		}
	}
	return 0, false
}

// Rand returns the source of run n's choices.
func (r *Runs) Rand(n int) *rand.Rand { return rand.New(rand.NewPCG(r.Seed, uint64(n))) }

// Done notes that run n has passed, and what befell it.
func (r *Runs) Done(n int, what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done[n] = true
	r.count[what]++
	if r.book != nil {
		if _, err := fmt.Fprintf(r.book, "%d %s %d %q\n", r.Seed, r.kind, n, what); err != nil {
			r.tb.Errorf("%s: %v", journalEnv, err)
		}
	}
}

// Fatalf ends the test and says which run to repeat.
func (r *Runs) Fatalf(tb testing.TB, n int, format string, args ...any) {
	tb.Helper()
	tb.Fatalf("%s run %d of seed %d: %s", r.kind, n, r.Seed, fmt.Sprintf(format, args...))
}

func (r *Runs) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.book != nil {
		_ = r.book.Close() // every line is written
	}
	var b strings.Builder
	sum := 0
	for _, what := range slices.SortedFunc(maps.Keys(r.count), func(a, b string) int { return cmp.Or(r.count[b]-r.count[a], cmp.Compare(a, b)) }) {
		fmt.Fprintf(&b, "\n%8d  %s", r.count[what], what)
		sum += r.count[what]
	}
	r.tb.Logf("%s: %d runs of seed %d passed%s", r.kind, sum, r.Seed, b.String())
}
