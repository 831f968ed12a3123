package e2e_test

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	pb "carbond/proto/carbon"
	"carbond/store/change"
)

// TestOracle is the test of guarantees 1, 2, 3, 4 and 6 against the real thing.
func TestOracle(t *testing.T) {
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64N(1 << 32)
	}
	length := 25 * time.Second
	switch {
	case *forFlag > 0:
		length = *forFlag
	case *longFlag:
		length = 10 * time.Minute
	case testing.Short():
		length = 10 * time.Second
	}
	t.Logf("seed %d: repeat with -args -seed %d", seed, seed)
	w := newWorld(t, seed, "")
	w.kafka = w.followKafka()
	defer func() { t.Log(w.summary()) }()

	// The first copy is made while rows are there and more are coming.
	stopWriting := w.write(5, 8*time.Millisecond)
	w.wait(1000)
	stopSampling := w.sample()
	w.start()
	w.wait(500)
	w.compare(true)

	next := w.program()
	if *eventFlag != "" {
		next = func() string { return *eventFlag }
	}
	for end := time.Now().Add(length); time.Now().Before(end); {
		for range 1 + w.IntN(4) {
			w.happen(next())
			w.wait(400)
		}
		w.compare(*longFlag || w.IntN(4) == 0)
	}
	w.compare(true)
	stopWriting()
	stopSampling()
	w.diverge()
	w.stop()
	checkRebuild(t, w.dir)
	if w.samples.Load() == 0 {
		t.Error("the slot was never compared with the daemon")
	}
}

// diverge makes a change that replication does not tell of: verify must name
// its key and no other.
func (w *world) diverge() {
	w.t.Helper()
	// Nothing is on its way any more.
	w.quiet(func(_ *pgx.Conn, lsn change.LSN) {
		waitLSN(w.t.Context(), w.t, pb.NewCarbonServiceClient(w.current().Dial(w.t)), lsn)
	})
	w.sql("CREATE TABLE finance_unseen () INHERITS (finance)") // the publication has no place for it
	w.sql("INSERT INTO finance_unseen(ticker, price, timestamp) VALUES ('DRIFT', 1, 1)")
	code, out := program.Command(w.t, w.env, "verify", "--addr", w.current().GRPC)
	if code != 1 || !strings.Contains(out, "finance DRIFT\n") || !strings.Contains(out, ", 1 keys differ") {
		w.t.Errorf("verify: exit code %d\n%s", code, out)
	}
}
