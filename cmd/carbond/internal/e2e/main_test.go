package e2e_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"carbond/replicate/pgtest"
)

var (
	seedFlag  = flag.Uint64("seed", 0, "seed of the oracle test, 0 chooses one")
	longFlag  = flag.Bool("long", false, "run the oracle test for ten minutes")
	eventFlag = flag.String("event", "", "the one event that is to happen, again and again")
	soakFlag  = flag.Duration("soak", 15*time.Second, "measure the soak test for so long")
	forFlag   = flag.Duration("for", 0, "run the oracle test for so long")
)

// module is the root of the module, seen from this folder.
const module = "../../../.."

func TestMain(m *testing.M) {
	flag.Parse()
	goleak.VerifyTestMain(runner{pgtest.Wrap(m)})
}

// runner removes the built program at the end.
type runner struct{ m pgtest.M }

func (r runner) Run() int {
	defer func() {
		if built.dir != "" {
			_ = os.RemoveAll(built.dir)
		}
	}()
	return r.m.Run()
}

// built is the program, built once for all tests.
var built struct {
	once sync.Once
	dir  string
	err  error
}

// binary returns the path of the built program.
func binary(t testing.TB) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "carbond-e2e-"); built.err != nil {
			return
		}
		built.err = goBuild(filepath.Join(built.dir, "carbond"), "./cmd/carbond")
	})
	if built.err != nil {
		t.Fatalf("build the program: %v", built.err)
	}
	return filepath.Join(built.dir, "carbond")
}

func goBuild(out string, args ...string) error {
	cmd := exec.Command("go", append([]string{"build", "-o", out}, args...)...)
	cmd.Dir = module
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, text)
	}
	return nil
}

// missing skips a test whose outside program is not installed, unless
// everything has to be there.
func missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CARBOND_TEST_REQUIRE") == "1" {
		t.Fatalf("CARBOND_TEST_REQUIRE=1, but %s", what)
	}
	t.Skip(what)
}

// until polls for so long until ok.
func until(t testing.TB, patience time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("no %s within %v", what, patience)
		}
	}
}

// pause waits, and reports false when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
