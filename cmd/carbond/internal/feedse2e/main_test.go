package feedse2e_test

import (
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

// module is the root of the module, seen from this folder.
const module = "../../../.."

func TestMain(m *testing.M) { goleak.VerifyTestMain(runner{pgtest.Wrap(m)}) }

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
		if built.dir, built.err = os.MkdirTemp("", "carbond-feedse2e-"); built.err != nil {
			return
		}
		cmd := exec.Command("go", append(buildFlags(), "-o", filepath.Join(built.dir, "carbond"), "./cmd/carbond")...)
		cmd.Dir = module
		if text, err := cmd.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("%w\n%s", err, text)
		}
	})
	if built.err != nil {
		t.Fatalf("build the program: %v", built.err)
	}
	return filepath.Join(built.dir, "carbond")
}

// buildFlags builds the program with the race detector where the tests run
// under it.
func buildFlags() []string {
	if underRace {
		return []string{"build", "-race"}
	}
	return []string{"build"}
}

// until polls for so long until ok.
func until(t testing.TB, patience time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}
