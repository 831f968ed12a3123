package e2e_test

import (
	"context"
	"flag"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"carbond/cmd/carbond/internal/programtest"
	"carbond/replicate/pgtest"
)

var (
	seedFlag  = flag.Uint64("seed", 0, "seed of the oracle test, 0 chooses one")
	longFlag  = flag.Bool("long", false, "run the oracle test for ten minutes")
	eventFlag = flag.String("event", "", "the one event that is to happen, again and again")
	soakFlag  = flag.Duration("soak", 15*time.Second, "measure the soak test for so long")
	fleetFlag = flag.Int("fleet", 8, "rounds of the fleet test")
	forFlag   = flag.Duration("for", 0, "run the oracle test for so long")
)

// program is what these tests run.
var program = programtest.Program{Env: []string{"CARBOND_LOG_LEVEL=info", "CARBOND_FEEDS_ENABLED=none"}}

func TestMain(m *testing.M) {
	flag.Parse()
	goleak.VerifyTestMain(program.Wrap(pgtest.Wrap(m)))
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
