package replicate_test

import (
	"strings"
	"testing"
	"time"

	"carbond/replicate/pgerr"
	"carbond/replicate/pgtest"
)

// A publication that loses a table or an operation loses changes. The trouble
// must last until somebody decides, not heal by a second attempt that finds the
// publication mended by the first.
func TestLapsedPublication(t *testing.T) {
	for name, sql := range map[string]string{
		"table":       "ALTER PUBLICATION carbond DROP TABLE finance",
		"operation":   "ALTER PUBLICATION carbond SET (publish = 'update, delete, truncate')",
		"publication": "DROP PUBLICATION carbond",
	} {
		t.Run(name, func(t *testing.T) {
			db := pgtest.Shared(t).Database(t)
			opt, sink := options(db), newSink()
			r := run(t, sink, opt)
			r.level()
			r.stop()
			pgtest.Exec(t, db, sql, "INSERT INTO finance(ticker, timestamp) VALUES ('lost', 1)")

			r = run(t, sink, opt)
			s := r.trouble(pgerr.KindPublicationChange)
			if !strings.Contains(s.Reason, "resnapshot") {
				t.Errorf("reason %q", s.Reason)
			}
			// With pauses of at most 300 ms, that is several attempts.
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for range 100 {
				<-tick.C
				if s := r.Status(); s.Connected || s.Kind != pgerr.KindPublicationChange {
					t.Fatalf("the trouble went away by itself: %+v", s)
				}
			}
			r.resnapshot(opt)
		})
	}
}
